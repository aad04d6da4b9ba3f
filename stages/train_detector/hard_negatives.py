"""Hard negatives: pictures whose logo was replaced by one that is nearly it, everything around it as it was.

The paper adds badly drawn logos to its negatives (4.2); these are made, so that there are enough of every kind. All
randomness comes from a numpy Generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stages.common.boxes import clipped
from stages.train_detector.augment import Labelled

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
KINDS = (
    *("misspelt",) * 3,
    *("other letter",) * 4,
    *("repeated letter",) * 2,
    "other word",
    "no letters",
    "no box",
    "recoloured",
    "shuffled",
)
"""Most of them are one letter away from the word: nothing else asks for as many pictures to be told from it."""


def hard_negative(item: Labelled, word: str, rng: np.random.Generator) -> Labelled:
    """The picture with each of its logos replaced by a look-alike, everything around them as it was; without boxes.

    One of: another spelling or another word in the same box, one letter replaced by another one or by another of the
    logo's own, the box without letters, the letters without the box, the logo in other colours, its letters in another
    order.
    """
    pixels = np.array(item.image)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    for box in item.boxes:
        x0, y0, x1, y1 = (round(v) for v in clipped(box, *item.image.size))
        if x1 - x0 >= 4 and y1 - y0 >= 4:  # fewer pixels hold no letters to change
            pixels[y0:y1, x0:x1] = _look_alike(pixels, (x0, y0, x1, y1), kind, word, rng)
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
    weights = np.exp(12 * likeness)  # 0.1 more of correlation, 3.3 times as likely; chosen by hand
    return others[int(rng.choice(len(others), p=weights / weights.sum()))]


@cache
def _likeness(one: str, other: str) -> float:
    """Correlation of two letters' shapes, each drawn to fill the same box."""
    shapes = [np.asarray(_drawn_text(letter, 16, 20, (1.0, 1.0)), dtype=float).ravel() for letter in (one, other)]
    return float(np.corrcoef(shapes)[0, 1])


@dataclass(frozen=True)
class Lettering:
    """A logo taken apart: where its letters are (bool [height, width]), the box's colour and the letters'."""

    letters: NDArray[np.bool_]
    fill: NDArray[np.float64]
    ink: NDArray[np.float64]


def _look_alike(
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
        logo = Lettering(letters, fill, ink)
        return _change_one_letter(patch, logo, word.upper(), rng, own=kind == "repeated letter")
    if kind == "recoloured":
        return patch[..., [(1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)][int(rng.integers(4))]]
    if kind == "no box":
        around = _surroundings(pixels, area)
        colours = (ink, fill, np.array([20, 20, 20]), np.array([240, 240, 240]))
        pen = colours[int(rng.integers(len(colours)))]
        if np.abs(pen - around).sum() < 120:  # 40 levels a channel, chosen by hand: would vanish
            pen = ink if np.abs(ink - around).sum() > np.abs(fill - around).sum() else fill
        out = np.broadcast_to(around, patch.shape).astype(float)
        out = np.where(letters[..., None], pen, out)
    else:
        out = np.broadcast_to(fill, patch.shape).astype(float)
        if kind not in ("no letters", "recoloured"):
            text = _any_word(rng) if kind == "other word" else misspelling(word, rng)
            mask = np.asarray(_drawn_text(text, x1 - x0, y1 - y0), dtype=float)[..., None] / 255
            out = out * (1 - mask) + ink * mask
    # The patch's own light and grain go back on, so that the fake is not told by its flatness: what is within 25 levels
    # (more is the old letters' edges), and half of it. Both chosen by hand.
    light = patch.astype(float) - np.where(letters[..., None], ink, fill)
    return np.asarray((out + light.clip(-25, 25) * 0.5).clip(0, 255), dtype=np.uint8)


def _change_one_letter(
    patch: NDArray[np.uint8], logo: Lettering, word: str, rng: np.random.Generator, *, own: bool
) -> NDArray[np.uint8]:
    """The logo with one letter replaced, the others as photographed: by another of its own letters (`own`), as HHGO for
    HUGO, or by one drawn in its place, as HUGQ. Each letter is taken to have the same share of the word's width."""
    rows, columns = np.nonzero(logo.letters)
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
    drawn = _drawn_text(other_letter(word[at], rng), int(x1 - x0), bottom - top, (0.9, 1.0))
    mask = np.asarray(drawn, dtype=float)[..., None] / 255
    patch[:, x0:x1] = logo.fill.round().clip(0, 255)
    patch[top:bottom, x0:x1] = (logo.fill * (1 - mask) + logo.ink * mask).round().clip(0, 255)
    return patch


def _two_colours(patch: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box's colour and the letters': the median, and the mean of the 15 % that are farthest from it.

    The demo's letters cover 29 % of the logo's box: half of that leaves their blurred edges out.
    """
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
        [
            pixels[top:y0, x0:x1].reshape(-1, 3),
            pixels[y1 : y1 + pad, x0:x1].reshape(-1, 3),
            pixels[y0:y1, left:x0].reshape(-1, 3),
            pixels[y0:y1, x1 : x1 + pad].reshape(-1, 3),
        ]
    )
    return np.median(frame, axis=0) if len(frame) else np.array([128.0, 128.0, 128.0])


def _any_word(rng: np.random.Generator) -> str:
    return "".join(LETTERS[i] for i in rng.integers(0, 26, int(rng.integers(2, 7))))


def _drawn_text(text: str, width: int, height: int, share: tuple[float, float] = (0.86, 0.66)) -> Image.Image:
    """The text in bold, filling this share of a box's width and height, as a mask of levels 0 to 255.

    The default leaves the margins of a printed label; chosen by hand.
    """
    font = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", 160)  # then only reduced
    left, top, right, bottom = font.getbbox(text)
    mask = Image.new("L", (math.ceil(right - left), math.ceil(bottom - top)), 0)
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font)
    inner = (max(1, round(width * share[0])), max(1, round(height * share[1])))
    out = Image.new("L", (width, height), 0)
    out.paste(mask.resize(inner, Image.Resampling.LANCZOS), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return out
