"""The logo detector: YOLOv8n by ultralytics, kept off the network, its weights as plain tensors.

A published detector is `detector.safetensors`: the state dict, with the picture size and the training resolution in the
file's header. Ultralytics' own `.pt` is a pickle that embeds a date and paths, so it is never published or loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from stages.common.boxes import Detection, fitted
from stages.common.command import threads
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.ultralytics_offline import DetectionModel, non_max_suppression

ARCHITECTURE = "yolov8n.yaml"
WEIGHTS = "detector.safetensors"
BATCH = 32
"""Pictures at once: a batch of 128-pixel squares stays within a few hundred megabytes."""
NAMES = ("logo", "look-alike")
"""The classes of a data.yaml: the second is for training only."""
LEAST_CONFIDENCE = 0.01
"""Detections below this are dropped: what is kept feeds the precision-recall curve."""
GREY = 114
"""The level that pads a picture to a square, ultralytics' own."""

Picture = NDArray[np.uint8]


class Detector:
    """A YOLOv8n in evaluation mode for pictures of any size."""

    def __init__(self, model: Any, image_size: int, resolution: int) -> None:
        self._model = model
        self.image_size = image_size
        self.resolution = resolution

    def detect(self, pictures: Sequence[Picture], least: float = LEAST_CONFIDENCE) -> list[list[Detection]]:
        """Detect the logo in RGB pictures, each [height, width, 3] of uint8.

        Returns:
            For each picture its detections after non-maximum suppression (IoU 0.5), highest confidence first.
        """
        found: list[list[Detection]] = []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                batch = [prepare(p, self.resolution, self.image_size) for p in pictures[start : start + BATCH]]
                device = next(self._model.parameters()).device
                tensor = torch.from_numpy(np.stack([p for p, _ in batch])).permute(0, 3, 1, 2).to(device).float() / 255
                output = self._model(tensor)
                rows = output[0] if isinstance(output, list | tuple) else output
                # At most 20 (a picture has one to three logos), and ten seconds a picture: ultralytics' own 0.05 s
                # would leave pictures out on a slow machine.
                kept = non_max_suppression(rows, conf_thres=least, iou_thres=0.5, max_det=20, max_time_img=10.0)
                for of_picture, (_, place) in zip(kept, batch, strict=True):
                    found.append([_detection(row, place) for row in of_picture.cpu().tolist()])
        return found


@dataclass(frozen=True)
class Placement:
    """Where a picture lies in the detector's square: its pixels * scale + (dx, dy) are the square's."""

    scale: float
    dx: float
    dy: float


def prepare(picture: Picture, resolution: int, image_size: int) -> tuple[Picture, Placement]:
    """A picture as the detector sees it, in training and in scoring alike.

    The longer side is reduced to `resolution` first (generated pictures have no finer detail: a detector that was shown
    finer ones would miss theirs), then the picture is enlarged to `image_size` and padded to a square.

    Returns:
        [image_size, image_size, 3] of uint8, and where the picture lies in it.
    """
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    if max(width, height) > resolution:
        image = image.resize(fitted(width, height, resolution), Image.Resampling.LANCZOS)
    scale, size = image_size / max(width, height), fitted(width, height, image_size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    dx, dy = (image_size - size[0]) // 2, (image_size - size[1]) // 2
    square = Image.new("RGB", (image_size, image_size), (GREY, GREY, GREY))
    square.paste(image, (dx, dy))
    return np.asarray(square), Placement(scale, dx, dy)


def load_detector(folder: Path) -> Detector:
    """Load a published detector (models/detector) for detecting.

    Raises:
        UserError: no weights there, or weights of another network.
    """
    path = folder / WEIGHTS
    state = read_state(path)
    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
    said = json.loads(said["detector"]) if "detector" in said else said
    try:
        image_size, resolution = int(said["image_size"]), int(said["resolution"])
    except KeyError as error:
        raise UserError(f"{path}: its header has no {error}; it is no detector published by train_detector") from None
    model = new_model()
    _load_state(model, state, path)
    if torch.cuda.is_available():
        model.cuda()
    model.eval()
    return Detector(model, image_size, resolution)


def save_detector(model: Any, folder: Path, image_size: int, resolution: int, precision: str = "fp32") -> Path:
    """Write a detector's weights (fp32, sorted by name: the same bytes for the same weights) and return the file.

    Its header says what it was trained for, and in which precision.
    """
    path = folder / WEIGHTS
    state = {key: value.detach().cpu().contiguous() for key, value in sorted(model.state_dict().items())}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    write_file(path, save(state, metadata=header(image_size, resolution, precision)))
    return path


def header(image_size: int, resolution: int, precision: str) -> dict[str, str]:
    """What a detector's file says of itself: one key, since safetensors writes several in an order that changes."""
    said = {"image_size": image_size, "names": ["logo"], "precision": precision, "resolution": resolution}
    return {"detector": json.dumps(said)}


def read_state(path: Path) -> dict[str, Any]:
    """A safetensors file's tensors. Raises UserError where it is missing or broken."""
    try:
        return dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (has the stage before this one run?)") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not readable as safetensors: {error}") from None


class Network(DetectionModel):  # type: ignore[misc]
    """Ultralytics' YOLO, its convolutions in bf16 where `precision` says so; what it returns is fp32."""

    precision = "fp32"

    def predict(self, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        """The network's output for [n, 3, height, width] of 0 to 1."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return _in_fp32(super().predict(x, *arguments, **named))


def new_model(start: Path | None = None, classes: int = 1, precision: str = "fp32") -> Any:
    """A YOLOv8n, from a start's tensors where given: each class begins as the start's one class.

    `precision` is that of its convolutions; what it returns is fp32. Raises UserError for a start of another network.
    """
    torch.set_num_threads(threads())
    model = Network(ARCHITECTURE, nc=classes, verbose=False)
    model.precision = precision
    model.names = dict(enumerate(NAMES[:classes]))
    if start is not None:
        state = read_state(start)
        for name in class_tensors(model):
            if name in state:
                state[name] = state[name].repeat(classes, *[1] * (state[name].ndim - 1))
        _load_state(model, state, start)
    return model


def _in_fp32(output: Any) -> Any:
    """A network's output, tensors in dictionaries and lists, with every tensor in fp32."""
    if isinstance(output, dict):
        return {name: _in_fp32(part) for name, part in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(_in_fp32(part) for part in output)
    return output.float() if hasattr(output, "float") else output


def class_tensors(model: Any) -> list[str]:
    """Names of the tensors that have a row for each class: the last layer of each level's classifier."""
    last = [f"model.{len(model.model) - 1}.cv3.{level}.2" for level in range(len(model.stride))]
    return [f"{layer}.{part}" for layer in last for part in ("weight", "bias")]


def _load_state(model: Any, state: dict[str, Any], path: Path) -> None:
    try:
        model.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    except RuntimeError as error:
        raise UserError(f"{path}: no YOLOv8n of one class: {str(error).splitlines()[-1].strip()[:200]}") from None


def _detection(row: list[float], place: Placement) -> Detection:
    x0, y0, x1, y1, confidence = row[:5]
    scale, dx, dy = place.scale, place.dx, place.dy
    box = ((x0 - dx) / scale, (y0 - dy) / scale, (x1 - dx) / scale, (y1 - dy) / scale)
    return Detection(tuple(round(v, 3) for v in box), round(confidence, 6))  # type: ignore[arg-type]
