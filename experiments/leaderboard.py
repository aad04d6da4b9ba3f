"""Rank every checkpoint of every experiment: the paper's Table 3, Table 4 and Figure 11.

    python -m experiments.leaderboard [REVISION ...] [--method lora]

Reads   git: params.yaml, dvc.lock and metrics/epochs/<method>.json of each revision (experiments by name, commits with
        the experiments that started from them, nothing for every experiment); DVC: data/samples of a few of them.
Writes  metrics/leaderboard/: table3.csv (all checkpoints), table4.csv, figure11.png, leaderboard.md, index.html.

Table 3: the checkpoints with the highest normalised score; each metric is min-max normalised over all checkpoints of
all experiments asked for, so the score depends on that set and the raw values stand beside it.
Table 4: the learning-rate pairs whose best three ranks score highest. Figure 11: pictures by rank.

Which experiments count is said in experiments.results. This is no stage of the pipeline: it looks at many commits, and
no commit can depend on that.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from PIL import Image, ImageDraw, ImageFont

from experiments.results import Experiment, open_samples, read_experiments
from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import replacing, write_file
from stages.common.params import METHODS
from stages.common.revisions import find_revisions
from stages.common.statistics import normalised_score, ranks
from stages.common.tables import Row
from stages.report.page import render

OUT = Path("metrics/leaderboard")
TEMPLATES = Path(__file__).parent / "templates"
TOP = 10
"""Checkpoints in the paper's Table 3."""
BEST_RANKS = 3
"""Ranks a learning-rate pair in the paper's Table 4."""
PAPER_PARAMETERS = {"lora": ("unet_lr", "text_encoder_lr", "rank")}


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
        raise UserError("no experiment with scores: run `dvc exp run` first (make grid queues the paper's)")
    scores = normalised_score([row["mean_od"] for _, row in pairs], [row["mean_ocr"] for _, row in pairs])
    places = ranks(scores)
    entries = [
        Entry(experiment, row["epoch"], row, round(float(score), 6), int(place))
        for (experiment, row), score, place in zip(pairs, scores, places, strict=True)
    ]
    return sorted(entries, key=lambda e: (e.place, e.experiment.revision.name, e.epoch))


def shown_parameters(experiments: Sequence[Experiment], method: str) -> list[str]:
    """The parameters that are columns: the paper's for the method, then all others that differ between experiments."""
    names = list(dict.fromkeys(name for e in experiments for name in e.parameters))
    paper = PAPER_PARAMETERS.get(method, ("learning_rate",))
    return [n for n in names if n in paper] + [
        n for n in names if n not in paper and len({repr(e.parameters.get(n)) for e in experiments}) > 1
    ]


def pairs_of_learning_rates(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The paper's Table 4: each (unet_lr, text_encoder_lr) with its best ranks, the best pair first.

    A rank counts with its best checkpoint; a pair is ordered by the mean normalised score of its best three
    ranks (of as many as it has).
    """
    best: dict[tuple[float, float], dict[int, Entry]] = defaultdict(dict)
    for entry in entries:  # the best come first
        parameters = entry.experiment.parameters
        best[parameters["unet_lr"], parameters["text_encoder_lr"]].setdefault(parameters["rank"], entry)
    rows = []
    for (unet_lr, text_encoder_lr), by_rank in best.items():
        top = sorted(by_rank.items(), key=lambda item: (item[1].place, item[0]))[:BEST_RANKS]
        mean = sum(entry.normscore for _, entry in top) / len(top)
        rows.append({"unet_lr": unet_lr, "text_encoder_lr": text_encoder_lr, "mean": round(mean, 6), "best": top})
    return sorted(rows, key=lambda row: (-row["mean"], row["unet_lr"], row["text_encoder_lr"]))


def best_of_each(entries: Sequence[Entry], parameter: str) -> dict[Any, Entry]:
    """The best checkpoint for each value of a parameter, values ascending."""
    best: dict[Any, Entry] = {}
    for entry in entries:
        best.setdefault(entry.experiment.parameters[parameter], entry)
    return dict(sorted(best.items()))


def draw_figure_11(entries: dict[Any, Entry], method: str, repository: Path, path: Path) -> list[str]:
    """Pictures of each rank's best checkpoint, a row a rank, a column a prompt; returns what is unavailable and why."""
    cell, head, left = 96, 40, 150  # pixels: a picture with its gap, the prompts above, the checkpoints beside
    prompts = max((len(e.experiment.prompts) for e in entries.values()), default=0)
    sheet = Image.new("RGB", (left + prompts * cell, head + len(entries) * cell), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    missing = []
    for line, (value, entry) in enumerate(entries.items()):
        top = head + line * cell
        about = f"rank {value}\nepoch {entry.epoch}\nnormscore {entry.normscore:.3f}"
        pen.text((4, top + 8), about, fill="black", font=font)
        try:
            pictures = open_samples(entry.experiment, method, entry.epoch, repository)
        except UserError as error:
            missing.append(f"rank {value}: {error}")
            pen.text((left, top + 8), "unavailable", fill="#a00000", font=font)
            continue
        for column, picture in enumerate(pictures):
            resized = picture.convert("RGB").resize((cell - 4, cell - 4), Image.Resampling.LANCZOS)
            sheet.paste(resized, (left + column * cell, top))
    for column, prompt in enumerate(next(iter(entries.values())).experiment.prompts if entries else ()):
        words = prompt.replace(" with a {token} logo", "")
        pen.text((left + column * cell, 8), words[:16], fill="black", font=font)
    with replacing(path) as file:
        sheet.save(file, "PNG")
    return missing


COLUMNS = (
    ("mean_od", "mean_od"),
    ("mean_ocr", "mean_ocr"),
    ("mean", "mean(OCR, OD)"),
    ("joint_success", "Joint success"),
    ("memorised_share", "Memorised"),
    ("colour_fidelity", "Colour right"),
)


def table_3(entries: Sequence[Entry], parameters: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the ranking; raw values with their intervals beside the normalised score."""
    header = ["#", "Experiment", *parameters, "Epoch", "Normscore", *(name for _, name in COLUMNS)]
    rows = [
        [
            str(e.place),
            e.experiment.revision.name,
            *(number(e.experiment.parameters.get(p)) for p in parameters),
            str(e.epoch),
            f"{e.normscore:.3f}",
            *(value(e.numbers, key) for key, _ in COLUMNS),
        ]
        for e in entries
    ]
    return header, rows


def table_4(pairs: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the learning-rate pairs: each rank with its best checkpoint's normalised score and epoch."""
    header = ["UNet lr", "Text encoder lr", "Mean Normscore", *(f"Rank, place {i + 1}" for i in range(BEST_RANKS))]
    rows = []
    for pair in pairs:
        best = [f"{rank}: {entry.normscore:.3f} (epoch {entry.epoch})" for rank, entry in pair["best"]]
        rows.append(
            [
                number(pair["unet_lr"]),
                number(pair["text_encoder_lr"]),
                f"{pair['mean']:.3f}",
                *best,
                *[""] * (BEST_RANKS - len(best)),
            ]
        )
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


def markdown(
    title: str, tables: Sequence[tuple[str, list[str], list[list[str]]]], notes: Sequence[str], figure: bool
) -> str:
    """The leaderboard for a pull request."""
    lines = [f"# {title}", ""]
    for caption, header, rows in tables:
        lines += [f"## {caption}", "", f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    if figure:
        lines += ["## Pictures by rank (the paper's Figure 11)", "", "![Pictures by rank](figure11.png)", ""]
    return "\n".join(lines + [f"- {note}" for note in notes] + ([""] if notes else []))


def leaderboard(
    revisions: Sequence[str] = (), *, method: str = "lora", repository: Path = Path(), out: Path = OUT
) -> list[Entry]:
    """Rank the checkpoints of these revisions' experiments and write the tables; returns the ranking.

    Raises:
        UserError: an unknown revision, or no experiment with scores.
    """
    experiments, skipped = read_experiments(find_revisions(revisions, repository), method, repository)
    if not experiments and skipped:
        raise UserError(f"no experiment counts: {skipped[0][0]} {skipped[0][1]}")
    entries = rank_checkpoints(experiments)
    parameters = shown_parameters(experiments, method)
    caption = f"The best {TOP} of {len(entries)} checkpoints of {len(experiments)} experiments (the paper's Table 3)"
    tables = [(caption, *table_3(entries[:TOP], parameters))]
    notes = [f"Left out: {name}: {reason}." for name, reason in skipped]
    write_csv(out / "table3.csv", *all_checkpoints(entries, parameters))
    if method == "lora":
        header, rows = table_4(pairs_of_learning_rates(entries))
        tables.append(("Learning-rate pairs by their best three ranks (the paper's Table 4)", header, rows))
        write_csv(out / "table4.csv", header, rows)
        by_rank = best_of_each(entries, "rank")
        notes += [
            f"Figure 11, {reason}." for reason in draw_figure_11(by_rank, method, repository, out / "figure11.png")
        ]
    text = markdown(f"Leaderboard: {method}", tables, notes, method == "lora")
    write_file(out / "leaderboard.md", text)
    context = {"method": method, "tables": tables, "notes": notes, "figure": method == "lora"}
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
        header, rows = table_3(entries[:TOP], ["unet_lr", "text_encoder_lr", "rank"] if method == "lora" else [])
        click.echo("\n".join("  ".join(row[:7]) for row in [header, *rows]))
        click.echo(f"open {OUT / 'index.html'}")

    run()


if __name__ == "__main__":
    main()
