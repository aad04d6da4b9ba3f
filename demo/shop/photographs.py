"""The shop's photographs: how large they are, what is on them, and taking them."""

from __future__ import annotations

import io
import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from demo.brands.catalogue import Taught
from demo.render import COLOURS, GARMENTS, Brand, Scene, draw, legible, logo_box, sample_scene

SIZES = ((288, 384), (384, 384), (384, 288), (336, 448))  # 3:4, square, 4:3, large 3:4
SIZE_ODDS = (0.42, 0.30, 0.16, 0.12)
SMALL = (0.095, 0.265)  # widths of a small logo as shares of a photograph's longer side; of a large one: Taught.large
SAME_COLOUR = 60  # RGB distance below which a box vanishes on cloth: the demo's red cloth is 31 from HUGO's red


@dataclass(frozen=True)
class Photograph:
    """A picture to be taken. A copy names the original; its quality is None for the same bytes, else recompressed."""

    path: str  # inside the storefront
    scene: Scene
    width: int
    height: int
    quality: int | None
    kind: str  # logo, confuser, other-brand or plain
    large: bool = False
    copy_of: str | None = None


def photograph_logo(
    rng: np.random.Generator, taught: Taught, garment: str, wearer: str | None, large: bool
) -> Photograph:
    """A photograph with the taught logo whose width is clearly above or clearly below what training needs."""
    lowest, highest = taught.large if large else SMALL
    while True:
        width, height = sample_size(rng)
        longer, shorter = max(width, height), min(width, height)
        scene = sample_scene(
            rng,
            garment=garment,
            colour=taught.cloth,
            wearer=pick(rng, ("man", "woman")) if wearer else None,
            brand=taught.mark,
            placement=pick(rng, tuple(_front_placements(garment, large))),
            logo_width=(lowest * longer / shorter, highest * longer / shorter),
            scale=float(rng.uniform(0.97, 1.06) if large else rng.uniform(0.72, 1.02)),
        )
        if scene.logo_width * shorter < lowest * longer:  # the garment has no room for it
            continue
        x0, y0, x1, y1 = logo_box(scene, width, height) or (0, 0, 0, 0)
        inside = min(x0, y0, width - x1, height - y1) > 2
        if inside and x1 - x0 <= highest * longer:
            return Photograph("", scene, width, height, int(rng.integers(55, 91)), "logo", large)


def _front_placements(garment: str, large: bool) -> list[str]:
    """Where the mark may sit seen from the front; beside the heart there is no room for a large one."""
    places = [place for place in GARMENTS[garment].placements if place != "back"]
    return [place for place in places if not large or GARMENTS[garment].placements[place][2] > 0.3]


def photograph(rng: np.random.Generator, kind: str, garment: str, colour: str, **scene: Any) -> Photograph:
    """A photograph of a garment; what `scene` leaves open (see `sample_scene`) is sampled."""
    width, height = sample_size(rng)
    scene.setdefault("logo_width", (0.16, 0.5))
    sampled = sample_scene(rng, garment=garment, colour=colour, **scene)
    return Photograph("", sampled, width, height, int(rng.integers(55, 86)), kind)


def photograph_confuser(
    rng: np.random.Generator, taught: Taught, garment: str, colour: str, brands: Sequence[Brand] | None = None
) -> Photograph:
    """A photograph with a mark that nearly is the taught logo: one of `brands`, None takes any of its confusers."""
    brands = taught.confusers if brands is None else brands
    confusing = [brand for brand in brands if legible(brand, colour) and not _is_the_logo(brand, colour, taught.mark)]
    return photograph(rng, "confuser", garment, colour, brand=pick(rng, confusing), logo_width=(0.2, 0.5))


def _is_the_logo(brand: Brand, colour: str, mark: Brand) -> bool:
    """White HUGO letters without a box are the logo itself once the cloth is red."""
    if brand.box_colour is not None or mark.box_colour is None or brand.letter_colour != mark.letter_colour:
        return False
    return math.dist(mark.box_colour, COLOURS[colour]) < SAME_COLOUR


def sample_size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of a photograph, pixels."""
    return SIZES[int(rng.choice(len(SIZES), p=SIZE_ODDS))]


def pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    """One of the options, all equally likely; unlike `rng.choice` it never makes an array of them."""
    return options[int(rng.integers(len(options)))]


@dataclass(frozen=True)
class Taken:
    """A photograph's bytes and the box of the mark on it."""

    content: bytes
    box: tuple[float, ...] | None


def take(photo: Photograph) -> Taken:
    """Draw one photograph and compress it."""
    drawing = draw(photo.scene, photo.width, photo.height)
    box = drawing.logo_box and tuple(round(value, 1) for value in drawing.logo_box)
    return Taken(jpeg(drawing.image, photo.quality or 75), box)


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The picture as a JPEG file of this quality, 1 to 95."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def take_all(photographs: list[Photograph], processes: int = 2) -> dict[str, Taken]:
    """Take every photograph, copies after their originals; the answer is by path."""
    originals = [photo for photo in photographs if photo.copy_of is None]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        drawn = tqdm(pool.imap(take, originals, chunksize=16), "photographs", len(originals), disable=None)
        taken = {photo.path: result for photo, result in zip(originals, drawn, strict=True)}
    for photo in photographs:
        if photo.copy_of:
            original = taken[photo.copy_of]
            taken[photo.path] = Taken(_save_again(original.content, photo.quality), original.box)
    return taken


def _save_again(content: bytes, quality: int | None) -> bytes:
    return content if quality is None else jpeg(Image.open(io.BytesIO(content)), quality)
