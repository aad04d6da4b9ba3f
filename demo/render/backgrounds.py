"""What is behind the garment: studio, wall, street, park, table."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from demo.render.canvas import Canvas, ellipse, rectangle, shade
from demo.render.scene import Scene

TINTS = {"wall": (176, 118, 96), "street": (172, 178, 188), "park": (112, 160, 92), "table": (176, 130, 84)}


FAR, NEAR = (-1.0, 2.0)  # backgrounds reach beyond the unit square, for pictures that are not square


def _paint_studio(canvas: Canvas, scene: Scene) -> None:
    horizon = canvas.rng.uniform(0.72, 0.9)
    canvas.backdrop(rectangle(FAR, horizon, NEAR, NEAR), shade(scene.tint, 0.93))


def _paint_plain(canvas: Canvas, scene: Scene) -> None:
    """Nothing but the tint."""


def _paint_wall(canvas: Canvas, scene: Scene) -> None:
    mortar, height = shade(scene.tint, 1.12), canvas.rng.uniform(0.09, 0.13)
    for row in range(-4, math.ceil(1.5 / height) + 1):
        y = row * height
        canvas.backdrop(rectangle(FAR, y, NEAR, y + 0.012), mortar)
        for column in range(-2, 7):
            x = (column + 0.5 * (row % 2)) * 0.26
            canvas.backdrop(rectangle(x, y, x + 0.012, y + height), mortar)


def _paint_street(canvas: Canvas, scene: Scene) -> None:
    canvas.backdrop(rectangle(FAR, FAR, NEAR, 0.7), (168, 200, 228))
    x = FAR + 0.5
    while x < 1.6:
        width, top = canvas.rng.uniform(0.2, 0.36), canvas.rng.uniform(0.02, 0.36)
        wall = shade(scene.tint, canvas.rng.uniform(0.62, 1.05))
        canvas.backdrop(rectangle(x, top, x + width, 0.78), wall)
        for row in range(4):
            for column in range(2):
                left, upper = (x + width * (0.16 + 0.42 * column), top + 0.05 + 0.12 * row)
                canvas.backdrop(rectangle(left, upper, left + 0.26 * width, upper + 0.06), shade(wall, 0.6))
        x += width
    canvas.backdrop(rectangle(FAR, 0.78, NEAR, NEAR), (104, 104, 108))
    canvas.backdrop(rectangle(FAR, 0.76, NEAR, 0.79), (150, 150, 150))


def _paint_park(canvas: Canvas, scene: Scene) -> None:
    canvas.backdrop(rectangle(FAR, FAR, NEAR, 0.7), (176, 210, 236))
    for x in np.arange(-0.4, 1.5, 0.3):
        x, top = x + canvas.rng.uniform(-0.08, 0.08), canvas.rng.uniform(0.12, 0.36)
        canvas.backdrop(rectangle(x - 0.02, top, x + 0.02, 0.72), (94, 66, 44))
        canvas.backdrop(ellipse(x, top, 0.17, 0.2), shade((62, 118, 58), canvas.rng.uniform(0.8, 1.15)))
    canvas.backdrop(rectangle(FAR, 0.66, NEAR, NEAR), scene.tint)


def _paint_table(canvas: Canvas, scene: Scene) -> None:
    wall = shade((206, 202, 192), canvas.rng.uniform(0.85, 1.08))
    edge = canvas.rng.uniform(0.3, 0.62)
    canvas.backdrop(rectangle(FAR, FAR, NEAR, edge), wall)
    for number, y in enumerate(np.arange(edge, 1.6, 0.13)):
        canvas.backdrop(rectangle(FAR, y, NEAR, y + 0.13), shade(scene.tint, 0.92 + 0.1 * (number % 2)))
        canvas.backdrop(rectangle(FAR, y, NEAR, y + 0.01), shade(scene.tint, 0.66))


BACKGROUNDS: dict[str, Callable[[Canvas, Scene], None]] = {
    "studio": _paint_studio,
    "plain": _paint_plain,
    "wall": _paint_wall,
    "street": _paint_street,
    "park": _paint_park,
    "table": _paint_table,
}
