"""Put tables, curves and pictures on one page that says which checkpoint to ship.

Reads   data/scores/<method>.jsonl (base.jsonl: the untuned base's pictures, epoch 0 of every method) and metrics/epochs
        (the numbers), data/samples and data/captioned (the pictures),
        metrics/finetune/<method>/plots/metrics/loss.tsv, metrics/detector_details.json,
        metrics/detector_calibration.json, metrics/detections.png, metrics/funnel.json, metrics/funnel.png,
        params brand.word, report, score.bootstrap_samples, score.confidence_level, seed, and each method's
        finetune.<method>.epochs: a method with none is left out.
Writes  metrics/verdict.json (what to ship and why, stages/report/summary.py), metrics/report/index.html and
        metrics/report/images (copied into the folder, so that it can be sent as it is), metrics/report.md (for a pull
        request), metrics/report.png (base and best checkpoints side by side).

The page needs no server, no script from elsewhere and no font. It begins with the verdict (stages/report/verdict.py).
What is not there is named as unavailable; the page is made all the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.common.command import stage_main
from stages.common.files import write_file, write_json
from stages.common.params import Params, load_params

if TYPE_CHECKING:
    from stages.report.verdict import Verdict


@dataclass(frozen=True)
class Paths:
    """The stage's folders."""

    scores: Path = Path("data/scores")
    samples: Path = Path("data/samples")
    captioned: Path = Path("data/captioned")
    metrics: Path = Path("metrics")


PATHS = Paths()


def report(params: Params, paths: Paths = PATHS) -> Verdict:
    """Write the verdict, the page with its pictures, the markdown and the key picture; returns the verdict.

    Raises:
        UserError: a method has no scores, or a scored picture is missing.
    """
    from stages.report.contents import page_contents
    from stages.report.gallery import copy_figures, copy_pictures
    from stages.report.inputs import read_inputs
    from stages.report.markdown import markdown
    from stages.report.page import render
    from stages.report.sheet import draw_sheet
    from stages.report.summary import verdict_summary
    from stages.report.tables import Tables, add_normscores, compare_methods, table_2
    from stages.report.verdict import decide

    inputs = read_inputs(params.methods, paths.scores, paths.metrics)
    confidence = params.score.confidence_level
    intervals: dict[str, Any] = {
        "confidence": confidence,
        "samples": params.score.bootstrap_samples,
        "seed": params.seed,
    }
    verdict = decide(inputs.scores, gates=params.report.gates, **intervals)
    add_normscores(inputs.epochs)
    best = table_2(inputs.epochs, params.report.top)
    tables = Tables(best, compare_methods(inputs.scores, inputs.epochs, **intervals))

    folder, images = paths.metrics / "report", paths.metrics / "report" / "images"
    shutil.rmtree(folder, ignore_errors=True)
    copy_pictures(inputs.scores, paths.samples, paths.captioned, images)
    draw_sheet(inputs.scores, inputs.epochs, paths.samples, paths.metrics / "report.png")
    figures = copy_figures(inputs.scores, paths.metrics, images)
    contents = page_contents(params, inputs, verdict, tables, figures)
    write_file(folder / "index.html", render("report.html.j2", contents))
    write_file(paths.metrics / "report.md", markdown(verdict, tables, confidence))
    write_json(paths.metrics / "verdict.json", verdict_summary(verdict, confidence))
    return verdict


@click.command()
@stage_main
def main() -> None:
    """Write the report and name the file to open."""
    verdict = report(load_params())
    from stages.report.labels import title_of

    shipped = verdict.shipped
    click.echo(
        f"ship {title_of(shipped.method)}, epoch {shipped.epoch}" if shipped else f"ship nothing: {verdict.reason}"
    )
    click.echo(f"open {PATHS.metrics / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()
