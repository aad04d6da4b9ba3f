"""The logo detector: YOLOv8n by ultralytics, kept off the network, its weights as plain tensors.

A published detector is `detector.safetensors`: the state dict, with the picture size and the training resolution in the
file's header. Ultralytics' own `.pt` is a pickle that embeds a date and paths, so it is never published or loaded.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.boxes import Box, fitted
from stages.common.command import threads
from stages.common.errors import UserError

ARCHITECTURE = "yolov8n.yaml"
WEIGHTS = "detector.safetensors"
BATCH = 32
NAMES = ("logo", "look-alike")
"""The classes of a data.yaml: the second is for training only."""
LEAST_CONFIDENCE = 0.01
"""Detections below this are dropped: what is kept feeds the precision-recall curve."""
GREY = 114
"""The level that pads a picture to a square, ultralytics' own."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Detection:
    """A logo found: its box in pixels of the picture, and the detector's confidence, 0 to 1."""

    box: Box
    confidence: float


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
        import torch
        from ultralytics.utils.nms import non_max_suppression

        found: list[list[Detection]] = []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                batch = [prepare(p, self.resolution, self.image_size) for p in pictures[start : start + BATCH]]
                device = next(self._model.parameters()).device
                tensor = torch.from_numpy(np.stack([p for p, _ in batch])).permute(0, 3, 1, 2).to(device).float() / 255
                output = self._model(tensor)
                rows = output[0] if isinstance(output, list | tuple) else output
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
    from PIL import Image

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
    from safetensors import safe_open

    path = folder / WEIGHTS
    state = read_state(path)
    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
    said = json.loads(said["detector"]) if "detector" in said else said
    try:
        image_size, resolution = int(said["image_size"]), int(said["resolution"])
    except KeyError as error:
        raise UserError(f"{path}: its header has no {error}; it is no detector published by train_detector") from None
    import torch

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
    from safetensors.torch import save_file

    path = folder / WEIGHTS
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in sorted(model.state_dict().items())}
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    save_file(state, path, metadata=header(image_size, resolution, precision))
    return path


def header(image_size: int, resolution: int, precision: str) -> dict[str, str]:
    """What a detector's file says of itself: one key, since safetensors writes several in an order that changes."""
    said = {"image_size": image_size, "names": ["logo"], "precision": precision, "resolution": resolution}
    return {"detector": json.dumps(said)}


def read_state(path: Path) -> dict[str, Any]:
    """A safetensors file's tensors. Raises UserError where it is missing or broken."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (has the stage before this one run?)") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not readable as safetensors: {error}") from None


def new_model(start: Path | None = None, classes: int = 1, precision: str = "fp32") -> Any:
    """A YOLOv8n, from a start's tensors where given: each class begins as the start's one class.

    `precision` is that of its convolutions; what it returns is fp32. Raises UserError for a start of another network.
    """
    set_up_ultralytics()
    import torch
    from ultralytics.nn.tasks import DetectionModel

    class Network(DetectionModel):  # type: ignore[misc]
        def predict(self, x: torch.Tensor, *arguments: Any, **named: Any) -> Any:
            with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
                return _in_fp32(super().predict(x, *arguments, **named))

    torch.set_num_threads(threads())
    model = Network(ARCHITECTURE, nc=classes, verbose=False)
    model.names = dict(enumerate(NAMES[:classes]))
    if start is not None:
        state = read_state(start)
        for name in _class_tensors(model):
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


def first_class(model: Any) -> Any:
    """The model without its other classes: what it says of the first one stays as it is."""
    state, alone = model.state_dict(), new_model()
    for name in _class_tensors(model):
        state[name] = state[name][:1]
    alone.load_state_dict(state)
    return alone.eval()


def _class_tensors(model: Any) -> list[str]:
    """Names of the tensors that have a row for each class: the last layer of each level's classifier."""
    last = [f"model.{len(model.model) - 1}.cv3.{level}.2" for level in range(len(model.stride))]
    return [f"{layer}.{part}" for layer in last for part in ("weight", "bias")]


def train_model(
    dataset: Path, folder: Path, start: Path | None, *, epochs: int, batch_size: int, image_size: int,
    learning_rate: float, seed: int, classes: int = 1, precision: str = "fp32", report_epoch: Any = None,
    report_step: Callable[[], object] | None = None,
) -> Any:  # fmt: skip
    """Train a YOLOv8n through ultralytics' trainer; returns the averaged (EMA) model.

    Ultralytics' own augmentation is off (the stage augments beforehand, reproducibly), its defaults would mirror text.
    With two classes, look-alikes are one of their own while it trains: to name them, the network must learn the
    letters that tell them apart, which pictures without any box hardly teach. What is returned knows the logo alone.

    Args:
        dataset: a YOLO data.yaml.
        folder: where ultralytics may write.
        start: weights to start from, None for random ones.
        classes: how many of `NAMES` the data.yaml has.
        precision: fp32 or bf16, of the convolutions; the weights are kept in fp32.
        report_epoch: called after each epoch with (epoch from 1, losses by name).
        report_step: called after each batch.
    """
    set_up_ultralytics(folder)
    import torch
    from ultralytics.models.yolo.detect import DetectionTrainer

    class Trainer(DetectionTrainer):  # type: ignore[misc]
        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            return new_model(start, classes, precision)

        def build_optimizer(self, *arguments: Any, **named: Any) -> Any:
            optimizer = super().build_optimizer(*arguments, **named)
            for group in optimizer.param_groups:
                group["fused"] = True  # one kernel for all weights: they are many and small
            return optimizer

        def validate(self) -> Any:
            return {}, 0.0  # the stage measures held-out pictures itself, at the score's threshold

        def final_eval(self) -> None:
            pass  # it would reload a checkpoint that is never read here

        def save_model(self) -> bool:
            return False  # a pickle with a date and paths; the weights are published as safetensors

    trainer = Trainer(
        overrides=dict(  # noqa: C408 (reads as ultralytics' documentation writes it)
            model=ARCHITECTURE, data=str(dataset), epochs=epochs, batch=batch_size, imgsz=image_size, seed=seed,
            project=str(folder.absolute()),  # a relative one lands in the runs folder of ultralytics' settings
            name="run", exist_ok=True, device="0" if torch.cuda.is_available() else "cpu",
            optimizer="AdamW", lr0=learning_rate, lrf=0.01, cos_lr=True, warmup_epochs=0.5, nbs=batch_size,
            workers=0, cache="ram", deterministic=True, amp=False, pretrained=False, plots=False, val=False, save=False,
            verbose=False, patience=0, mosaic=0.0, close_mosaic=0, fliplr=0.0, flipud=0.0, hsv_h=0.0, hsv_s=0.0,
            hsv_v=0.0, degrees=0.0, translate=0.0, scale=0.0, mixup=0.0, copy_paste=0.0, erasing=0.0,
            cls=2.0,  # four times the usual weight: the letters decide, not the place
        )
    )  # fmt: skip
    trainer.add_callback("on_train_start", lambda _: torch.set_num_threads(threads()))
    if report_step:
        trainer.add_callback("on_train_batch_end", lambda _: report_step())
    if report_epoch:
        trainer.add_callback(
            "on_train_epoch_end",
            lambda t: report_epoch(t.epoch + 1, {k: float(v) for k, v in t.label_loss_items(t.tloss).items()}),
        )
    with redirect_stdout(io.StringIO()):  # a bar of its own, in control characters
        trainer.train()
    model = first_class(trainer.ema.ema.float())
    # Left as training makes them, the weights still require gradients and half of them are shared views.
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    torch.use_deterministic_algorithms(False)
    return model


def set_up_ultralytics(folder: Path | None = None) -> None:
    """Keep ultralytics off the network and out of the user's home; idempotent, must come before its first import.

    Unprepared it looks up hosts on import and in training, downloads a font, reports usage, installs packages, and its
    DVC callback rewrites dvc.yaml (facts/evaluation.md).
    """
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="False", YOLO_VERBOSE="False", ULTRALYTICS_SAFE_LOAD="1")
    configured = Path(
        os.environ.setdefault("YOLO_CONFIG_DIR", str((folder or Path(".emblem")) / "ultralytics"))
    ).absolute()
    os.environ["YOLO_CONFIG_DIR"] = str(configured)
    fonts = configured / "Ultralytics"
    fonts.mkdir(parents=True, exist_ok=True)
    if not (fonts / "Arial.ttf").exists():
        import matplotlib

        shutil.copy(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), fonts / "Arial.ttf")
    from ultralytics import settings
    from ultralytics.utils import LOGGER, patches

    # Ultralytics replaces PIL.Image.open by one that installs a package where a file is no picture.
    patches._pil_plugins_registered = True

    off = (
        "sync",
        "dvc",
        "mlflow",
        "comet",
        "clearml",
        "raytune",
        "vscode_msg",
        "wandb",
        "neptune",
        "hub",
        "tensorboard",
    )
    with suppress(KeyError, TypeError):
        settings.update({key: False for key in off if settings.get(key)})
    LOGGER.setLevel("ERROR")


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
