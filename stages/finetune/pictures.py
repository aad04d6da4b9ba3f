"""The training pictures on the device: the moments of their latents and their masks, computed once.

A few dozen pictures fit anywhere, so nothing is read, decoded or encoded during training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt

from stages.common.diffusion import Base, encode_pictures
from stages.common.errors import UserError
from stages.common.tables import read_table


@dataclass
class Pictures:
    """n pictures as the loop uses them. The latent of picture i is mean[i] + std[i] * noise, drawn anew each step."""

    names: list[str]
    mean: torch.Tensor  # [n, channels, height, width], scaled as the UNet expects it
    std: torch.Tensor
    mask: torch.Tensor  # [n, 1, height, width]: weight of each cell's loss; 0 on transparent margins, else 1 or more

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.names)


def read_rows(data: Path) -> list[dict[str, Any]]:
    """The captioned set's table. Raises UserError where it is missing or empty."""
    rows = read_table(data / "metadata.jsonl")
    if not rows:
        raise UserError(f"{data / 'metadata.jsonl'}: no pictures to train on (see metrics/filter.json)")
    return rows


def read_pictures(rows: list[dict[str, Any]], data: Path, base: Base, resolution: int) -> Pictures:
    """Read the pictures and compute the moments of their latents (the VAE's work is done after this)."""
    pixels, masks = [], []
    for row in rows:
        path = data / row["file_name"]
        colour, opaque = read_picture(path, resolution)
        mask = opaque_cells(opaque, base.latent_scale)
        if not mask.any():
            raise UserError(f"{path}: no part of it is opaque: nothing to train on; drop it or fix its margins")
        pixels.append(colour)
        masks.append(mask)
    names = [row["file_name"] for row in rows]
    return encode(names, np.stack(pixels), np.stack(masks), base)


def encode(names: list[str], pixels: np.ndarray, masks: np.ndarray, base: Base) -> Pictures:
    """Put pictures (uint8 [n, h, w, 3]) and masks (bool [n, h / f, w / f]) on the device, encoded."""
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    mean, std = encode_pictures(base, scaled)
    factor = base.vae.config.scaling_factor
    mask = torch.from_numpy(masks).float().unsqueeze(1).to(base.device)
    return Pictures(names, mean * factor, std * factor, mask)


def read_picture(path: Path, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture as uint8 [r, r, 3] and where it is opaque, bool [r, r].

    Under the transparent margins stands whatever the last program left there; it is replaced with the nearest opaque
    pixel, so that neither a black border nor a hidden background reaches the model.
    """
    try:
        with Image.open(path) as picture:
            rgba = np.asarray(picture.convert("RGBA"))
    except OSError as error:
        raise UserError(f"{path}: not readable as a picture: {error}") from None
    if rgba.shape[:2] != (resolution, resolution):
        size = f"{rgba.shape[1]} x {rgba.shape[0]}"
        raise UserError(f"{path}: is {size} pixels, must be {resolution} x {resolution} (params: resolution)")
    colour, opaque = rgba[..., :3], rgba[..., 3] >= 128
    if opaque.all() or not opaque.any():
        return colour, opaque
    nearest = distance_transform_edt(~opaque, return_distances=False, return_indices=True)
    return colour[tuple(nearest)], opaque


def opaque_cells(opaque: np.ndarray, scale: int) -> np.ndarray:
    """Latent cells that are opaque in every pixel, bool [r / scale, r / scale]: a margin never enters the loss."""
    side = opaque.shape[0] // scale
    return np.asarray(opaque.reshape(side, scale, side, scale).all(axis=(1, 3)))


def logo_coverage(rows: list[dict[str, Any]], mask: torch.Tensor, scale: int) -> list[dict[str, Any]]:
    """For each picture with a box, the share of the box's area that the loss sees: 1 unless a margin cuts into it."""
    report = []
    cells = mask[:, 0].cpu().numpy()
    for row, kept in zip(rows, cells, strict=True):
        if row.get("box"):
            x0, y0, x1, y1 = (float(edge) / scale for edge in row["box"])
            area = np.outer(_overlap(y0, y1, len(kept)), _overlap(x0, x1, len(kept)))
            share = float((area * kept).sum() / area.sum()) if area.sum() else 0.0
            report.append({"file_name": row["file_name"], "logo_share_in_loss": round(share, 4)})
    return report


def weigh_logos(rows: list[dict[str, Any]], mask: torch.Tensor, scale: int, weight: float) -> torch.Tensor:
    """The mask [n, 1, height, width] times `weight` in the boxes of the logos; a cell that a box cuts has its share.

    A logo covers a few hundredths of a picture: the plain mean of the loss hardly hears of its letters.
    """
    factors = np.ones(mask.shape, dtype=np.float32)
    for row, factor in zip(rows, factors[:, 0], strict=True):
        if row.get("box"):
            x0, y0, x1, y1 = (float(edge) / scale for edge in row["box"])
            inside = np.outer(_overlap(y0, y1, factor.shape[0]), _overlap(x0, x1, factor.shape[1]))
            factor += (weight - 1) * inside
    return mask * torch.from_numpy(factors).to(mask.device)


def _overlap(start: float, end: float, cells: int) -> np.ndarray:
    """Length of each cell [i, i + 1) that lies in [start, end]."""
    edges = np.arange(cells)
    return np.asarray(np.clip(np.minimum(edges + 1, end) - np.maximum(edges, start), 0, 1))
