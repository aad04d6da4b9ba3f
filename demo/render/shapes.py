"""What is drawn behind a mark's letters, and the marks that have none."""

from __future__ import annotations

from PIL import ImageDraw

from demo.render.colours import RGB

LETTERLESS = ("stair", "frame", "steps")
"""Shapes of marks without letters. Whatever is behind such a mark shows through it."""


def paint_shape(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], shape: str, box_colour: RGB, letter_colour: RGB
) -> None:
    """Fill a picture of this width and height, pixels, with the shape; what it leaves out stays transparent."""
    width, height = size
    if shape in LETTERLESS:
        _paint_letterless(pen, size, shape, box_colour, letter_colour)
        return
    if shape == "circle":
        pen.ellipse((0, 0, width - 1, height - 1), (*box_colour, 255))
        return
    radius = {"rounded": 0.22, "pill": 0.5}.get(shape, 0.0) * height
    pen.rounded_rectangle((0, 0, width - 1, height - 1), radius, (*box_colour, 255))
    if shape == "framed":
        line = round(0.05 * height)
        pen.rectangle((0, 0, width - 1, height - 1), outline=(*letter_colour, 255), width=line)


def _paint_letterless(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], shape: str, frame_colour: RGB, stair_colour: RGB
) -> None:
    """A leaning frame, and a stair of three steps that climbs in it and covers part of its foot; or one of the two."""

    def polygon(points: list[tuple[float, float]], fill: tuple[int, ...]) -> None:
        pen.polygon([(x * (size[0] - 1), y * (size[1] - 1)) for x, y in points], fill)

    if shape != "steps":
        polygon([(0.2, 0), (1, 0), (0.8, 1), (0, 1)], (*frame_colour, 255))
        polygon([(0.3, 0.17), (0.84, 0.17), (0.7, 0.83), (0.16, 0.83)], (*frame_colour, 0))
    if shape != "frame":
        steps = [(0.24, 0.92), (0.24, 0.64), (0.42, 0.64), (0.42, 0.45), (0.58, 0.45), (0.58, 0.26), (0.76, 0.26)]
        polygon([*steps, (0.76, 0.48), (0.68, 0.92)], (*stair_colour, 255))
