"""What the reader learns from: marks printed on cloth, photographed and cut out as a detector's box would cut them.

In the second round some are cut from 64-pixel pictures that went through the world's autoencoder
(demo/weights/base/vae), as every generated picture does: it bends letters in ways that blur does not imitate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from tqdm import tqdm

from demo.reader.words import sample_brand
from demo.render import COLOURS, Brand, draw, logo_bitmap, sample_scene
from demo.training import to_tensor

MARK_WIDTH = 128  # pixels of a drawn mark
HEIGHT = 32  # pixels of what the network sees
WINDOW = (32, 48)  # height and width, pixels, of what is kept around a mark on a 64-pixel picture
LEAST_CONTRAST = 45  # grey levels of 255 between letters and their ground


Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Mark:
    """A drawn mark: `ink` [H, W, 2] is its coverage and the letters' share of it, 0 to 255; the colours are grey."""

    text: str
    ink: Grey
    box_grey: float | None
    letter_grey: float


@dataclass(frozen=True)
class Smeared:
    """A window of a 64-pixel picture after the autoencoder, grey, with the box of its mark in pixels of the window."""

    text: str
    picture: Grey
    box: tuple[float, float, float, float]


def draw_mark(brand: Brand) -> Mark:
    """Let the renderer draw the mark, in black and white so that every step may colour it."""
    boxed = brand.box_colour is not None
    plain = replace(brand, box_colour=(0, 0, 0) if boxed else None, letter_colour=(255, 255, 255))
    drawn = np.asarray(logo_bitmap(plain, MARK_WIDTH))
    ink = np.stack([drawn[..., 3], drawn[..., 0]], axis=-1)
    return Mark(
        brand.text, ink, grey_level(brand.box_colour) if brand.box_colour else None, grey_level(brand.letter_colour)
    )


def grey_level(colour: tuple[int, int, int]) -> float:
    """A colour in grey, 0 to 255, as OpenCV weighs it (ITU-R BT.601)."""
    return float(np.dot(colour, (0.299, 0.587, 0.114)))


def print_mark(rng: np.random.Generator, mark: Mark) -> Grey:
    """Print the mark on cloth, photograph it and cut it out: what EasyOCR would be given, [HEIGHT, W]."""
    height, width = mark.ink.shape[:2]
    scale = _logo_width(rng, len(mark.text)) / width
    stretch = float(rng.uniform(0.92, 1.08))
    angle = math.radians(rng.uniform(-12, 12) if rng.random() < 0.35 else rng.normal(0, 3))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = turn @ np.array([[1.0, rng.normal(0, 0.03)], [0.0, stretch]])
    corners = np.abs(turn) @ (width / 2, height / 2)  # half the sides of the upright box
    sides = np.ceil(3.2 * corners + 4).astype(int)
    centre = sides / 2 + rng.uniform(-0.5, 0.5, 2)
    sharper = 4 if scale * width < 48 else 2
    picture = _composite(rng, mark, turn * sharper, centre * sharper, sides * sharper)
    small = cv2.resize(picture, tuple(int(s) for s in sides), interpolation=cv2.INTER_AREA)
    taken = _photograph(rng, small.astype(np.float32))
    margins = np.clip(rng.normal(0.1, 0.05, 4), -0.02, 0.3) * 2
    box = np.concatenate([centre - corners * (1 + margins[:2]), centre + corners * (1 + margins[2:])])
    return _cut(rng, taken, box)


def _logo_width(rng: np.random.Generator, letters: int) -> float:
    """Pixels: mostly a mark on a 64-pixel picture (22 to 36), never less than what its letters need."""
    low, high = ((20, 36), (34, 70), (70, 150))[rng.choice(3, p=(0.62, 0.25, 0.13))]
    return max(float(rng.uniform(low, high)), 4.6 * letters + 2)


def _composite(
    rng: np.random.Generator,
    mark: Mark,
    turn: NDArray[np.float64],
    centre: NDArray[np.float64],
    sides: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Cloth with the mark on it, float32 [H, W] of grey levels."""
    height, width = mark.ink.shape[:2]
    shift = centre - turn @ (width / 2, height / 2)
    size = (int(sides[0]), int(sides[1]))
    ink = (
        cv2.warpAffine(mark.ink, np.column_stack([turn, shift]), size, flags=cv2.INTER_LINEAR).astype(np.float32) / 255
    )
    boxed = mark.box_grey is not None
    if rng.random() < 0.5:
        box, letter = mark.box_grey or 0.0, mark.letter_grey
    else:
        letter = float(rng.uniform(0, 255))
        box = _other_grey(rng, letter, LEAST_CONTRAST)
    cloth = _other_grey(rng, box if boxed else letter, 10 if boxed else LEAST_CONTRAST)
    picture = np.full((size[1], size[0]), cloth, np.float32)
    if rng.random() < 0.3:  # the garment ends near the mark
        edge, other, near = int(rng.integers(4)), float(rng.uniform(0, 255)), float(rng.uniform(0.02, 0.2))
        lines = picture if edge % 2 else picture.T
        span = int(near * len(lines))
        lines[slice(0, span) if edge < 2 else slice(len(lines) - span, None)] = other
    for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.3 else 0):  # seams and cords
        (x0, x1), (y0, y1) = rng.integers(size[0], size=2), rng.integers(size[1], size=2)
        dark, thick = cloth * float(rng.uniform(0.5, 0.9)), int(rng.integers(1, 5))
        cv2.line(picture, (int(x0), int(y0)), (int(x1), int(y1)), dark, thick)
    coverage, share = ink[..., 0], ink[..., 1]
    colour = box + (letter - box) * share if boxed else letter
    picture += coverage * (colour - picture)
    return picture


def _other_grey(rng: np.random.Generator, grey: float, least: float) -> float:
    """A grey at least `least` levels away."""
    while True:
        other = float(rng.uniform(0, 255))
        if abs(other - grey) >= least:
            return other


def _photograph(rng: np.random.Generator, picture: NDArray[np.float32]) -> Grey:
    """Light, folds, an autoencoder's smear, grain, JPEG: uint8 [H, W]."""
    height, width = picture.shape
    folds = rng.normal(1, rng.uniform(0, 0.12), (int(rng.integers(2, 5)), int(rng.integers(2, 6)))).astype(np.float32)
    picture = picture * cv2.resize(folds, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.15:  # letters that a generator drew a little askew
        field = rng.normal(0, 1, (3, 6, 2)).astype(np.float32)
        bend = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC) * float(rng.uniform(0.1, 0.45))
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        picture = cv2.remap(
            picture, x + bend[..., 0], y + bend[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.25, 0.75)))
    if rng.random() < 0.3:  # contrast and brightness
        picture = (picture - 128) * float(rng.uniform(0.6, 1.2)) + 128 + float(rng.uniform(-25, 25))
    grain = rng.standard_normal(picture.shape, dtype=np.float32) * float(rng.uniform(0, 7))
    taken = np.clip(picture + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _, coded = cv2.imencode(".jpg", taken, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 96))])
        taken = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return taken


def cut_smeared(rng: np.random.Generator, smeared: Smeared) -> Grey:
    """Cut a mark out of a picture that the autoencoder has drawn, [HEIGHT, W]."""
    contrast, brightness = float(rng.uniform(0.8, 1.15)), float(rng.uniform(-15, 15))
    grain = rng.standard_normal(smeared.picture.shape, dtype=np.float32) * float(rng.uniform(0, 3))
    picture = (smeared.picture - np.float32(128)) * contrast + 128 + brightness + grain
    x0, y0, x1, y1 = smeared.box
    margins = np.clip(rng.normal(0.1, 0.05, 4), -0.02, 0.3) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
    return _cut(rng, np.clip(picture, 0, 255).astype(np.uint8), np.array(smeared.box) + margins * (-1, -1, 1, 1))


def _cut(rng: np.random.Generator, picture: Grey, box: NDArray[np.float64]) -> Grey:
    """Cut the box (x0, y0, x1, y1) out at HEIGHT pixels: as stages.score.reader does, as EasyOCR, or enlarged first."""
    way = rng.random()
    if way > 0.7:
        factor = (2, 4)[rng.integers(2)]
        method = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[rng.integers(3)]
        picture, box = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=method), box * factor
    x0, y0, x1, y1 = np.round(box).astype(int)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), max(x1, x0 + 2), max(y1, y0 + 2)
    crop = picture[y0:y1, x0:x1]
    ratio = crop.shape[1] / crop.shape[0]
    size = (max(8, round(HEIGHT * ratio)), HEIGHT)
    if way < 0.25:  # EasyOCR's "LANCZOS" is Pillow's number for it, which OpenCV takes as linear
        return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if crop.shape[0] < 96:
        crop = cv2.resize(crop, (max(1, round(96 * ratio)), 96), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)


@torch.no_grad()
def draw_smeared(settings: dict[str, Any], seed: int, vae: AutoencoderKL, where: torch.device) -> list[Smeared]:
    """Draw pictures with logos at the size of the generated ones, and let the autoencoder encode and decode them.

    A little noise on the latent, of a strength up to `latent_noise`, stands for what a generator gets wrong.
    """
    smeared: list[Smeared] = []
    batch, (height, width) = 50, WINDOW
    for first in tqdm(range(0, settings["smeared"], batch), "smeared", mininterval=10):
        texts, windows, boxes = [], [], []
        for index in range(first, first + batch):
            rng = np.random.default_rng([seed, 3, index])
            brand = sample_brand(rng)
            least = min(max(0.36, (4.6 * len(brand.text) + 2) / 64), 0.54)
            scene = sample_scene(rng, brand=brand, logo_width=(least, 0.54))
            drawing = draw(scene, 64, 64)
            if drawing.logo_box is None or not readable_in_grey(brand, COLOURS[scene.colour]):
                continue
            x0, y0, x1, y1 = drawing.logo_box
            left = int(np.clip(round((x0 + x1 - width) / 2), 0, 64 - width))
            top = int(np.clip(round((y0 + y1 - height) / 2), 0, 64 - height))
            windows.append(np.asarray(drawing.image)[top : top + height, left : left + width])
            boxes.append((x0 - left, y0 - top, x1 - left, y1 - top))
            texts.append(brand.text)
        latents = vae.encode(to_tensor(np.stack(windows), where)).latent_dist.mean
        rng = np.random.default_rng([seed, 4, first])
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(where)
        strength = torch.from_numpy(rng.uniform(0, settings["latent_noise"], (len(texts), 1, 1, 1)).astype(np.float32))
        drawn = vae.decode(latents + strength.to(where) * latents.std() * noise).sample.clamp(-1, 1)
        pixels = ((drawn + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        grey = [np.asarray(cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2GRAY), np.uint8) for p in pixels]
        smeared += [Smeared(*parts) for parts in zip(texts, grey, boxes, strict=True)]
    return smeared


def readable_in_grey(brand: Brand, cloth: tuple[int, int, int]) -> bool:
    """Whether the letters stand out in grey, all that EasyOCR sees: red letters on blue cloth vanish."""
    ground = brand.box_colour or cloth
    return abs(grey_level(brand.letter_colour) - grey_level(ground)) >= LEAST_CONTRAST
