"""The report's curves: every number by epoch, the training loss, the detector's calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.common.checkpoints import best_epoch
from stages.common.tables import Row
from stages.report.charts import Series, line_chart
from stages.report.labels import title_of, with_interval

CURVES = (
    ("mean", "mean(OCR, OD)", "The paper's score: the mean of mean_od and mean_ocr."),
    (
        "joint_success",
        "Joint success",
        "Share of pictures in which the word was read within a box that the detector found.",
    ),
    ("mean_od", "mean_od", "Mean of the detector's highest confidence, 0 below the threshold."),
    ("mean_ocr", "mean_ocr", "Share of pictures in which the word was read."),
    (
        "memorised_share",
        "Memorised",
        "Share of pictures that copy a training picture beyond the logo. Lower is better.",
    ),
    ("colour_fidelity", "Colour right", "Share drawn in the colour that the prompt asks for, where it asks for one."),
    ("diversity", "Diversity", "How unlike each other the pictures of one prompt are."),
    (
        "prior_drift",
        "Prior drift",
        "Share of pictures without the token that show the logo all the same. Lower is better.",
    ),
)


def make_charts(
    epochs: Mapping[str, Mapping[int, Row]], losses: Mapping[str, list[tuple[float, float]]]
) -> list[dict[str, Any]]:
    """The epoch curves with their intervals, and the loss curve with the best epochs marked (the paper's Figure 9)."""
    charts = []
    for key, title, text in CURVES:
        series = []
        for style, (method, by) in enumerate(epochs.items()):
            known = [(epoch, row) for epoch, row in by.items() if key in row]
            band = [(r[f"{key}_low"], r[f"{key}_high"]) for _, r in known if f"{key}_low" in r]
            points = [(float(epoch), float(row[key])) for epoch, row in known]
            series.append(Series(title_of(method), style, points, band if len(band) == len(points) else ()))
        steps = sorted({epoch for by in epochs.values() for epoch in by})
        rows = [[str(e)] + [with_interval(by.get(e, {}), key) for by in epochs.values()] for e in steps]
        chart = line_chart(title, series, "epoch", title, (0.0, 1.0))
        charts.append(
            {"title": title, "text": text, "svg": chart, "table": rows if any(s.points for s in series) else []}
        )
    series = [
        Series(title_of(method), style, losses[method], marked=(float(best_epoch(dict(by))),))
        for style, (method, by) in enumerate(epochs.items())
    ]
    text = "Mean loss of each epoch; the best epoch by mean(OCR, OD) is ringed: the loss does not show it (Figure 9)."
    chart = line_chart("Training loss", series, "epoch", "loss")
    return [*charts[:2], {"title": "Training loss", "text": text, "svg": chart, "table": []}, *charts[2:]]


def calibration_chart(rows: list[Row] | None) -> str:
    """The detector's calibration curve: share of the detections of a confidence that is right; empty without one."""
    if not rows:
        return ""
    points = [(float(row["confidence"]), float(row["share_right"])) for row in rows]
    lines = [Series("Detector", 0, points), Series("Perfect", 1, [(0.0, 0.0), (1.0, 1.0)])]
    return line_chart("Calibration", lines, "confidence", "share right", (0.0, 1.0))
