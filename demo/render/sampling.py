"""Scenes drawn at random: what a shop or a training set may show, a mark on cloth that it stands out from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from demo.render.backgrounds import TINTS
from demo.render.brands import BRANDS, Brand, legible, logo_bitmap
from demo.render.colours import COLOURS, HAIRS, RGB, SKINS
from demo.render.garments import GARMENTS
from demo.render.scene import Scene, Wearer

WORN_BACKGROUNDS = ("studio", "studio", "plain", "wall", "street", "park")


def sample_scene(
    rng: np.random.Generator,
    *,
    garment: str | None = None,
    colour: str | None = None,
    wearer: Wearer | Literal["any", "man", "woman"] | None = "any",
    brand: Brand | Literal["any"] | None = "any",
    logo_width: float | tuple[float, float] | None = None,
    placement: str | None = None,
    view: Literal["front", "back"] = "front",
    background: str | None = None,
    rotation: float | None = None,
    scale: float | None = None,
) -> Scene:
    """Draw a scene at random; what is given stays as given.

    wearer: "any" leaves garments that can be worn flat in 4 of 10 scenes; None is always flat.
    brand: "any" takes one of BRANDS in 17 of 20 scenes, else none; a mark that would vanish on the garment's colour
        leads to another brand or another colour, whichever was left open.
    logo_width: a width or a (least, most) range, default 0.38 to 0.54, cut to what the garment has room for, in width
        and in height.
    """
    garment = garment or _pick(rng, tuple(GARMENTS))
    kind = GARMENTS[garment]
    brand, colour = _sample_brand_and_colour(rng, brand, colour)
    wearer = _sample_wearer(rng, wearer) if kind.wearable else None
    least, most = logo_width if isinstance(logo_width, tuple) else (logo_width or 0.38, logo_width or 0.54)
    placement = placement or next(iter(kind.placements))
    scale = float(rng.uniform(0.93, 1.04)) if scale is None else scale
    room = kind.placements[placement][2] * scale
    if brand:
        mark = logo_bitmap(brand)
        room = min(room, kind.tallest_mark * scale * mark.width / mark.height)
    background = background or _pick(rng, WORN_BACKGROUNDS if wearer else kind.backgrounds)
    turn = kind.most_rotation * (0.35 if wearer else 1.0)
    return Scene(
        garment=garment,
        colour=colour,
        wearer=wearer,
        background=background,
        tint=_sample_tint(rng, background, COLOURS[colour]),
        brand=brand,
        placement=placement,
        logo_width=min(float(rng.uniform(least, most)), room),
        logo_rotation=float(rng.uniform(-2.5, 2.5)),
        rotation=float(rng.uniform(-turn, turn)) if rotation is None else rotation,
        scale=scale,
        shift=(float(rng.uniform(-0.03, 0.03)), float(rng.uniform(-0.03, 0.03))),
        view=view,
        light=float(rng.uniform(0, 360)),
        folds=float(rng.uniform(0.35, 1.0)),
        grain=float(rng.uniform(1.0, 3.5)),
        seed=int(rng.integers(2**31)),
    )


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _sample_brand_and_colour(
    rng: np.random.Generator, brand: Brand | Literal["any"] | None, colour: str | None
) -> tuple[Brand | None, str]:
    def draw_pair() -> tuple[Brand | None, str]:
        chosen = (_pick(rng, BRANDS) if rng.random() < 0.85 else None) if brand == "any" else brand
        return chosen, colour or _pick(rng, tuple(COLOURS))

    pair = draw_pair()
    for _ in range(30):
        if pair[0] is None or legible(pair[0], pair[1]):
            break
        pair = draw_pair()
    return pair


def _sample_wearer(rng: np.random.Generator, wearer: Wearer | Literal["any", "man", "woman"] | None) -> Wearer | None:
    if wearer is None or isinstance(wearer, Wearer):
        return wearer
    if wearer == "any" and rng.random() < 0.4:
        return None
    kind: Literal["man", "woman"] = _pick(rng, ("man", "woman")) if wearer == "any" else wearer
    return Wearer(kind, _pick(rng, SKINS), _pick(rng, HAIRS))


def _sample_tint(rng: np.random.Generator, background: str, garment: RGB) -> RGB:
    """A background colour that the garment stands out from."""
    for _ in range(30):
        if background == "studio":
            hue = rng.uniform(-22, 22, 3)
            tint = rng.choice([226, 205, 178, 120]) + hue
        elif background == "plain":
            tint = np.full(3, rng.uniform(228, 252))
        else:
            tint = np.array(TINTS[background]) + rng.uniform(-18, 18, 3) + rng.uniform(-14, 14)
        red, green, blue = (int(v) for v in np.clip(tint, 0, 255))
        if math.dist((red, green, blue), garment) > 60:
            break
    return red, green, blue
