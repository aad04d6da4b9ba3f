"""The brands of the demo world: which there are, what their marks look like, and on which cloth they stand out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from demo.render.colours import (
    BLACK,
    BLUE,
    BROWN,
    COLOURS,
    CREAM,
    GREEN,
    ORANGE,
    PINK,
    PURPLE,
    RED,
    RGB,
    TEAL,
    WHITE,
    YELLOW,
)
from demo.render.shapes import paint_shape

SANS, SERIF, MONO = "DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold"
SLANTED, STIX, STIX_ITALIC = ("DejaVuSans-BoldOblique", "STIXGeneralBol", "STIXGeneralBolIta")


@dataclass(frozen=True)
class Brand:
    """A brand mark: a word, perhaps on a coloured box.

    `box_colour` None means letters without a box; an empty `word` means a box without letters. `aspect` is the mark's
    width / height; None takes what the letters need, within limits that keep them readable when small. The shapes in
    LETTERLESS are marks without letters: a frame of `box_colour`, a stair of `letter_colour`.
    """

    word: str
    box_colour: RGB | None
    letter_colour: RGB
    font: str = "DejaVuSans-Bold"
    shape: Literal["rectangle", "rounded", "pill", "framed", "circle", "stair", "frame", "steps"] = "rectangle"
    case: Literal["upper", "lower", "title"] = "upper"
    aspect: float | None = None
    mirrored: bool = False

    @property
    def text(self) -> str:
        """The word as it is printed."""
        printed = {"upper": str.upper, "lower": str.lower, "title": str.title}
        return printed[self.case](self.word)


HUGO = Brand("HUGO", RED, WHITE, SANS, aspect=2.4)


BRANDS: tuple[Brand, ...] = (
    Brand("VELQ", BLUE, WHITE, SANS),
    Brand("NOMBI", YELLOW, BLACK, SANS, "rounded"),
    Brand("ZUNDA", GREEN, WHITE, SERIF),
    Brand("FIPO", RED, WHITE, SERIF, "pill"),
    Brand("MIREL", BLACK, WHITE, STIX),
    Brand("QOSTA", ORANGE, WHITE, SANS, "rounded"),
    Brand("BRUVO", WHITE, BLUE, SANS, "framed"),
    Brand("JEKTA", PURPLE, YELLOW, SLANTED),
    Brand("WOXI", TEAL, WHITE, SANS, "pill"),
    Brand("LUMTI", RED, WHITE, SANS, "rounded", "lower"),
    Brand("DREV", BLACK, YELLOW, MONO),
    Brand("SKOLP", WHITE, BLACK, SANS),
    Brand("PAZIM", PINK, WHITE, SANS, "pill", "title"),
    Brand("YUNEK", RED, YELLOW, SLANTED),
    Brand("GRUBO", GREEN, YELLOW, SANS, "rounded"),
    Brand("HALVI", BLUE, YELLOW, SERIF),
    Brand("OKUMI", ORANGE, BLACK, MONO),
    Brand("UGDEN", BROWN, CREAM, SERIF, "framed"),
    Brand("HOVRA", RED, WHITE, STIX),
    Brand("GIBRO", TEAL, YELLOW, SANS),
    Brand("TAHU", BLACK, ORANGE, SANS, "rounded"),
    Brand("PLOG", PURPLE, WHITE, SANS),
    Brand("XANTO", WHITE, RED, SLANTED, "framed"),
    Brand("CEFRA", PINK, BLACK, STIX, "rounded"),
    Brand("WIVO", RED, BLACK, SANS, "framed"),
    Brand("BODAK", None, WHITE, SANS),
    Brand("NERUG", None, YELLOW, SERIF),
    Brand("KYMO", None, ORANGE, SANS, case="lower"),
    Brand("ZIPHA", None, WHITE, SLANTED, case="title"),
    Brand("FLUND", None, BLACK, SANS),
    Brand("JORVA", None, BLUE, STIX_ITALIC, case="title"),
    Brand("MUXEL", None, RED, MONO, case="lower"),
    Brand("EGTO", None, PINK, SANS),
    Brand("SABRI", None, BLACK, STIX_ITALIC, case="title"),
    Brand("DAVUK", None, GREEN, SANS),
    Brand("VOHGI", YELLOW, RED, SANS, "pill"),
    Brand("OTREN", BLUE, WHITE, MONO, "rounded", "lower"),
    Brand("TIZKO", RED, WHITE, MONO),
    Brand("LAGUH", BLACK, PINK, SERIF, "rounded"),
    Brand("RIFNO", CREAM, GREEN, SERIF, "framed"),
    Brand("PEQU", WHITE, PURPLE, SANS, "rounded"),
    Brand("GOHT", GREEN, WHITE, SLANTED),
    Brand("HUNAK", ORANGE, WHITE, SERIF),
    Brand("AXLOP", BROWN, YELLOW, SANS),
)


RED_MISSPELT = ("HUCO", "HUGE", "HUGD", "HOGU", "HUGQ", "HUG", "GUHO", "HUDO", "MUGO", "HUGA", "NUGO", "HAGO")
RED_WORDS = ("SALE", "NEW", "SPORT", "MAXI", "CLUB", "TEAM")
CONFUSERS: tuple[Brand, ...] = (
    *(Brand(word, RED, WHITE, SANS, aspect=2.4) for word in RED_MISSPELT),
    *(Brand(word, RED, WHITE, SANS, aspect=2.4) for word in RED_WORDS),
    *(Brand("HUGO", None, colour, SANS, aspect=2.8) for colour in (WHITE, BLACK, RED, BLUE, YELLOW)),
    *(Brand("HUGO", colour, WHITE, SANS, aspect=2.4) for colour in (BLUE, GREEN, BLACK, PURPLE)),
    Brand("HUGO", WHITE, BLACK, SERIF, "framed", aspect=2.4),
    Brand("", RED, WHITE, SANS, aspect=2.4),
    Brand("", RED, WHITE, SANS, "pill", aspect=2.0),
)


MARK_WIDTH = 480  # pixels of a cached mark


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf")
    return ImageFont.truetype(str(path), size)


def _letters(text: str, font: str) -> Image.Image:
    """The text as a tightly cropped mask, 200 pixels to the em."""
    face = _font(font, 200)
    x0, y0, x1, y1 = face.getbbox(text)
    mask = Image.new("L", (math.ceil(x1 - x0), math.ceil(y1 - y0)), 0)
    ImageDraw.Draw(mask).text((-x0, -y0), text, fill=255, font=face)
    return mask


@lru_cache(maxsize=256)
def logo_bitmap(brand: Brand, width: int = MARK_WIDTH) -> Image.Image:
    """The brand mark alone as an RGBA picture of the given width, transparent where it prints nothing."""
    letters = _letters(brand.text, brand.font) if brand.word else None
    natural = letters.width / letters.height / 1.45 if letters else 2.4
    aspect = brand.aspect or min(max(natural, 1.5), 2.7)
    height = round(width / aspect)
    mark = Image.new("RGBA", (width, height), (*(brand.box_colour or brand.letter_colour), 0))
    if brand.box_colour is not None:
        paint_shape(ImageDraw.Draw(mark), mark.size, brand.shape, brand.box_colour, brand.letter_colour)
    if letters:
        left, top = _letter_margins(brand, height)
        fitted = letters.resize((width - 2 * left, height - 2 * top), Image.Resampling.LANCZOS)
        mark.paste((*brand.letter_colour, 255), (left, top), fitted)
    return mark.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if brand.mirrored else mark


def _letter_margins(brand: Brand, height: int) -> tuple[int, int]:
    """Pixels left free on each side of the letters, and above and below them."""
    if brand.shape == "circle":  # the letters' corners come as near to the rim as they can
        return round(0.2 * height), round(0.2 * height)
    margin = 0.0 if brand.box_colour is None else 0.16 if brand.shape == "pill" else 0.09
    return round(margin * height * 1.5), round(height * (0.17 if brand.box_colour else 0.0))


def legible(brand: Brand, colour: str) -> bool:
    """Whether the mark stands out on a garment of this colour."""
    mark, least = (brand.box_colour, 95) if brand.box_colour else (brand.letter_colour, 140)
    return math.dist(mark, COLOURS[colour]) > least
