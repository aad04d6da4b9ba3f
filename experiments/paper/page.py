"""metrics/paper/: the tables, figures and findings as one page for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.leaderboard import rank_checkpoints
from experiments.paper.comparisons import Scores, onset_of_overfitting
from experiments.paper.figures import Figure, figure_9, figure_10, figure_11, shown_model
from experiments.paper.findings import Answer, answers
from experiments.paper.population import NAMED, Population, read_population
from experiments.paper.tables import NOT_RUN, Table, make_tables
from stages.common.files import write_file, write_json
from stages.common.revisions import find_revisions

OUT = Path("metrics/paper")
HOW_ANSWERED = (
    "A finding is answered by differences between pictures of the same prompts and seeds, with intervals that resample "
    "whole prompts: even seeds choose the checkpoints, odd seeds decide. What that cannot tell is not decided."
)
FIGURES = {
    "figure9": "Figure 9: training loss by epoch",
    "figure10": "Figure 10: samples at every saved epoch",
    "figure11": "Figure 11: samples after the last epoch, by rank",
}


def write_paper(revisions: Sequence[str] = (), *, repository: Path = Path(), out: Path = OUT) -> dict[str, Any]:
    """Write the paper's tables, figures and findings from the experiments of these revisions.

    Args:
        revisions: experiments' names, or git revisions, which stand for the experiments that started from them too;
            empty: every experiment in the repository, and HEAD.

    Returns:
        The content of paper.json.

    Raises:
        UserError: an unknown revision, or no experiment with scores.
    """
    population = read_population(find_revisions(revisions, repository), repository)
    scores = Scores(repository)
    tables = make_tables(population.models)
    figures = make_figures(population, scores, repository, out)
    found = answers(population.models, scores)
    notes = [*population.notes, *missing_notes(scores)]
    content = {
        "tables": [asdict(table) for table in tables],
        "figures": [asdict(figure) for figure in figures],
        "findings": [asdict(answer) for answer in found],
        "how_answered": HOW_ANSWERED,
        "notes": notes,
    }
    write_json(out / "paper.json", content)
    write_file(out / "paper.md", markdown(tables, figures, found, notes))
    return content


def make_figures(population: Population, scores: Scores, repository: Path, out: Path) -> list[Figure]:
    """Figures 9, 10 and 11; a picture of an earlier run whose figure cannot be made now is taken away."""
    models = population.models["lora"]
    model = shown_model(rank_checkpoints(models)) if models else None
    if model is None:
        figures = [Figure(name, title, unavailable=NOT_RUN) for name, title in FIGURES.items()]
    else:
        onset = onset_of_overfitting(model, scores)
        figures = [
            figure_9(model, onset, repository, out),
            figure_10(model, onset, repository, out),
            figure_11(model, models, repository, out),
        ]
    for figure in figures:
        if figure.unavailable:
            (out / f"{figure.name}.png").unlink(missing_ok=True)
    return figures


def missing_notes(scores: Scores) -> list[str]:
    """Which experiments' scored pictures could not be had."""
    if not scores.missing:
        return []
    names = list(scores.missing)
    shown = "; ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return [f"Compared by intervals, scored pictures out of reach ({shown}): {scores.missing[names[0]]}."]


def markdown(tables: Sequence[Table], figures: Sequence[Figure], found: Sequence[Answer], notes: Sequence[str]) -> str:
    """The page."""
    lines = [
        "# The paper's tables, figures and findings, from our experiments",
        "",
        '`python -m experiments.paper` writes this page. The paper is "Fine-Tuning Methods for Diffusion Models" (VU '
        "Amsterdam); its numbers stand on the right of each table.",
        "",
    ]
    for table in tables:
        lines += [f"## {table.title}", "", *table_lines(table.header, table.rows), ""]
        lines += [line for note in table.notes for line in (note, "")]
    for figure in figures:
        lines += [f"## {figure.title}", ""]
        lines += [f"![{figure.title}]({figure.file})" if figure.file else f"Unavailable: {figure.unavailable}.", ""]
        lines += [line for note in figure.notes for line in (note, "")]
    rows = [(a.finding, a.source, a.decision, a.why) for a in found]
    lines += [
        "## The paper's findings",
        "",
        HOW_ANSWERED,
        "",
        *table_lines(("Finding", "Paper", "Seen here?", "Why"), rows),
        "",
    ]
    lines += ["## What these are of", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A markdown table."""
    shown = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return [f"| {' | '.join(header)} |", "|" + "---|" * len(header), *shown]
