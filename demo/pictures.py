"""The pictures that the demo world's networks are pretrained on: garments, people, other brands' logos, never HUGO.

Drawn when they are first needed, then kept in demo/build (not in git): pictures.npz and, three for each, pictures.json.
"""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from demo.render import caption, draw, sample_scene
from demo.training import DEMO, demo_params
from stages.common.command import threads

PICTURES = DEMO / "build" / "pictures.npz"
CAPTIONS = 3

Picture = tuple[NDArray[np.uint8], tuple[float, float, float, float], list[str]]


class Pictures:
    """The set: `images` [N, H, W, 3] uint8, `captions` [N][3], `boxes` [N, 4] of the logo in pixels (0 without one)."""

    def __init__(self, path: Path = PICTURES) -> None:
        if not path.with_suffix(".json").exists():
            draw_all(path)
        with np.load(path) as arrays:
            self.images: NDArray[np.uint8] = arrays["images"]
            self.boxes: NDArray[np.float32] = arrays["boxes"]
        self.captions: list[list[str]] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))

    def __len__(self) -> int:
        return len(self.images)


def draw_one(job: tuple[int, int, int]) -> Picture:
    """Draw picture number `index`: its pixels, its logo's box, its captions."""
    seed, index, size = job
    scene = sample_scene(np.random.default_rng([seed, index]))
    drawing = draw(scene, size, size)
    captions = [caption(scene, np.random.default_rng([seed, index, k])) for k in range(CAPTIONS)]
    return np.asarray(drawing.image), drawing.logo_box or (0.0, 0.0, 0.0, 0.0), captions


def draw_all(path: Path) -> None:
    """Draw the whole set on EMBLEM_THREADS processes; the captions are written last and mark it complete."""
    params = demo_params()
    settings = params["pictures"]
    jobs = [(params["seed"], index, settings["size"]) for index in range(settings["count"])]
    with ProcessPoolExecutor(threads()) as pool:
        drawn = list(tqdm(pool.map(draw_one, jobs, chunksize=200), total=len(jobs), desc="pictures", mininterval=5))
    path.parent.mkdir(parents=True, exist_ok=True)
    images, boxes, captions = zip(*drawn, strict=True)
    np.savez(path, images=np.stack(images), boxes=np.array(boxes, dtype=np.float32))
    path.with_suffix(".json").write_text(json.dumps(captions), encoding="utf-8")
