"""What stands on the report's page, section by section: the values of report.html.j2's names."""

from __future__ import annotations

from typing import Any

from stages.common.params import UNTUNED, Params
from stages.report.charts import marker
from stages.report.curves import calibration_chart, make_charts
from stages.report.gallery import Figures, all_pictures, make_grid, picture_entry
from stages.report.inputs import Inputs
from stages.report.labels import title_of, with_interval
from stages.report.tables import (
    TABLE_COLUMNS,
    Tables,
    detector_figures,
    funnel_rows,
    not_distinguishable,
    outcome_rows,
    shipped_figures,
)
from stages.report.verdict import RULE, Verdict

SECTIONS = (
    ("verdict", "Verdict"),
    ("table", "Best checkpoints"),
    ("curves", "By epoch"),
    ("grids", "Epoch by prompt"),
    ("pictures", "All pictures"),
    ("detector", "Detector"),
    ("funnel", "Funnel"),
    ("definitions", "Definitions"),
)
DEFINITIONS = (
    ("mean_od", "Mean over pictures of the detector's highest confidence, 0 below the threshold (paper, 4.2)."),
    ("mean_ocr", "Share of pictures in which the OCR read the word, upper or lower case, 0 for o (paper, 4.2)."),
    ("mean(OCR, OD)", "The mean of the two (paper, Table 2). It cannot see copies or wrong colours."),
    ("Normscore", "mean_od and mean_ocr, each min-max normalised over all checkpoints, averaged (paper, Table 3)."),
    ("Joint success", "Share of pictures in which the word was read within a box that the detector found."),
    ("Edit distance", "Normalised Levenshtein distance of the closest reading: 0 is the word, 1 nothing of it."),
    (
        "Colour right",
        "Of the pictures whose prompt names a colour, the share whose garment, the logo's box left out, "
        "is drawn in it; nearest of eleven basic colour names in CIELAB (after GenEval).",
    ),
    (
        "CLIP prompt, CLIP colour",
        "Share of pictures whose own prompt CLIP prefers to the run's other prompts, or "
        "to itself in another colour. Unavailable without a CLIP.",
    ),
    (
        "Memorised",
        "Share of pictures that, logos left out, are at least as similar to a training picture as the most "
        "similar training pictures are to each other (top-1 similarity against train-to-train, as in digital-forgery "
        "work). By that yardstick a few per cent of new pictures count too.",
    ),
    ("Diversity", "1 - mean similarity between the pictures of one prompt."),
    ("Prior drift", "Share of pictures of prompts without the token on which the detector finds the logo."),
    (
        "Intervals",
        "Rates: Wilson. Means and differences: bootstrap over prompts, differences paired on (prompt, seed). "
        '"Not distinguishable" means that the interval of the difference holds 0.',
    ),
)


def page_contents(params: Params, inputs: Inputs, verdict: Verdict, tables: Tables, figures: Figures) -> dict[str, Any]:
    """The context of report.html.j2."""
    methods, pictures = list(inputs.scores), all_pictures(inputs.scores)
    return {
        "word": params.brand.word,
        "sections": SECTIONS,
        "confidence": f"{params.score.confidence_level:.0%}",
        "title_of": title_of,
        # Verdict
        "verdict": verdict,
        "rule": RULE,
        "shipped_figures": shipped_figures(verdict),
        "not_distinguishable": not_distinguishable(verdict),
        "outcomes": outcome_rows(verdict),
        # Best checkpoints
        "top": params.report.top,
        "table": {
            "columns": ["Checkpoint", *(name for _, name in TABLE_COLUMNS)],
            "rows": [[name, *(with_interval(row, key) for key, _ in TABLE_COLUMNS)] for name, row in tables.best],
        },
        "comparisons": tables.comparisons,
        "key_picture": figures.key_picture,
        # By epoch
        "charts": make_charts(inputs.epochs, inputs.losses),
        "markers": [marker(style, 7, 7, 5) for style in range(len(methods))],
        "method_titles": [title_of(method) for method in methods],
        # Epoch by prompt, all pictures
        "grids": [make_grid(method, inputs.scores[method]) for method in methods],
        "methods": [(method, title_of(method)) for method in (UNTUNED, *methods)],
        "epochs": sorted({row["epoch"] for row in pictures}),
        "prompts": sorted({(row["prompt_index"], row["prompt"]) for row in pictures}),
        "seeds": len({row["seed_index"] for row in pictures}),
        "pictures": [picture_entry(row) for row in pictures],
        "side": figures.side,
        # Detector, funnel, definitions
        "detector": detector_figures(inputs.detector),
        "calibration": calibration_chart(inputs.calibration),
        "detections_picture": figures.detections,
        "funnel": funnel_rows(inputs.funnel),
        "funnel_picture": figures.funnel,
        "definitions": DEFINITIONS,
    }
