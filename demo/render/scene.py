"""What there is to say about one picture, before anything of it is painted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from demo.render.brands import Brand
from demo.render.colours import RGB


@dataclass(frozen=True)
class Wearer:
    """Who wears the garment."""

    kind: Literal["man", "woman"]
    skin: RGB
    hair: RGB


@dataclass(frozen=True)
class Scene:
    """Everything that decides a picture. Lengths are fractions of the picture's shorter side, angles are degrees."""

    garment: str
    colour: str
    wearer: Wearer | None
    background: str
    tint: RGB  # of the background
    brand: Brand | None
    placement: str  # where the mark sits: a key of the garment's placements
    logo_width: float
    logo_rotation: float  # of the mark on the garment, on top of the garment's own rotation
    rotation: float
    scale: float
    shift: tuple[float, float]
    view: Literal["front", "back"]
    light: float  # direction that the light comes from, degrees
    folds: float  # strength, 0 to 1
    grain: float  # standard deviation, grey levels of 255
    seed: int  # decides the details: fold lines, bricks, grain
