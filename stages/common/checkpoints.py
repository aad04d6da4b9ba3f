"""From rows of scored pictures to one row a checkpoint, and from those to the checkpoint to ship.

A checkpoint's numbers come in threes: the value and, for rates and means, `_low` and `_high` of its interval. A number
that cannot be computed is absent, and `unavailable` says why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from stages.common.statistics import Estimate, cluster_bootstrap, paired_bootstrap, wilson_interval
from stages.common.tables import Row

DIGITS = 6
"""Decimals in files: far below what one picture more or less changes, and the same on every machine."""


def by_epoch(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Rows of one method by epoch, epochs ascending."""
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[int(row["epoch"])].append(row)
    return dict(sorted(groups.items()))


def summarise(rows: Sequence[Row], *, confidence: float, samples: int, seed: int) -> Row:
    """One checkpoint's numbers from its scored pictures. Only prior drift is about the prompts without the token.

    images           pictures of prompts with the token
    mean_od          mean of the detector's highest confidence, counted as 0 below the threshold (paper 4.2, Table 2)
    mean_ocr         share of pictures in which the word was read (paper 4.2, Table 2)
    mean             mean of the two (paper, Table 2)
    joint_success    share in which the word was read within a box that the detector found
    edit_distance    mean normalised edit distance of the closest reading (lower is better)
    colour_fidelity  of the pictures whose prompt names a colour, the share drawn in it
    clip_*           share whose own prompt (or colour) CLIP prefers to the alternatives
    memorised_share  share that copies a training picture beyond the logo
    similarity_masked  mean similarity to the nearest training picture, logos left out
    diversity        mean dissimilarity of the pictures of one prompt
    prior_drift      share of the pictures without the token that show the logo all the same

    Rates have Wilson intervals; they take pictures as independent, which seeds of one prompt are not quite. Means have
    bootstrap intervals over prompts.
    """
    asked, plain = [r for r in rows if not r["plain"]], [r for r in rows if r["plain"]]
    out: Row = {"images": len(asked)}
    unavailable: dict[str, str] = {}

    def mean(name: str, value: Callable[[Row], float | None]) -> None:
        known = [(v, row["prompt_index"]) for row in asked if (v := value(row)) is not None]
        if not known:
            unavailable[name] = _why(name, len(asked))
            return
        values, prompts = [v for v, _ in known], [p for _, p in known]
        out[name] = sum(values) / len(values)
        if len(set(prompts)) > 1:
            estimate = cluster_bootstrap(values, prompts, samples=samples, confidence=confidence, seed=seed)
            out[f"{name}_low"], out[f"{name}_high"] = max(0.0, estimate.low), min(1.0, estimate.high)

    def rate(name: str, of: Sequence[Row], value: Callable[[Row], bool | None]) -> None:
        known = [bool(v) for row in of if (v := value(row)) is not None]
        if not known:
            unavailable[name] = _why(name, len(of))
            return
        out[name] = sum(known) / len(known)
        out[f"{name}_low"], out[f"{name}_high"] = wilson_interval(sum(known), len(known), confidence)
        if len(known) != len(asked):
            out[f"{name}_images"] = len(known)

    mean("mean_od", lambda r: r["od"])
    rate("mean_ocr", asked, lambda r: r["ocr"])
    mean("mean", paper_score)
    rate("joint_success", asked, lambda r: r["joint"])
    mean("edit_distance", lambda r: r["edit_distance"])
    rate("colour_fidelity", asked, lambda r: r.get("colour_right"))
    rate("clip_prompt_accuracy", asked, lambda r: r.get("clip_prompt_right"))
    rate("clip_colour_accuracy", asked, lambda r: r.get("clip_colour_right"))
    rate("memorised_share", asked, lambda r: r.get("memorised"))
    mean("similarity", lambda r: r.get("similarity"))
    mean("similarity_masked", lambda r: r.get("similarity_masked"))
    mean("diversity", lambda r: r.get("diversity"))
    rate("prior_drift", plain, lambda r: r["od"] > 0)
    rounded = {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in out.items()}
    return rounded | ({"unavailable": unavailable} if unavailable else {})


def _why(name: str, pictures: int) -> str:
    if not pictures:
        return "no prompts without the token" if name == "prior_drift" else "no pictures"
    reasons = {
        "colour_fidelity": "no prompt names a colour",
        "clip_prompt_accuracy": "no CLIP in models/pretrained/clip",
        "clip_colour_accuracy": "no CLIP in models/pretrained/clip, or no prompt names a colour",
        "diversity": "one picture a prompt",
    }
    return reasons.get(name, "fewer than two training pictures to compare with")


def paper_score(row: Row) -> float:
    """A picture's share of the paper's mean(OCR, OD)."""
    return (float(row["od"]) + float(row["ocr"])) / 2


def best_epoch(summaries: dict[int, Row], key: str = "mean") -> int:
    """The tuned checkpoint with the highest value, the earlier one of equals. Epoch 0, the untuned base, never is.

    Raises ValueError where there is no tuned checkpoint.
    """
    tuned = {epoch: row for epoch, row in summaries.items() if epoch > 0}
    return max(tuned, key=lambda epoch: (tuned[epoch][key], -epoch))


def split_by_seed(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Pictures to select a checkpoint by, and pictures to report it on: even and odd seed indices.

    The best of many checkpoints looks better than it is on the pictures that it was chosen by; on others it does not.
    Only seeds count that every epoch was drawn with: the untuned base may have more than the checkpoints beside it.
    With a single seed both are all pictures.
    """
    rows = list(rows)
    drawn = [{row["seed_index"] for row in of_epoch} for of_epoch in by_epoch(rows).values()]
    common = set.intersection(*drawn) if drawn else set()
    chosen = [row for row in rows if row["seed_index"] in common and row["seed_index"] % 2 == 0]
    reported = [row for row in rows if row["seed_index"] in common and row["seed_index"] % 2 == 1]
    return (chosen, reported) if chosen and reported else (rows, rows)


def compare(
    a: Iterable[Row],
    b: Iterable[Row],
    *,
    confidence: float,
    samples: int,
    seed: int,
    value: Callable[[Row], float] = paper_score,
) -> Estimate | None:
    """The paired difference a - b of two checkpoints over the (prompt, seed) pairs that both drew, clustered by prompt.

    None where they share fewer than two prompts.
    """
    first, second = _grid(a), _grid(b)
    shared = sorted(first.keys() & second.keys())
    if len({prompt for prompt, _ in shared}) < 2:
        return None
    return paired_bootstrap(
        [value(first[pair]) for pair in shared],
        [value(second[pair]) for pair in shared],
        [prompt for prompt, _ in shared],
        samples=samples,
        confidence=confidence,
        seed=seed,
    )


def _grid(rows: Iterable[Row]) -> dict[tuple[int, int], Row]:
    return {(int(r["prompt_index"]), int(r["seed_index"])): r for r in rows if not r["plain"]}


def estimate_row(estimate: Estimate | None) -> Any:
    """An estimate for a JSON file; where there is none, a sentence."""
    if estimate is None:
        return {"verdict": "unavailable: fewer than two prompts"}
    return {
        "difference": round(estimate.mean, DIGITS),
        "low": round(estimate.low, DIGITS),
        "high": round(estimate.high, DIGITS),
        "verdict": estimate.verdict,
    }
