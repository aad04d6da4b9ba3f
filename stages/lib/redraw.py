"""Photographs as a generator would have drawn them: encoded and decoded by the base's autoencoder, a little off.

A detector that has seen photographs alone doubts logos that a diffusion model draws right, soft and smeared as its
decoder leaves them, and is fooled by misspelt ones, whose letters run together the same way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.lib.augment import Labelled
from stages.lib.boxes import fitted
from stages.lib.errors import UserError

LATENT_NOISE = 0.25
"""Most noise on a latent, in standard deviations of the latent: what a generator gets wrong."""


class Autoencoder:
    """A base's autoencoder, which draws pictures anew."""

    def __init__(self, base: Path) -> None:
        """Load it. Raises UserError where the base has none."""
        import torch
        from diffusers import AutoencoderKL

        if not (base / "vae" / "config.json").is_file():
            raise UserError(f"{base}/vae: no autoencoder (has the stage `pretrained` run?), or set detector.redrawn: 0")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        vae = AutoencoderKL.from_pretrained(base / "vae", torch_dtype=torch.float32, local_files_only=True)
        self._vae: Any = vae.requires_grad_(False).eval().to(self._device)
        self._cell = 2 ** (len(vae.config.block_out_channels) - 1)

    def redrawn(self, item: Labelled, resolution: int, rng: np.random.Generator) -> Labelled:
        """The picture drawn anew, its longer side reduced to `resolution` pixels first, as a generator's are."""
        small = shrunk(item, resolution)
        picture = np.asarray(small.image)
        height, width = picture.shape[:2]
        margin = ((0, -height % self._cell), (0, -width % self._cell), (0, 0))
        decoded = self._decode(np.pad(picture, margin, mode="edge"), rng)
        return Labelled(Image.fromarray(decoded[:height, :width]), small.boxes)

    def _decode(self, picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(picture).to(self._device).permute(2, 0, 1)[None].float() / 127.5 - 1
            latents = self._vae.encode(pixels).latent_dist.mean
            noise = torch.from_numpy(rng.standard_normal(tuple(latents.shape), dtype=np.float32)).to(self._device)
            latents = latents + float(rng.uniform(0, LATENT_NOISE)) * latents.std() * noise
            decoded = ((self._vae.decode(latents).sample[0].clamp(-1, 1) + 1) * 127.5).round().byte()
        return np.ascontiguousarray(decoded.permute(1, 2, 0).cpu().numpy())


def shrunk(item: Labelled, resolution: int) -> Labelled:
    """The picture with its longer side reduced to `resolution` pixels; as it is where it is no longer."""
    if max(item.image.size) <= resolution:
        return item
    width, height = fitted(*item.image.size, resolution)
    image = item.image.resize((width, height), Image.Resampling.LANCZOS)
    scale = (width / item.image.width, height / item.image.height)
    boxes = tuple((b[0] * scale[0], b[1] * scale[1], b[2] * scale[0], b[3] * scale[1]) for b in item.boxes)
    return Labelled(image, boxes)
