"""Score every picture of a method or of the untuned base: the paper's numbers, and what they cannot see.

Reads   data/samples/<method> (pictures and manifest.jsonl), data/scores/base.jsonl (the untuned base's scored pictures,
        which are epoch 0 of every method), data/captioned (the training pictures, for memorisation), models/detector,
        models/pretrained/reader, models/pretrained/clip where there is one, models/pretrained/detector where it finds
        the words (score.text_detector), params score.
Writes  data/scores/<method>.jsonl: the manifest's rows with the scores as further columns;
        metrics/score/<method>.json: the best checkpoint's numbers; metrics/epochs/<method>.json: a row a checkpoint,
        the untuned base's first. `--method base` scores that one, once: data/scores/base.jsonl, metrics/score/base.json

Columns of a picture (null: could not be computed)
    confidence        the detector's highest confidence, 0 where it found nothing
    od                the same where it is at least score.threshold, else 0 (paper 4.5)
    box               the box of that detection, pixels
    readings          everything that was read: text, confidence, box, whether the box is the detector's, its confidence
    ocr               1 where the word was read, upper or lower case, 0 for o, else 0 (paper 4.5)
    joint             1 where it was read within a box that the detector found at the threshold
    edit_distance     normalised, of the closest reading; 1 without any
    colour_asked, colour_drawn, colour_right           stages/score/colours.py
    clip_prompt, clip_prompt_right, clip_colour_right  stages/score/clip.py
    similarity, nearest, similarity_masked, nearest_masked, memorised  stages/score/memorisation.py
    diversity         mean dissimilarity to the other pictures of its prompt and checkpoint
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.common.command import stage_main, threads
from stages.common.errors import UserError
from stages.common.files import write_json
from stages.common.params import UNTUNED, Params, load_params
from stages.common.progress import activity, progress
from stages.common.tables import Row, read_table, write_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stages.common.boxes import Box
    from stages.common.detector import Detection, Detector
    from stages.score.clip import Clip
    from stages.score.memorisation import TrainingSet
    from stages.score.reader import Reader, Reading

    Picture = NDArray[np.uint8]

SAMPLES = Path("data/samples")
CAPTIONED = Path("data/captioned")
DETECTOR = Path("models/detector")
START = Path("models/pretrained/detector")
READER = Path("models/pretrained/reader")
CLIP = Path("models/pretrained/clip")
SCORES = Path("data/scores")
METRICS = Path("metrics")

CHUNK = 64
"""Pictures held in memory at once."""
READ_FROM, READ_AT_MOST = 0.05, 3
"""The OCR reads up to three detections a picture, down to this confidence: it has its own say on whether the word is
there, also where the detector stays below the score's threshold. As many are read of each that finds text by itself."""
MARK_FROM = 0.25
"""Confidence from which the finder's mark is read."""
MASK_FROM = 0.25
"""Confidence from which a detection counts as the logo that is left out when pictures are compared."""


def load_picture(path: Path) -> Picture:
    """RGB, [height, width, 3] of uint8. Raises UserError where the file is missing or no picture."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else 'not a picture'}"
        ) from None


def load_training_set(captioned: Path, percentile: float) -> TrainingSet | None:
    """The training pictures with their logos' boxes; None where there are fewer than two."""
    import numpy as np
    from PIL import Image

    from stages.score.memorisation import TrainingSet

    rows = sorted(read_table(captioned / "metadata.jsonl"), key=lambda row: row["file_name"])
    if len(rows) < 2:
        return None
    pictures = [np.asarray(Image.open(captioned / row["file_name"]).convert("RGBA")) for row in rows]
    logos = [[tuple(row["box"])] if row.get("box") else [] for row in rows]
    return TrainingSet([row["file_name"] for row in rows], pictures, logos, percentile)


def detection_columns(detections: Sequence[Detection], threshold: float) -> Row:
    """The paper's per-image detector score: the highest confidence where it reaches the threshold, else 0."""
    best = detections[0] if detections else None
    confidence = best.confidence if best else 0.0
    return {
        "confidence": confidence,
        "od": confidence if confidence >= threshold else 0.0,
        "box": list(best.box) if best else None,
    }


def read_pictures(
    reader: Reader, pictures: Sequence[Picture], detections: Sequence[Sequence[Detection]], margin: float,
    finder: Detector | None = None,
) -> list[list[Row]]:  # fmt: skip
    """All that is read on each picture: in the detector's boxes, in the text detector's where it is there, and in those
    of a `finder` of any logo where the detector has none in that place."""
    ours = [[d for d in found if d.confidence >= READ_FROM][:READ_AT_MOST] for found in detections]
    out: list[list[Row]] = [[] for _ in pictures]
    for index, number, reading in _numbered(reader, pictures, [[d.box for d in found] for found in ours], margin):
        out[index].append(_reading_row(reading, ours[index][number].confidence))
    if reader.finds_text:
        for index, _, reading in _numbered(reader, pictures, reader.find(pictures), 0.0):
            out[index].append(_reading_row(reading, None))
    if finder:
        places = [
            [d.box for d in marks if d.confidence >= MARK_FROM and not _read_already(d.box, found)][:READ_AT_MOST]
            for marks, found in zip(finder.detect(pictures), ours, strict=True)
        ]
        for index, _, reading in _numbered(reader, pictures, places, margin):
            out[index].append(_reading_row(reading, None))
    return out


def _read_already(box: Box, found: Sequence[Detection]) -> bool:
    from stages.common.boxes import overlap

    return bool(found) and bool(overlap([box], [d.box for d in found]).max() > 0.7)


def _numbered(
    reader: Reader, pictures: Sequence[Picture], boxes: Sequence[Sequence[Box]], margin: float
) -> list[tuple[int, int, Reading]]:
    """Read every box as a picture of its own, so that each reading is known by its picture's and its box's number."""
    places = [(index, number) for index, of_picture in enumerate(boxes) for number in range(len(of_picture))]
    read = reader.read([pictures[i] for i, _ in places], [[boxes[i][n]] for i, n in places], margin)
    return [(i, n, found[0]) for (i, n), found in zip(places, read, strict=True) if found]


def _reading_row(reading: Reading, detected: float | None) -> Row:
    return {
        "text": reading.text,
        "confidence": reading.confidence,
        "box": [round(v, 3) for v in reading.box],
        "detected": detected,
    }


def reading_columns(readings: list[Row], word: str, threshold: float) -> Row:
    """The paper's OCR score, and whether detector and OCR agree on one box."""
    from stages.score.words import edit_distance, word_read

    texts = [r["text"] for r in readings]
    within = [r["text"] for r in readings if r["detected"] is not None and r["detected"] >= threshold]
    return {
        "readings": readings,
        "ocr": int(word_read(texts, word)),
        "joint": int(word_read(within, word)),
        "edit_distance": round(edit_distance(texts, word), 6),
    }


def colour_columns(picture: Picture, prompt: str, detections: Sequence[Detection]) -> Row:
    """Is the garment drawn in the colour that the prompt asks for? Unknown where it asks for none."""
    from stages.score.colours import colour_asked, colour_drawn

    asked = colour_asked(prompt)
    logo = next((d.box for d in detections if d.confidence >= MASK_FROM), None)
    drawn = colour_drawn(picture, logo)
    return {"colour_asked": asked, "colour_drawn": drawn, "colour_right": None if asked is None else drawn == asked}


def clip_columns(clip: Clip, pictures: Sequence[Picture], prompts: Sequence[str], others: Sequence[str]) -> list[Row]:
    """Does CLIP prefer a picture's own prompt to the run's other prompts and to its own in other colours?"""
    from stages.score.clip import prompt_alternatives
    from stages.score.colours import colour_asked

    candidates = {prompt: prompt_alternatives(prompt, others) for prompt in dict.fromkeys(prompts)}
    texts = list(dict.fromkeys(text for listed in candidates.values() for text in listed))
    vectors = dict(zip(texts, clip.texts(texts), strict=True))
    out = []
    for vector, prompt in zip(clip.pictures(pictures), prompts, strict=True):
        score = {text: float(vector @ vectors[text]) for text in candidates[prompt]}
        recoloured = [text for text in candidates[prompt] if text == prompt or text not in others]
        coloured = colour_asked(prompt) is not None
        out.append(
            {
                "clip_prompt": max(others, key=lambda text: score[text]),
                "clip_prompt_right": max(others, key=lambda text: score[text]) == prompt,
                "clip_colour_right": max(recoloured, key=lambda t: score[t]) == prompt if coloured else None,
            }
        )
    return out


def memorisation_columns(
    training: TrainingSet, pictures: Sequence[Picture], detections: Sequence[Sequence[Detection]]
) -> list[Row]:
    """The nearest training picture, whole and without the logos, and whether the picture is a copy of one."""
    logos = [[d.box for d in found if d.confidence >= MASK_FROM] for found in detections]
    return [
        {
            "similarity": nearest.similarity,
            "nearest": nearest.name,
            "similarity_masked": nearest.similarity_masked,
            "nearest_masked": nearest.name_masked,
            "memorised": nearest.memorised,
        }
        for nearest in training.nearest(pictures, logos)
    ]


def add_diversity(rows: list[Row], folder: Path) -> None:
    """Give each row how unlike the other seeds of its prompt and checkpoint it is."""
    from stages.score.memorisation import diversity
    from stages.score.similarity import describe

    groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["epoch"], row["prompt_index"]].append(row)
    for group in groups.values():
        values = diversity(describe([load_picture(folder / row["file"]) for row in group]))
        for row, value in zip(group, values, strict=True):
            row["diversity"] = value


def score_rows(
    manifest: list[Row], folder: Path, params: Params, detector: Detector, reader: Reader, clip: Clip | None,
    training: TrainingSet | None, finder: Detector | None = None,
) -> list[Row]:  # fmt: skip
    """The manifest's rows with all score columns; `folder` is where their files are, `finder` finds any logo."""
    from stages.score.clip import without_token

    settings, rows = params.score, []
    prompts = [without_token(row["prompt"], params.brand.token) for row in manifest]
    others = list(dict.fromkeys(prompts))
    starts = range(0, len(manifest), CHUNK)
    for start in progress(starts, "score", total=len(starts), unit=f"x{CHUNK} pictures"):
        chunk, asked = manifest[start : start + CHUNK], prompts[start : start + CHUNK]
        pictures = [load_picture(folder / row["file"]) for row in chunk]
        detections = detector.detect(pictures)
        readings = read_pictures(reader, pictures, detections, settings.margin, finder)
        seen = clip_columns(clip, pictures, asked, others) if clip else [{}] * len(chunk)
        copied = memorisation_columns(training, pictures, detections) if training else [{}] * len(chunk)
        for i, row in enumerate(chunk):
            rows.append(
                row
                | detection_columns(detections[i], settings.threshold)
                | reading_columns(readings[i], params.brand.word, settings.threshold)
                | colour_columns(pictures[i], asked[i], detections[i])
                | seen[i]
                | copied[i]
            )
    add_diversity(rows, folder)
    return rows


def summarise_epochs(rows: list[Row], params: Params) -> list[Row]:
    """A row a checkpoint (metrics/epochs/<method>.json)."""
    from stages.common.checkpoints import by_epoch, summarise

    options = _options(params)
    return [{"epoch": epoch} | summarise(of_epoch, **options) for epoch, of_epoch in by_epoch(rows).items()]


def method_metrics(rows: list[Row], epochs: list[Row], params: Params, training: TrainingSet | None) -> Row:
    """The best checkpoint's numbers (metrics/score/<method>.json), beside the untuned base's on the same seeds.

    `best_epoch` is the paper's: the highest mean over all pictures. `selected` is the honest one: chosen on the even
    seeds, its numbers taken from the odd ones.
    """
    from stages.common.checkpoints import best_epoch, by_epoch, compare, estimate_row, split_by_seed, summarise

    options = _options(params)
    groups = by_epoch(rows)
    summaries = {row["epoch"]: row for row in epochs}
    best = best_epoch(summaries)
    chosen, reported = split_by_seed(rows)
    selected = best_epoch({epoch: summarise(of, **options) for epoch, of in by_epoch(chosen).items()})
    on_others = summarise(by_epoch(reported)[selected], **options)
    out: Row = {"best_epoch": best} | {k: v for k, v in summaries[best].items() if k != "epoch"}
    out["selected"] = {"epoch": selected} | {
        key: on_others[key]
        for key in ("images", "mean_od", "mean_ocr", "mean", "mean_low", "mean_high", "joint_success")
        if key in on_others
    }
    if 0 in summaries:
        out["epoch_0"] = {k: v for k, v in summaries[0].items() if k != "epoch"}
        out["better_than_epoch_0"] = estimate_row(compare(groups[best], groups[0], **options))
    runner_up = best_epoch({e: s for e, s in summaries.items() if e != best}) if len(summaries) > 2 else None
    if runner_up:
        difference = estimate_row(compare(groups[best], groups[runner_up], **options))
        out["better_than_runner_up"] = {"epoch": runner_up} | difference
    if training:
        out["train_to_train"] = {
            "pictures": len(training.names),
            "percentile": params.score.memorisation_percentile,
            "threshold": round(training.threshold, 6),
            "threshold_masked": round(training.threshold_masked, 6),
        }
    return out


def _options(params: Params) -> dict[str, Any]:
    return {
        "confidence": params.score.confidence_level,
        "samples": params.score.bootstrap_samples,
        "seed": params.seed,
    }


def score(
    params: Params, method: str, *, samples: Path = SAMPLES, captioned: Path = CAPTIONED, detector: Path = DETECTOR,
    start: Path = START, reader: Path = READER, clip: Path = CLIP, scores: Path = SCORES, metrics: Path = METRICS,
) -> Row:  # fmt: skip
    """Score all pictures of a method (or of `UNTUNED`) and publish; returns the content of metrics/score/<method>.json.

    Raises:
        UserError: a picture, the untuned base's scores, the detector or the OCR is missing, or the manifest has no
            tuned checkpoint.
    """
    import torch

    from stages.common.detector import load_detector
    from stages.score.clip import load_clip
    from stages.score.reader import load_reader

    manifest = read_table(samples / method / "manifest.jsonl")
    untuned = [] if method == UNTUNED else read_table(scores / f"{UNTUNED}.jsonl")
    if method != UNTUNED and not any(row["epoch"] > 0 for row in manifest):
        raise UserError(f"{samples / method / 'manifest.jsonl'}: has no picture of a tuned checkpoint (epoch > 0)")
    with activity("load detector, reader and CLIP"):
        found = load_detector(detector)
        finder = load_detector(start) if params.score.text_detector == "start" else None
        ocr = load_reader(reader, params.score.text_detector == "craft")
        seen = load_clip(clip)
    torch.set_num_threads(threads())
    training = load_training_set(captioned, params.score.memorisation_percentile)
    rows = score_rows(manifest, samples / method, params, found, ocr, seen, training, finder)
    epochs = summarise_epochs([*untuned, *rows], params)
    if method == UNTUNED:
        result = {key: value for key, value in epochs[0].items() if key != "epoch"}
    else:
        result = method_metrics([*untuned, *rows], epochs, params, training)
        write_json(metrics / "epochs" / f"{method}.json", epochs)
    write_table(scores / f"{method}.jsonl", rows)
    write_json(metrics / "score" / f"{method}.json", result)
    return result


@click.command()
@click.option("--method", required=True, help="dreambooth, textual_inversion or lora; base: the untuned one")
def main(method: str) -> None:
    """Score every picture of one method, or of the untuned base."""

    @stage_main
    def run() -> None:
        params = load_params()
        if method not in (UNTUNED, *params.methods):
            raise UserError(f"--method {method}: must be one of params.yaml's methods: {', '.join(params.methods)}")
        result = score(params, method)
        of = "untuned" if method == UNTUNED else f"best epoch {result['best_epoch']}"
        click.echo(
            f"{method}: {of}, mean_od {result['mean_od']:.3f}, "
            f"mean_ocr {result['mean_ocr']:.3f}, mean {result['mean']:.3f} over {result['images']} pictures"
        )

    run()


if __name__ == "__main__":
    main()
