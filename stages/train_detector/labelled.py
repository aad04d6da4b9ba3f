"""The labelled pictures: which there are, which are held out, and what is on each."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.errors import UserError
from stages.common.images import FORMATS, UnreadableImage, decode
from stages.common.label_rows import COLUMNS, EXTRA_COLUMNS, problems_of_row
from stages.common.tables import Row, read_numbered, read_table
from stages.common.text_files import MOST_TOLD, listed, one_line
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


def labelled_set(
    labels_file: Path, extra_file: Path, raw: Path, filtered: Path, say: Callable[[str], None] = lambda line: None
) -> list[Source]:
    """Every labelled picture, by hash: a person's labels, the extra pictures, and the filter's boxes for the rest.

    Args:
        labels_file: labels.jsonl, boxes on the shop's pictures.
        extra_file: extra.jsonl, pictures from elsewhere, whose files lie beside it; may be missing.
        raw: the crawl's folder.
        filtered: the filter's folder.
        say: told what of the labels is not read.

    Raises UserError naming file and line of every label that is wrong, is there twice or has no picture.
    """
    found = {
        row["sha256"]: row for row in read_table(filtered / "manifest.jsonl") if row.get("file") and row.get("box")
    }
    sources: dict[str, Source] = {}
    wrong: list[str] = []
    unread: Counter[str] = Counter()
    place_of: dict[str, str] = {}
    for path, kind in ((labels_file, "shop"), (extra_file, None)):
        for number, row in read_numbered(path) if kind or path.exists() or path.is_symlink() else []:
            where = f"{path}:{number}"
            unread.update(f"{path.name}: {name}" for name in row if name not in (*COLUMNS, *EXTRA_COLUMNS))
            problems = problems_of_row(row)
            if not problems and row["sha256"] in place_of:
                problems = [f"{row['sha256']} is labelled twice, first at {place_of[row['sha256']]}"]
            try:
                if not problems:
                    file = _shop_file(row["sha256"], raw, filtered, found) if kind else _extra_file(row, path.parent)
                    sources[row["sha256"]] = _source(row, file, row["boxes"], kind or row["kind"])
                    place_of[row["sha256"]] = where
            except UserError as error:
                problems = [str(error)]
            wrong += [f"{where}: {problem}" for problem in problems]
    if wrong:
        raise UserError(one_line(f"{len(wrong)} labels are wrong: {'; '.join(wrong[:MOST_TOLD])}"))
    if unread:
        told = listed([f"{name} ({count} rows)" for name, count in sorted(unread.items())])
        say(one_line(f"labels: columns of other names are not read: {told}"))
    tell_unlabelled(extra_file, {source.file for source in sources.values()}, say)
    for sha256, row in found.items():
        if sha256 not in sources:
            sources[sha256] = _source(row | {"width": None}, filtered / row["file"], [row["box"]], "shop")
    return [sources[sha256] for sha256 in sorted(sources)]


def tell_unlabelled(extra_file: Path, used: set[Path], say: Callable[[str], None]) -> None:
    """Say which pictures in the folder `extra` beside extra.jsonl have no row there: they are not read."""
    ends = {f".{extension}" for extension in (*FORMATS.values(), "jpeg", "tiff")}
    files = sorted((extra_file.parent / "extra").glob("*"))
    idle = [file.name for file in files if file.suffix.lower() in ends and file not in used]
    if idle:
        say(one_line(f"{extra_file}: has no row for pictures in {files[0].parent}: {len(idle)} ({listed(idle)})"))


def _shop_file(sha256: str, raw: Path, filtered: Path, found: dict[str, Row]) -> Path:
    if sha256 in found:
        return filtered / str(found[sha256]["file"])
    files = sorted((raw / "images").glob(f"{sha256}.*"))
    if not files:
        raise UserError(f"{sha256} is labelled but is neither in data/filtered nor in {raw / 'images'}")
    return files[0]


def _extra_file(row: Row, brand: Path) -> Path:
    if not all(isinstance(row.get(name), str) and row[name] for name in EXTRA_COLUMNS):
        raise UserError(f"needs {' and '.join(EXTRA_COLUMNS)}, as text")
    file = brand / str(row["file"])
    if not file.resolve().is_relative_to(brand.resolve()) or not file.is_file():
        raise UserError(f"{file}: no such file in {brand}, but it is labelled")
    if hashlib.sha256(file.read_bytes()).hexdigest() != row["sha256"]:
        raise UserError(f"{file}: holds another picture than the sha256 says")
    return file


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
    """The picture as `decode` gives it: upright, 8-bit sRGB whatever its depth, on white where it is transparent.

    Raises UserError where it cannot be read, or its size is not the labelled one.
    """
    try:
        # Of any size: a person chose and labelled this picture, and the label tells how large it is.
        image = decode(source.file.read_bytes(), max_megapixels=math.inf)
    except UnreadableImage as error:
        raise UserError(f"{source.file}: {error}, but it is labelled") from None
    if source.size and image.size != source.size:
        raise UserError(f"{source.file}: is {image.size}, but its label is for {source.size} (width, height)")
    return Labelled(image, source.boxes)
