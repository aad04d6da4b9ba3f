"""A drawn picture's PNG file, with all in it that is needed to draw it again."""

from __future__ import annotations

import io
import json

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stages.common.params import Params
from stages.generate.checkpoint import Checkpoint

SETTINGS = ("negative_prompt", "steps", "guidance_scale", "guidance_share", "scheduler", "precision")
"""Of params.sample, what decides a picture, with `STEERING`."""
STEERING = ("attend_and_excite", "composition")


def png(picture: NDArray[np.uint8], prompt: str, seed: int, checkpoint: Checkpoint, params: Params) -> bytes:
    """The picture's file, with what it was drawn from in two text chunks: `parameters` and `emblem` (JSON)."""
    settings, image = params.sample, Image.fromarray(picture)
    chunks = PngInfo()
    chunks.add_text(
        "parameters",
        f"{prompt}\nNegative prompt: {settings.negative_prompt}\nSteps: {settings.steps}, "
        f"Sampler: {settings.scheduler}, CFG scale: {settings.guidance_scale:g}, Seed: {seed}, "
        f"Size: {image.width}x{image.height}, Model: {checkpoint.name}",
    )
    content = {
        "prompt": prompt,
        "seed": seed,
        "method": checkpoint.method,
        "epoch": checkpoint.epoch,
        "revision": checkpoint.revision,
        "resolution": params.resolution,
        "base": params.pretrained.base,
        "base_revision": params.pretrained.base_revision,
        **{key: getattr(settings, key) for key in SETTINGS},
        **{key: getattr(settings, key).model_dump() for key in STEERING},
    }
    chunks.add_text("emblem", json.dumps(content, sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()
