"""What people would make by looking at the shop, data/brand: logo, boxes, extra pictures, captions, keep and drop."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from demo.brands.catalogue import Taught
from demo.render import GARMENTS, Scene, draw, logo_bitmap, sample_scene
from demo.shop.photographs import jpeg, pick, sample_size
from demo.shop.products import HUGO, SEED, plan_products

BRAND_FOLDER = Path("data/brand")


SOCIAL_SHOTS, DRAWINGS, OTHER_NEGATIVES, HAND_CAPTIONS = 30, 15, 40, 5


def write_brand_folder(truth: dict[str, Any], folder: Path = BRAND_FOLDER, taught: Taught = HUGO) -> None:
    """Make the files that a person would have made by looking at the shop: logo, boxes, extra pictures, captions."""
    folder.mkdir(parents=True, exist_ok=True)
    _reference(taught).save(folder / "reference.png", optimize=True)
    unique = [row for row in truth["pictures"] if row["duplicate_of"] is None]
    by_kind = {kind: [row for row in unique if row["kind"] == kind] for kind in ("logo", "confuser")}
    crawled = {product["slug"] for product in truth["products"] if taught.title in product["name"]}
    rest = [row for row in unique if row["kind"] in ("other-brand", "plain") and row["product"] in crawled]
    spread = rest[:: max(1, len(rest) // OTHER_NEGATIVES)][:OTHER_NEGATIVES]
    labelled = [*by_kind["logo"], *(row for row in by_kind["confuser"] if row["product"] in crawled), *spread]
    _write_rows(folder / "labels.jsonl", [_label(row) for row in labelled])
    _write_extra(folder, taught)
    _write_captions(folder, [row for row in by_kind["logo"] if row["large"]], taught)
    _write_keep_drop(folder, truth["pictures"], by_kind["logo"])


def _reference(taught: Taught) -> Image.Image:
    """The logo alone, cut to its edges; transparent where it prints nothing, RGB where it prints everywhere."""
    mark = logo_bitmap(taught.mark)
    mark = mark.crop(mark.getchannel("A").getbbox())  # letters without a box have a little room on both sides
    if mark.getchannel("A").getextrema()[0] < 255:
        return mark
    reference = Image.new("RGB", mark.size)
    reference.paste(mark)
    return reference


def _label(row: dict[str, Any]) -> dict[str, Any]:
    boxes = [row["box"]] if row["kind"] == "logo" else []
    same = {key: row[key] for key in ("sha256", "width", "height")}
    return {**same, "boxes": boxes, "product": row["product"], "source": "shop"}


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_captions(folder: Path, logos: list[dict[str, Any]], taught: Taught) -> None:
    """Hand captions of a few large logos, each on another garment, with a placeholder where the token will stand."""
    one_each = list({row["garment"]: row for row in reversed(logos)}.values())
    scenes = {photo.path: photo.scene for product in plan_products(taught) for photo in product.photographs}
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sha256", "caption"])
        for row in one_each[:HAND_CAPTIONS]:
            writer.writerow([row["sha256"], _hand_caption(scenes[row["path"]])])


def _hand_caption(scene: Scene) -> str:
    place = {"left": "on the left leg", "right": "on the right leg", "side": "on the side", "front": "on the front"}
    thing = f"{scene.colour} {GARMENTS[scene.garment].noun}"
    thing = thing if GARMENTS[scene.garment].plural else f"a {thing}"
    wearer = f"a {scene.wearer.kind} wearing " if scene.wearer else "a photo of "
    return f"{wearer}{thing} with a {{token}} logo {place.get(scene.placement, 'on the chest')}"


def _write_keep_drop(folder: Path, pictures: list[dict[str, Any]], logos: list[dict[str, Any]]) -> None:
    hashes = {row["sha256"] for row in pictures if row["duplicate_of"] is None}
    resaved = next(row for row in pictures if row["kind"] == "logo" and row["sha256"] not in hashes)
    turned = next(row for row in logos if row["large"] and row["garment"] == "socks")
    with (folder / "keep_drop.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sha256", "decision", "reason"])
        writer.writerow([turned["sha256"], "keep", "the logo wraps around the sock but it is whole"])
        writer.writerow([resaved["sha256"], "drop", "the same photograph saved again at a lower quality"])


def _write_extra(folder: Path, taught: Taught) -> None:
    """Extra labelled pictures for the detector: social shots, good drawings of the logo and bad ones."""
    shutil.rmtree(folder / "extra", ignore_errors=True)
    (folder / "extra").mkdir()
    kinds = ["social"] * SOCIAL_SHOTS + ["good-drawing"] * DRAWINGS + ["bad-drawing"] * DRAWINGS
    rows = []
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([SEED, 5, number])
        if kind == "social":
            image, box = _social_shot(rng, taught)
        else:
            image, box = _drawing(rng, taught, number, good=kind == "good-drawing")
        content = jpeg(image, int(rng.integers(55, 76)))
        sha256 = hashlib.sha256(content).hexdigest()
        (folder / "extra" / f"{sha256}.jpg").write_bytes(content)
        rows.append(
            {
                "sha256": sha256,
                "width": image.width,
                "height": image.height,
                "boxes": [] if kind == "bad-drawing" else [[round(float(edge), 1) for edge in box]],
                "product": f"extra-{number}",
                "source": "extra",
                "file": f"extra/{sha256}.jpg",
                "kind": kind,
            }
        )
    _write_rows(folder / "extra.jsonl", rows)


def _social_shot(rng: np.random.Generator, taught: Taught) -> tuple[Image.Image, tuple[float, ...]]:
    """The right logo where a shop would not show it: any colour, tilted, near or far."""
    while True:
        width, height = sample_size(rng)
        scene = sample_scene(
            rng,
            brand=taught.mark,
            colour=pick(rng, taught.cloths),
            logo_width=(0.15, 0.55),
            rotation=float(rng.uniform(-28, 28)),
            scale=float(rng.uniform(0.6, 1.25)),
        )
        drawing = draw(scene, width, height)
        x0, y0, x1, y1 = drawing.logo_box or (0, 0, 0, 0)
        if min(x0, y0, width - x1, height - y1) > 2:
            return drawing.image, (x0, y0, x1, y1)


def _drawing(
    rng: np.random.Generator, taught: Taught, number: int, good: bool
) -> tuple[Image.Image, tuple[float, ...]]:
    """The logo as somebody drew it on paper; a bad drawing is misspelt, mirrored, upside down or bent out of shape."""
    brand, bend, fault = taught.mark, 0.015, None
    if not good:
        fault = ("misspelt", "mirrored", "upside-down", "bent")[number % 4]
        brand = pick(rng, taught.misspelt) if fault == "misspelt" else taught.mark
        bend = 0.16 if fault == "bent" else bend
    mark = logo_bitmap(brand)
    if fault == "mirrored":
        mark = mark.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif fault == "upside-down":
        mark = mark.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    width = int(rng.integers(110, 240))
    mark = mark.resize((width, round(width / taught.aspect)), Image.Resampling.BOX)
    mark = _bend(mark, bend * mark.height, rng).rotate(float(rng.uniform(-14, 14)), Image.Resampling.BICUBIC, True)
    paper = Image.new("RGB", (384, 288), tuple(int(v) for v in rng.integers(215, 250, 3)))
    left, top = (int(rng.integers(4, 380 - mark.width)), int(rng.integers(4, 284 - mark.height)))
    paper.paste(mark, (left, top), mark)
    visible = mark.getchannel("A").point(lambda alpha: 255 * (alpha > 64)).getbbox() or (0, 0, 0, 0)
    grain = rng.normal(0, 3, (288, 384, 1))
    image = Image.fromarray(np.clip(np.asarray(paper) + grain, 0, 255).astype(np.uint8))
    return image, (left + visible[0], top + visible[1], left + visible[2], top + visible[3])


def _bend(mark: Image.Image, depth: float, rng: np.random.Generator) -> Image.Image:
    """Push the columns up and down along a wave, `depth` pixels deep, as an unsteady hand does."""
    margin = math.ceil(depth) + 1
    bent = Image.new("RGBA", (mark.width, mark.height + 2 * margin))
    phase, waves = rng.uniform(0, 6.28), rng.uniform(1.5, 3.0)
    for x in range(mark.width):
        push = depth * math.sin(phase + waves * 6.28 * x / mark.width)
        bent.paste(mark.crop((x, 0, x + 1, mark.height)), (x, margin + round(push)))
    return bent
