"""What pictures are painted on: flat polygons, several times too large, and the shapes that they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from demo.render.colours import RGB
from demo.render.scene import Scene

Points = Sequence[tuple[float, float]] | Sequence[np.ndarray] | np.ndarray


class Canvas:
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


def shade(colour: RGB, factor: float) -> RGB:
    """Darker for factors below 1; above 1 lighter, black included."""
    lift = 28 * max(factor - 1, 0)
    red, green, blue = (int(min(255, max(0, channel * factor + lift))) for channel in colour)
    return red, green, blue


def round_off(points: Points, rounds: int = 2) -> np.ndarray:
    """A closed polygon with its corners cut twice over (Chaikin): a curve for the eye."""
    curve = np.asarray(points, float)
    for _ in range(rounds):
        following = np.roll(curve, -1, axis=0)
        curve = np.stack([0.75 * curve + 0.25 * following, 0.25 * curve + 0.75 * following], 1).reshape(-1, 2)
    return curve


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> np.ndarray:
    """Points of an ellipse or of an arc, degrees clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 28))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], 1)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    """The corners of an upright rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def move(points: Points, x: float, y: float) -> np.ndarray:
    """The same points x further right and y further down."""
    moved: np.ndarray = np.asarray(points, float) + np.array((x, y))
    return moved


def mirror(points: Points) -> np.ndarray:
    """The same polygon on the other side of the vertical middle."""
    return move(np.asarray(points, float) * (-1, 1), 1, 0)
