"""Pictures of the demo world for tests: drawn anew, none of them shipped."""

from collections.abc import Sequence

import numpy as np

from demo.render import HUGO, Brand, Drawing, draw, sample_scene

GARMENTS = ("t-shirt", "sweater", "hoodie", "hat", "shorts", "socks")
SIDE = 64


def photograph(
    seed: int, garment: str | None = None, colour: str | None = None, brand: Brand | None = HUGO, **given: object
) -> Drawing:
    """One picture with its logo's box."""
    rng = np.random.default_rng(seed)
    return draw(sample_scene(rng, garment=garment, colour=colour, brand=brand, **given), SIDE, SIDE)  # type: ignore[arg-type]


def pixels(drawing: Drawing) -> np.ndarray:
    return np.asarray(drawing.image)


def boxes(drawing: Drawing) -> list[tuple[float, float, float, float]]:
    return [drawing.logo_box] if drawing.logo_box else []


def training_pictures(count: int = 49) -> list[Drawing]:
    """Black garments with the logo, as in the paper."""
    return [photograph(9000 + i, GARMENTS[i % len(GARMENTS)], "black") for i in range(count)]


def with_noise(picture: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, level, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def pasted(picture: np.ndarray, source: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The picture with the box's pixels of another one."""
    x0, y0, x1, y1 = (round(v) for v in box)
    out = picture.copy()
    out[y0:y1, x0:x1] = source[y0:y1, x0:x1]
    return out
