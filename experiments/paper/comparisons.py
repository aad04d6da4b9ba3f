"""Which of two checkpoints is better, by their scored pictures; where training begins to overfit.

Pictures are compared in pairs, the same prompt and seed of both, and whole prompts are resampled
(stages.common.checkpoints.compare). Where checkpoints of many were chosen for the comparison, the pictures of even
seeds chose and those of odd seeds decide: the best of many looks better than it is on the pictures that chose it.

Where the scored pictures are not in DVC's cache, two numbers differ if their intervals do not overlap; as these are of
the pictures that chose, the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from experiments.paper.names import model_name
from experiments.results import Experiment, read_scores
from stages.common.checkpoints import best_epoch, by_epoch, compare, paper_score, split_by_seed
from stages.common.errors import UserError
from stages.common.params import UNTUNED
from stages.common.tables import Row

Word = Literal["higher", "lower", "not distinguishable", "unavailable"]


@dataclass(frozen=True)
class Measure:
    """What checkpoints are compared by: its words, its name in metrics/epochs, and its value of a scored picture."""

    title: str
    key: str
    of_picture: Callable[[Row], float | None]


def column(name: str) -> Callable[[Row], float | None]:
    """The value of a scored picture's column, None where it could not be computed."""

    def read(row: Row) -> float | None:
        value = row.get(name)
        return None if value is None else float(value)

    return read


MEAN = Measure("mean(OCR, OD)", "mean", paper_score)
OD = Measure("mean_od", "mean_od", column("od"))
OCR = Measure("mean_ocr", "mean_ocr", column("ocr"))
DETECTED = Measure("share of pictures with a detected logo", "", lambda row: float(row["od"] > 0))
COPIED = Measure("share of pictures that copy a training picture", "memorised_share", column("memorised"))
COLOUR = Measure("share in the colour asked for", "colour_fidelity", column("colour_right"))
PROMPT = Measure("share whose own prompt CLIP prefers", "clip_prompt_accuracy", column("clip_prompt_right"))


@dataclass(frozen=True)
class Checkpoint:
    """A model at an epoch; epoch 0 is the untuned base."""

    experiment: Experiment
    epoch: int

    def __str__(self) -> str:
        if not self.epoch:
            return "the untuned base"
        return f"{model_name(self.experiment.method, self.experiment.parameters)} epoch {self.epoch}"

    @property
    def numbers(self) -> Row:
        """Its row of metrics/epochs; an empty one where there is none."""
        rows = [self.experiment.untuned or {}] if not self.epoch else self.experiment.epochs
        return next((row for row in rows if row.get("epoch") == self.epoch), {})


@dataclass(frozen=True)
class Difference:
    """Whether the first of two checkpoints is "higher" or "lower" than the second, and the numbers that say so."""

    word: Word
    text: str
    paired: bool = True


@dataclass
class Scores:
    """The scored pictures of experiments, each read from DVC's cache once; those that are not there are counted."""

    repository: Path = Path()
    missing: dict[str, str] = field(default_factory=dict)
    """Experiment and table -> why its scored pictures cannot be had."""
    _read: dict[tuple[str, str], dict[int, list[Row]]] = field(default_factory=dict)

    def at(self, checkpoint: Checkpoint) -> list[Row]:
        """A checkpoint's scored pictures of prompts with the token; none where they are not there."""
        experiment, epoch = checkpoint.experiment, checkpoint.epoch
        rows = self._table(experiment, experiment.method if epoch else UNTUNED).get(epoch, [])
        return [row for row in rows if not row["plain"]]

    def _table(self, experiment: Experiment, table: str) -> dict[int, list[Row]]:
        key = (experiment.revision.commit, table)
        if key not in self._read:
            try:
                self._read[key] = by_epoch(read_scores(experiment, table, self.repository))
            except UserError as error:
                name = experiment.revision.name
                self.missing[f"{name}, {table}"] = str(error)
                self._read[key] = {}
        return self._read[key]


# --- Choosing ------------------------------------------------------------------------------------------------------


def candidates(experiments: Sequence[Experiment]) -> list[Experiment]:
    """The models that may be chosen: those with the most pictures, which are those that a race did not stop before.

    A checkpoint of few pictures is the best of many by luck more easily.
    """
    most = max((experiment.images for experiment in experiments), default=0)
    return [experiment for experiment in experiments if experiment.images == most]


def choose(
    experiments: Sequence[Experiment], scores: Scores, epochs: Callable[[int], bool] = bool
) -> Checkpoint | None:
    """The checkpoint with the highest mean(OCR, OD) on the pictures of even seeds, the first of equals.

    By the numbers in metrics/epochs where the pictures of any candidate are not in the cache.

    Args:
        epochs: which epochs may be chosen.
    """
    found = [
        Checkpoint(experiment, row["epoch"])
        for experiment in candidates(experiments)
        for row in experiment.epochs
        if epochs(row["epoch"])
    ]
    if not found:
        return None
    means = []
    for checkpoint in found:
        rows = split_by_seed(scores.at(checkpoint))[0]
        if not rows:
            means = [checkpoint.numbers["mean"] for checkpoint in found]
            break
        means.append(sum(map(paper_score, rows)) / len(rows))
    return found[means.index(max(means))]


def difference(
    first: Checkpoint | None, second: Checkpoint | None, measure: Measure, scores: Scores, looks: int = 1
) -> Difference:
    """Whether a checkpoint's measure is higher or lower than another's, on the pictures of odd seeds.

    Args:
        looks: comparisons of which one is enough, so that each must be as much surer (Bonferroni).
    """
    if first is None or second is None:
        return Difference("unavailable", "not run")
    reported = [split_by_seed(scores.at(checkpoint))[1] for checkpoint in (first, second)]
    known = [[row for row in rows if measure.of_picture(row) is not None] for rows in reported]
    settings = first.experiment.params.get("score", {})
    estimate = compare(
        *known,
        confidence=1 - (1 - settings.get("confidence_level", 0.95)) / looks,
        samples=settings.get("bootstrap_samples", 2000),
        seed=first.experiment.params.get("seed", 0),
        value=lambda row: float(measure.of_picture(row) or 0),
    )
    if estimate is None:
        return by_intervals(first, second, measure)
    pairs = len(pictures_of(known[0]) & pictures_of(known[1]))
    interval = f"{estimate.mean:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
    return Difference(estimate.verdict, f"{first} against {second}: {measure.title} {interval} over {pairs} pairs")


def pictures_of(rows: Iterable[Row]) -> set[tuple[int, int]]:
    """The prompts and seeds of pictures."""
    return {(row["prompt_index"], row["seed_index"]) for row in rows}


def by_intervals(first: Checkpoint, second: Checkpoint, measure: Measure) -> Difference:
    """The difference where scored pictures are not in the cache: the two intervals overlap, or do not."""
    bounds = [interval_of(checkpoint.numbers, measure.key) for checkpoint in (first, second)]
    if bounds[0] is None or bounds[1] is None:
        return Difference("unavailable", f"{first} against {second}: {measure.title} is unavailable", paired=False)
    (low, high), (other_low, other_high) = bounds[0], bounds[1]
    word: Word = "higher" if low > other_high else "lower" if high < other_low else "not distinguishable"
    text = (
        f"{first} against {second}: {measure.title} {first.numbers[measure.key]:.3f} ({low:.2f} to {high:.2f}) and "
        f"{second.numbers[measure.key]:.3f} ({other_low:.2f} to {other_high:.2f}), intervals of all pictures"
    )
    return Difference(word, text, paired=False)


def interval_of(numbers: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """A number's interval, None where it has none: a bare mean decides nothing."""
    if f"{key}_low" not in numbers:
        return None
    return float(numbers[f"{key}_low"]), float(numbers[f"{key}_high"])


# --- Overfitting ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Onset:
    """A model's best epoch by mean(OCR, OD), and the epoch at which it overfits, None if none within its training."""

    best: int
    epoch: int | None
    text: str


def onset_of_overfitting(experiment: Experiment, scores: Scores) -> Onset:
    """The first checkpoint after the best one whose mean(OCR, OD) is lower than the best one's.

    The best one is that of the tables. Lower by the paired comparison of the pictures of odd seeds, the level divided
    by the number of later checkpoints: of simulated models whose score stays the same (10 checkpoints, 48 pictures) 9 %
    seem to overfit, where all pictures and each comparison's own level are taken 40 %; of those that lose 0.3 after
    epoch 21, 89 % are found. By intervals that do not overlap where the scored pictures are not in the cache. The paper
    sees the onset by eye (5.3).
    """
    rows = {row["epoch"]: row for row in experiment.epochs}
    best = best_epoch(rows)
    later = sorted(epoch for epoch in rows if epoch > best)
    for epoch in later:
        found = difference(Checkpoint(experiment, epoch), Checkpoint(experiment, best), MEAN, scores, len(later))
        if found.word == "lower":
            return Onset(best, epoch, f"overfits from epoch {epoch} on: {found.text}")
    return Onset(best, None, f"no onset of overfitting within the {experiment.last_epoch} epochs trained")
