"""Who wears the garment: heads, faces and arms."""

from __future__ import annotations

from demo.render.canvas import Canvas, ellipse, mirror, rectangle, round_off, shade
from demo.render.scene import Wearer

WORN_DROP = 0.13  # how much lower a shirt hangs when there is a head above it


def paint_head(canvas: Canvas, wearer: Wearer, x: float, y: float, size: float, view: str) -> None:
    """Neck, head and hair around (x, y); size is half the head's height."""
    canvas.body(rectangle(x - 0.42 * size, y, x + 0.42 * size, y + 2.0 * size), shade(wearer.skin, 0.86))
    canvas.body(ellipse(x, y, 0.76 * size, size), wearer.skin)
    if view == "back":
        canvas.body(ellipse(x, y - 0.1 * size, 0.82 * size, 0.98 * size), wearer.hair)
        if wearer.kind == "woman":
            canvas.body(rectangle(x - 0.8 * size, y, x + 0.8 * size, y + 1.7 * size), wearer.hair)
        return
    canvas.body(ellipse(x, y - 0.1 * size, 0.84 * size, size, 185, 355), wearer.hair)
    if wearer.kind == "woman":
        lock = [(0.84, -0.35), (1.08, 0.5), (1.12, 1.75), (0.7, 1.8), (0.62, 0.5), (0.5, -0.5)]
        for side in (-1, 1):
            canvas.body(round_off([(x + side * px * size, y + py * size) for px, py in lock]), wearer.hair)
    paint_face(canvas, wearer, x, y, size)


def paint_face(canvas: Canvas, wearer: Wearer, x: float, y: float, size: float) -> None:
    """Eyes, mouth and nose around (x, y); size is half the head's height."""
    dark = shade(wearer.skin, 0.35)
    for side in (-1, 1):
        canvas.mark(ellipse(x + side * 0.3 * size, y + 0.05 * size, 0.1 * size, 0.08 * size), dark)
    lips = (176, 58, 66) if wearer.kind == "woman" else shade(wearer.skin, 0.6)
    canvas.mark(ellipse(x, y + 0.58 * size, 0.24 * size, 0.08 * size), lips)
    canvas.line([(x, y + 0.15 * size), (x - 0.06 * size, y + 0.34 * size)], shade(wearer.skin, 0.75), 0.06 * size)


def paint_arms(canvas: Canvas, wearer: Wearer, top: float) -> None:
    """Both bare arms, from under the short sleeves downwards."""
    arm = [(0.05, top), (0.17, top), (0.15, top + 0.75), (0.04, top + 0.75)]
    canvas.body(arm, wearer.skin)
    canvas.body(mirror(arm), wearer.skin)
