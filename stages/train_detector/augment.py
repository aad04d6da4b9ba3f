"""Labelled pictures made from labelled pictures, before training and reproducibly (paper 4.2: 210 become 630).

`varied` turns, crops and relights a picture, `blurred` softens it; `spoiled` damages a logo so that the
picture becomes a hard negative. They take a numpy Generator and nothing else random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from stages.common.boxes import Box, clipped, scaled

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
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


SPOILINGS = (
    *("misspelt",) * 3, *("other letter",) * 4, *("repeated letter",) * 2,
    "other word", "no letters", "no box", "recoloured", "shuffled",
)  # fmt: skip
"""Most of them are one letter away from the word: nothing else asks for as many pictures to be told from it."""


def spoiled(item: Labelled, word: str, rng: np.random.Generator) -> Labelled:
    """A hard negative: the picture with each of its logos spoiled, everything around them as it was (paper 4.2 adds
    badly drawn logos to its negatives; these are made so that there are enough of every kind).

    One of: another spelling or another word in the same box, one letter replaced by another one or by another of the
    logo's own, the box without letters, the letters without the box, the logo in other colours, its letters in another
    order.
    """
    pixels = np.array(item.image)
    kind = SPOILINGS[int(rng.integers(len(SPOILINGS)))]
    for box in item.boxes:
        x0, y0, x1, y1 = (round(v) for v in clipped(box, *item.image.size))
        if x1 - x0 >= 4 and y1 - y0 >= 4:
            pixels[y0:y1, x0:x1] = _spoil(pixels, (x0, y0, x1, y1), kind, word, rng)
    return Labelled(Image.fromarray(pixels), ())


def misspelling(word: str, rng: np.random.Generator) -> str:
    """The word with one letter replaced, left out, doubled, or two swapped: never the word itself, nor with 0 for o."""
    while True:
        text, at = list(word.upper()), int(rng.integers(len(word)))
        change = int(rng.integers(6))
        if change <= 2:
            text[at] = other_letter(text[at], rng)
        elif change == 3 and len(text) > 2:
            del text[at]
        elif change == 4:
            text.insert(at, text[at])
        else:
            other = int(rng.integers(len(word)))
            text[at], text[other] = text[other], text[at]
        if "".join(text).replace("0", "O") != word.upper().replace("0", "O"):
            return "".join(text)


def other_letter(letter: str, rng: np.random.Generator) -> str:
    """Another letter: any in two of five cases, else the likelier the more it looks like this one (S for a G).

    What is taken for the logo is nearly always one such letter off; chosen evenly, they would come too seldom.
    """
    others = [c for c in LETTERS if c != letter.upper()]
    if letter.upper() not in LETTERS or rng.random() < 0.4:
        return others[int(rng.integers(len(others)))]
    likeness = np.array([_likeness(letter.upper(), other) for other in others])
    weights = np.exp(12 * likeness)
    return others[int(rng.choice(len(others), p=weights / weights.sum()))]


@cache
def _likeness(one: str, other: str) -> float:
    """Correlation of two letters' shapes, each drawn to fill the same box."""
    shapes = [np.asarray(_lettering(letter, 16, 20, (1.0, 1.0)), dtype=float).ravel() for letter in (one, other)]
    return float(np.corrcoef(shapes)[0, 1])


def _spoil(
    pixels: NDArray[np.uint8], area: tuple[int, int, int, int], kind: str, word: str, rng: np.random.Generator
) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = area
    patch = pixels[y0:y1, x0:x1].copy()
    fill, ink = _two_colours(patch)
    if kind == "shuffled":
        slices = np.array_split(patch, max(2, len(word)), axis=1)
        order = np.arange(len(slices))
        while (order == np.arange(len(slices))).all():
            order = rng.permutation(len(slices))
        joined = np.concatenate([slices[i] for i in order], axis=1)
        return np.asarray(Image.fromarray(joined).resize((x1 - x0, y1 - y0)))
    letters = np.abs(patch.astype(int) - ink).sum(axis=2) < np.abs(patch.astype(int) - fill).sum(axis=2)
    if kind in ("other letter", "repeated letter") and len(word) > 1 and letters.any():
        return _change_one_letter(patch, letters, fill, ink, word.upper(), rng, own=kind == "repeated letter")
    if kind == "recoloured":
        return patch[..., [(1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)][int(rng.integers(4))]]
    if kind == "no box":
        around = _surroundings(pixels, area)
        colours = (ink, fill, np.array([20, 20, 20]), np.array([240, 240, 240]))
        pen = colours[int(rng.integers(len(colours)))]
        if np.abs(pen - around).sum() < 120:  # would vanish
            pen = ink if np.abs(ink - around).sum() > np.abs(fill - around).sum() else fill
        out = np.broadcast_to(around, patch.shape).astype(float)
        out = np.where(letters[..., None], pen, out)
    else:
        out = np.broadcast_to(fill, patch.shape).astype(float)
        if kind not in ("no letters", "recoloured"):
            text = _any_word(rng) if kind == "other word" else misspelling(word, rng)
            mask = np.asarray(_lettering(text, x1 - x0, y1 - y0), dtype=float)[..., None] / 255
            out = out * (1 - mask) + ink * mask
    # The patch's own light and grain go back on, so that the fake is not told by its flatness.
    light = patch.astype(float) - np.where(letters[..., None], ink, fill)
    return np.asarray((out + light.clip(-25, 25) * 0.5).clip(0, 255), dtype=np.uint8)


def _change_one_letter(
    patch: NDArray[np.uint8], letters: NDArray[np.bool_], fill: NDArray[np.float64], ink: NDArray[np.float64],
    word: str, rng: np.random.Generator, *, own: bool,
) -> NDArray[np.uint8]:  # fmt: skip
    """The logo with one letter replaced, the others as photographed: by another of its own letters (`own`), as HHGO for
    HUGO, or by one drawn in its place, as HUGQ. Each letter is taken to have the same share of the word's width."""
    rows, columns = np.nonzero(letters)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    edges = np.linspace(columns.min(), columns.max() + 1, len(word) + 1).round().astype(int)
    at = int(rng.integers(len(word)))
    x0, x1 = edges[at], max(edges[at] + 1, edges[at + 1])
    others = [i for i, letter in enumerate(word) if letter != word[at]]
    if own and others:
        other = others[int(rng.integers(len(others)))]
        source = patch[:, edges[other] : max(edges[other] + 1, edges[other + 1])]
        patch[:, x0:x1] = np.asarray(Image.fromarray(source).resize((int(x1 - x0), len(patch))))
        return patch
    drawn = _lettering(other_letter(word[at], rng), int(x1 - x0), bottom - top, (0.9, 1.0))
    mask = np.asarray(drawn, dtype=float)[..., None] / 255
    patch[:, x0:x1] = fill.round().clip(0, 255)
    patch[top:bottom, x0:x1] = (fill * (1 - mask) + ink * mask).round().clip(0, 255)
    return patch


def _two_colours(patch: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box's colour and the letters': the most common colour, and the mean of the fifth that is farthest from it."""
    flat = patch.reshape(-1, 3).astype(float)
    fill = np.median(flat, axis=0)
    distance = np.abs(flat - fill).sum(axis=1)
    return fill, flat[distance >= np.quantile(distance, 0.85)].mean(axis=0)


def _surroundings(pixels: NDArray[np.uint8], area: tuple[int, int, int, int]) -> NDArray[np.float64]:
    """The median colour of a frame around the area."""
    x0, y0, x1, y1 = area
    pad = max(2, (y1 - y0) // 4)
    top, left = max(0, y0 - pad), max(0, x0 - pad)
    frame = np.concatenate(
        [pixels[top:y0, x0:x1].reshape(-1, 3), pixels[y1 : y1 + pad, x0:x1].reshape(-1, 3),
         pixels[y0:y1, left:x0].reshape(-1, 3), pixels[y0:y1, x1 : x1 + pad].reshape(-1, 3)]
    )  # fmt: skip
    return np.median(frame, axis=0) if len(frame) else np.array([128.0, 128.0, 128.0])


def _any_word(rng: np.random.Generator) -> str:
    return "".join(LETTERS[i] for i in rng.integers(0, 26, int(rng.integers(2, 7))))


def _lettering(text: str, width: int, height: int, share: tuple[float, float] = (0.86, 0.66)) -> Image.Image:
    """The text in bold, filling this share of a box's width and height, as a mask of levels 0 to 255."""
    import matplotlib

    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", 160)
    left, top, right, bottom = font.getbbox(text)
    mask = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)), 0)
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font)
    inner = (max(1, round(width * share[0])), max(1, round(height * share[1])))
    out = Image.new("L", (width, height), 0)
    out.paste(mask.resize(inner, Image.Resampling.LANCZOS), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return out


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
    for _ in range(10):
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
