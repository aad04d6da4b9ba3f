"""How well a logo can be expected to agree with its own reference, by size: measured for each, not fitted once.

The reference is drawn on plain cloth, seen at an angle, blurred, lit and compressed, at seven sizes; what a tenth of
these drawings fail to reach is too little. A thin wordmark and a filled box differ by more
than any common threshold allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.matcher.logo_fit import fit_logo
from benchmarks.matcher.logo_reference import Floats, Reference

SIZES = (10.0, 14.0, 20.0, 28.0, 40.0, 60.0, 90.0)
"""Geometric mean of the sides, pixels; between them the expectation is interpolated."""
DRAWINGS = 40
"""At each size: the tenth that fails is four of them."""
TURN, TILT = 12.0, 0.05
"""Degrees, and share of the sides by which corners move, at most."""
STARTS = 0.03
"""Where a comparison starts, off by this share of the size (standard deviation)."""


@dataclass(frozen=True)
class Expectation:
    """At each of `SIZES` the least agreement and the worst disagreement that are still the logo's."""

    agreement: tuple[float, ...]
    worst: tuple[float, ...]

    def met(self, side: float, agreement: float, worst: float) -> bool:
        """Whether a candidate of this size (geometric mean of the sides, pixels) agrees as well as the logo would."""
        at, sizes = math.log(side), np.log(SIZES)
        return bool(agreement >= np.interp(at, sizes, self.agreement) and worst <= np.interp(at, sizes, self.worst))


def expect(reference: Reference) -> Expectation:
    """Draw the reference at every size and see how well it is found again; the same numbers each time."""
    rng = np.random.default_rng(0)
    agreement, worst = [], []
    for size in SIZES:
        found: list[tuple[float, float]] = []
        for _ in range(DRAWINGS):
            picture, corners = photograph(reference, size, rng)
            start = corners + rng.normal(0, STARTS * size, (1, 2)) + rng.normal(0, STARTS * size / 1.5, (4, 2))
            fit = fit_logo(reference, picture, start)
            found.append((fit.agreement, fit.worst) if fit else (0.0, 9.0))
        ranked = np.array(found)
        # A photograph has what these drawings don't: texture, creases, other blurs. 3 % and a quarter more, and the
        # limits between which a comparison says anything: chosen by hand on four logos (benchmarks/matcher.py).
        agreement.append(max(0.4, 0.97 * float(np.quantile(ranked[:, 0], 0.1))))
        worst.append(float(np.clip(1.25 * np.quantile(ranked[:, 1], 0.9), 0.55, 1.5)))
    return Expectation(tuple(agreement), tuple(worst))


def photograph(
    reference: Reference, size: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A logo of this size (geometric mean of its sides, pixels) on cloth, as RGB, and its four corners on it."""
    source = np.dstack([reference.colour, reference.alpha]).astype(np.float32)
    high, wide = source.shape[:2]
    scale = size / math.sqrt(high * wide)
    box = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * (wide * scale, high * scale)
    turn = math.radians(rng.uniform(-TURN, TURN))
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    corners = (box + rng.uniform(-TILT, TILT, (4, 2)) * (wide * scale, high * scale)) @ turned.T
    side = int(1.5 * math.hypot(wide * scale, high * scale)) + 16
    corners = corners + side / 2 + rng.uniform(-1, 1, 2)
    cloth = np.broadcast_to(_cloth(reference, rng), (side, side, 3)).astype(np.float32)
    weave = cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), rng.uniform(1, 6))
    cloth = cloth + (weave / weave.std() * rng.uniform(0, 14))[..., None]
    fine = 3 if size < 60 else 1  # small logos are drawn larger and reduced, as a lens does
    outline = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(outline, (corners * fine - 0.5).astype(np.float32))
    shrink = 1 / (scale * fine)
    soft = cv2.GaussianBlur(source, (0, 0), 0.45 * shrink) if shrink > 1.3 else source
    print_ = cv2.warpPerspective(soft, matrix, (side * fine, side * fine), borderValue=(0, 0, 0, 0))
    if fine > 1:
        print_ = cv2.resize(print_, (side, side), interpolation=cv2.INTER_AREA)
    blur = rng.uniform(0.1, 0.9)
    print_ = cv2.GaussianBlur(print_, (0, 0), blur)
    light = 1 + rng.uniform(-0.25, 0.2) + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, side)[None, :, None]
    picture = cloth * (1 - print_[..., 3:]) + print_[..., :3] * light
    picture = picture + rng.normal(0, rng.uniform(0, 4), (side, side, 1))
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 91))]
    _, content = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)
    again = cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.asarray(again, np.uint8), corners


def _cloth(reference: Reference, rng: np.random.Generator) -> Floats:
    """A colour on which the logo can be seen: 60 levels away from all of its own, unless it brings its own box."""
    while True:
        colour = rng.uniform(0, 255, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0, 255))
        apart = np.abs(reference.colours - colour).mean(axis=1)
        if not reference.is_open or apart.min() > 60 or rng.random() < 0.02:  # a logo of all tones has no such cloth
            return np.asarray(colour, np.float32)
