"""Logos on real photographs: those that Python packages carry, at an angle, blurred, lit and compressed."""

from __future__ import annotations

import io
import math
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

PHOTOGRAPHS = {
    "skimage": [
        *("data/astronaut.png", "data/coffee.png", "data/chelsea.png", "data/rocket.jpg", "data/camera.png"),
        *("data/motorcycle_left.png", "data/motorcycle_right.png", "data/hubble_deep_field.jpg", "data/retina.jpg"),
        *("data/ihc.png", "data/page.png", "data/text.png", "data/brick.png", "data/grass.png", "data/gravel.png"),
        *("data/coins.png", "data/moon.png", "data/color.png", "data/logo.png"),
    ],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
    "ultralytics": ["assets/bus.jpg", "assets/zidane.jpg"],
}
"""By package, which may be missing: scikit-learn's are there where it is installed."""


def photographs() -> list[Image.Image]:
    """Those that the installed packages carry, RGB."""
    found = []
    for package, names in PHOTOGRAPHS.items():
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            paths = [Path(folder, name) for name in names]
            found += [Image.open(path).convert("RGB") for path in paths if path.exists()]
    return found


def crops(count: int, seed: int) -> list[Image.Image]:
    """Pieces of the photographs, of 320 to 640 pixels, some mirrored."""
    rng = np.random.default_rng(seed)
    pictures = photographs()
    out = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        side = rng.uniform(0.45, 1.0) * min(picture.size)
        width, height = min(side, picture.width), min(side * rng.uniform(0.75, 1.34), picture.height)
        x, y = rng.uniform(0, picture.width - width), rng.uniform(0, picture.height - height)
        scale = rng.integers(320, 640) / max(width, height)
        piece = picture.crop((int(x), int(y), int(x + width), int(y + height)))
        piece = piece.resize((max(64, int(width * scale)), max(64, int(height * scale))), Image.Resampling.LANCZOS)
        out.append(piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else piece)
    return out


def pasted(
    photograph: Image.Image, logo: Image.Image, width: float, rng: np.random.Generator
) -> tuple[Image.Image, tuple[float, float, float, float]] | None:
    """A photograph with an RGBA logo of this width in pixels, and its box; None where no place shows it well.

    Corners move by 6 % of the sides, one side is shortened by up to 15 %, turned by up to 12 degrees, blurred by up to
    0.9 pixels, lit unevenly, with noise of up to 4 levels, as JPEG of quality 40 to 90.
    """
    rgba = np.asarray(logo.convert("RGBA")).astype(np.float32)
    alpha = rgba[..., 3:] / 255
    ink = (rgba[..., :3] * alpha).reshape(-1, 3).sum(axis=0) / alpha.sum()
    pixels = np.asarray(photograph).astype(np.float32)
    for _ in range(200):
        corners = _corners(photograph.size, width, width * logo.height / logo.width, rng)
        if corners is None:
            return None
        x0, y0 = np.floor(corners.min(axis=0)).astype(int)
        x1, y1 = np.ceil(corners.max(axis=0)).astype(int)
        behind = pixels[y0:y1, x0:x1].reshape(-1, 3)
        seen = np.abs(behind.mean(axis=0) - ink).mean() > 65 and behind.std(axis=0).mean() < 30
        if alpha.mean() > 0.7 or seen:
            break
    else:
        return None
    fine, margin = 4, 8
    size = ((x1 - x0 + 2 * margin), (y1 - y0 + 2 * margin))
    outline = np.array([[0, 0], [logo.width, 0], [logo.width, logo.height], [0, logo.height]], np.float32)
    matrix = cv2.getPerspectiveTransform(outline, ((corners - (x0 - margin, y0 - margin)) * fine).astype(np.float32))
    source = np.dstack([rgba[..., :3] * alpha, alpha])
    shrink = max(1, int(logo.width / (width * fine)))
    print_ = cv2.warpPerspective(cv2.blur(source, (shrink, shrink)), matrix, (size[0] * fine, size[1] * fine))
    print_ = cv2.resize(print_, size, interpolation=cv2.INTER_AREA)
    print_ = cv2.GaussianBlur(print_, (0, 0), rng.uniform(0.05, 0.9))
    light = 1 + rng.uniform(-0.25, 0.25) + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, size[0])[None, :, None]
    left, top = max(0, x0 - margin), max(0, y0 - margin)
    right, bottom = min(photograph.width, x1 + margin), min(photograph.height, y1 + margin)
    part = print_[top - y0 + margin : bottom - y0 + margin, left - x0 + margin : right - x0 + margin]
    lit = part[..., :3] * light[:, left - x0 + margin : right - x0 + margin]
    out = pixels.copy()
    out[top:bottom, left:right] = out[top:bottom, left:right] * (1 - part[..., 3:]) + lit
    out += rng.normal(0, rng.uniform(0, 4), out.shape)
    content = io.BytesIO()
    quality = int(rng.integers(40, 91))
    Image.fromarray(np.clip(out, 0, 255).astype(np.uint8)).save(content, "JPEG", quality=quality)
    box = (*(float(v) for v in corners.min(axis=0)), *(float(v) for v in corners.max(axis=0)))
    return Image.open(io.BytesIO(content.getvalue())).convert("RGB"), (box[0], box[1], box[2], box[3])


def _corners(size: tuple[int, int], width: float, height: float, rng: np.random.Generator) -> np.ndarray | None:
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * (width, height)
    corners = corners + rng.uniform(-0.06, 0.06, (4, 2)) * (width, height)
    squeeze = rng.uniform(0.85, 1)
    corners = corners * ((squeeze, 1) if rng.random() < 0.5 else (1, squeeze))
    turn = math.radians(rng.uniform(-12, 12))
    corners = corners @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    corners = corners * (width / float(np.ptp(corners[:, 0])))
    low, high = 2 - corners.min(axis=0), np.array(size) - corners.max(axis=0) - 2
    return None if (high <= low).any() else corners + rng.uniform(low, high)
