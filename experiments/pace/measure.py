"""The measurements: a few updates of each method's trainer, the pictures of one seed, and the loading of it all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from stages.common.diffusion import Base, load_base
from stages.common.machine import prepare_machine, resolve_precision
from stages.common.params import Method, Params
from stages.common.tables import read_table
from stages.finetune.batch_schedule import BatchSchedule
from stages.finetune.cached_dataset import CachedDataset
from stages.finetune.method import load_method
from stages.finetune.pictures import read_pictures, read_rows
from stages.finetune.processes import Processes
from stages.finetune.trainer import Trainer
from stages.sample.__main__ import Paths as SamplePaths
from stages.sample.__main__ import sample
from stages.score.__main__ import PATHS, load_judges
from stages.score.columns import score_rows

UPDATES = 4
"""Updates that are timed, after one that is not: the first one allocates."""
STAGES = 3
"""Processes of an experiment that load libraries and weights: finetune, sample, score."""


def measure(params: Params, methods: Sequence[Method], began: float) -> dict[str, Any]:
    """Seconds an epoch, a picture and an experiment's start take; `began`: when this process did."""
    base_folder, device = Path("models/pretrained/base"), prepare_machine()
    load_base(base_folder, device)
    start = (time.time() - began) * STAGES
    epochs = {}
    for method in methods:
        first = (params.grid.combinations(method) or [{}])[0]
        epochs[method] = epoch_seconds(method, params.with_model(method, first), load_base(base_folder, device))
    return {"epoch": epochs, "picture": picture_seconds(params), "start": start}


def epoch_seconds(method: Method, params: Params, base: Base) -> float:
    """Seconds an epoch of a method takes, from a few of its updates."""
    data, settings = Path("data/captioned"), params.training(method)
    precision = resolve_precision(settings.precision, base.device, f"finetune.{method}.precision")
    params = params.changed(f"finetune.{method}", precision=precision)
    rows = read_rows(data)
    pictures = read_pictures(rows, data, base, params.resolution)
    trained = load_method(method)(base, params)
    dataset = CachedDataset(trained, pictures, trained.captions(rows), trained.draw_class_pictures())
    schedule = BatchSchedule(params.training(method), len(pictures), dataset.prior_pool, params.seed)
    trainer = Trainer(trained, dataset, schedule, Processes())
    seconds = []
    for update in range(min(1 + UPDATES, schedule.updates)):
        before = time.perf_counter()
        trainer.gradients(update)
        trainer.step(update)
        seconds.append(time.perf_counter() - before)
    return median(seconds[1:] or seconds) * schedule.updates_per_epoch


def picture_seconds(params: Params) -> float:
    """Seconds it takes to draw a picture of the untuned base and to score it, from those of one seed."""
    one = params.changed("sample", images_per_prompt=1)
    judges = load_judges(params.score, PATHS)
    with TemporaryDirectory() as name:
        folder = Path(name)
        paths = SamplePaths(folder, folder / "base", folder / "sheet.png", scratch=folder / "scratch")
        before = time.perf_counter()
        sample("base", one, paths)
        rows = read_table(folder / "base" / "manifest.jsonl")
        score_rows(rows, folder / "base", one, judges)
        return (time.perf_counter() - before) / len(rows)
