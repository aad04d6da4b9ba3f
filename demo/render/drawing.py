"""A scene painted: garment and mark on a background, then light, folds, shadow and grain at the final size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from demo.render.backgrounds import BACKGROUNDS
from demo.render.brands import MARK_WIDTH, logo_bitmap
from demo.render.canvas import Canvas
from demo.render.garments import GARMENTS
from demo.render.people import WORN_DROP
from demo.render.scene import Scene


@dataclass(frozen=True)
class Drawing:
    """A painted scene; `logo_box` is (x0, y0, x1, y1) in pixels around the visible mark, `garment_mask` is 0 to 255."""

    image: Image.Image
    logo_box: tuple[float, float, float, float] | None
    garment_mask: Image.Image


def draw(scene: Scene, width: int, height: int, supersample: int | None = None) -> Drawing:
    """Paint the scene; the same scene, size and supersample factor always give the same pixels.

    supersample: how many times larger the polygons are drawn before they are scaled down; None takes 4 for small
        pictures and 2 for large ones.
    """
    canvas = Canvas(scene, width, height, supersample or (4 if max(width, height) <= 128 else 2))
    BACKGROUNDS[scene.background](canvas, scene)
    GARMENTS[scene.garment].paint(canvas, scene)
    logo_box = _paint_logo(canvas, scene)
    image, mask = _light(canvas, scene)
    return Drawing(image, logo_box, mask)


def logo_box(scene: Scene, width: int, height: int) -> tuple[float, float, float, float] | None:
    """The box of `draw(scene, width, height, supersample=1)`, without painting what is around the mark."""
    return _paint_logo(Canvas(scene, width, height, 1), scene)


def _paint_logo(canvas: Canvas, scene: Scene) -> tuple[float, float, float, float] | None:
    """Print the brand's mark on the garment; returns the box around it in pixels of the final picture."""
    if scene.brand is None:
        return None
    x, y, _ = GARMENTS[scene.garment].placements[scene.placement]
    hangs_lower = scene.wearer and scene.garment in ("t-shirt", "sweater", "hoodie")
    centre = canvas.place([(x, y + (WORN_DROP if hangs_lower else 0))])[0]
    width = scene.logo_width * canvas.unit
    mark = logo_bitmap(scene.brand, MARK_WIDTH)
    size = (max(4, round(width)), max(2, round(width * mark.height / mark.width)))
    mark = mark.resize(size, Image.Resampling.BOX if size[0] < MARK_WIDTH else Image.Resampling.BICUBIC)
    turned = mark.rotate(scene.rotation + scene.logo_rotation, Image.Resampling.BICUBIC, expand=True)
    left, top = (round(centre[0] - turned.width / 2), round(centre[1] - turned.height / 2))
    canvas.image.paste(turned, (left, top), turned)
    visible = turned.getchannel("A").getbbox() or (0, 0, 0, 0)
    edges = (np.array(visible) + np.array((left, top) * 2)) / canvas.supersample
    x0, y0, x1, y1 = (float(v) for v in np.clip(edges, 0, [canvas.width, canvas.height] * 2))
    return x0, y0, x1, y1


def _light(canvas: Canvas, scene: Scene) -> tuple[Image.Image, Image.Image]:
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


MAP = 80  # pixels of the unit square in the maps of folds and shadow, which are soft and need no more


def _map_size(canvas: Canvas) -> tuple[int, int]:
    unit = min(canvas.width, canvas.height)
    return round(MAP * canvas.width / unit), round(MAP * canvas.height / unit)


def _fold_map(canvas: Canvas, scene: Scene) -> np.ndarray:
    """Soft dark and light lines, -1 to 1 around 0: creases on cloth, the round of a vessel on what is rigid."""
    size = _map_size(canvas)
    folds = Image.new("L", size, 128)
    pen, offset = (ImageDraw.Draw(folds), np.array([(size[0] - MAP) / 2, (size[1] - MAP) / 2]))
    if GARMENTS[scene.garment].rigid:
        if scene.garment != "billboard":
            for x, tone in ((0.12, 92), (0.3, 146), (0.72, 96), (0.86, 96)):
                line = canvas.place([(x, -0.1), (x, 1.1)]) / canvas.unit
                shifted = (line - np.array(canvas.origin) / canvas.unit) * MAP + offset
                pen.line(shifted.ravel().tolist(), tone, 7)
    else:
        for number in range(9):
            middle = np.array((canvas.rng.uniform(0.08, 0.92), canvas.rng.uniform(0.15, 1.0)))
            angle, length = canvas.rng.uniform(0.9, 2.3), canvas.rng.uniform(0.12, 0.38)
            bend = canvas.rng.uniform(-0.05, 0.05, 2)
            reach = np.array([math.cos(angle), math.sin(angle)]) * length / 2
            crease = np.array([middle - reach, middle + bend, middle + reach]) * MAP + offset
            tone = 128 + round((38 if number % 3 == 0 else -62) * scene.folds)
            pen.line(crease.ravel().tolist(), tone, 3, "curve")
    folds = folds.filter(ImageFilter.GaussianBlur(2.2)).resize((canvas.width, canvas.height), Image.Resampling.BILINEAR)
    return np.asarray(folds, np.float32) / 128 - 1


def _shadow_map(canvas: Canvas, angle: float) -> np.ndarray:
    """The subject's silhouette, blurred and pushed away from the light, 0 to 1."""
    small = canvas.subject.resize(_map_size(canvas), Image.Resampling.NEAREST)
    away = (round(-4 * math.cos(angle)), round(-4 * math.sin(angle)))
    cast = Image.new("L", small.size, 0)
    cast.paste(small, away)
    cast = cast.filter(ImageFilter.BoxBlur(4)).resize((canvas.width, canvas.height), Image.Resampling.BILINEAR)
    return np.asarray(cast, np.float32) / 255
