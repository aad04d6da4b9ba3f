"""The augmented set that the detector is trained on, in YOLO's layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stages.common.boxes import scaled
from stages.common.command import threads
from stages.common.detector import NAMES, prepare
from stages.common.files import replacing, write_file
from stages.common.params import Params
from stages.common.progress import progress
from stages.train_detector.augment import Labelled, blurred, cut_out, readable_view, recoloured, varied
from stages.train_detector.hard_negatives import hard_negative
from stages.train_detector.labelled import Source, load
from stages.train_detector.redraw import Autoencoder, shrunk

SUPERSAMPLED = 3
"""Times the training resolution at which copies are turned, cropped and relit before they are reduced to it: nothing of
finer detail is left then, and a photograph's full size would cost most of the stage's drawing."""


def write_dataset(training: Sequence[Source], folder: Path, params: Params, base: Path) -> tuple[Path, int]:
    """Write the augmented set in YOLO's layout; returns its data.yaml and the number of pictures.

    Each picture comes once readable and `augmentations` times varied (`negative_augmentations` times where it has no
    logo); each positive also `hard_negatives` times as a hard negative, whose boxes are labelled as look-alikes. Of all
    but the first, a share is drawn anew by the base's autoencoder. What is written are squares of `crop` pixels, cut
    around a logo out of the picture at `image_size`. All randomness comes from the picture's hash and the seed.
    """
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    autoencoder = Autoencoder(base, params.detector.precision) if params.detector.redrawn else None
    write = partial(write_copies, folder=folder, params=params, autoencoder=autoencoder)
    with workers() as each:
        counts = list(progress(each(write, training), "augment", total=len(training), unit="picture"))
    dataset = folder / "data.yaml"
    # Ultralytics wants pictures to validate on, which it reads and keeps; the stage measures itself, so one is enough.
    write_file(folder / "val.txt", f"./images/{training[0].sha256}-0.png\n")
    write_file(dataset, f'path: "{folder.absolute()}"\ntrain: images\nval: val.txt\nnames: {json.dumps(NAMES)}\n')
    return dataset, sum(counts)


@contextmanager
def workers() -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` on EMBLEM_THREADS workers, each of which computes on one core: the same bytes however many they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)


def write_copies(source: Source, folder: Path, params: Params, autoencoder: Autoencoder | None) -> int:
    """Write all that the set has of one picture, and return how many that are."""
    settings, original = params.detector, load(source)
    # Random streams go by numbers: copies from 0, hard negatives from 1000, how they are drawn anew and cut from 2000.
    items = []
    copies = settings.augmentations if original.boxes else settings.negative_augmentations
    for copy in range(1 + copies):
        rng = picture_rng(source.sha256, params.seed, copy)
        item = _view(original, params, rng)
        items.append(item if copy == 0 else _vary(_recolour(item, params, rng), params, rng))
    for copy in range(settings.hard_negatives if original.boxes else 0):
        rng = picture_rng(source.sha256, params.seed, 1000 + copy)
        item = _view(original, params, rng)
        recoloured = _recolour(item, params, rng)
        fake = hard_negative(recoloured, params.brand.word, rng)
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
        with replacing(folder / "images" / f"{name}.png", durable=False) as file:
            shown.image.save(file, "PNG", compress_level=1)
        lines = [_yolo_line(name_index, box, settings.crop) for box in shown.boxes]
        write_file(folder / "labels" / f"{name}.txt", "".join(lines), durable=False)
    return len(items)


def picture_rng(sha256: str, seed: int, copy: int) -> np.random.Generator:
    """The random numbers of one copy of one picture: independent of which other pictures there are."""
    return np.random.default_rng([seed, int(sha256[:12], 16), copy])


def _view(original: Labelled, params: Params, rng: np.random.Generator) -> Labelled:
    """What is seen of a picture, at `SUPERSAMPLED` times the training resolution at most."""
    item = readable_view(original, params.resolution, params.filter.min_logo_width, rng)
    return shrunk(item, SUPERSAMPLED * params.resolution)


def _recolour(item: Labelled, params: Params, rng: np.random.Generator) -> Labelled:
    return recoloured(item, rng) if rng.random() < params.detector.recoloured else item


def _vary(item: Labelled, params: Params, rng: np.random.Generator) -> Labelled:
    settings = params.detector
    item = varied(item, rng, rotation=settings.rotation, zoom=settings.zoom, brightness=settings.brightness)
    return blurred(item, rng, most=settings.blur, resolution=params.resolution)


def _yolo_line(name_index: int, box: Sequence[float], size: int) -> str:
    x0, y0, x1, y1 = box
    values = ((x0 + x1) / 2 / size, (y0 + y1) / 2 / size, (x1 - x0) / size, (y1 - y0) / size)
    return f"{name_index} " + " ".join(f"{min(max(v, 0.0), 1.0):.6f}" for v in values) + "\n"
