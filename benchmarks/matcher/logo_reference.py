"""The brand's reference pictures: a logo as colours and transparency, and laid flat at any size.

Transparency is a mask: what is transparent in the picture is whatever the logo was printed on, never white.
"""

from __future__ import annotations

import io
import math
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stages.common.errors import UserError
from stages.common.images import UnreadableImage, decode

SIDE = 200
"""Pixels: geometric mean of the sides at which a reference is kept. Photographs are compared at 80 of them at most."""
MOST_MEGAPIXELS = 50.0
"""Of a reference picture; a logo needs a thousandth of it."""

Floats = NDArray[np.float32]


class Flat:
    """A reference laid flat at a size, as soft as a photograph of fewer pixels shows it.

    Arrays are [height, width] with a margin of `margin` pixels around the logo; colours are premultiplied by alpha.
    """

    def __init__(self, reference: Reference, side: float, softness: float) -> None:
        """side: geometric mean of the sides, pixels. softness: the photograph's pixels per pixel of this, up to 1."""
        scale = side / SIDE
        height, width = reference.alpha.shape
        self.side = side
        self.width, self.height = max(6, round(width * scale)), max(6, round(height * scale))
        self.margin = max(3, round(0.16 * side))
        both = self.soften(np.dstack([reference.colour, reference.alpha]), softness)
        both = self.with_margin(both)
        self.colour, self.alpha = both[..., :3], np.clip(both[..., 3], 0, 1)
        printed = (self.alpha > 0.3).astype(np.uint8)
        near = cv2.dilate(printed, np.ones((7, 7), np.uint8)) > 0
        self.around = (self.alpha < 0.05) & near
        """Where the logo's background is looked for."""
        self.has_background = reference.is_open and int(self.around.sum()) > 8
        if not reference.is_open:
            self.compared = np.zeros_like(printed)
            self.compared[self.margin : -self.margin, self.margin : -self.margin] = 1
        elif len(reference.colours) == 1:  # a shape of one colour is told by its edge alone
            reach = max(1, round(0.05 * side))
            self.compared = cv2.dilate(printed, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        else:  # what is within is enough, whatever lies around it
            self.compared = cv2.erode((self.alpha > 0.5).astype(np.uint8), np.ones((3, 3), np.uint8))
        self.size = (self.width + 2 * self.margin, self.height + 2 * self.margin)
        corners = [[0, 0], [self.width, 0], [self.width, self.height], [0, self.height]]
        self.corners = np.asarray(corners, np.float32) - 0.5 + self.margin

    def soften(self, both: Floats, softness: float) -> Floats:
        """An array of the reference's size, reduced to this one's by way of a photograph's pixels."""
        if softness < 1:
            small = (max(4, round(self.width * softness)), max(4, round(self.height * softness)))
            both = np.asarray(cv2.resize(both, small, interpolation=cv2.INTER_AREA), np.float32)
            return np.asarray(cv2.resize(both, (self.width, self.height), interpolation=cv2.INTER_LINEAR), np.float32)
        return np.asarray(cv2.resize(both, (self.width, self.height), interpolation=cv2.INTER_AREA), np.float32)

    def with_margin(self, both: Floats) -> Floats:
        """The array with `margin` empty pixels on every side."""
        sides = (self.margin,) * 4
        return np.asarray(cv2.copyMakeBorder(both, *sides, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0)), np.float32)

    def background(self, patch: Floats) -> Floats:
        """The colour that the logo is printed on in a photograph laid flat [height, width, 3], as RGB."""
        if not self.has_background:
            return np.zeros(3, np.float32)
        return np.asarray(np.median(patch[self.around], axis=0), np.float32)


class Reference:
    """One picture of the logo alone, upright, cut to its edges."""

    def __init__(self, picture: Image.Image) -> None:
        """picture: any mode; where it has transparency, that is the logo's background.

        Raises ValueError where it shows nothing.
        """
        rgba = np.asarray(picture.convert("RGBA"))
        shown = rgba[..., 3] > 127
        if not shown.any():
            raise ValueError("shows nothing: all of it is transparent")
        rows, columns = np.nonzero(shown.any(axis=1))[0], np.nonzero(shown.any(axis=0))[0]
        rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self.pixels = (rgba.shape[1], rgba.shape[0])
        """Width and height of the picture without its transparent margin."""
        alpha = rgba[..., 3:].astype(np.float32) / 255
        both = np.dstack([rgba[..., :3] * alpha, alpha]).astype(np.float32)
        scale = SIDE / math.sqrt(rgba.shape[0] * rgba.shape[1])
        size = (max(8, round(rgba.shape[1] * scale)), max(8, round(rgba.shape[0] * scale)))
        both = np.asarray(cv2.resize(both, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
        self.colour, self.alpha = both[..., :3], np.clip(both[..., 3], 0, 1)
        self.aspect = size[0] / size[1]
        # 3 %: rounded corners and smoothed edges are no background.
        self.is_open = bool(self.alpha.mean() < 0.97)
        inside = self.alpha > 0.5
        plain = self.plain
        if not self.is_open and plain[inside].std(axis=0).max() < 4:
            raise ValueError("shows nothing: all pixels have one tone")
        self.colours, self.shares = _main_colours(plain[inside])
        self._flats: dict[tuple[float, float], Flat] = {}

    @cached_property
    def plain(self) -> Floats:
        """Its colours without the premultiplication, [height, width, 3]."""
        return np.asarray(self.colour / np.maximum(self.alpha[..., None], 0.05), np.float32)

    @cached_property
    def parts_of(self) -> NDArray[np.int64]:
        """For each pixel the number of its main colour, -1 where the logo is transparent."""
        distance = ((self.plain[:, :, None] - self.colours[None, None]) ** 2).sum(axis=-1)
        return np.where(self.alpha < 0.5, -1, distance.argmin(axis=-1))

    @cached_property
    def chroma(self) -> Floats | None:
        """The direction in RGB, without grey, of its strongest colour; None where it is black, grey and white."""
        chroma = self.colours - self.colours.mean(axis=1, keepdims=True)
        strength = np.linalg.norm(chroma, axis=1)
        most = int(np.argmax(strength * np.sqrt(self.shares)))
        return np.asarray(chroma[most] / strength[most], np.float32) if strength[most] > COLOURFUL else None

    def flat(self, side: float, softness: float) -> Flat:
        """The reference laid flat; made once for each size."""
        key = (side, round(softness, 1))
        if key not in self._flats:
            self._flats[key] = Flat(self, *key)
        return self._flats[key]


COLOURFUL = 45.0
"""Length of a colour's part that is no grey, of 255 levels a channel, from which it is a colour and not a grey: JPEG's
and a lamp's tints of a grey stay below it."""


def _main_colours(pixels: Floats) -> tuple[Floats, NDArray[np.float64]]:
    """One to three main colours [n, 3] of RGB pixels and their shares: as few as come within 18 levels."""
    rng = np.random.default_rng(0)
    sample = pixels[rng.choice(len(pixels), min(4000, len(pixels)), replace=False)].astype(np.float32)
    found: tuple[Floats, NDArray[np.float64]] | None = None
    for count in (1, 2, 3):
        if len(sample) < count:
            break
        cv2.setRNGSeed(1)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.5)
        error, labels, centres = cv2.kmeans(
            sample, count, np.zeros((len(sample), 1), np.int32), criteria, 3, cv2.KMEANS_PP_CENTERS
        )
        shares = np.bincount(labels.ravel(), minlength=count) / len(sample)
        apart = [float(np.linalg.norm(centres[i] - centres[j])) for i in range(count) for j in range(i)]
        # A colour of less than 4 %, or within 50 levels of another, is an edge's or a shade's.
        if found is not None and (shares.min() < 0.04 or min(apart) < 50):
            break
        found = (np.asarray(centres, np.float32), shares)
        if math.sqrt(error / len(sample)) < 18:
            break
    assert found is not None
    return found


def read_reference(path: Path) -> Reference:
    """A reference picture from its file. Raises UserError where it cannot be read or shows nothing."""
    try:
        content = path.read_bytes()
        decode(content, MOST_MEGAPIXELS)  # a bomb or a broken file is refused before its pixels are read again
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        if picture.mode in ("P", "LA", "PA", "RGBA", "RGBa", "La") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
        else:
            picture = decode(content, MOST_MEGAPIXELS)
        return Reference(picture)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: put the logo, cut to its edges, there") from None
    except (UnreadableImage, OSError, ValueError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None


def read_references(reference: Path, more: Path) -> list[Reference]:
    """The reference, and the further ones of a folder (PNG, WebP or JPEG; any other file there is left alone).

    Raises UserError where one cannot be read or shows nothing.
    """
    further = sorted(p for p in more.iterdir() if p.suffix.lower() in SUFFIXES) if more.is_dir() else []
    return [read_reference(path) for path in (reference, *further)]


SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")
