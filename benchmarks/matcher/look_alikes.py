"""Look-alikes of a logo, made of itself: one of its parts is another letter, another of its own parts, or damaged.

A logo with one other letter ("HUCO") agrees with the real one nearly everywhere, so no threshold on the agreement
tells them apart at every size. What does is the question which of the two a photograph is nearer to. The difference of
the two pictures is the one direction in which it has an answer, and the photograph's disagreement with the logo is
projected on it (the matched filter; Kay, Detection Theory, 1998, chapter 4): 0 is the logo, 1 the look-alike.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.matcher.logo_fit import Fit
from benchmarks.matcher.logo_reference import Flat, Floats, Reference

FONTS = ("DejaVuSans-Bold", "DejaVuSerif-Bold", "STIXGeneralBol", "DejaVuSansMono-Bold")
"""Those of matplotlib's that differ most; the one that is nearest to the logo's letters draws the other ones."""
MOST_PARTS = 14
"""Parts that are changed, the largest first: bounds the time for a logo of many small pieces."""
LEAST_PART = 0.006
"""Share of the logo's area below which a piece is a dot or a scratch."""
LEAST_CHANGE, LEAST_APART = 0.08, 0.04
"""Share of a part's box that must change for a look-alike, and by which two of one part must differ."""
SHRINK = 10.0
"""Noise that is added to a difference's energy, in variances of what is left: a difference that drowns in it says
nothing, rather than anything."""


@dataclass(frozen=True)
class Part:
    """A connected piece of one colour: its mask over the whole logo, its box (x, y, width, height), its colour, and the
    colour behind it, None where it stands on nothing."""

    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    colour: Floats
    behind: Floats | None

    @property
    def cut(self) -> Floats:
        """The mask within the box, 0 or 1."""
        x, y, width, height = self.box
        return self.mask[y : y + height, x : x + width].astype(np.float32)


@dataclass(frozen=True)
class Difference:
    """A look-alike less the logo: premultiplied RGB and alpha, within (x0, y0, x1, y1) of the logo."""

    box: tuple[int, int, int, int]
    change: Floats


def parts(reference: Reference) -> list[Part]:
    """The pieces that a logo is made of, the largest first, but for the box that the others stand on."""
    height, width = reference.alpha.shape
    numbers = reference.parts_of
    found: list[tuple[int, Part]] = []
    for colour in range(len(reference.colours)):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((numbers == colour).astype(np.uint8), connectivity=4)
        for index in range(1, count):
            x, y, w, h, area = (int(v) for v in stats[index])
            whole = w >= 0.97 * width and h >= 0.97 * height and area > 0.25 * width * height
            if area < LEAST_PART * width * height or whole or min(w, h) < 8:
                continue
            mask = labels == index
            near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
            ring = (cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~near
            printed = ring & (reference.alpha > 0.5)
            behind = np.median(reference.plain[printed], axis=0) if printed.sum() > 0.5 * max(1, ring.sum()) else None
            found.append((area, Part(mask, (x, y, w, h), reference.colours[colour], behind)))
    found.sort(key=lambda item: -item[0])
    return [part for _, part in found]


class LookAlikes:
    """The look-alikes of one reference. Not thread-safe."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.differences = list(_differences(reference))
        self._flat: dict[tuple[float, float], list[tuple[tuple[slice, slice], Floats]]] = {}

    def nearest(self, fit: Fit) -> float:
        """How far towards its nearest look-alike a candidate lies: 0 at the logo, 1 at the look-alike, above beyond.

        0 for a logo that has no parts to change, or so small that all differences drown.
        """
        weight = fit.flat.compared.astype(np.float32)[..., None]
        off = fit.residual * weight
        noise = float((off**2).sum() / max(1.0, 3 * float(weight.sum()))) + 16.0  # 4 levels: JPEG's, at least
        most = 0.0
        for place, change in self._at(fit.flat, fit.softness):
            soft = cv2.GaussianBlur(change, (0, 0), fit.blur) if fit.blur else change
            direction = (soft[..., :3] - soft[..., 3:] * fit.background) * fit.gain
            whole = float((direction**2).sum())
            direction = direction * weight[place]
            energy = float((direction**2).sum())
            if energy < 0.5 * whole or energy < 1:  # it differs where nothing is compared
                continue
            most = max(most, float((off[place] * direction).sum()) / (energy + SHRINK * noise))
        return most

    def _at(self, flat: Flat, softness: float) -> list[tuple[tuple[slice, slice], Floats]]:
        """The differences laid flat, each with its place; made once for each size."""
        key = (flat.side, softness)
        if key not in self._flat:
            self._flat[key] = [self._laid(flat, softness, difference) for difference in self.differences]
        return self._flat[key]

    def _laid(self, flat: Flat, softness: float, difference: Difference) -> tuple[tuple[slice, slice], Floats]:
        height, width = self.reference.alpha.shape
        x0, y0, x1, y1 = difference.box
        whole = np.zeros((height, width, 4), np.float32)
        whole[y0:y1, x0:x1] = difference.change
        laid = flat.with_margin(flat.soften(whole, softness))
        across, down, reach = flat.width / width, flat.height / height, 4
        left, top = (max(0, int(v) - reach + flat.margin) for v in (x0 * across, y0 * down))
        right = min(flat.size[0], math.ceil(x1 * across) + reach + flat.margin)
        bottom = min(flat.size[1], math.ceil(y1 * down) + reach + flat.margin)
        place = (slice(top, bottom), slice(left, right))
        return place, np.ascontiguousarray(laid[place])


def _differences(reference: Reference) -> Iterator[Difference]:
    pieces = parts(reference)
    font = _nearest_font(pieces)
    true = np.dstack([reference.colour, reference.alpha]).astype(np.float32)
    for part in pieces[:MOST_PARTS]:
        x, y, w, h = part.box
        reach = (max(0, x - 6), max(0, y - 6), min(true.shape[1], x + w + 6), min(true.shape[0], y + h + 6))
        without = _painted(true, cv2.dilate(part.mask.astype(np.float32), np.ones((3, 3), np.uint8)), part.behind)
        seen: list[Floats] = []
        for shape in _shapes(part, pieces, font):
            same = any(float(np.abs(shape - other).mean()) < LEAST_APART for other in seen)
            if same or float(np.abs(shape - part.cut).mean()) < LEAST_CHANGE:
                continue
            seen.append(shape)
            mask = np.zeros(true.shape[:2], np.float32)
            mask[y : y + h, x : x + w] = shape
            changed = _painted(without, mask, part.colour) - true
            yield Difference(reach, changed[reach[1] : reach[3], reach[0] : reach[2]])


def _painted(picture: Floats, mask: Floats, colour: Floats | None) -> Floats:
    """A premultiplied picture with a colour over it, or with nothing where the colour is None."""
    paint = np.zeros(4, np.float32) if colour is None else np.append(colour, 1).astype(np.float32)
    return np.asarray(picture * (1 - mask[..., None]) + paint * mask[..., None], np.float32)


def _shapes(part: Part, pieces: list[Part], font: str) -> Iterator[Floats]:
    """What a part may look like in a look-alike, as masks of its box: letters, other parts, pieces missing or added."""
    _, _, width, height = part.box
    cut = part.cut
    for letter in string.ascii_uppercase + string.digits[2:]:
        yield _resized(_glyph(letter, font), width, height)
    for other in pieces:
        yield _resized(other.cut, width, height)
    yield from (cut[:, ::-1], cut[::-1], np.zeros_like(cut))
    for across in (0, 0.5, 1):
        for down in (0, 0.5, 1):
            for share, value in ((0.45, 0.0), (0.33, 1.0)):
                w, h = max(2, int(share * width)), max(2, int(share * height))
                x, y = int(across * (width - w)), int(down * (height - h))
                changed = cut.copy()
                changed[y : y + h, x : x + w] = value
                yield changed


def _nearest_font(pieces: list[Part]) -> str:
    def likeness(font: str) -> float:
        return sum(
            max(_correlation(part.cut, _resized(_glyph(c, font), *part.box[2:])) for c in string.ascii_uppercase)
            for part in pieces[:MOST_PARTS]
        )

    return max(FONTS, key=likeness)


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / math.sqrt(float((a * a).sum()) * float((b * b).sum()) + 1e-6))


def _resized(mask: Floats, width: int, height: int) -> Floats:
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), np.float32)


@cache
def _glyph(letter: str, font: str) -> Floats:
    """A letter as a mask, cut to its edges."""
    face = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")), 120)
    left, top, right, bottom = face.getbbox(letter)
    mask = Image.new("L", (max(1, math.ceil(right - left)), max(1, math.ceil(bottom - top))), 0)
    ImageDraw.Draw(mask).text((-left, -top), letter, fill=255, font=face)
    return np.asarray(mask, np.float32) / np.float32(255)
