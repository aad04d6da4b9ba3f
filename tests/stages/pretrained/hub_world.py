"""What the loopback hub of these tests holds: repositories and files as they are elsewhere, with random weights."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch
from easyocr.config import recognition_models
from easyocr.craft import CRAFT
from easyocr.model.vgg_model import Model

from stages.common.errors import UserError
from stages.common.params import Pretrained
from stages.common.ultralytics_offline import DetectionModel
from tests.hub_server import Hub, sha256
from tests.sd_shaped_base import write_captioner, write_clip, write_sd_shaped_base

BASE, BASE_COMMIT = "someone/base", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14"
CLIP, CLIP_COMMIT = "someone/clip", "32bd64288804d66eefd0ccbe215aa642df71cc41"
CAPTIONER, CAPTIONER_COMMIT = "someone/captioner", "7a1fb2d6ca5f4f1b8e2b4cf0c2f9a0d3b5e6f708"
UNET = "unet/diffusion_pytorch_model.safetensors"
NOT_NEEDED = {
    "base": (
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "v1-5.ckpt",
        "safety_checker/model.safetensors",
        "README.md",
    ),
    "clip": ("pytorch_model.bin",),
    "captioner": ("pytorch_model.bin", "tf_model.h5", "modeling_captioner.py", "README.md"),
}
"""What a real repository holds beside what is needed: none of it may be fetched."""


def write_repositories(folder: Path) -> Path:
    """The three repositories as folders."""
    write_sd_shaped_base(folder / "base")
    write_clip(folder / "clip")
    write_captioner(folder / "captioner")
    for repository, paths in NOT_NEEDED.items():
        for path in paths:
            (folder / repository / path).parent.mkdir(exist_ok=True)
            (folder / repository / path).write_bytes(b"not needed")
    return folder


def write_files(folder: Path) -> dict[str, bytes]:
    """ultralytics' and EasyOCR's files, with random weights in their own formats; `folder` is for ultralytics."""
    torch.manual_seed(1)
    yolo = DetectionModel("yolov8n.yaml", nc=80, verbose=False).half()
    characters = recognition_models["gen2"]["english_g2"]["characters"]
    files = {
        "yolov8n.pt": as_pickle({"epoch": -1, "model": yolo, "ema": None}),
        "english_g2.pth": as_pickle(on_several_gpus(Model(1, 256, 256, len(characters) + 1))),
        "craft_mlt_25k.pth": as_pickle(on_several_gpus(CRAFT())),
    }
    files["english_g2.zip"] = as_zip({name: files[name] for name in ("english_g2.pth", "craft_mlt_25k.pth")})
    return files


def on_several_gpus(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A state dict as `torch.nn.DataParallel` names it."""
    return {f"module.{name}": tensor for name, tensor in network.state_dict().items()}


def as_pickle(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def as_zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def section(hub: Hub, **changes: object) -> Pretrained:
    """The parameters that name everything on the hub, with changes."""
    content = {
        "source": "hub",
        "base": BASE,
        "base_revision": BASE_COMMIT,
        "clip": CLIP,
        "clip_revision": CLIP_COMMIT,
        "captioner": CAPTIONER,
        "captioner_revision": CAPTIONER_COMMIT,
        "detector": f"{hub.address}/files/yolov8n.pt",
        "reader": f"{hub.address}/files/english_g2.zip",
        "text_detector": f"{hub.address}/files/english_g2.zip",
        "hashes": {
            "detector/yolov8n.pt": f"sha256:{sha256(hub.files['yolov8n.pt'])}",
            "reader/english_g2.pth": f"sha256:{sha256(hub.files['english_g2.pth'])}",
            "reader/craft_mlt_25k.pth": f"sha256:{sha256(hub.files['craft_mlt_25k.pth'])}",
        },
    }
    return Pretrained.model_validate(content | changes)


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)
