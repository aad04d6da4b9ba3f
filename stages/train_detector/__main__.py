"""Train the logo detector that scores pictures, and look for the logo on products that it never saw (paper 4.2).

Reads   data/filtered (pictures with the logo and their boxes), data/brand/labels.jsonl (boxes and negatives that a
        person labelled, they win over the filter's boxes), data/brand/extra.jsonl and extra (social shots, good and
        badly drawn logos), data/raw (the shop's labelled negatives), models/pretrained/detector (a YOLOv8n start),
        models/pretrained/base/vae (the base's autoencoder), params detector.
Writes  models/detector/: detector.safetensors; holdout.jsonl and holdout/NNN.png, the raw scores and a thumbnail of
        every held-out picture; pictures.json, how many there were. `measure-detector` makes numbers of them.

Products are split before anything is augmented, so that no product is on both sides. Every picture is shown at the
training resolution, where the generated pictures live. Hard negatives matter most: a detector that fires on any red box
would crown a model that draws red boxes, so each positive also comes with its logo replaced by another word, by no
letters or without its box.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.params import Params, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder


@dataclass(frozen=True)
class Paths:
    """The stage's files and folders."""

    labels: Path = Path("data/brand/labels.jsonl")
    extra: Path = Path("data/brand/extra.jsonl")
    raw: Path = Path("data/raw")
    filtered: Path = Path("data/filtered")
    start: Path = Path("models/pretrained/detector")
    base: Path = Path("models/pretrained/base")
    detector: Path = Path("models/detector")
    scratch: Path = SCRATCH_ROOT


PATHS = Paths()


def train_detector(params: Params, paths: Paths = PATHS) -> Path:
    """Train on one part of the products, look for the logo on the others, publish; returns the detector's folder.

    Raises UserError for a label without its picture or of another size, or too few products to hold some out.
    """
    from stages.common.detector import save_detector
    from stages.common.machine import prepare_machine, resolve_precision
    from stages.train_detector.dataset import write_dataset
    from stages.train_detector.holdout import held_out_views, write_counts, write_holdout
    from stages.train_detector.labelled import labelled_set, split_by_product
    from stages.train_detector.training import fit

    precision = resolve_precision(params.detector.precision, prepare_machine(), "detector.precision")
    params = params.changed("detector", precision=precision)
    sources = labelled_set(paths.labels, paths.extra, paths.raw, paths.filtered, click.echo)
    training, held_out = split_by_product(sources, params.detector.holdout, params.seed)
    folder = scratch_folder(
        "train_detector", digest(decisive_params(params), [s.sha256 for s in sources]), paths.scratch
    )
    shutil.rmtree(folder)  # training takes a minute and ultralytics' resume is not exact: always from the start
    dataset, augmented = write_dataset(training, folder, params, paths.base)
    model = fit(dataset, folder, paths.start, params, augmented)
    staged = folder / "published"
    save_detector(model, staged, params.detector.image_size, params.resolution, precision)
    write_holdout(staged, held_out_views(held_out, params))
    write_counts(staged / "pictures.json", sources, training, held_out, augmented)
    remove_partials([paths.detector])
    publish(staged, paths.detector)
    shutil.rmtree(folder)
    click.echo(f"trained on {augmented} pictures made of {len(training)}; {len(held_out)} were held out")
    return paths.detector


def decisive_params(params: Params) -> list[object]:
    """The parameters that decide the result."""
    return [
        params.seed,
        params.resolution,
        params.brand.word,
        params.filter.min_logo_width,
        params.detector.model_dump(),
    ]


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    train_detector(load_params())


if __name__ == "__main__":
    main()
