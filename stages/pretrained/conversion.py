"""Checkpoints that are published as pickles, turned into plain tensors: ultralytics' YOLOv8n, EasyOCR's networks.

A pickle can run code when it is opened. Its pinned hash is checked first, then it is opened by an unpickler that builds
tensors and known classes only, and what is published is safetensors: no later stage opens a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from stages.common.detector import WEIGHTS, new_model
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.pretrained.downloads import fetch_archive_member, fetch_url
from stages.pretrained.hashes import pinned_hash

# Ultralytics asks the network when it is imported, unless stages.common.detector has been.
from ultralytics.nn.tasks import torch_safe_load  # isort: skip

RECOGNISER, TEXT_DETECTOR = "english_g2.pth", "craft_mlt_25k.pth"
"""EasyOCR's own names, in its archives; what is published has the same with another ending."""


def fetch_detector(url: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch ultralytics' YOLOv8n checkpoint and keep its tensors alone, for a detector of one class.

    Tensors that belong to the 80 classes have another shape with one class; they start from a fixed random state.
    """
    name = url.rsplit("/", 1)[1]
    checkpoint = fetch_url(url, pinned_hash("detector", name, pinned), downloads)
    torch.manual_seed(0)
    model = new_model()
    state = read_yolo(checkpoint, url)
    own = model.state_dict()
    fitting = {key: tensor for key, tensor in state.items() if key in own and own[key].shape == tensor.shape}
    # Of a YOLOv8n of 80 classes 319 of the 355 fit, of the larger YOLOv8s at most 91.
    if len(fitting) < 0.8 * len(own):
        raise UserError(f"{url}: no YOLOv8n: {len(fitting)} of its {len(own)} tensors fit")
    model.load_state_dict(own | fitting)
    tensors = {key: tensor.contiguous() for key, tensor in sorted(model.state_dict().items())}
    write_file(target / WEIGHTS, save(tensors, metadata={"names": "logo"}))


def read_yolo(checkpoint: Path, url: str) -> dict[str, torch.Tensor]:
    """The tensors of an ultralytics checkpoint, by its restricted unpickler. Raises UserError where it refuses."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):  # ultralytics would unpickle anything
        raise UserError("this PyTorch cannot open ultralytics' checkpoints safely: 2.6 or newer is needed")
    try:
        content = torch_safe_load(checkpoint, safe_only=True)[0]
        state: dict[str, torch.Tensor] = (content.get("ema") or content["model"]).float().state_dict()
    except Exception as error:  # pickles fail in many ways
        raise UserError(f"{url}: no ultralytics checkpoint: {' '.join(str(error).split())[:200]}") from None
    return state


def fetch_reader(url: str, text_detector: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch EasyOCR's recogniser, and its text detector where one is named, out of their archives."""
    wanted = {RECOGNISER: url, **({TEXT_DETECTOR: text_detector} if text_detector else {})}
    for name, address in wanted.items():
        expected = pinned_hash("reader", name, pinned)
        tensors = read_tensors(fetch_archive_member(address, name, expected, downloads))
        # A header of one key has one order: the same bytes each time.
        content = save(tensors, metadata={"source": expected})
        write_file(target / Path(name).with_suffix(".safetensors"), content)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """A PyTorch file's tensors by name, without the "module." before all of them that training on several GPUs leaves.

    Raises UserError where it holds anything but tensors, or cannot be read.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickles fail in many ways
        line = str(error).splitlines()[0]
        raise UserError(f"{path.name}: holds more than tensors, or is no weights file: {line}") from None
    if not isinstance(content, dict) or not content or not all(isinstance(t, torch.Tensor) for t in content.values()):
        raise UserError(f"{path.name}: must be a state dict, names and tensors alone")
    names = [str(name) for name in content]
    prefix = "module." if all(name.startswith("module.") for name in names) else ""
    # Copied: tensors of one file may share their memory, which safetensors refuses.
    return {n.removeprefix(prefix): t.contiguous().clone() for n, t in zip(names, content.values(), strict=True)}
