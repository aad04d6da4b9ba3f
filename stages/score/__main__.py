"""Score every picture of a method or of the untuned base: the paper's numbers, and what they cannot see.

Reads   data/samples/<method> (pictures and manifest.jsonl), data/scores/base.jsonl (the untuned base's scored pictures,
        which are epoch 0 of every method), data/captioned (the training pictures, for memorisation), models/detector,
        models/pretrained/reader, models/pretrained/clip where there is one, models/pretrained/detector where it finds
        the words (score.text_detector), params score, brand and seed.
Writes  data/scores/<method>.jsonl: the manifest's rows with the scores as further columns;
        metrics/epochs/<method>.json: a row a checkpoint, the untuned base's first;
        metrics/details/<method>.json: all numbers of the best checkpoint, beside the untuned base's;
        metrics/score/<method>.json: the eight of them that experiments are compared by.
        `--method base` scores the untuned base, once, and writes data/scores/base.jsonl alone. A method that is left
        out has no pictures: its files are there, and empty.

Columns of a picture (null: could not be computed)
    confidence        the detector's highest confidence, 0 where it found nothing
    od                the same where it is at least score.threshold, else 0 (paper 4.2)
    box               the box of that detection, pixels
    readings          everything that was read: text, confidence, box, whether the box is the detector's, its confidence
    ocr               1 where the word was read, upper or lower case, 0 for o, else 0 (paper 4.2)
    joint             1 where it was read within a box that the detector found at the threshold
    edit_distance     normalised, of the closest reading; 1 without any
    colour_asked, colour_drawn, colour_right           stages/score/colours.py
    clip_prompt, clip_prompt_right, clip_colour_right  stages/score/clip.py
    similarity, nearest, similarity_masked, nearest_masked, memorised  stages/score/memorisation.py
    diversity         mean dissimilarity to the other pictures of its prompt and checkpoint
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stages.common.command import stage_main, threads
from stages.common.errors import UserError
from stages.common.files import write_json
from stages.common.params import METHODS, UNTUNED, Params, Score, load_params
from stages.common.progress import activity
from stages.common.tables import Row, read_table, write_table

if TYPE_CHECKING:
    from stages.score.columns import Judges


@dataclass(frozen=True)
class Paths:
    """The stage's folders."""

    samples: Path = Path("data/samples")
    captioned: Path = Path("data/captioned")
    detector: Path = Path("models/detector")
    generic_logo_detector: Path = Path("models/pretrained/detector")
    reader: Path = Path("models/pretrained/reader")
    clip: Path = Path("models/pretrained/clip")
    scores: Path = Path("data/scores")
    metrics: Path = Path("metrics")


PATHS = Paths()


def score(params: Params, method: str, paths: Paths = PATHS) -> Row:
    """Score all pictures of a method (or of `UNTUNED`) and write its tables.

    Returns:
        The content of metrics/details/<method>.json; nothing for the untuned base and for a method that is left out.

    Raises:
        UserError: a picture, the untuned base's scores, the detector or the OCR is missing, or the manifest has no
            picture of the untuned base or of a tuned checkpoint.
    """
    file = paths.samples / method / "manifest.jsonl"
    manifest = read_table(file)
    if method != UNTUNED and not manifest:
        write_tables(method, [], [], {}, {}, paths)
        click.echo(f"{method}: no pictures, it is left out of the training (epochs = 0)")
        return {}
    untuned = [] if method == UNTUNED else read_table(paths.scores / f"{UNTUNED}.jsonl")
    if not any((row["epoch"] == 0) == (method == UNTUNED) for row in manifest):
        wanted = "the untuned base (epoch 0)" if method == UNTUNED else "a tuned checkpoint (epoch > 0)"
        raise UserError(f"{file}: has no picture of {wanted}")
    from stages.score.columns import score_rows
    from stages.score.summary import headline, method_details, summarise_epochs

    judges = load_judges(params.score, paths)
    rows = score_rows(manifest, paths.samples / method, params, judges)
    if method == UNTUNED:
        write_table(paths.scores / f"{UNTUNED}.jsonl", rows)
        click.echo(f"{UNTUNED}: {len(rows)} pictures of the untuned base scored")
        return {}
    epochs = summarise_epochs([*untuned, *rows], params)
    details = method_details([*untuned, *rows], epochs, params, judges.training)
    write_tables(method, rows, epochs, details, headline(details), paths)
    click.echo(
        f"{method}: best epoch {details['best_epoch']}, mean_od {details['mean_od']:.3f}, "
        f"mean_ocr {details['mean_ocr']:.3f}, mean {details['mean']:.3f} over {details['images']} pictures"
    )
    return details


def load_judges(settings: Score, paths: Paths) -> Judges:
    """What looks at the pictures: the detector, the OCR, CLIP where there is one, and the training pictures.

    Raises UserError where the detector or the OCR is missing, or what is there cannot be loaded.
    """
    import torch

    from stages.common.detector import load_detector
    from stages.score.clip import load_clip
    from stages.score.columns import Judges
    from stages.score.memorisation import load_training_set
    from stages.score.reader import load_reader

    with activity("load detector, reader and CLIP"):
        detector = load_detector(paths.detector)
        generic = load_detector(paths.generic_logo_detector) if settings.text_detector == "start" else None
        reader = load_reader(paths.reader, settings.text_detector == "craft")
        clip = load_clip(paths.clip)
    torch.set_num_threads(threads())
    training = load_training_set(paths.captioned, settings.memorisation_percentile)
    return Judges(detector, reader, clip, training, generic)


def write_tables(
    method: str, rows: list[Row], epochs: list[Row], details: Row, compared: Row, paths: Paths = PATHS
) -> None:
    """Write a method's scored pictures, its checkpoints' numbers, the best one's, and those that are compared."""
    write_table(paths.scores / f"{method}.jsonl", rows)
    write_json(paths.metrics / "epochs" / f"{method}.json", epochs)
    write_json(paths.metrics / "details" / f"{method}.json", details)
    write_json(paths.metrics / "score" / f"{method}.json", compared)


@click.command()
@click.option("--method", required=True, help="dreambooth, textual_inversion or lora; base: the untuned one")
def main(method: str) -> None:
    """Score every picture of one method, or of the untuned base."""

    @stage_main
    def run() -> None:
        params = load_params()
        if method not in (UNTUNED, *METHODS):
            raise UserError(f"--method {method}: must be {UNTUNED} or one of {', '.join(METHODS)}")
        score(params, method)

    run()


if __name__ == "__main__":
    main()
