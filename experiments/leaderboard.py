"""Rank every checkpoint of every experiment of a method.

    python -m experiments.leaderboard [REVISION ...] [--method lora]

Reads   git: params.yaml, dvc.lock and metrics/epochs/<method>.json of each revision (experiments by name, commits with
        the experiments that started from them, nothing for every experiment).
Writes  metrics/leaderboard/: checkpoints.csv (all of them), leaderboard.md and index.html (the best ones).

The score that ranks is the paper's (Table 3): each metric is min-max normalised over all checkpoints of all experiments
asked for, so it depends on that set and the raw values stand beside it. The paper's own tables are made by
experiments.paper.

Which experiments count is said in experiments.results. This is no stage of the pipeline: it looks at many commits, and
no commit can depend on that.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from experiments.results import Experiment, furthest_of_each_model, read_experiments
from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.params import METHODS
from stages.common.revisions import find_revisions
from stages.common.statistics import normalised_score, ranks
from stages.common.tables import Row
from stages.report.page import render

OUT = Path("metrics/leaderboard")
TEMPLATES = Path(__file__).parent / "templates"
TOP = 10
"""Checkpoints on the page, as many as in the paper's Table 3."""
PAPER_PARAMETERS = {"lora": ("unet_lr", "text_encoder_lr", "rank")}
COLUMNS = (
    ("mean_od", "mean_od"),
    ("mean_ocr", "mean_ocr"),
    ("mean", "mean(OCR, OD)"),
    ("joint_success", "Joint success"),
    ("memorised_share", "Memorised"),
    ("colour_fidelity", "Colour right"),
)


@dataclass(frozen=True)
class Entry:
    """A checkpoint on the leaderboard."""

    experiment: Experiment
    epoch: int
    numbers: Row
    normscore: float
    place: int


def rank_checkpoints(experiments: Sequence[Experiment]) -> list[Entry]:
    """Every checkpoint of every experiment, the highest normalised score first (paper, Table 3).

    Raises UserError where there is none.
    """
    pairs = [(experiment, row) for experiment in experiments for row in experiment.epochs]
    if not pairs:
        raise UserError("no experiment with scores: run `dvc exp run` or `make grid` first")
    scores = normalised_score([row["mean_od"] for _, row in pairs], [row["mean_ocr"] for _, row in pairs])
    places = ranks(scores)
    entries = [
        Entry(experiment, row["epoch"], row, round(float(score), 6), int(place))
        for (experiment, row), score, place in zip(pairs, scores, places, strict=True)
    ]
    return sorted(entries, key=lambda e: (e.place, e.experiment.revision.name, e.epoch))


def paper_parameters(method: str) -> tuple[str, ...]:
    """The parameters that the paper's search varies (3.3, Table 1)."""
    return PAPER_PARAMETERS.get(method, ("learning_rate",))


def other_parameters(experiments: Sequence[Experiment], method: str) -> list[str]:
    """All other parameters that differ between the models; how far they were trained is none."""
    names = dict.fromkeys(name for e in experiments for name in e.model if name not in paper_parameters(method))
    return [name for name in names if len({repr(e.parameters.get(name)) for e in experiments}) > 1]


def shown_parameters(experiments: Sequence[Experiment], method: str) -> list[str]:
    """The parameters that are columns: the paper's for the method, then all others that differ between models."""
    known = {name for e in experiments for name in e.parameters}
    return [name for name in paper_parameters(method) if name in known] + other_parameters(experiments, method)


def table(entries: Sequence[Entry], parameters: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the ranking; raw values with their intervals beside the normalised score."""
    header = ["#", "Experiment", *parameters, "Epoch", "Normscore", *(name for _, name in COLUMNS), "Pictures"]
    rows = [
        [
            str(e.place),
            e.experiment.revision.name,
            *(number(e.experiment.parameters.get(p)) for p in parameters),
            str(e.epoch),
            f"{e.normscore:.3f}",
            *(value(e.numbers, key) for key, _ in COLUMNS),
            str(e.numbers.get("images", "")),
        ]
        for e in entries
    ]
    return header, rows


def number(content: Any) -> str:
    """A parameter as people write it: 5e-06, 0.001, 16."""
    return f"{content:g}" if isinstance(content, float) else str(content)


def value(row: Row, key: str) -> str:
    """A number with its interval, or "unavailable"."""
    if key not in row:
        return "unavailable"
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return f"{row[key]:.3f}" + (f" ({low:.2f} to {high:.2f})" if low is not None else "")


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A csv file with \\n line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_file(path, text.getvalue())


def all_checkpoints(entries: Sequence[Entry], parameters: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The whole ranking for a spreadsheet: plain numbers, bounds in columns of their own."""
    keys = [name for key, _ in COLUMNS for name in (key, f"{key}_low", f"{key}_high")]
    header = ["place", "experiment", "commit", *parameters, "epoch", "normscore", "images", *keys]
    rows = [
        [
            str(e.place),
            e.experiment.revision.name,
            e.experiment.revision.commit,
            *(number(e.experiment.parameters.get(p)) for p in parameters),
            str(e.epoch),
            f"{e.normscore:.6f}",
            *(str(e.numbers.get(key, "")) for key in ("images", *keys)),
        ]
        for e in entries
    ]
    return header, rows


def markdown(title: str, caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: list[str]) -> str:
    """The leaderboard for a pull request."""
    lines = [f"# {title}", "", f"## {caption}", "", f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
    lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join(lines + [f"- {note}" for note in notes] + ([""] if notes else []))


def leaderboard(
    revisions: Sequence[str] = (), *, method: str = "lora", repository: Path = Path(), out: Path = OUT
) -> list[Entry]:
    """Rank the checkpoints of these revisions' experiments and write the tables; returns the ranking.

    Raises:
        UserError: an unknown revision, or no experiment with scores.
    """
    found, skipped = read_experiments(find_revisions(revisions, repository), method, repository)
    if not found and skipped:
        raise UserError(f"no experiment counts: {skipped[0][0]}: {skipped[0][1]}")
    experiments = furthest_of_each_model(found)
    entries = rank_checkpoints(experiments)
    parameters = shown_parameters(experiments, method)
    header, rows = table(entries[:TOP], parameters)
    caption = f"The best {len(rows)} of {len(entries)} checkpoints of {len(experiments)} models"
    notes = [f"Left out: {name}: {reason}." for name, reason in skipped]
    if repeats := len(found) - len(experiments):
        notes.append(f"Left out: {repeats} experiments of the same models that went no further.")
    write_csv(out / "checkpoints.csv", *all_checkpoints(entries, parameters))
    write_file(out / "leaderboard.md", markdown(f"Leaderboard: {method}", caption, header, rows, notes))
    context = {"method": method, "tables": [(caption, header, rows)], "notes": notes}
    write_file(out / "index.html", render("leaderboard.html.j2", context, templates=TEMPLATES))
    return entries


@click.command()
@click.argument("revisions", nargs=-1)
@click.option("--method", type=click.Choice(METHODS), default="lora", show_default=True, help="whose checkpoints")
def main(revisions: tuple[str, ...], method: str) -> None:
    """Rank the checkpoints of DVC's experiments (all of them, or those of REVISIONS)."""

    @stage_main
    def run() -> None:
        entries = leaderboard(revisions, method=method)
        header, rows = table(entries[:TOP], paper_parameters(method))
        click.echo("\n".join("  ".join(row[:7]) for row in [header, *rows]))
        click.echo(f"open {OUT / 'index.html'}")

    run()


if __name__ == "__main__":
    main()
