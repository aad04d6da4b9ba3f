"""How alike two pictures are in composition and colour, with no weights: a correlation of small Lab pictures.

Used twice: for memorisation (a generated picture against the training pictures) and for diversity (the pictures of one
prompt against each other). A logo's box, or a training picture's transparent margin, can be left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.boxes import Box

SIDE = 32
"""Pixels: pictures are compared at this size, chosen by hand; letters vanish, composition stays."""
SHIFTS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
"""Offsets (rows, columns of the small picture) over which the best agreement counts."""
LEAST_COMMON = 0.2
"""Share of the picture that must be left to compare after masking, chosen by hand; with less nothing is said."""
LEAST_SCALE = 1e-2
"""Root of the two variances below which a picture is flat: Lab is 0 to 100, and what is left are roundings."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Descriptors:
    """Small Lab pictures [n, SIDE * SIDE, 3], and the weight 0 to 1 of each of their pixels [n, SIDE * SIDE]."""

    lab: Floats
    weights: Floats

    def __len__(self) -> int:
        return len(self.lab)

    def __getitem__(self, index: Any) -> Descriptors:
        return Descriptors(self.lab[index], self.weights[index])


def describe(pictures: Sequence[NDArray[np.uint8]], masked: Sequence[Sequence[Box]] | None = None) -> Descriptors:
    """Reduce RGB or RGBA pictures [height, width, 3 or 4] to descriptors; transparent pixels and `masked` boxes (in
    pixels) do not count."""
    labs, weights = [], []
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        weight: Floats = np.ones((height, width), np.float32)
        if picture.shape[2] == 4:
            weight = (picture[..., 3] / 255).astype(np.float32)
        for x0, y0, x1, y1 in masked[index] if masked else ():
            # One small pixel of margin: the logo's edge bleeds into what lies beside it.
            mx, my = width / SIDE, height / SIDE
            weight[max(0, int(y0 - my)) : int(np.ceil(y1 + my)), max(0, int(x0 - mx)) : int(np.ceil(x1 + mx))] = 0
        rgb = picture[..., :3].astype(np.float32) / 255
        shrink = min(1.0, SIDE / max(height, width))
        blur = max(0.6 / shrink, 0.01)  # pixels: 0.6 of a small pixel, so that none of them aliases; at least any
        smooth = cv2.GaussianBlur(rgb * weight[..., None], (0, 0), blur) / (
            cv2.GaussianBlur(weight, (0, 0), blur)[..., None] + 1e-6
        )
        small = cv2.resize(smooth, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        labs.append(cv2.cvtColor(np.ascontiguousarray(small.clip(0, 1)), cv2.COLOR_RGB2LAB).reshape(-1, 3))
        weights.append(cv2.resize(weight, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(-1))
    return Descriptors(
        np.stack(labs).astype(np.float32) if labs else np.zeros((0, SIDE * SIDE, 3), np.float32),
        np.stack(weights).astype(np.float32) if weights else np.zeros((0, SIDE * SIDE), np.float32),
    )


def similarity(a: Descriptors, b: Descriptors) -> Floats:
    """Similarity of every picture of a with every picture of b, shape [len(a), len(b)].

    The weighted, normalised correlation of the two small pictures, where each pixel counts with the product of its two
    weights: `sum_c cov_c(x, y) / sqrt(sum_c var_c(x) * sum_c var_c(y))` over L, a and b; the best over `SHIFTS`. 1 is
    the same picture (up to brightness and contrast), 0 is nothing in common (also where a picture is flat or too little
    of both is left after masking).
    """
    best = torch.full((len(a), len(b)), -1.0)
    if not len(a) or not len(b):
        return np.asarray(best.numpy(), dtype=np.float32)
    x, wx = torch.from_numpy(a.lab), torch.from_numpy(a.weights)
    for dy, dx in SHIFTS:
        y, wy = _shifted(b, dy, dx)
        best = torch.maximum(best, _correlation(x, wx, torch.from_numpy(y), torch.from_numpy(wy)))
    return np.asarray(best.clamp(0, 1).numpy(), dtype=np.float32)


def _correlation(x: Any, wx: Any, y: Any, wy: Any) -> Any:
    """Pooled over channels, all pairs at once: every sum over pixels is a matrix product."""
    total = wx @ wy.T
    safe = total.clamp(min=1e-6)
    covariance = torch.zeros_like(total)
    variance_x, variance_y = torch.zeros_like(total), torch.zeros_like(total)
    for channel in range(x.shape[2]):
        # Centred first, so that the differences of large sums stay exact in float32.
        cx = x[:, :, channel] - x[:, :, channel].mean(dim=1, keepdim=True)
        cy = y[:, :, channel] - y[:, :, channel].mean(dim=1, keepdim=True)
        ax, ay = wx * cx, wy * cy
        mean_x, mean_y = ax @ wy.T / safe, wx @ ay.T / safe
        covariance += ax @ ay.T / safe - mean_x * mean_y
        variance_x += (ax * cx) @ wy.T / safe - mean_x**2
        variance_y += wx @ (ay * cy).T / safe - mean_y**2
    scale = (variance_x.clamp(min=0) * variance_y.clamp(min=0)).sqrt()
    known = (scale > LEAST_SCALE) & (total >= LEAST_COMMON * x.shape[1])
    return torch.where(known, covariance / scale.clamp(min=1e-6), torch.zeros_like(total))


def _shifted(b: Descriptors, dy: int, dx: int) -> tuple[Floats, Floats]:
    """b moved by (dy, dx) small pixels; what moves in from outside has weight 0."""
    lab = np.roll(b.lab.reshape(-1, SIDE, SIDE, 3), (dy, dx), axis=(1, 2))
    weights = np.roll(b.weights.reshape(-1, SIDE, SIDE), (dy, dx), axis=(1, 2)).copy()
    if dy:
        weights[:, (slice(None, dy) if dy > 0 else slice(dy, None))] = 0
    if dx:
        weights[:, :, (slice(None, dx) if dx > 0 else slice(dx, None))] = 0
    return lab.reshape(len(b), -1, 3), weights.reshape(len(b), -1)
