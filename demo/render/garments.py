"""The garments and goods of the demo world: how each is painted, and where a mark sits on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from demo.render.canvas import Canvas, ellipse, mirror, move, rectangle, round_off, shade
from demo.render.colours import COLOURS, RGB
from demo.render.people import WORN_DROP, paint_arms, paint_face, paint_head
from demo.render.scene import Scene


@dataclass(frozen=True)
class Garment:
    """What is particular to one kind of garment."""

    noun: str
    paint: Callable[[Canvas, Scene], None]
    placements: dict[str, tuple[float, float, float]]  # name -> centre x, centre y, widest mark
    wearable: bool
    backgrounds: tuple[str, ...]
    plural: bool = False
    rigid: bool = False
    most_rotation: float = 12.0
    tallest_mark: float = 0.5  # in fractions of the unit, as the widest; it limits marks lower than 1.5 to 1 alone


INDOORS = ("studio", "studio", "studio", "plain", "wall", "street", "park", "table")
TABLE_TOPS = ("studio", "studio", "plain", "wall", "table", "table")


def _shirt_torso(drop: float) -> np.ndarray:
    torso = np.array(
        [(0.37, 0.1), (0.63, 0.1), (0.8, 0.17), (0.8, 0.42), (0.79, 0.97), (0.21, 0.97), (0.2, 0.42), (0.2, 0.17)]
    )
    torso[:, 1] += drop
    torso[4:6, 1] += 2 * drop
    return torso


def _paint_collar(canvas: Canvas, scene: Scene, drop: float, depth: float) -> None:
    cloth = COLOURS[scene.colour]
    depth = depth if scene.view == "front" else 0.025
    inside = scene.wearer.skin if scene.wearer else shade(cloth, 0.55)
    if scene.view == "front":
        (canvas.body if scene.wearer else canvas.mark)(ellipse(0.5, 0.1 + drop, 0.13, depth, 0, 180), inside)
    canvas.line(ellipse(0.5, 0.1 + drop, 0.14, depth + 0.012, 0, 180), shade(cloth, 0.72), 0.022)


def _paint_t_shirt(canvas: Canvas, scene: Scene) -> None:
    cloth, drop = COLOURS[scene.colour], WORN_DROP if scene.wearer else 0.0
    if scene.wearer:
        paint_arms(canvas, scene.wearer, 0.4 + drop)
        paint_head(canvas, scene.wearer, 0.5, 0.07, 0.145, scene.view)
    sleeve = move([(0.27, 0.14), (0.2, 0.17), (0.0, 0.4), (0.14, 0.5), (0.24, 0.36)], 0, drop)
    for side in (sleeve, mirror(sleeve)):
        canvas.cloth(side, shade(cloth, 0.86))
    canvas.cloth(_shirt_torso(drop), cloth)
    for side in (sleeve, mirror(sleeve)):
        canvas.line([move(side[1], 0, 0.02), move(side[4], 0, 0.06)], shade(cloth, 0.7), 0.012)
        canvas.line([side[2], side[3]], shade(cloth, 0.66), 0.014)
    _paint_collar(canvas, scene, drop, 0.075)


def _paint_long_sleeves(canvas: Canvas, cloth: RGB, drop: float) -> None:
    sleeve = move([(0.24, 0.14), (0.15, 0.18), (0.04, 0.42), (0.0, 0.86), (0.13, 0.88), (0.2, 0.44)], 0, drop)
    for side in (sleeve, mirror(sleeve)):
        canvas.cloth(side, shade(cloth, 0.84))
        canvas.cloth([side[3], side[4], move(side[4], 0, 0.07), move(side[3], 0, 0.07)], shade(cloth, 0.64))


def _paint_sweater(canvas: Canvas, scene: Scene) -> None:
    cloth, drop = COLOURS[scene.colour], WORN_DROP if scene.wearer else 0.0
    if scene.wearer:
        paint_head(canvas, scene.wearer, 0.5, 0.07, 0.145, scene.view)
    _paint_long_sleeves(canvas, cloth, drop)
    torso = move(_shirt_torso(drop) * (0.96, 1), 0.02, 0)
    canvas.cloth(torso, cloth)
    hem = 0.88 + 1.2 * drop
    canvas.cloth([(0.22, hem), (0.78, hem), (0.77, hem + 0.1), (0.23, hem + 0.1)], shade(cloth, 0.7))
    for x in np.arange(0.25, 0.77, 0.045):
        canvas.line([(x, hem + 0.01), (x, hem + 0.095)], shade(cloth, 0.56), 0.01)
    for x in (0.215, 0.785):
        canvas.line([(x, 0.2 + drop), (x, 0.46 + drop)], shade(cloth, 0.6), 0.012)
    _paint_collar(canvas, scene, drop, 0.045)
    canvas.line(ellipse(0.5, 0.1 + drop, 0.155, 0.075, 0, 180), shade(cloth, 0.64), 0.016)


def _paint_hoodie(canvas: Canvas, scene: Scene) -> None:
    cloth, drop = COLOURS[scene.colour], WORN_DROP if scene.wearer else 0.02
    _paint_long_sleeves(canvas, cloth, drop)
    hood = np.array([(0.25, 0.2), (0.26, 0.02), (0.38, -0.07), (0.62, -0.07), (0.74, 0.02), (0.75, 0.2), (0.5, 0.3)])
    hood = round_off(move(hood, 0, drop * 1.2))
    canvas.cloth(hood, shade(cloth, 0.8))
    if scene.wearer and scene.view == "front":
        paint_head(canvas, scene.wearer, 0.5, 0.08, 0.125, scene.view)
    elif scene.view == "front":
        canvas.mark(ellipse(0.5, 0.09 + drop, 0.17, 0.12), shade(cloth, 0.4))
    torso = move(_shirt_torso(drop) * (0.96, 1), 0.02, 0)
    canvas.cloth(np.vstack([torso[2:], [(0.3, 0.14 + drop), (0.5, 0.27 + drop), (0.7, 0.14 + drop)]]), cloth)
    if scene.view == "back":
        flap = move([(0.24, 0.1), (0.76, 0.1), (0.7, 0.3), (0.5, 0.36), (0.3, 0.3)], 0, drop)
        canvas.cloth(round_off(flap), shade(cloth, 0.84))
        return
    canvas.line([(0.3, 0.14 + drop), (0.5, 0.27 + drop), (0.7, 0.14 + drop)], shade(cloth, 0.55), 0.02)
    cord = (236, 236, 232) if sum(cloth) < 480 else (70, 70, 72)
    for x in (0.45, 0.55):
        canvas.line([(x, 0.25 + drop), (x + (x - 0.5) * 0.3, 0.36 + drop)], cord, 0.016)
    pocket = move([(0.34, 0.72), (0.66, 0.72), (0.74, 0.9), (0.26, 0.9)], 0, drop)
    canvas.line(np.vstack([pocket, pocket[:1]]), shade(cloth, 0.55), 0.018)


def _paint_hat(canvas: Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    if scene.wearer:
        wearer = scene.wearer
        canvas.body(rectangle(-0.1, 1.12, 1.1, 1.6), shade(scene.tint, 0.6))
        if wearer.kind == "woman":
            canvas.body(round_off([(0.14, 0.5), (0.86, 0.5), (0.96, 1.3), (0.04, 1.3)]), wearer.hair)
        else:
            canvas.body(rectangle(0.2, 0.5, 0.8, 0.72), wearer.hair)
        canvas.body(
            round_off([(0.23, 0.5), (0.77, 0.5), (0.77, 0.86), (0.62, 1.1), (0.38, 1.1), (0.23, 0.86)]), wearer.skin
        )
        paint_face(canvas, wearer, 0.5, 0.8, 0.26)
    canvas.cloth(ellipse(0.5, 0.56, 0.36, 0.46, 180, 360), cloth)
    for x in (0.3, 0.7):
        canvas.line(
            [(0.5, 0.11), ((0.5 + x) / 2 + (x - 0.5) * 0.4, 0.25), (x + (x - 0.5) * 0.55, 0.55)],
            shade(cloth, 0.68),
            0.01,
        )
    canvas.cloth(ellipse(0.5, 0.105, 0.035, 0.022), shade(cloth, 0.7))
    brim = np.vstack([ellipse(0.5, 0.58, 0.4, 0.07, 180, 360), ellipse(0.5, 0.58, 0.47, 0.19, 0, 180)])
    canvas.cloth(brim, shade(cloth, 0.8))
    canvas.line(ellipse(0.5, 0.58, 0.4, 0.07, 180, 360), shade(cloth, 0.5), 0.014)
    canvas.line(ellipse(0.5, 0.56, 0.44, 0.17, 15, 165), shade(cloth, 0.62), 0.01)


def _paint_shorts(canvas: Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    if scene.wearer:
        skin = scene.wearer.skin
        top = shade(COLOURS["white"] if scene.colour != "white" else COLOURS["grey"], 0.92)
        canvas.body([(0.1, -0.6), (0.9, -0.6), (0.86, 0.16), (0.14, 0.16)], top)
        bare = [(0.1, 0.8), (0.42, 0.8), (0.38, 1.7), (0.16, 1.7)]
        canvas.body(bare, skin)
        canvas.body(mirror(bare), shade(skin, 0.94))
    leg = np.array([(0.13, 0.12), (0.5, 0.12), (0.51, 0.46), (0.47, 0.9), (0.02, 0.87)])
    canvas.cloth(leg, cloth)
    canvas.cloth(mirror(leg), shade(cloth, 0.95))
    canvas.cloth(rectangle(0.13, 0.08, 0.87, 0.17), shade(cloth, 0.72))
    canvas.line([(0.5, 0.17), (0.5, 0.47)], shade(cloth, 0.58), 0.014)
    for x in (0.47, 0.53):
        canvas.line([(x, 0.15), (x + (x - 0.5), 0.34)], shade(cloth, 1.5 if sum(cloth) < 400 else 0.4), 0.014)
    for hem in (leg[3:5], mirror(leg)[3:5]):
        canvas.line(move(hem, 0, -0.035), shade(cloth, 0.62), 0.012)


def _paint_sock(canvas: Canvas, cloth: RGB, shift: tuple[float, float]) -> None:
    sock = (
        np.array(
            [
                (0.1, 0.04),
                (0.54, 0.04),
                (0.54, 0.5),
                (0.6, 0.6),
                (0.86, 0.68),
                (0.95, 0.8),
                (0.9, 0.93),
                (0.3, 0.94),
                (0.13, 0.82),
                (0.1, 0.6),
            ]
        )
        + shift
    )
    canvas.cloth(round_off(sock), cloth)
    toe = np.array([(0.78, 0.67), (0.86, 0.69), (0.95, 0.8), (0.9, 0.92), (0.76, 0.93)]) + shift
    heel = np.array([(0.105, 0.64), (0.25, 0.7), (0.3, 0.92), (0.16, 0.86)]) + shift
    for patch in (round_off(toe, 1), round_off(heel, 1)):
        canvas.cloth(patch, shade(cloth, 0.68))
    canvas.cloth(np.array(rectangle(0.09, 0.02, 0.55, 0.14)) + shift, shade(cloth, 0.76))
    for x in np.arange(0.12, 0.54, 0.05):
        canvas.line(np.array([(x, 0.025), (x, 0.135)]) + shift, shade(cloth, 0.6), 0.01)


def _paint_socks(canvas: Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    if scene.wearer:
        canvas.body([(0.26, -0.6), (0.66, -0.6), (0.64, 0.1), (0.3, 0.1)], shade(scene.wearer.skin, 0.88))
    _paint_sock(canvas, shade(cloth, 0.78), (0.14, -0.05))
    if scene.wearer:
        canvas.body([(0.08, -0.6), (0.54, -0.6), (0.52, 0.1), (0.12, 0.1)], scene.wearer.skin)
    _paint_sock(canvas, cloth, (0.0, 0.02))


def _paint_bag(canvas: Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    canvas.strap(ellipse(0.5, 0.36, 0.2, 0.34, 180, 360), shade(cloth, 0.6), 0.04)
    canvas.cloth([(0.14, 0.34), (0.86, 0.34), (0.94, 0.96), (0.06, 0.96)], cloth)
    canvas.strap(ellipse(0.5, 0.4, 0.22, 0.3, 180, 360), shade(cloth, 0.82), 0.045)
    canvas.cloth([(0.14, 0.34), (0.86, 0.34), (0.87, 0.4), (0.13, 0.4)], shade(cloth, 0.74))
    for x in (0.28, 0.72):
        canvas.mark(rectangle(x - 0.035, 0.36, x + 0.035, 0.45), shade(cloth, 0.6))
    canvas.line([(0.07, 0.92), (0.93, 0.92)], shade(cloth, 0.72), 0.01)


def _paint_mug(canvas: Canvas, scene: Scene) -> None:
    cloth = COLOURS[scene.colour]
    canvas.strap(ellipse(0.75, 0.53, 0.17, 0.2, -100, 100), shade(cloth, 0.82), 0.07)
    body = np.vstack([[(0.1, 0.2), (0.76, 0.2)], ellipse(0.43, 0.82, 0.31, 0.09, 0, 180)])
    canvas.cloth(body, cloth)
    canvas.cloth(ellipse(0.43, 0.2, 0.33, 0.08), shade(cloth, 1.12))
    canvas.mark(ellipse(0.43, 0.205, 0.29, 0.06), (74, 46, 30))
    canvas.line([(0.135, 0.32), (0.15, 0.76)], shade(cloth, 1.35), 0.02)


def _paint_perfume(canvas: Canvas, scene: Scene) -> None:
    glass = COLOURS[scene.colour]
    metal = ((206, 172, 96), (178, 180, 186), (44, 44, 48))[scene.seed % 3]
    canvas.body(rectangle(0.37, 0.02, 0.63, 0.2), metal)
    canvas.mark(rectangle(0.41, 0.02, 0.46, 0.2), shade(metal, 1.3))
    canvas.body(rectangle(0.42, 0.2, 0.58, 0.29), shade(metal, 0.74))
    body = [(0.26, 0.28), (0.74, 0.28), (0.84, 0.38), (0.84, 0.96), (0.16, 0.96), (0.16, 0.38)]
    canvas.cloth(body, shade(glass, 0.74))
    canvas.mark(rectangle(0.2, 0.41, 0.8, 0.9), glass)
    canvas.mark([(0.28, 0.31), (0.72, 0.31), (0.79, 0.38), (0.21, 0.38)], shade(glass, 1.35))
    canvas.mark(rectangle(0.18, 0.42, 0.2, 0.92), shade(glass, 1.6))


def _paint_billboard(canvas: Canvas, scene: Scene) -> None:
    panel, steel = COLOURS[scene.colour], (86, 88, 94)
    for x in (0.24, 0.7):
        canvas.body(rectangle(x, 0.6, x + 0.06, 1.8), steel)
    canvas.body(rectangle(0.02, 0.1, 0.98, 0.68), shade(steel, 0.8))
    canvas.cloth(rectangle(0.05, 0.13, 0.95, 0.65), panel)
    for x in (0.22, 0.5, 0.78):
        canvas.line([(x, 0.11), (x, 0.04)], steel, 0.016)
        canvas.body(rectangle(x - 0.05, 0.02, x + 0.05, 0.05), (236, 230, 200))
    canvas.body(rectangle(0.02, 0.68, 0.98, 0.72), shade(steel, 1.15))


GARMENTS: dict[str, Garment] = {
    "t-shirt": Garment(
        "t-shirt",
        _paint_t_shirt,
        {"chest": (0.5, 0.42, 0.56), "left": (0.64, 0.33, 0.24), "back": (0.5, 0.38, 0.56)},
        True,
        INDOORS,
    ),
    "sweater": Garment(
        "sweater",
        _paint_sweater,
        {"chest": (0.5, 0.42, 0.53), "left": (0.63, 0.33, 0.24), "back": (0.5, 0.4, 0.53)},
        True,
        INDOORS,
    ),
    "hoodie": Garment(
        "hoodie",
        _paint_hoodie,
        {"chest": (0.5, 0.52, 0.53), "left": (0.63, 0.42, 0.22), "back": (0.5, 0.55, 0.53)},
        True,
        INDOORS,
    ),
    "hat": Garment("hat", _paint_hat, {"front": (0.5, 0.37, 0.52)}, True, INDOORS, most_rotation=9, tallest_mark=0.4),
    "shorts": Garment(
        "shorts",
        _paint_shorts,
        {"left": (0.275, 0.62, 0.41), "right": (0.725, 0.62, 0.41)},
        True,
        INDOORS,
        plural=True,
        most_rotation=7,
    ),
    "socks": Garment("socks", _paint_socks, {"side": (0.325, 0.36, 0.4)}, True, INDOORS, True, most_rotation=8),
    "bag": Garment("bag", _paint_bag, {"front": (0.5, 0.66, 0.58)}, False, (*INDOORS, "table")),
    "mug": Garment("mug", _paint_mug, {"front": (0.43, 0.55, 0.52)}, False, TABLE_TOPS, rigid=True, most_rotation=4),
    "perfume bottle": Garment(
        "bottle of perfume",
        _paint_perfume,
        {"front": (0.5, 0.66, 0.54)},
        False,
        TABLE_TOPS,
        rigid=True,
        most_rotation=4,
    ),
    "billboard": Garment(
        "billboard",
        _paint_billboard,
        {"centre": (0.5, 0.39, 0.7)},
        False,
        ("street", "street", "park", "plain"),
        rigid=True,
        most_rotation=3,
        tallest_mark=0.47,
    ),
}
