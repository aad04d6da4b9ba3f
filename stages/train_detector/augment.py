"""Labelled pictures made from labelled pictures, before training and reproducibly (paper 4.2: 210 become 630).

`varied` turns, crops and relights a picture, `blurred` softens it, `recoloured` dyes what is around the logo. They take
a numpy Generator and nothing else random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from stages.common.boxes import Box, clipped, scaled

LEAST_VISIBLE = 0.9
"""Share of a box that must stay within a crop: less would label half a logo as a logo."""
LEAST_SHOWN = 0.5
"""The same of a logo beside the one that a square is cut around."""


@dataclass(frozen=True)
class Labelled:
    """A picture (RGB) and the boxes of the logos on it, in its pixels; no boxes makes it a negative."""

    image: Image.Image
    boxes: tuple[Box, ...]


def readable_view(item: Labelled, resolution: int, least_width: float, rng: np.random.Generator) -> Labelled:
    """The picture, cropped around its logo where the whole, reduced to `resolution`, would make the logo too narrow.

    A logo narrower than `least_width` pixels at the training resolution is a blob that could say anything: to call it
    the logo would teach the detector that blobs are logos. The crop is a square, around one box, in which the logo
    becomes 1.25 to 2 times `least_width` wide.
    """
    if not item.boxes or all((b[2] - b[0]) * resolution / max(item.image.size) >= least_width for b in item.boxes):
        return item
    box = item.boxes[int(rng.integers(len(item.boxes)))]
    wanted = rng.uniform(1.25 * least_width, 2 * least_width)
    side = (box[2] - box[0]) * resolution / wanted
    # A tenth more than the logo at least: a crop that touches its edges would teach that a logo ends where pictures do.
    side = min(max(side, 1.1 * (box[2] - box[0]), 1.1 * (box[3] - box[1])), *item.image.size)
    return _crop_around(item, box, side, rng)


def cut_out(item: Labelled, side: int, rng: np.random.Generator) -> Labelled:
    """A square of `side` pixels at a random place, around one of the logos where there are any; else as it is.

    A network that is convolutions throughout learns a logo from a part of the picture as well as from the whole, and
    the part costs less.
    """
    width, height = item.image.size
    if side >= max(width, height):
        return item
    box = item.boxes[int(rng.integers(len(item.boxes)))] if item.boxes else (0.0, 0.0, float(width), float(height))
    corner = []
    for low, high, whole in ((box[0], box[2], width), (box[1], box[3], height)):
        first, last = sorted((low, high - side)) if item.boxes else (0.0, float(whole - side))
        corner.append(round(min(max(float(rng.uniform(first, last)), 0.0), float(whole - side))))
    left, top = corner
    moved = [scaled(other, 1.0, -left, -top) for other in item.boxes]
    kept = tuple(clipped(other, side, side) for other in moved if _visible(other, side, side) >= LEAST_SHOWN)
    return Labelled(item.image.crop((left, top, left + side, top + side)), kept)


def varied(item: Labelled, rng: np.random.Generator, *, rotation: float, zoom: float, brightness: float) -> Labelled:
    """A copy that is turned, cropped and relit at random; no mirroring, which would mirror the letters.

    Args:
        rotation: degrees, at most, either way.
        zoom: share of each side that is cropped away, at most; a crop never cuts a logo.
        brightness: share by which levels rise or fall, at most.
    """
    turned = _rotated(item, float(rng.uniform(-rotation, rotation)))
    share = float(rng.uniform(0, zoom))
    cropped = _zoomed(turned, share, rng)
    levels = np.asarray(cropped.image, dtype=np.float32) * (1 + float(rng.uniform(-brightness, brightness)))
    return replace(cropped, image=Image.fromarray(levels.clip(0, 255).astype(np.uint8)))


def blurred(item: Labelled, rng: np.random.Generator, *, most: float, resolution: int) -> Labelled:
    """A copy that is out of focus, by a Gaussian of up to `most` pixels of a picture of `resolution` pixels.

    A diffusion model's logos are softer than photographs of it: a detector that never saw a soft one misses them.
    """
    radius = float(rng.uniform(0, most)) * max(1.0, max(item.image.size) / resolution)
    return replace(item, image=item.image.filter(ImageFilter.GaussianBlur(radius)))


def recoloured(item: Labelled, rng: np.random.Generator) -> Labelled:
    """A copy whose surroundings have other colours, its logos as they were.

    A brand's logo may be photographed on one colour of cloth only. A detector that learns the cloth along with the logo
    would score a model by how closely it copies the training pictures. Black becomes one random colour, white another,
    and the channels change places.
    """
    pixels = np.asarray(item.image).astype(np.float32)
    dark, light = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    changed = dark + (light - dark) * pixels[..., rng.permutation(3)] / 255
    kept = np.zeros(pixels.shape[:2], dtype=bool)
    for box in item.boxes:
        x0, y0, x1, y1 = (round(v) for v in clipped(box, *item.image.size))
        kept[y0:y1, x0:x1] = True
    return replace(item, image=Image.fromarray(np.where(kept[..., None], pixels, changed).astype(np.uint8)))


def _rotated(item: Labelled, degrees: float) -> Labelled:
    """The picture turned about its middle, its corners filled with its own edges, and its boxes with it.

    A turned box's hull overstates the logo, so its corners are taken from the ellipse within it.
    """
    width, height = item.image.size
    pad = math.ceil(max(width, height) * math.sin(math.radians(abs(degrees)))) + 1
    padded = Image.fromarray(np.pad(np.asarray(item.image), ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    turned = padded.rotate(degrees, resample=Image.Resampling.BICUBIC).crop((pad, pad, pad + width, pad + height))
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    boxes = []
    for x0, y0, x1, y1 in item.boxes:
        cx, cy, w, h = (x0 + x1) / 2 - width / 2, (y0 + y1) / 2 - height / 2, (x1 - x0) / 2, (y1 - y0) / 2
        x, y = cx * cos + cy * sin + width / 2, -cx * sin + cy * cos + height / 2
        hull = (abs(w * cos) + abs(h * sin), abs(w * sin) + abs(h * cos))
        round_ = (math.hypot(w * cos, h * sin), math.hypot(w * sin, h * cos))
        half = ((hull[0] + round_[0]) / 2, (hull[1] + round_[1]) / 2)
        boxes.append(clipped((x - half[0], y - half[1], x + half[0], y + half[1]), width, height))
    return Labelled(turned, tuple(boxes))


def _zoomed(item: Labelled, share: float, rng: np.random.Generator) -> Labelled:
    """A crop of 1 - share of each side at a random place that holds every logo; the whole where there is none."""
    width, height = item.image.size
    size = (max(8, round(width * (1 - share))), max(8, round(height * (1 - share))))
    for _ in range(10):  # places tried; a crop of 1 - share is nearly as large as the picture, so most of them hold it
        left = int(rng.integers(0, width - size[0] + 1))
        top = int(rng.integers(0, height - size[1] + 1))
        moved = [scaled(box, 1.0, -left, -top) for box in item.boxes]
        if all(_visible(box, *size) >= LEAST_VISIBLE for box in moved):
            crop = item.image.crop((left, top, left + size[0], top + size[1]))
            return Labelled(crop, tuple(clipped(box, *size) for box in moved))
    return item


def _crop_around(item: Labelled, box: Box, side: float, rng: np.random.Generator) -> Labelled:
    width, height = item.image.size
    side = max(8, int(min(side, width, height)))
    left = int(rng.uniform(max(0.0, box[2] - side), max(0.0, min(box[0], width - side)) + 1e-9))
    top = int(rng.uniform(max(0.0, box[3] - side), max(0.0, min(box[1], height - side)) + 1e-9))
    left, top = min(left, width - side), min(top, height - side)
    moved = [scaled(other, 1.0, -left, -top) for other in item.boxes]
    kept = tuple(clipped(other, side, side) for other in moved if _visible(other, side, side) >= LEAST_VISIBLE)
    return Labelled(item.image.crop((left, top, left + side, top + side)), kept)


def _visible(box: Box, width: float, height: float) -> float:
    inside = clipped(box, width, height)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return (inside[2] - inside[0]) * (inside[3] - inside[1]) / area if area > 0 else 0.0
