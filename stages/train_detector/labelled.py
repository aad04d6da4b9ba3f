"""The labelled pictures: which there are, which are held out, and what is on each."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from stages.common.errors import UserError
from stages.common.tables import Row, read_table
from stages.train_detector.augment import Labelled


@dataclass(frozen=True)
class Source:
    """A labelled picture on disk; no boxes makes it a negative."""

    sha256: str
    file: Path
    boxes: tuple[tuple[float, float, float, float], ...]
    product: str
    kind: str  # shop, or the extra picture's kind (social, good-drawing, bad-drawing)
    size: tuple[int, int] | None  # width and height that the boxes refer to, where recorded


def labelled_set(labels_file: Path, extra_file: Path, raw: Path, filtered: Path) -> list[Source]:
    """Every labelled picture, by hash: a person's labels, the extra pictures, and the filter's boxes for the rest.

    Raises UserError where a label has no picture.
    """
    labels = {row["sha256"]: row for row in read_table(labels_file)}
    found = {
        row["sha256"]: row for row in read_table(filtered / "manifest.jsonl") if row.get("file") and row.get("box")
    }
    sources = {}
    for sha256, row in labels.items():
        file = filtered / found[sha256]["file"] if sha256 in found else _raw_file(raw, sha256)
        sources[sha256] = _source(row, file, row["boxes"], "shop")
    for sha256, row in found.items():
        if sha256 not in labels:
            sources[sha256] = _source(row | {"width": None}, filtered / row["file"], [row["box"]], "shop")
    for row in read_table(extra_file) if extra_file.exists() else []:
        sources[row["sha256"]] = _source(row, extra_file.parent / row["file"], row["boxes"], row["kind"])
    return [sources[sha256] for sha256 in sorted(sources)]


def _raw_file(raw: Path, sha256: str) -> Path:
    files = sorted((raw / "images").glob(f"{sha256}.*"))
    if not files:
        raise UserError(f"labels.jsonl: {sha256} is labelled but is neither in data/filtered nor in {raw / 'images'}")
    return files[0]


def _source(row: Row, file: Path, boxes: Sequence[Sequence[float]], kind: str) -> Source:
    if not file.exists():
        raise UserError(f"{file}: no such file, but it is labelled")
    size = (int(row["width"]), int(row["height"])) if row.get("width") else None
    kept = tuple((float(b[0]), float(b[1]), float(b[2]), float(b[3])) for b in boxes)
    return Source(row["sha256"], file, kept, str(row.get("product") or row["sha256"]), kind, size)


def split_by_product(sources: Sequence[Source], share: float, seed: int) -> tuple[list[Source], list[Source]]:
    """Training and held-out pictures; all pictures of a product are on one side.

    Products are drawn by the hash of seed and name (adding a product moves no other), the same share of those with the
    logo and of those without, and of each kind.

    Raises UserError where the training or the held-out side would have no positive.
    """
    groups: dict[tuple[str, bool], set[str]] = defaultdict(set)
    kinds = {s.product: s.kind for s in sources}
    positive = {s.product for s in sources if s.boxes}
    for product, kind in kinds.items():
        groups[kind, product in positive].add(product)
    held: set[str] = set()
    for products in groups.values():
        drawn = sorted(products, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
        held.update(drawn[: math.ceil(share * len(drawn)) if len(drawn) > 1 else 0])
    training = [s for s in sources if s.product not in held]
    held_out = [s for s in sources if s.product in held]
    if not any(s.boxes for s in training) or not any(s.boxes for s in held_out):
        raise UserError("the labelled set has too few products with the logo to hold some out: label at least two")
    return training, held_out


def load(source: Source) -> Labelled:
    """The picture upright, in RGB, on white where it is transparent.

    Raises UserError where its size is not the labelled one.
    """
    with Image.open(source.file) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    if source.size and image.size != source.size:
        raise UserError(f"{source.file}: is {image.size}, but its label is for {source.size} (width, height)")
    flat = Image.new("RGBA", image.size, (255, 255, 255, 255))
    flat.alpha_composite(image)
    return Labelled(flat.convert("RGB"), source.boxes)
