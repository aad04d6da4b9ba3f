"""Train the logo detector that scores pictures, and measure it on products it never saw (paper 4.2).

Reads   data/filtered (pictures with the logo and their boxes), data/brand (labels.jsonl: boxes and negatives that a
        person labelled, they win over the filter's boxes; extra: social shots, good and badly drawn logos), data/raw
        (the shop's labelled negatives), models/pretrained/detector (a YOLOv8n start), models/pretrained/base (its
        autoencoder), params detector.
Writes  models/detector/: detector.safetensors, and holdout.jsonl with the raw scores of every held-out picture;
        metrics/detector.json, metrics/detector_calibration.json, metrics/detections.png (the paper's Figure 4).

Products are split before anything is augmented, so that no product is on both sides. Every picture is shown at the
training resolution, where the generated pictures live. Hard negatives matter most: a detector that fires on any red box
would crown a model that draws red boxes, so each positive also comes spoiled (another word, no letters, no box).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from stages.common.command import stage_main, threads
from stages.common.errors import UserError
from stages.common.files import write_json
from stages.common.params import Params, load_params
from stages.common.progress import counted, progress
from stages.common.tables import Row, read_table, write_table

if TYPE_CHECKING:
    import numpy as np

    from stages.common.detector import Detection
    from stages.train_detector.augment import Labelled
    from stages.train_detector.redraw import Autoencoder

BRAND = Path("data/brand")
RAW = Path("data/raw")
FILTERED = Path("data/filtered")
START = Path("models/pretrained/detector")
BASE = Path("models/pretrained/base")
OUT = Path("models/detector")
METRICS = Path("metrics")

SUPERSAMPLED = 3
"""Times the training resolution at which copies are turned, cropped and relit before they are reduced to it: nothing of
finer detail is left then, and a photograph's full size would cost most of the stage's drawing."""
DRAWN = 24
"""Held-out pictures on metrics/detections.png."""


@dataclass(frozen=True)
class Source:
    """A labelled picture on disk; no boxes makes it a negative."""

    sha256: str
    file: Path
    boxes: tuple[tuple[float, float, float, float], ...]
    product: str
    kind: str  # shop, or the extra picture's kind (social, good-drawing, bad-drawing)
    size: tuple[int, int] | None  # width and height that the boxes refer to, where recorded


@dataclass(frozen=True)
class View:
    """A held-out picture as it is shown to the detector."""

    sha256: str
    kind: str
    item: Labelled


def labelled_set(brand: Path, raw: Path, filtered: Path) -> list[Source]:
    """Every labelled picture, by hash: a person's labels, the extra pictures, and the filter's boxes for the rest.

    Raises UserError where a label has no picture.
    """
    labels = {row["sha256"]: row for row in read_table(brand / "labels.jsonl")}
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
    for row in read_table(brand / "extra.jsonl") if (brand / "extra.jsonl").exists() else []:
        sources[row["sha256"]] = _source(row, brand / row["file"], row["boxes"], row["kind"])
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
    from PIL import Image, ImageOps

    from stages.train_detector.augment import Labelled

    with Image.open(source.file) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGBA")
    if source.size and image.size != source.size:
        raise UserError(f"{source.file}: is {image.size}, but its label is for {source.size} (width, height)")
    flat = Image.new("RGBA", image.size, (255, 255, 255, 255))
    flat.alpha_composite(image)
    return Labelled(flat.convert("RGB"), source.boxes)


def write_dataset(training: Sequence[Source], folder: Path, params: Params, base: Path = BASE) -> tuple[Path, int]:
    """Write the augmented set in YOLO's layout; returns its data.yaml and the number of pictures.

    Each picture comes once readable and `augmentations` times varied (`negative_augmentations` times where it has no
    logo); each positive also `spoiled` times as a hard negative, whose boxes are labelled as look-alikes. Of all but
    the first, a share is drawn anew by the base's autoencoder. What is written are squares of `crop` pixels, cut around
    a logo out of the picture at `image_size`. All randomness comes from the picture's hash and the seed.
    """
    from stages.common.detector import NAMES
    from stages.train_detector.redraw import Autoencoder

    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    autoencoder = Autoencoder(base, params.detector.precision) if params.detector.redrawn else None
    write = partial(write_copies, folder=folder, params=params, autoencoder=autoencoder)
    with workers() as each:
        counts = list(progress(each(write, training), "augment", total=len(training), unit="picture"))
    dataset = folder / "data.yaml"
    # Ultralytics wants pictures to validate on, which it reads and keeps; the stage measures itself, so one is enough.
    (folder / "val.txt").write_text(f"./images/{training[0].sha256}-0.png\n")
    dataset.write_text(f'path: "{folder.absolute()}"\ntrain: images\nval: val.txt\nnames: {json.dumps(NAMES)}\n')
    return dataset, sum(counts)


@contextmanager
def workers() -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` on EMBLEM_THREADS workers, each of which computes on one core: the same bytes however many they are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)


def write_copies(source: Source, folder: Path, params: Params, autoencoder: Autoencoder | None) -> int:
    """Write all that the set has of one picture, and return how many that are."""
    import numpy as np
    from PIL import Image

    from stages.common.boxes import scaled
    from stages.common.detector import prepare
    from stages.train_detector.augment import Labelled, cut_out, spoiled

    settings, original = params.detector, load(source)
    items = []
    copies = settings.augmentations if original.boxes else settings.negative_augmentations
    for copy in range(1 + copies):
        rng = picture_rng(source.sha256, params.seed, copy)
        item = _view(original, params, rng)
        items.append(item if copy == 0 else _vary(_recolour(item, params, rng), params, rng))
    for copy in range(settings.spoiled if original.boxes else 0):
        rng = picture_rng(source.sha256, params.seed, 1000 + copy)
        item = _view(original, params, rng)
        recoloured = _recolour(item, params, rng)
        fake = spoiled(recoloured, params.brand.word, rng)
        items.append(_vary(replace(fake, boxes=recoloured.boxes), params, rng))
    rngs = [picture_rng(source.sha256, params.seed, 2000 + number) for number in range(len(items))]
    redrawn = [n for n, rng in enumerate(rngs) if n and autoencoder and rng.random() < settings.redrawn]
    if autoencoder:
        anew = autoencoder.redrawn([items[n] for n in redrawn], params.resolution, [rngs[n] for n in redrawn])
        for number, item in zip(redrawn, anew, strict=True):
            items[number] = item
    for number, item in enumerate(items):
        name_index = 0 if number <= copies else 1
        picture, place = prepare(np.asarray(item.image), params.resolution, settings.image_size)
        boxes = tuple(scaled(box, place.scale, place.dx, place.dy) for box in item.boxes)
        shown = Labelled(Image.fromarray(picture), boxes)
        shown = cut_out(shown, settings.crop, rngs[number])
        name = f"{source.sha256}-{number}"
        shown.image.save(folder / "images" / f"{name}.png", compress_level=1)
        lines = [_yolo_line(name_index, box, settings.crop) for box in shown.boxes]
        (folder / "labels" / f"{name}.txt").write_text("".join(lines))
    return len(items)


def picture_rng(sha256: str, seed: int, copy: int) -> np.random.Generator:
    """The random numbers of one copy of one picture: independent of which other pictures there are."""
    import numpy as np

    return np.random.default_rng([seed, int(sha256[:12], 16), copy])


def _view(original: Labelled, params: Params, rng: np.random.Generator) -> Labelled:
    """What is seen of a picture, at `SUPERSAMPLED` times the training resolution at most."""
    from stages.train_detector.augment import readable_view
    from stages.train_detector.redraw import shrunk

    item = readable_view(original, params.resolution, params.filter.min_logo_width, rng)
    return shrunk(item, SUPERSAMPLED * params.resolution)


def _recolour(item: Labelled, params: Params, rng: np.random.Generator) -> Labelled:
    from stages.train_detector.augment import recoloured

    return recoloured(item, rng) if rng.random() < params.detector.recoloured else item


def _vary(item: Labelled, params: Params, rng: np.random.Generator) -> Labelled:
    from stages.train_detector.augment import blurred, varied

    settings = params.detector
    item = varied(item, rng, rotation=settings.rotation, zoom=settings.zoom, brightness=settings.brightness)
    return blurred(item, rng, most=settings.blur, resolution=params.resolution)


def _yolo_line(name_index: int, box: Sequence[float], size: int) -> str:
    x0, y0, x1, y1 = box
    values = ((x0 + x1) / 2 / size, (y0 + y1) / 2 / size, (x1 - x0) / size, (y1 - y0) / size)
    return f"{name_index} " + " ".join(f"{min(max(v, 0.0), 1.0):.6f}" for v in values) + "\n"


def fit(dataset: Path, folder: Path, start: Path, params: Params, pictures: int) -> Any:
    """Train through ultralytics, from the start where there is one; progress and an epoch's losses go to stderr."""
    from stages.common.detector import NAMES, WEIGHTS, train_model

    settings = params.detector
    weights = start / WEIGHTS
    if not weights.exists():
        click.echo(f"{weights}: no such file; the detector trains from random weights", err=True)

    def report_epoch(epoch: int, losses: dict[str, float]) -> None:
        listed = ", ".join(f"{name.removeprefix('train/')} {value:.3f}" for name, value in losses.items())
        tqdm.write(f"epoch {epoch} of {settings.epochs}: {listed}", file=sys.stderr)

    steps = settings.epochs * math.ceil(pictures / settings.batch_size)
    with counted("train detector", steps, "step") as advance:
        return train_model(
            dataset, folder, weights if weights.exists() else None, epochs=settings.epochs,
            batch_size=settings.batch_size, image_size=settings.crop, learning_rate=settings.learning_rate,
            seed=params.seed, classes=len(NAMES), precision=settings.precision, report_epoch=report_epoch,
            report_step=lambda: advance(1),
        )  # fmt: skip


def held_out_views(held_out: Sequence[Source], params: Params) -> list[View]:
    """The held-out pictures as the score would meet them, and each positive spoiled once, as a hard negative."""
    from stages.train_detector.augment import readable_view, spoiled

    views = []
    for source in held_out:
        rng = picture_rng(source.sha256, params.seed, 0)
        item = readable_view(load(source), params.resolution, params.filter.min_logo_width, rng)
        views.append(View(source.sha256, source.kind, item))
        if item.boxes:
            views.append(View(source.sha256, "spoiled", spoiled(item, params.brand.word, rng)))
    return views


def measure(
    views: Sequence[View], detections: Sequence[Sequence[Detection]], threshold: float, confidence: float
) -> dict[str, Any]:
    """mAP50 and mAP50-95 over all held-out pictures but the spoiled ones; precision, recall and false-positive rate at
    the score's threshold; the false-positive rate of each kind of hard negative, the spoiled among them."""
    from stages.measure_detector.detection_metrics import IOUS, at_threshold, average_precision

    real = [i for i, view in enumerate(views) if view.kind != "spoiled"]
    found, boxes = [detections[i] for i in real], [views[i].item.boxes for i in real]
    precisions = [average_precision(found, boxes, iou) for iou in IOUS]
    kinds = {}
    for kind in sorted({view.kind for view in views if not view.item.boxes}):
        of_kind = [i for i, view in enumerate(views) if view.kind == kind and not view.item.boxes]
        rates = at_threshold([detections[i] for i in of_kind], [()] * len(of_kind), threshold, confidence)
        kinds[kind] = {"pictures": len(of_kind)} | {k: v for k, v in rates.items() if k.startswith("false")}
    return {
        "mAP50": round(precisions[0], 6),
        "mAP50_95": round(sum(precisions) / len(precisions), 6),
        "threshold": threshold,
        **at_threshold(found, boxes, threshold, confidence),
        "positives": sum(bool(b) for b in boxes),
        "negatives": sum(not b for b in boxes),
        "hard_negatives": kinds,
    }


def raw_scores(views: Sequence[View], detections: Sequence[Sequence[Detection]]) -> list[Row]:
    """One row a held-out picture: its true boxes and everything that was detected, down to 1 % confidence."""
    return [
        {
            "sha256": view.sha256,
            "kind": view.kind,
            "width": view.item.image.width,
            "height": view.item.image.height,
            "boxes": [[round(v, 3) for v in box] for box in view.item.boxes],
            "detections": [{"box": list(d.box), "confidence": d.confidence} for d in found],
        }
        for view, found in zip(views, detections, strict=True)
    ]


def draw_detections(
    views: Sequence[View], detections: Sequence[Sequence[Detection]], threshold: float, path: Path
) -> None:
    """A contact sheet like the paper's Figure 4: found logos in green, mistakes in red, confidence beside the box."""
    from PIL import Image, ImageDraw, ImageFont

    positives = [i for i, view in enumerate(views) if view.item.boxes][: DRAWN // 2]
    wrong = [
        i for i, v in enumerate(views) if not v.item.boxes and any(d.confidence >= threshold for d in detections[i])
    ]
    negatives = wrong + [i for i, view in enumerate(views) if not view.item.boxes and i not in wrong]
    chosen = positives + negatives[: DRAWN - len(positives)]
    cell, columns = 160, 6
    sheet = Image.new("RGB", (columns * cell, -(-len(chosen) // columns) * cell), "white")
    font = ImageFont.load_default(size=13)
    for number, index in enumerate(chosen):
        image, truth = views[index].item.image, views[index].item.boxes
        scale = (cell - 4) / max(image.size)
        small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        left, top = number % columns * cell + 2, number // columns * cell + 2
        sheet.paste(small, (left, top))
        pen = ImageDraw.Draw(sheet)
        for detection in detections[index]:
            if detection.confidence >= threshold:
                box = [v * scale + d for v, d in zip(detection.box, (left, top) * 2, strict=True)]
                colour = "#0a7d32" if truth else "#c00018"
                pen.rectangle(box, outline=colour, width=2)
                pen.text((box[0] + 1, max(top, box[1] - 17)), f"{detection.confidence:.2f}", fill=colour, font=font,
                         stroke_width=2, stroke_fill="white")  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def train_detector(
    params: Params, *, brand: Path = BRAND, raw: Path = RAW, filtered: Path = FILTERED, start: Path = START,
    base: Path = BASE, out: Path = OUT, metrics: Path = METRICS,
) -> dict[str, Any]:  # fmt: skip
    """Train on one part of the products, measure on the others, publish; returns the content of metrics/detector.json.

    Raises:
        UserError: a label without its picture or of another size, or too few products to hold some out.
    """
    import numpy as np

    from stages.common.detector import load_detector, save_detector
    from stages.common.machine import prepare_machine, resolve_precision
    from stages.common.scratch import digest, publish, scratch_folder
    from stages.measure_detector.detection_metrics import reliability

    precision = resolve_precision(params.detector.precision, prepare_machine(), "detector.precision")
    params = params.model_copy(update={"detector": params.detector.model_copy(update={"precision": precision})})
    sources = labelled_set(brand, raw, filtered)
    training, held_out = split_by_product(sources, params.detector.holdout, params.seed)
    folder = scratch_folder(
        "train_detector", digest(params.model_dump(), [s.sha256 for s in sources], str(out.absolute()))
    )
    shutil.rmtree(folder)  # training takes a minute and ultralytics' resume is not exact: always from the start
    dataset, pictures = write_dataset(training, folder, params, base)
    model = fit(dataset, folder, start, params, pictures)
    staged = folder / "published"
    save_detector(model, staged, params.detector.image_size, params.resolution, precision)
    views = held_out_views(held_out, params)
    detections = load_detector(staged).detect([np.asarray(view.item.image) for view in views])
    boxes = [view.item.boxes for view in views]
    numbers = measure(views, detections, params.score.threshold, params.score.confidence_level)
    numbers["pictures"] = {"labelled": len(training), "augmented": pictures, "held_out": len(held_out)}
    numbers["kinds"] = dict(sorted(Counter(source.kind for source in sources).items()))
    write_table(staged / "holdout.jsonl", raw_scores(views, detections))
    publish(staged, out)
    write_json(metrics / "detector.json", numbers)
    write_json(metrics / "detector_calibration.json", reliability(detections, boxes))
    draw_detections(views, detections, params.score.threshold, metrics / "detections.png")
    shutil.rmtree(folder)
    return numbers


@click.command()
@stage_main
def main() -> None:
    """Train the logo detector and measure it on held-out products."""
    numbers = train_detector(load_params())
    click.echo(
        f"mAP50 {numbers['mAP50']:.3f}, at {numbers['threshold']:.2f}: "
        f"precision {numbers.get('precision', math.nan):.3f}, recall {numbers['recall']:.3f}, "
        f"false positives {numbers.get('false_positive_rate', math.nan):.3f}"
    )


if __name__ == "__main__":
    main()
