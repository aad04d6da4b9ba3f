"""Photographs as a generator would have drawn them: encoded and decoded by the base's autoencoder, a little off.

A detector that has seen photographs alone doubts logos that a diffusion model draws right, soft and smeared as its
decoder leaves them, and is fooled by misspelt ones, whose letters run together the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from stages.common.boxes import fitted
from stages.common.errors import UserError
from stages.common.machine import DTYPES
from stages.common.progress import activity
from stages.train_detector.augment import Labelled

LATENT_NOISE = 0.25
"""Most noise on a latent, in standard deviations of the latent: what a generator gets wrong; chosen by hand."""
BATCH = 16
"""Pictures computed at once, at most: about all copies of one photograph, since a photograph is a worker's task."""


class Autoencoder:
    """A base's autoencoder, which draws pictures anew."""

    def __init__(self, base: Path, precision: str = "fp32") -> None:
        """Load it, to compute in `precision` (fp32, bf16). Raises UserError where the base has none."""
        if not (base / "vae" / "config.json").is_file():
            raise UserError(f"{base}/vae: no autoencoder (has the stage `pretrained` run?), or set detector.redrawn: 0")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with activity("load the autoencoder"):
            dtype = getattr(torch, DTYPES[precision])
            vae = AutoencoderKL.from_pretrained(base / "vae", torch_dtype=dtype, local_files_only=True)
            self._vae: Any = vae.requires_grad_(False).eval().to(self._device)
        self._cell = 2 ** (len(vae.config.block_out_channels) - 1)

    def redrawn(
        self, items: Sequence[Labelled], resolution: int, rngs: Sequence[np.random.Generator]
    ) -> list[Labelled]:
        """Pictures drawn anew, the longer side reduced to `resolution` pixels first, as a generator's are.

        Each has random numbers of its own; those of one size are computed `BATCH` at once.
        """
        small = [shrunk(item, resolution) for item in items]
        groups: dict[tuple[int, ...], list[int]] = {}
        padded = []
        for number, item in enumerate(small):
            picture = np.asarray(item.image)
            height, width = picture.shape[:2]
            margin = ((0, -height % self._cell), (0, -width % self._cell), (0, 0))
            padded.append(np.pad(picture, margin, mode="edge"))
            groups.setdefault(padded[-1].shape, []).append(number)
        out = list(small)
        for group in groups.values():
            for start in range(0, len(group), BATCH):
                part = group[start : start + BATCH]
                decoded = self._decode(np.stack([padded[n] for n in part]), [rngs[n] for n in part])
                for number, picture in zip(part, decoded, strict=True):
                    width, height = small[number].image.size
                    out[number] = Labelled(Image.fromarray(picture[:height, :width]), small[number].boxes)
        return out

    def _decode(self, pictures: NDArray[np.uint8], rngs: Sequence[np.random.Generator]) -> NDArray[np.uint8]:
        with torch.inference_mode():
            pixels = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2).float() / 127.5 - 1
            latents = self._vae.encode(pixels.to(self._vae.dtype)).latent_dist.mean.float()
            for latent, rng in zip(latents, rngs, strict=True):
                noise = torch.from_numpy(rng.standard_normal(tuple(latent.shape), dtype=np.float32)).to(self._device)
                latent += float(rng.uniform(0, LATENT_NOISE)) * latent.std() * noise
            decoded = self._vae.decode(latents.to(self._vae.dtype)).sample.float()
            decoded = ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte()
        return np.ascontiguousarray(decoded.permute(0, 2, 3, 1).cpu().numpy())


def shrunk(item: Labelled, resolution: int) -> Labelled:
    """The picture with its longer side reduced to `resolution` pixels; as it is where it is no longer."""
    if max(item.image.size) <= resolution:
        return item
    width, height = fitted(*item.image.size, resolution)
    image = item.image.resize((width, height), Image.Resampling.LANCZOS)
    scale = (width / item.image.width, height / item.image.height)
    boxes = tuple((b[0] * scale[0], b[1] * scale[1], b[2] * scale[0], b[3] * scale[1]) for b in item.boxes)
    return Labelled(image, boxes)
