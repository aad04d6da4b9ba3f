"""The report's tables: the best checkpoints, methods beside each other, the rule's outcome, detector and funnel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stages.common.checkpoints import best_epoch, by_epoch, compare
from stages.common.statistics import normalised_score
from stages.common.tables import Row
from stages.report.labels import title_of, with_interval
from stages.report.verdict import Verdict

TABLE_COLUMNS = (
    ("mean_od", "mean_od"),
    ("mean_ocr", "mean_ocr"),
    ("mean", "mean(OCR, OD)"),
    ("normscore", "Normscore"),
    ("joint_success", "Joint success"),
    ("edit_distance", "Edit distance"),
    ("colour_fidelity", "Colour right"),
    ("clip_prompt_accuracy", "CLIP prompt"),
    ("memorised_share", "Memorised"),
    ("diversity", "Diversity"),
    ("prior_drift", "Prior drift"),
)


@dataclass(frozen=True)
class Tables:
    """What page and markdown both show: the best checkpoints by name, and a sentence for each pair of methods."""

    best: list[tuple[str, Row]]
    comparisons: list[str]


def add_normscores(epochs: Mapping[str, Mapping[int, Row]]) -> None:
    """Give every tuned checkpoint its normalised score over the population of all of them (paper, Table 3)."""
    tuned = [row for by in epochs.values() for epoch, row in by.items() if epoch > 0]
    if tuned:
        scores = normalised_score([row["mean_od"] for row in tuned], [row["mean_ocr"] for row in tuned])
        for row, value in zip(tuned, scores, strict=True):
            row["normscore"] = round(float(value), 6)


def table_2(epochs: Mapping[str, Mapping[int, Row]], top: int) -> list[tuple[str, Row]]:
    """The paper's Table 2: each method's best checkpoints by mean(OCR, OD), and the untuned base."""
    rows = []
    for method, by in epochs.items():
        tuned = sorted((e for e in by if e > 0), key=lambda e: (-by[e]["mean"], e))
        rows += [(f"{title_of(method)}, epoch {epoch}", by[epoch]) for epoch in tuned[:top]]
    base = next((by[0] for by in epochs.values() if 0 in by), None)
    return rows + ([("Untuned base (epoch 0)", base)] if base else [])


def compare_methods(
    scores: Mapping[str, list[Row]],
    epochs: Mapping[str, Mapping[int, Row]],
    *,
    confidence: float,
    samples: int,
    seed: int,
) -> list[str]:
    """A sentence for each pair of methods: whether their best checkpoints' mean(OCR, OD) can be distinguished.

    Args:
        scores: each method's scored pictures.
        epochs: each method's numbers by epoch.
        confidence, samples, seed: of the intervals.
    """
    best = {method: best_epoch(dict(by)) for method, by in epochs.items()}
    lines, methods = [], list(scores)
    for i, first in enumerate(methods):
        for second in methods[i + 1 :]:
            rows = [by_epoch(scores[method])[best[method]] for method in (first, second)]
            estimate = compare(rows[0], rows[1], confidence=confidence, samples=samples, seed=seed)
            names = f"{title_of(first)} epoch {best[first]} against {title_of(second)} epoch {best[second]}"
            if estimate is None:
                lines.append(f"{names}: unavailable, fewer than two prompts in common.")
            else:
                lines.append(
                    f"{names}: {estimate.verdict} ({estimate.mean:+.2f}, {estimate.low:+.2f} to {estimate.high:+.2f})."
                )
    return lines


FIGURES = (
    ("joint_success", "Joint success"),
    ("mean", "mean(OCR, OD)"),
    ("mean_od", "mean_od"),
    ("mean_ocr", "mean_ocr"),
    ("colour_fidelity", "Colour right"),
    ("memorised_share", "Memorised"),
    ("prior_drift", "Prior drift"),
)
"""The shipped checkpoint's numbers, in the order in which they are shown."""
OUTCOMES = {
    "higher": "; the shipped one is better",
    "lower": "; better than the shipped one on the reporting seeds",
    "not distinguishable": "; not distinguishable from the shipped one",
}


def outcome_rows(verdict: Verdict) -> list[dict[str, str]]:
    """One line a checkpoint: what the rule did with it."""
    rivals = {(r.candidate.method, r.candidate.epoch): r for r in verdict.rivals}
    rows = []
    for candidate in (*verdict.passed, *verdict.rejected):
        if candidate.rejected:
            outcome = "rejected: " + "; ".join(candidate.rejected)
        elif verdict.shipped is candidate:
            outcome = "shipped"
        else:
            rival = rivals.get((candidate.method, candidate.epoch))
            compared = rival.difference.verdict if rival and rival.difference else "not compared"
            outcome = "passes the gates" + OUTCOMES.get(compared, "")
        rows.append(
            {
                "name": f"{title_of(candidate.method)} {candidate.epoch}",
                "joint": with_interval(candidate.selection, "joint_success"),
                "memorised": with_interval(candidate.every, "memorised_share"),
                "colour": with_interval(candidate.every, "colour_fidelity"),
                "outcome": outcome,
            }
        )
    return rows


def not_distinguishable(verdict: Verdict) -> str:
    """The candidates that a paired bootstrap cannot distinguish from the shipped one, as a list in words."""
    groups: dict[str, list[int]] = {}
    for rival in verdict.equals:
        groups.setdefault(rival.candidate.method, []).append(rival.candidate.epoch)
    return "; ".join(f"{title_of(m)} {', '.join(map(str, sorted(epochs)))}" for m, epochs in groups.items())


def shipped_figures(verdict: Verdict) -> list[tuple[str, str, str]]:
    """The shipped checkpoint's numbers: (name, value, interval)."""
    if not verdict.shipped:
        return []
    row = verdict.shipped.report
    out = []
    for key, name in FIGURES:
        interval = f"{row[key + '_low']:.2f} to {row[key + '_high']:.2f}" if f"{key}_low" in row else ""
        out.append((name, f"{row[key]:.2f}" if key in row else "unavailable", interval))
    return [*out, ("Pictures", str(row["images"]), "")]


def detector_figures(numbers: Row | None) -> list[tuple[str, str, str]]:
    """The detector's own numbers: (name, value, interval)."""
    if not numbers:
        return []
    at = f"at {numbers['threshold']:.2f}"
    out = [("mAP50", f"{numbers['mAP50']:.3f}", ""), ("mAP50-95", f"{numbers['mAP50_95']:.3f}", "")]
    for key, name in (("precision", "Precision"), ("recall", "Recall"), ("false_positive_rate", "False positives")):
        if key in numbers:
            out.append(
                (f"{name} {at}", f"{numbers[key]:.3f}", f"{numbers[key + '_low']:.2f} to {numbers[key + '_high']:.2f}")
            )
    return out


def funnel_rows(numbers: Row | None) -> list[tuple[str, int, float]]:
    """(step, pictures, per cent of the first) of the filter's funnel."""
    if not numbers:
        return []
    steps = [(key.replace("_", " "), int(value)) for key, value in numbers.items() if isinstance(value, int)]
    highest = max((value for _, value in steps), default=1) or 1
    return [(name, value, round(100 * value / highest, 1)) for name, value in steps]
