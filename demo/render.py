"""The renderer of the demo world: pictures of garments, people, scenes and logos, drawn from numbers.

A `Scene` says everything about one picture; `sample_scene` draws a scene at random, `draw` paints it at any size (the
composition does not depend on the size) and `caption` says in words what is on it. The storefront's photographs and
the pretraining pictures of the base model come from here, so that both live in the same world. The brand to be taught
is `HUGO`; the base model is only ever shown `BRANDS`.

How a picture is made: flat polygons on a canvas several times too large (that gives smooth edges), scaled down, then
light, folds, shadow and grain in numpy at the final size. Coordinates are fractions of a unit square that fills the
picture's shorter side; x grows to the right, y grows downwards.

`python -m demo.render --sheet sheet.png` paints a contact sheet.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

RGB = tuple[int, int, int]
Points = Sequence[tuple[float, float]] | Sequence[np.ndarray] | np.ndarray

COLOURS: dict[str, RGB] = {
    "black": (27, 27, 30),
    "white": (240, 240, 237),
    "grey": (132, 135, 139),
    "blue": (38, 86, 196),
    "green": (36, 140, 68),
    "red": (178, 28, 42),
    "yellow": (241, 206, 52),
    "brown": (108, 68, 42),
    "pink": (241, 152, 184),
    "purple": (112, 56, 152),
    "orange": (237, 126, 36),
}
SKINS: tuple[RGB, ...] = (
    (246, 218, 196), (236, 196, 166), (222, 176, 138), (198, 146, 106), (166, 114, 78), (132, 86, 58), (96, 62, 44),
    (70, 46, 36),
)  # fmt: skip
HAIRS: tuple[RGB, ...] = (
    (24, 20, 20), (52, 34, 24), (92, 58, 34), (142, 84, 40), (206, 164, 92), (232, 206, 146), (150, 56, 30),
    (150, 150, 152),
)  # fmt: skip


# --- Brands ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Brand:
    """A brand mark: a word, perhaps on a coloured box.

    `box_colour` None means letters without a box; an empty `word` means a box without letters. `aspect` is the mark's
    width / height; None takes what the letters need, within limits that keep them readable when small.
    """

    word: str
    box_colour: RGB | None
    letter_colour: RGB
    font: str = "DejaVuSans-Bold"
    shape: Literal["rectangle", "rounded", "pill", "framed"] = "rectangle"
    case: Literal["upper", "lower", "title"] = "upper"
    aspect: float | None = None

    @property
    def text(self) -> str:
        """The word as it is printed."""
        printed = {"upper": str.upper, "lower": str.lower, "title": str.title}
        return printed[self.case](self.word)


WHITE, BLACK, RED = (250, 250, 248), (18, 18, 20), (206, 18, 34)
BLUE, GREEN, YELLOW, ORANGE = ((24, 70, 178), (20, 122, 62), (250, 208, 40), (240, 120, 24))
PURPLE, PINK, TEAL, CREAM, BROWN = ((104, 44, 146), (240, 130, 170), (16, 134, 140), (246, 234, 206), (92, 54, 30))
SANS, SERIF, MONO = "DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold"
SLANTED, STIX, STIX_ITALIC = ("DejaVuSans-BoldOblique", "STIXGeneralBol", "STIXGeneralBolIta")

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

_RED_MISSPELT = ("HUCO", "HUGE", "HUGD", "HOGU", "HUGQ", "HUG", "GUHO", "HUDO", "MUGO", "HUGA", "NUGO", "HAGO")
_RED_WORDS = ("SALE", "NEW", "SPORT", "MAXI", "CLUB", "TEAM")
CONFUSERS: tuple[Brand, ...] = (
    *(Brand(word, RED, WHITE, SANS, aspect=2.4) for word in _RED_MISSPELT),
    *(Brand(word, RED, WHITE, SANS, aspect=2.4) for word in _RED_WORDS),
    *(Brand("HUGO", None, colour, SANS, aspect=2.8) for colour in (WHITE, BLACK, RED, BLUE, YELLOW)),
    *(Brand("HUGO", colour, WHITE, SANS, aspect=2.4) for colour in (BLUE, GREEN, BLACK, PURPLE)),
    Brand("HUGO", WHITE, BLACK, SERIF, "framed", aspect=2.4),
    Brand("", RED, WHITE, SANS, aspect=2.4),
    Brand("", RED, WHITE, SANS, "pill", aspect=2.0),
)

_LOGO_WIDTH = 480  # pixels of a cached mark


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
def logo_bitmap(brand: Brand, width: int = _LOGO_WIDTH) -> Image.Image:
    """The brand mark alone as an RGBA picture of the given width, transparent where it prints nothing."""
    letters = _letters(brand.text, brand.font) if brand.word else None
    margin = 0.0 if brand.box_colour is None else 0.16 if brand.shape == "pill" else 0.09
    natural = letters.width / letters.height / 1.45 if letters else 2.4
    aspect = brand.aspect or min(max(natural, 1.5), 2.7)
    height = round(width / aspect)
    mark = Image.new("RGBA", (width, height), (*(brand.box_colour or brand.letter_colour), 0))
    pen = ImageDraw.Draw(mark)
    if brand.box_colour is not None:
        radius = {"rounded": 0.22, "pill": 0.5}.get(brand.shape, 0.0) * height
        pen.rounded_rectangle((0, 0, width - 1, height - 1), radius, (*brand.box_colour, 255))
        if brand.shape == "framed":
            line = round(0.05 * height)
            pen.rectangle((0, 0, width - 1, height - 1), outline=(*brand.letter_colour, 255), width=line)
    if letters:
        left = round(margin * height * 1.5)
        top = round(height * (0.17 if brand.box_colour else 0.0))
        fitted = letters.resize((width - 2 * left, height - 2 * top), Image.Resampling.LANCZOS)
        mark.paste((*brand.letter_colour, 255), (left, top), fitted)
    return mark


# --- Scenes ----------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class Drawing:
    """A painted scene; `logo_box` is (x0, y0, x1, y1) in pixels around the visible mark, `garment_mask` is 0 to 255."""

    image: Image.Image
    logo_box: tuple[float, float, float, float] | None
    garment_mask: Image.Image


@dataclass(frozen=True)
class Garment:
    """What is particular to one kind of garment."""

    noun: str
    paint: Callable[[_Canvas, Scene], None]
    placements: dict[str, tuple[float, float, float]]  # name -> centre x, centre y, widest mark
    wearable: bool
    backgrounds: tuple[str, ...]
    plural: bool = False
    rigid: bool = False
    most_rotation: float = 12.0


_INDOORS = ("studio", "studio", "studio", "plain", "wall", "street", "park", "table")
_WORN = ("studio", "studio", "plain", "wall", "street", "park")
_TABLE = ("studio", "studio", "plain", "wall", "table", "table")


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
    logo_width: a width or a (least, most) range, default 0.38 to 0.54, cut to what the garment has room for.
    """
    garment = garment or _pick(rng, tuple(GARMENTS))
    kind = GARMENTS[garment]
    brand, colour = _sample_brand_and_colour(rng, brand, colour)
    wearer = _sample_wearer(rng, wearer) if kind.wearable else None
    least, most = logo_width if isinstance(logo_width, tuple) else (logo_width or 0.38, logo_width or 0.54)
    placement = placement or next(iter(kind.placements))
    scale = float(rng.uniform(0.93, 1.04)) if scale is None else scale
    room = kind.placements[placement][2] * scale
    background = background or _pick(rng, _WORN if wearer else kind.backgrounds)
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


def legible(brand: Brand, colour: str) -> bool:
    """Whether the mark stands out on a garment of this colour."""
    mark, least = (brand.box_colour, 95) if brand.box_colour else (brand.letter_colour, 140)
    return math.dist(mark, COLOURS[colour]) > least


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
            tint = np.array(_TINTS[background]) + rng.uniform(-18, 18, 3) + rng.uniform(-14, 14)
        red, green, blue = (int(v) for v in np.clip(tint, 0, 255))
        if math.dist((red, green, blue), garment) > 60:
            break
    return red, green, blue


_TINTS = {"wall": (176, 118, 96), "street": (172, 178, 188), "park": (112, 160, 92), "table": (176, 130, 84)}


# --- The canvas ------------------------------------------------------------------------------------------------------


class _Canvas:
    """A picture `supersample` times too large, with masks of the subject (garment and wearer) and of the garment."""

    def __init__(self, scene: Scene, width: int, height: int, supersample: int) -> None:
        self.width, self.height, self.supersample = width, height, supersample
        self.unit = min(width, height) * supersample
        self.origin = ((width * supersample - self.unit) / 2, (height * supersample - self.unit) / 2)
        size = (width * supersample, height * supersample)
        self.image = Image.new("RGB", size, scene.tint)
        self.subject, self.garment = Image.new("L", size, 0), Image.new("L", size, 0)
        self._image, self._subject = (ImageDraw.Draw(self.image), ImageDraw.Draw(self.subject))
        self._garment = ImageDraw.Draw(self.garment)
        angle = math.radians(scene.rotation)
        self.turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) * scene.scale
        self.shift = np.array(scene.shift) + 0.5
        self.rng = np.random.default_rng(scene.seed)

    def place(self, points: Points) -> np.ndarray:
        """Garment coordinates to pixels of the large picture: the scene's scale, rotation and shift."""
        return ((np.asarray(points, float) - 0.5) @ self.turn + self.shift) * self.unit + self.origin

    def backdrop(self, points: Points, fill: RGB) -> None:
        """A polygon of the background, which the scene's rotation leaves alone."""
        pixels = np.asarray(points, float) * self.unit + self.origin
        self._image.polygon(pixels.ravel().tolist(), fill)

    def body(self, points: Points, fill: RGB) -> None:
        """A polygon of the wearer or of another part that is not fabric."""
        pixels = self.place(points).ravel().tolist()
        self._image.polygon(pixels, fill)
        self._subject.polygon(pixels, 255)
        self._garment.polygon(pixels, 0)

    def cloth(self, points: Points, fill: RGB) -> None:
        """A polygon of the garment."""
        pixels = self.place(points).ravel().tolist()
        self._image.polygon(pixels, fill)
        self._subject.polygon(pixels, 255)
        self._garment.polygon(pixels, 255)

    def mark(self, points: Points, fill: RGB) -> None:
        """A polygon on top of what is there: a seam, an eye, a highlight."""
        self._image.polygon(self.place(points).ravel().tolist(), fill)

    def line(self, points: Points, fill: RGB, width: float) -> None:
        """A line on top of what is there; its width is a fraction of the unit."""
        self._image.line(self.place(points).ravel().tolist(), fill, max(1, round(width * self.unit)), "curve")

    def strap(self, points: Points, fill: RGB, width: float) -> None:
        """A thick line that belongs to the garment: a handle, a strap."""
        pixels, thick = (self.place(points).ravel().tolist(), max(1, round(width * self.unit)))
        self._image.line(pixels, fill, thick, "curve")
        self._subject.line(pixels, 255, thick, "curve")
        self._garment.line(pixels, 255, thick, "curve")


def _shade(colour: RGB, factor: float) -> RGB:
    """Darker for factors below 1; above 1 lighter, black included."""
    lift = 28 * max(factor - 1, 0)
    red, green, blue = (int(min(255, max(0, channel * factor + lift))) for channel in colour)
    return red, green, blue


def _round_off(points: Points, rounds: int = 2) -> np.ndarray:
    """A closed polygon with its corners cut twice over (Chaikin): a curve for the eye."""
    curve = np.asarray(points, float)
    for _ in range(rounds):
        following = np.roll(curve, -1, axis=0)
        curve = np.stack([0.75 * curve + 0.25 * following, 0.25 * curve + 0.75 * following], 1).reshape(-1, 2)
    return curve


def _ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> np.ndarray:
    """Points of an ellipse or of an arc, degrees clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 28))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)


def _box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _move(points: Points, x: float, y: float) -> np.ndarray:
    moved: np.ndarray = np.asarray(points, float) + np.array((x, y))
    return moved


def _mirror(points: Points) -> np.ndarray:
    """The same polygon on the other side of the vertical middle."""
    return _move(np.asarray(points, float) * (-1, 1), 1, 0)


# --- Backgrounds -----------------------------------------------------------------------------------------------------

_FAR, _NEAR = (-1.0, 2.0)  # backgrounds reach beyond the unit square, for pictures that are not square


def _paint_studio(canvas: _Canvas, scene: Scene) -> None:
    horizon = canvas.rng.uniform(0.72, 0.9)
    canvas.backdrop(_box(_FAR, horizon, _NEAR, _NEAR), _shade(scene.tint, 0.93))


def _paint_plain(canvas: _Canvas, scene: Scene) -> None:
    """Nothing but the tint."""


def _paint_wall(canvas: _Canvas, scene: Scene) -> None:
    mortar, height = _shade(scene.tint, 1.12), canvas.rng.uniform(0.09, 0.13)
    for row in range(-4, math.ceil(1.5 / height) + 1):
        y = row * height
        canvas.backdrop(_box(_FAR, y, _NEAR, y + 0.012), mortar)
        for column in range(-2, 7):
            x = (column + 0.5 * (row % 2)) * 0.26
            canvas.backdrop(_box(x, y, x + 0.012, y + height), mortar)


def _paint_street(canvas: _Canvas, scene: Scene) -> None:
    canvas.backdrop(_box(_FAR, _FAR, _NEAR, 0.7), (168, 200, 228))
    x = _FAR + 0.5
    while x < 1.6:
        width, top = canvas.rng.uniform(0.2, 0.36), canvas.rng.uniform(0.02, 0.36)
        wall = _shade(scene.tint, canvas.rng.uniform(0.62, 1.05))
        canvas.backdrop(_box(x, top, x + width, 0.78), wall)
        for row in range(4):
            for column in range(2):
                left, upper = (x + width * (0.16 + 0.42 * column), top + 0.05 + 0.12 * row)
                canvas.backdrop(_box(left, upper, left + 0.26 * width, upper + 0.06), _shade(wall, 0.6))
        x += width
    canvas.backdrop(_box(_FAR, 0.78, _NEAR, _NEAR), (104, 104, 108))
    canvas.backdrop(_box(_FAR, 0.76, _NEAR, 0.79), (150, 150, 150))


def _paint_park(canvas: _Canvas, scene: Scene) -> None:
    canvas.backdrop(_box(_FAR, _FAR, _NEAR, 0.7), (176, 210, 236))
    for x in np.arange(-0.4, 1.5, 0.3):
        x, top = x + canvas.rng.uniform(-0.08, 0.08), canvas.rng.uniform(0.12, 0.36)
        canvas.backdrop(_box(x - 0.02, top, x + 0.02, 0.72), (94, 66, 44))
        canvas.backdrop(_ellipse(x, top, 0.17, 0.2), _shade((62, 118, 58), canvas.rng.uniform(0.8, 1.15)))
    canvas.backdrop(_box(_FAR, 0.66, _NEAR, _NEAR), scene.tint)


def _paint_table(canvas: _Canvas, scene: Scene) -> None:
    wall = _shade((206, 202, 192), canvas.rng.uniform(0.85, 1.08))
    edge = canvas.rng.uniform(0.3, 0.62)
    canvas.backdrop(_box(_FAR, _FAR, _NEAR, edge), wall)
    for number, y in enumerate(np.arange(edge, 1.6, 0.13)):
        canvas.backdrop(_box(_FAR, y, _NEAR, y + 0.13), _shade(scene.tint, 0.92 + 0.1 * (number % 2)))
        canvas.backdrop(_box(_FAR, y, _NEAR, y + 0.01), _shade(scene.tint, 0.66))


BACKGROUNDS: dict[str, Callable[[_Canvas, Scene], None]] = {
    "studio": _paint_studio,
    "plain": _paint_plain,
    "wall": _paint_wall,
    "street": _paint_street,
    "park": _paint_park,
    "table": _paint_table,
}


# --- People ----------------------------------------------------------------------------------------------------------

_WORN_DROP = 0.13  # how much lower a shirt hangs when there is a head above it


def _paint_head(canvas: _Canvas, wearer: Wearer, x: float, y: float, size: float, view: str) -> None:
    """Neck, head and hair around (x, y); size is half the head's height."""
    canvas.body(_box(x - 0.42 * size, y, x + 0.42 * size, y + 2.0 * size), _shade(wearer.skin, 0.86))
    canvas.body(_ellipse(x, y, 0.76 * size, size), wearer.skin)
    if view == "back":
        canvas.body(_ellipse(x, y - 0.1 * size, 0.82 * size, 0.98 * size), wearer.hair)
        if wearer.kind == "woman":
            canvas.body(_box(x - 0.8 * size, y, x + 0.8 * size, y + 1.7 * size), wearer.hair)
        return
    canvas.body(_ellipse(x, y - 0.1 * size, 0.84 * size, size, 185, 355), wearer.hair)
    if wearer.kind == "woman":
        lock = [(0.84, -0.35), (1.08, 0.5), (1.12, 1.75), (0.7, 1.8), (0.62, 0.5), (0.5, -0.5)]
        for side in (-1, 1):
            canvas.body(_round_off([(x + side * px * size, y + py * size) for px, py in lock]), wearer.hair)
    _paint_face(canvas, wearer, x, y, size)


def _paint_face(canvas: _Canvas, wearer: Wearer, x: float, y: float, size: float) -> None:
    dark = _shade(wearer.skin, 0.35)
    for side in (-1, 1):
        canvas.mark(_ellipse(x + side * 0.3 * size, y + 0.05 * size, 0.1 * size, 0.08 * size), dark)
    lips = (176, 58, 66) if wearer.kind == "woman" else _shade(wearer.skin, 0.6)
    canvas.mark(_ellipse(x, y + 0.58 * size, 0.24 * size, 0.08 * size), lips)
    canvas.line([(x, y + 0.15 * size), (x - 0.06 * size, y + 0.34 * size)], _shade(wearer.skin, 0.75), 0.06 * size)


def _paint_arm(canvas: _Canvas, wearer: Wearer, top: float) -> None:
    """Both bare arms, from under the short sleeves downwards."""
    arm = [(0.05, top), (0.17, top), (0.15, top + 0.75), (0.04, top + 0.75)]
    canvas.body(arm, wearer.skin)
    canvas.body(_mirror(arm), wearer.skin)


# --- Garments --------------------------------------------------------------------------------------------------------


def _shirt_torso(drop: float) -> np.ndarray:
    torso = np.array([(0.37, 0.1), (0.63, 0.1), (0.8, 0.17), (0.8, 0.42), (0.79, 0.97), (0.21, 0.97), (0.2, 0.42),
                      (0.2, 0.17)])  # fmt: skip
    torso[:, 1] += drop
    torso[4:6, 1] += 2 * drop
    return torso


def _paint_collar(canvas: _Canvas, scene: Scene, drop: float, depth: float) -> None:
    cloth = COLOURS[scene.colour]
    depth = depth if scene.view == "front" else 0.025
    inside = scene.wearer.skin if scene.wearer else _shade(cloth, 0.55)
    if scene.view == "front":
        (canvas.body if scene.wearer else canvas.mark)(_ellipse(0.5, 0.1 + drop, 0.13, depth, 0, 180), inside)
    canvas.line(_ellipse(0.5, 0.1 + drop, 0.14, depth + 0.012, 0, 180), _shade(cloth, 0.72), 0.022)


def _paint_t_shirt(canvas: _Canvas, scene: Scene) -> None:
    cloth, drop = COLOURS[scene.colour], _WORN_DROP if scene.wearer else 0.0
    if scene.wearer:
        _paint_arm(canvas, scene.wearer, 0.4 + drop)
        _paint_head(canvas, scene.wearer, 0.5, 0.07, 0.145, scene.view)
    sleeve = _move([(0.27, 0.14), (0.2, 0.17), (0.0, 0.4), (0.14, 0.5), (0.24, 0.36)], 0, drop)
    for side in (sleeve, _mirror(sleeve)):
        canvas.cloth(side, _shade(cloth, 0.86))
    canvas.cloth(_shirt_torso(drop), cloth)
    for side in (sleeve, _mirror(sleeve)):
        canvas.line([_move(side[1], 0, 0.02), _move(side[4], 0, 0.06)], _shade(cloth, 0.7), 0.012)
        canvas.line([side[2], side[3]], _shade(cloth, 0.66), 0.014)
    _paint_collar(canvas, scene, drop, 0.075)


def _paint_long_sleeves(canvas: _Canvas, cloth: RGB, drop: float) -> None:
    sleeve = _move([(0.24, 0.14), (0.15, 0.18), (0.04, 0.42), (0.0, 0.86), (0.13, 0.88), (0.2, 0.44)], 0, drop)
    for side in (sleeve, _mirror(sleeve)):
        canvas.cloth(side, _shade(cloth, 0.84))
        canvas.cloth([side[3], side[4], _move(side[4], 0, 0.07), _move(side[3], 0, 0.07)], _shade(cloth, 0.64))


def _paint_sweater(canvas: _Canvas, scene: Scene) -> None:
    cloth, drop = COLOURS[scene.colour], _WORN_DROP if scene.wearer else 0.0
    if scene.wearer:
        _paint_head(canvas, scene.wearer, 0.5, 0.07, 0.145, scene.view)
    _paint_long_sleeves(canvas, cloth, drop)
    torso = _move(_shirt_torso(drop) * (0.96, 1), 0.02, 0)
    canvas.cloth(torso, cloth)
    hem = 0.88 + 1.2 * drop
    canvas.cloth([(0.22, hem), (0.78, hem), (0.77, hem + 0.1), (0.23, hem + 0.1)], _shade(cloth, 0.7))
    for x in np.arange(0.25, 0.77, 0.045):
        canvas.line([(x, hem + 0.01), (x, hem + 0.095)], _shade(cloth, 0.56), 0.01)
    for x in (0.215, 0.785):
        canvas.line([(x, 0.2 + drop), (x, 0.46 + drop)], _shade(cloth, 0.6), 0.012)
    _paint_collar(canvas, scene, drop, 0.045)
    canvas.line(_ellipse(0.5, 0.1 + drop, 0.155, 0.075, 0, 180), _shade(cloth, 0.64), 0.016)


def _paint_hoodie(canvas: _Canvas, scene: Scene) -> None:
    cloth, drop = COLOURS[scene.colour], _WORN_DROP if scene.wearer else 0.02
    _paint_long_sleeves(canvas, cloth, drop)
    hood = np.array([(0.25, 0.2), (0.26, 0.02), (0.38, -0.07), (0.62, -0.07), (0.74, 0.02), (0.75, 0.2), (0.5, 0.3)])
    hood = _round_off(_move(hood, 0, drop * 1.2))
    canvas.cloth(hood, _shade(cloth, 0.8))
    if scene.wearer and scene.view == "front":
        _paint_head(canvas, scene.wearer, 0.5, 0.08, 0.125, scene.view)
    elif scene.view == "front":
        canvas.mark(_ellipse(0.5, 0.09 + drop, 0.17, 0.12), _shade(cloth, 0.4))
    torso = _move(_shirt_torso(drop) * (0.96, 1), 0.02, 0)
    canvas.cloth(np.vstack([torso[2:], [(0.3, 0.14 + drop), (0.5, 0.27 + drop), (0.7, 0.14 + drop)]]), cloth)
    if scene.view == "back":
        flap = _move([(0.24, 0.1), (0.76, 0.1), (0.7, 0.3), (0.5, 0.36), (0.3, 0.3)], 0, drop)
        canvas.cloth(_round_off(flap), _shade(cloth, 0.84))
        return
    canvas.line([(0.3, 0.14 + drop), (0.5, 0.27 + drop), (0.7, 0.14 + drop)], _shade(cloth, 0.55), 0.02)
    cord = (236, 236, 232) if sum(cloth) < 480 else (70, 70, 72)
    for x in (0.45, 0.55):
        canvas.line([(x, 0.25 + drop), (x + (x - 0.5) * 0.3, 0.36 + drop)], cord, 0.016)
    pocket = _move([(0.34, 0.72), (0.66, 0.72), (0.74, 0.9), (0.26, 0.9)], 0, drop)
    canvas.line(np.vstack([pocket, pocket[:1]]), _shade(cloth, 0.55), 0.018)


def _paint_hat(canvas: _Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    if scene.wearer:
        wearer = scene.wearer
        canvas.body(_box(-0.1, 1.12, 1.1, 1.6), _shade(scene.tint, 0.6))
        if wearer.kind == "woman":
            canvas.body(_round_off([(0.14, 0.5), (0.86, 0.5), (0.96, 1.3), (0.04, 1.3)]), wearer.hair)
        else:
            canvas.body(_box(0.2, 0.5, 0.8, 0.72), wearer.hair)
        canvas.body(_round_off([(0.23, 0.5), (0.77, 0.5), (0.77, 0.86), (0.62, 1.1), (0.38, 1.1), (0.23, 0.86)]),
                    wearer.skin)  # fmt: skip
        _paint_face(canvas, wearer, 0.5, 0.8, 0.26)
    canvas.cloth(_ellipse(0.5, 0.56, 0.36, 0.46, 180, 360), cloth)
    for x in (0.3, 0.7):
        canvas.line([(0.5, 0.11), ((0.5 + x) / 2 + (x - 0.5) * 0.4, 0.25), (x + (x - 0.5) * 0.55, 0.55)],
                    _shade(cloth, 0.68), 0.01)  # fmt: skip
    canvas.cloth(_ellipse(0.5, 0.105, 0.035, 0.022), _shade(cloth, 0.7))
    brim = np.vstack([_ellipse(0.5, 0.58, 0.4, 0.07, 180, 360), _ellipse(0.5, 0.58, 0.47, 0.19, 0, 180)])
    canvas.cloth(brim, _shade(cloth, 0.8))
    canvas.line(_ellipse(0.5, 0.58, 0.4, 0.07, 180, 360), _shade(cloth, 0.5), 0.014)
    canvas.line(_ellipse(0.5, 0.56, 0.44, 0.17, 15, 165), _shade(cloth, 0.62), 0.01)


def _paint_shorts(canvas: _Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    if scene.wearer:
        skin = scene.wearer.skin
        top = _shade(COLOURS["white"] if scene.colour != "white" else COLOURS["grey"], 0.92)
        canvas.body([(0.1, -0.6), (0.9, -0.6), (0.86, 0.16), (0.14, 0.16)], top)
        bare = [(0.1, 0.8), (0.42, 0.8), (0.38, 1.7), (0.16, 1.7)]
        canvas.body(bare, skin)
        canvas.body(_mirror(bare), _shade(skin, 0.94))
    leg = np.array([(0.13, 0.12), (0.5, 0.12), (0.51, 0.46), (0.47, 0.9), (0.02, 0.87)])
    canvas.cloth(leg, cloth)
    canvas.cloth(_mirror(leg), _shade(cloth, 0.95))
    canvas.cloth(_box(0.13, 0.08, 0.87, 0.17), _shade(cloth, 0.72))
    canvas.line([(0.5, 0.17), (0.5, 0.47)], _shade(cloth, 0.58), 0.014)
    for x in (0.47, 0.53):
        canvas.line([(x, 0.15), (x + (x - 0.5), 0.34)], _shade(cloth, 1.5 if sum(cloth) < 400 else 0.4), 0.014)
    for hem in (leg[3:5], _mirror(leg)[3:5]):
        canvas.line(_move(hem, 0, -0.035), _shade(cloth, 0.62), 0.012)


def _paint_sock(canvas: _Canvas, cloth: RGB, shift: tuple[float, float]) -> None:
    sock = np.array([(0.1, 0.04), (0.54, 0.04), (0.54, 0.5), (0.6, 0.6), (0.86, 0.68), (0.95, 0.8), (0.9, 0.93),
                     (0.3, 0.94), (0.13, 0.82), (0.1, 0.6)]) + shift  # fmt: skip
    canvas.cloth(_round_off(sock), cloth)
    toe = np.array([(0.78, 0.67), (0.86, 0.69), (0.95, 0.8), (0.9, 0.92), (0.76, 0.93)]) + shift
    heel = np.array([(0.105, 0.64), (0.25, 0.7), (0.3, 0.92), (0.16, 0.86)]) + shift
    for patch in (_round_off(toe, 1), _round_off(heel, 1)):
        canvas.cloth(patch, _shade(cloth, 0.68))
    canvas.cloth(np.array(_box(0.09, 0.02, 0.55, 0.14)) + shift, _shade(cloth, 0.76))
    for x in np.arange(0.12, 0.54, 0.05):
        canvas.line(np.array([(x, 0.025), (x, 0.135)]) + shift, _shade(cloth, 0.6), 0.01)


def _paint_socks(canvas: _Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    if scene.wearer:
        canvas.body([(0.26, -0.6), (0.66, -0.6), (0.64, 0.1), (0.3, 0.1)], _shade(scene.wearer.skin, 0.88))
    _paint_sock(canvas, _shade(cloth, 0.78), (0.14, -0.05))
    if scene.wearer:
        canvas.body([(0.08, -0.6), (0.54, -0.6), (0.52, 0.1), (0.12, 0.1)], scene.wearer.skin)
    _paint_sock(canvas, cloth, (0.0, 0.02))


def _paint_bag(canvas: _Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    canvas.strap(_ellipse(0.5, 0.36, 0.2, 0.34, 180, 360), _shade(cloth, 0.6), 0.04)
    canvas.cloth([(0.14, 0.34), (0.86, 0.34), (0.94, 0.96), (0.06, 0.96)], cloth)
    canvas.strap(_ellipse(0.5, 0.4, 0.22, 0.3, 180, 360), _shade(cloth, 0.82), 0.045)
    canvas.cloth([(0.14, 0.34), (0.86, 0.34), (0.87, 0.4), (0.13, 0.4)], _shade(cloth, 0.74))
    for x in (0.28, 0.72):
        canvas.mark(_box(x - 0.035, 0.36, x + 0.035, 0.45), _shade(cloth, 0.6))
    canvas.line([(0.07, 0.92), (0.93, 0.92)], _shade(cloth, 0.72), 0.01)


def _paint_mug(canvas: _Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    canvas.strap(_ellipse(0.75, 0.53, 0.17, 0.2, -100, 100), _shade(cloth, 0.82), 0.07)
    body = np.vstack([[(0.1, 0.2), (0.76, 0.2)], _ellipse(0.43, 0.82, 0.31, 0.09, 0, 180)])
    canvas.cloth(body, cloth)
    canvas.cloth(_ellipse(0.43, 0.2, 0.33, 0.08), _shade(cloth, 1.12))
    canvas.mark(_ellipse(0.43, 0.205, 0.29, 0.06), (74, 46, 30))
    canvas.line([(0.135, 0.32), (0.15, 0.76)], _shade(cloth, 1.35), 0.02)


def _paint_perfume(canvas: _Canvas, scene: Scene) -> None:
    glass = COLOURS[scene.colour]
    metal = ((206, 172, 96), (178, 180, 186), (44, 44, 48))[scene.seed % 3]
    canvas.body(_box(0.37, 0.02, 0.63, 0.2), metal)
    canvas.mark(_box(0.41, 0.02, 0.46, 0.2), _shade(metal, 1.3))
    canvas.body(_box(0.42, 0.2, 0.58, 0.29), _shade(metal, 0.74))
    body = [(0.26, 0.28), (0.74, 0.28), (0.84, 0.38), (0.84, 0.96), (0.16, 0.96), (0.16, 0.38)]
    canvas.cloth(body, _shade(glass, 0.74))
    canvas.mark(_box(0.2, 0.41, 0.8, 0.9), glass)
    canvas.mark([(0.28, 0.31), (0.72, 0.31), (0.79, 0.38), (0.21, 0.38)], _shade(glass, 1.35))
    canvas.mark(_box(0.18, 0.42, 0.2, 0.92), _shade(glass, 1.6))


def _paint_billboard(canvas: _Canvas, scene: Scene) -> None:
    panel, steel = COLOURS[scene.colour], (86, 88, 94)
    for x in (0.24, 0.7):
        canvas.body(_box(x, 0.6, x + 0.06, 1.8), steel)
    canvas.body(_box(0.02, 0.1, 0.98, 0.68), _shade(steel, 0.8))
    canvas.cloth(_box(0.05, 0.13, 0.95, 0.65), panel)
    for x in (0.22, 0.5, 0.78):
        canvas.line([(x, 0.11), (x, 0.04)], steel, 0.016)
        canvas.body(_box(x - 0.05, 0.02, x + 0.05, 0.05), (236, 230, 200))
    canvas.body(_box(0.02, 0.68, 0.98, 0.72), _shade(steel, 1.15))


GARMENTS: dict[str, Garment] = {
    "t-shirt": Garment("t-shirt", _paint_t_shirt, {
        "chest": (0.5, 0.42, 0.56), "left": (0.64, 0.33, 0.24), "back": (0.5, 0.38, 0.56)}, True, _INDOORS),
    "sweater": Garment("sweater", _paint_sweater, {
        "chest": (0.5, 0.42, 0.53), "left": (0.63, 0.33, 0.24), "back": (0.5, 0.4, 0.53)}, True, _INDOORS),
    "hoodie": Garment("hoodie", _paint_hoodie, {
        "chest": (0.5, 0.52, 0.53), "left": (0.63, 0.42, 0.22), "back": (0.5, 0.55, 0.53)}, True, _INDOORS),
    "hat": Garment("hat", _paint_hat, {"front": (0.5, 0.37, 0.52)}, True, _INDOORS, most_rotation=9),
    "shorts": Garment("shorts", _paint_shorts, {
        "left": (0.275, 0.62, 0.41), "right": (0.725, 0.62, 0.41)}, True, _INDOORS, plural=True, most_rotation=7),
    "socks": Garment("socks", _paint_socks, {"side": (0.325, 0.36, 0.4)}, True, _INDOORS, True, most_rotation=8),
    "bag": Garment("bag", _paint_bag, {"front": (0.5, 0.66, 0.58)}, False, (*_INDOORS, "table")),
    "mug": Garment("mug", _paint_mug, {"front": (0.43, 0.55, 0.52)}, False, _TABLE, rigid=True, most_rotation=4),
    "perfume bottle": Garment("bottle of perfume", _paint_perfume, {"front": (0.5, 0.66, 0.54)}, False, _TABLE,
                              rigid=True, most_rotation=4),
    "billboard": Garment("billboard", _paint_billboard, {"centre": (0.5, 0.39, 0.7)}, False,
                         ("street", "street", "park", "plain"), rigid=True, most_rotation=3),
}  # fmt: skip


# --- Drawing ---------------------------------------------------------------------------------------------------------


def draw(scene: Scene, width: int, height: int, supersample: int | None = None) -> Drawing:
    """Paint the scene; the same scene, size and supersample factor always give the same pixels.

    supersample: how many times larger the polygons are drawn before they are scaled down; None takes 4 for small
        pictures and 2 for large ones.
    """
    canvas = _Canvas(scene, width, height, supersample or (4 if max(width, height) <= 128 else 2))
    BACKGROUNDS[scene.background](canvas, scene)
    GARMENTS[scene.garment].paint(canvas, scene)
    logo_box = _paint_logo(canvas, scene)
    image, mask = _light(canvas, scene)
    return Drawing(image, logo_box, mask)


def _paint_logo(canvas: _Canvas, scene: Scene) -> tuple[float, float, float, float] | None:
    """Print the brand's mark on the garment; returns the box around it in pixels of the final picture."""
    if scene.brand is None:
        return None
    x, y, _ = GARMENTS[scene.garment].placements[scene.placement]
    hangs_lower = scene.wearer and scene.garment in ("t-shirt", "sweater", "hoodie")
    centre = canvas.place([(x, y + (_WORN_DROP if hangs_lower else 0))])[0]
    width = scene.logo_width * canvas.unit
    mark = logo_bitmap(scene.brand, _LOGO_WIDTH)
    size = (max(4, round(width)), max(2, round(width * mark.height / mark.width)))
    mark = mark.resize(size, Image.Resampling.BOX if size[0] < _LOGO_WIDTH else Image.Resampling.BICUBIC)
    turned = mark.rotate(scene.rotation + scene.logo_rotation, Image.Resampling.BICUBIC, expand=True)
    left, top = (round(centre[0] - turned.width / 2), round(centre[1] - turned.height / 2))
    canvas.image.paste(turned, (left, top), turned)
    visible = turned.getchannel("A").getbbox() or (0, 0, 0, 0)
    edges = (np.array(visible) + np.array((left, top) * 2)) / canvas.supersample
    x0, y0, x1, y1 = (float(v) for v in np.clip(edges, 0, [canvas.width, canvas.height] * 2))
    return x0, y0, x1, y1


def _light(canvas: _Canvas, scene: Scene) -> tuple[Image.Image, Image.Image]:
    """Scale the canvas down and light it: gradient, folds on the garment, a soft shadow behind it, grain."""
    width, height = canvas.width, canvas.height
    rgb = np.asarray(canvas.image.reduce(canvas.supersample), np.float32)
    mask = canvas.garment.reduce(canvas.supersample)
    garment = np.asarray(mask, np.float32)[..., None] / 255
    subject = np.asarray(canvas.subject.reduce(canvas.supersample), np.float32)[..., None] / 255
    angle, unit = math.radians(scene.light), min(width, height)
    xs = (np.arange(width, dtype=np.float32) - width / 2) / unit
    ys = (np.arange(height, dtype=np.float32) - height / 2) / unit
    gradient = (xs[None, :] * math.cos(angle) + ys[:, None] * math.sin(angle))[..., None]
    folds = _fold_map(canvas, scene)[..., None] * garment
    shadow = _shadow_map(canvas, angle)[..., None] * (1 - subject)
    noise = canvas.rng.standard_normal((height, width, 1), np.float32) * scene.grain
    lit = rgb * (1 + 0.16 * gradient + folds) * (1 - 0.42 * shadow) + 26 * folds + noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8)), mask


_MAP = 80  # pixels of the unit square in the maps of folds and shadow, which are soft and need no more


def _map_size(canvas: _Canvas) -> tuple[int, int]:
    unit = min(canvas.width, canvas.height)
    return round(_MAP * canvas.width / unit), round(_MAP * canvas.height / unit)


def _fold_map(canvas: _Canvas, scene: Scene) -> np.ndarray:
    """Soft dark and light lines, -1 to 1 around 0: creases on cloth, the round of a vessel on what is rigid."""
    size = _map_size(canvas)
    folds = Image.new("L", size, 128)
    pen, offset = (ImageDraw.Draw(folds), np.array([(size[0] - _MAP) / 2, (size[1] - _MAP) / 2]))
    if GARMENTS[scene.garment].rigid:
        if scene.garment != "billboard":
            for x, tone in ((0.12, 92), (0.3, 146), (0.72, 96), (0.86, 96)):
                line = canvas.place([(x, -0.1), (x, 1.1)]) / canvas.unit
                shifted = (line - np.array(canvas.origin) / canvas.unit) * _MAP + offset
                pen.line(shifted.ravel().tolist(), tone, 7)
    else:
        for number in range(9):
            middle = np.array((canvas.rng.uniform(0.08, 0.92), canvas.rng.uniform(0.15, 1.0)))
            angle, length = canvas.rng.uniform(0.9, 2.3), canvas.rng.uniform(0.12, 0.38)
            bend = canvas.rng.uniform(-0.05, 0.05, 2)
            reach = np.array([math.cos(angle), math.sin(angle)]) * length / 2
            crease = np.array([middle - reach, middle + bend, middle + reach]) * _MAP + offset
            tone = 128 + round((38 if number % 3 == 0 else -62) * scene.folds)
            pen.line(crease.ravel().tolist(), tone, 3, "curve")
    folds = folds.filter(ImageFilter.GaussianBlur(2.2)).resize((canvas.width, canvas.height), Image.Resampling.BILINEAR)
    return np.asarray(folds, np.float32) / 128 - 1


def _shadow_map(canvas: _Canvas, angle: float) -> np.ndarray:
    """The subject's silhouette, blurred and pushed away from the light, 0 to 1."""
    small = canvas.subject.resize(_map_size(canvas), Image.Resampling.NEAREST)
    away = (round(-4 * math.cos(angle)), round(-4 * math.sin(angle)))
    cast = Image.new("L", small.size, 0)
    cast.paste(small, away)
    cast = cast.filter(ImageFilter.BoxBlur(4)).resize((canvas.width, canvas.height), Image.Resampling.BILINEAR)
    return np.asarray(cast, np.float32) / 255


# --- Captions --------------------------------------------------------------------------------------------------------

_PLACES = {
    "studio": "", "plain": "", "wall": " in front of a brick wall", "street": " in the street", "park": " in the park",
    "table": " on a wooden table",
}  # fmt: skip
_COLOUR_NAMES: dict[RGB, str] = {
    RED: "red", BLUE: "blue", GREEN: "green", YELLOW: "yellow", ORANGE: "orange", BLACK: "black", WHITE: "white",
    PURPLE: "purple", PINK: "pink", TEAL: "teal", CREAM: "cream", BROWN: "brown",
}  # fmt: skip


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _thing(scene: Scene, with_colour: bool) -> str:
    """'a blue sweater', 'black socks', 'a bottle of perfume'."""
    kind = GARMENTS[scene.garment]
    words = f"{scene.colour} {kind.noun}" if with_colour else kind.noun
    return words if kind.plural else _with_article(words)


def _mark_words(scene: Scene, rng: np.random.Generator) -> str:
    """'with a velq logo', sometimes with what it looks like or where it sits; '' without a brand."""
    brand = scene.brand
    if brand is None:
        return ""
    box = _COLOUR_NAMES[brand.box_colour] if brand.box_colour else ""
    if not brand.word:
        return f" with a plain {box} box"
    word, letters = brand.word.lower(), _COLOUR_NAMES[brand.letter_colour]
    style = rng.random()
    if style < 0.08:
        return f" with {_with_article(letters)} {word} logo" + (f" in {_with_article(box)} box" if box else "")
    where = ""
    if style < 0.35:
        where = {"chest": " on the chest", "back": " on the back"}.get(scene.placement, "")
    return f" with {_with_article(word)} logo{where}"


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """What the picture shows, in lower-case words; rng picks among templates, None takes one decided by the scene."""
    rng = rng if rng is not None else np.random.default_rng(scene.seed)
    thing, mark = _thing(scene, rng.random() < 0.92), _mark_words(scene, rng)
    place = _PLACES[scene.background] if rng.random() < 0.6 else ""
    if scene.brand is not None and scene.brand.word and rng.random() < 0.04:
        return f"{_with_article(scene.brand.word.lower())} logo"
    if scene.wearer is not None and rng.random() < 0.65:
        return f"a {scene.wearer.kind} wearing {thing}{mark}{place}"
    opening = "a photo of " if rng.random() < 0.3 else ""
    return f"{opening}{thing}{mark}{place}"


# --- Contact sheet ---------------------------------------------------------------------------------------------------


def contact_sheet(size: int, columns: int, rows: int, enlarge: int, seed: int) -> Image.Image:
    """A grid of sampled scenes, a garment a column, each picture enlarged without smoothing."""
    rng, cell = np.random.default_rng(seed), size * enlarge
    sheet = Image.new("RGB", (columns * cell, rows * cell))
    for index in range(columns * rows):
        kind = tuple(GARMENTS)[index % columns % len(GARMENTS)]
        picture = draw(sample_scene(rng, garment=kind), size, size).image
        position = (index % columns * cell, index // columns * cell)
        sheet.paste(picture.resize((cell, cell), Image.Resampling.NEAREST), position)
    return sheet


def main() -> None:
    """Paint the sheet that the command line asks for."""
    parser = argparse.ArgumentParser(description="Paint a contact sheet of the demo world.")
    parser.add_argument("--sheet", required=True, help="PNG file to write")
    parser.add_argument("--size", type=int, default=64, help="pixels of one picture")
    parser.add_argument("--enlarge", type=int, default=3, help="pixels of the sheet per pixel of a picture")
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    contact_sheet(options.size, options.columns, options.rows, options.enlarge, options.seed).save(options.sheet)


if __name__ == "__main__":
    main()
