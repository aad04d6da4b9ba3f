"""The paper's Figures 9, 10 and 11 of one's own models: a model's loss, its samples by epoch, and samples by rank.

The paper shows UNet5e-05TE5e-06dim16, the second of its Table 3: a model that was trained through. Here it is the best
LoRA model that was trained to its last epoch. Figure 11 is of that model's pair of rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from experiments.leaderboard import Entry
from experiments.paper.comparisons import Onset
from experiments.paper.names import model_name, pair_name
from experiments.results import Experiment, open_samples, read_losses
from stages.common.errors import UserError
from stages.common.files import replacing

RED = "#b00000"
GAP = 6
"""Pixels between pictures."""
SIDES = (128, 192)
"""Pixels of a picture's side, at least and at most: smaller ones are enlarged to be seen, larger ones reduced."""
LABELS = 150
"""Pixels on the left of a sheet for the rows' labels."""


@dataclass(frozen=True)
class Figure:
    """A figure: its file's name, or why it cannot be shown, and what is to be said beneath."""

    name: str
    title: str
    file: str = ""
    unavailable: str = ""
    notes: tuple[str, ...] = ()


def shown_model(entries: Sequence[Entry]) -> Experiment | None:
    """The best of the models that were trained to their last epoch, else the best of all; None where there is none."""
    ordered = [entry.experiment for entry in entries]  # the best come first
    return next((model for model in ordered if model.finished), ordered[0] if ordered else None)


# --- Figure 9 ------------------------------------------------------------------------------------------------------


def figure_9(model: Experiment, onset: Onset, repository: Path, out: Path) -> Figure:
    """The training loss by epoch, the best epoch and the onset of overfitting as red lines, over the score by epoch."""
    name = model_name(model.method, model.parameters)
    title = f"Figure 9: training loss of {name} by epoch"
    notes = (
        "The paper's is of UNet5e-05TE5e-06dim16, with red lines at epochs 21 (best) and 24 (overfits, by eye).",
        f"Here the best epoch is {onset.best}; {onset.text}.",
        "Onset of overfitting: the first checkpoint after the best one whose mean(OCR, OD) is lower by the paired "
        "comparison of the pictures of odd seeds, the level divided by the number of later checkpoints (by intervals "
        "that do not overlap where the pictures' scores are not in the cache).",
    )
    try:
        losses = read_losses(model, repository)
    except UserError as error:
        return Figure("figure9", title, unavailable=str(error), notes=notes)
    canvas = Canvas(figsize=(8, 6), dpi=100, layout="constrained")
    above, below = canvas.subplots(2, 1, sharex=True)
    above.plot(*zip(*losses, strict=True), color="#1f4e79", marker=".")
    above.set(title=f"{name}: training loss and score", ylabel="mean training loss")
    draw_score(below, model)
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.axvline(onset.best, color=RED, linestyle="-", label=f"best: epoch {onset.best}")
        if onset.epoch is not None:
            axes.axvline(onset.epoch, color=RED, linestyle="--", label=f"onset of overfitting: epoch {onset.epoch}")
    canvas.legend(*above.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    below.set(xlabel="epoch", ylabel="mean(OCR, OD)", ylim=(0, 1))
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    agg: Any = FigureCanvasAgg(canvas)  # matplotlib declares no types for it
    agg.draw()
    with replacing(out / "figure9.png") as file:
        Image.fromarray(np.asarray(agg.buffer_rgba())).convert("RGB").save(file, "PNG")
    return Figure("figure9", title, "figure9.png", notes=notes)


def draw_score(axes: Axes, model: Experiment) -> None:
    """A model's mean(OCR, OD) by epoch, with its interval where it has one."""
    epochs = [row["epoch"] for row in model.epochs]
    axes.plot(epochs, [row["mean"] for row in model.epochs], color="#1f4e79", marker="o")
    known = [row for row in model.epochs if "mean_low" in row]
    if known:
        low, high = ([row[f"mean_{side}"] for row in known] for side in ("low", "high"))
        axes.fill_between([row["epoch"] for row in known], low, high, color="#1f4e79", alpha=0.15)


# --- Figures 10 and 11 ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A row of a sheet: its label, whether it stands out, and the picture of each column, or why there is none."""

    label: str
    pictures: Mapping[int, Image.Image]
    red: bool = False
    unavailable: str = ""


def figure_10(model: Experiment, onset: Onset, repository: Path, out: Path) -> Figure:
    """The first seed's samples of every saved epoch: a row an epoch, a column a prompt."""
    title = f"Figure 10: samples of {model_name(model.method, model.parameters)} at every saved epoch"
    notes = ("The first seed's picture of each prompt, none picked by hand.",)
    epochs = [row["epoch"] for row in model.epochs]
    try:
        prompts, pictures = open_samples(model, epochs, repository)
    except UserError as error:
        return Figure("figure10", title, unavailable=str(error), notes=notes)
    words = {onset.best: "best", onset.epoch: "overfits"}
    lines = [
        Line(
            f"epoch {row['epoch']}\nscore {row['mean']:.2f}"
            + (f"\n{words[row['epoch']]}" if row["epoch"] in words else ""),
            pictures.get(row["epoch"], {}),
            red=row["epoch"] in words,
        )
        for row in model.epochs
    ]
    write_sheet(prompts, lines, out / "figure10.png")
    return Figure("figure10", title, "figure10.png", notes=notes)


def figure_11(model: Experiment, models: Sequence[Experiment], repository: Path, out: Path) -> Figure:
    """The samples of a pair of rates after the last epoch: a row a rank, a column a prompt.

    A rank that a race stopped before is shown at its last checkpoint, named as such.
    """
    title = f"Figure 11: samples of {pair_name(model.parameters)} after the last epoch, by rank"
    of_pair = [other for other in models if is_but_for_rank(other, model)]
    prompts: list[str] = []
    lines, missing = [], []
    for other in sorted(of_pair, key=lambda found: found.parameters["rank"]):
        epoch, rank = other.last_epoch, other.parameters["rank"]
        label = f"rank {rank}\nepoch {epoch}" + ("" if other.finished else "\n(stopped here)")
        try:
            found, pictures = open_samples(other, [epoch], repository)
        except UserError as error:
            lines.append(Line(label, {}, unavailable="not in DVC's cache"))
            missing.append(f"Rank {rank}: {error}.")
            continue
        prompts = max(prompts, found, key=len)
        lines.append(Line(label, pictures.get(epoch, {})))
    notes = ["The first seed's picture of each prompt, none picked by hand."]
    if stopped := [str(other.parameters["rank"]) for other in of_pair if not other.finished]:
        notes.append(f"The race stopped these ranks before their last epoch: {', '.join(stopped)}.")
    if not prompts:
        return Figure("figure11", title, unavailable=missing[0].rstrip(".") if missing else "no samples")
    write_sheet(prompts, lines, out / "figure11.png")
    return Figure("figure11", title, "figure11.png", notes=(*notes, *missing))


def is_but_for_rank(other: Experiment, model: Experiment) -> bool:
    """Whether two models have all parameters but the rank in common."""
    return {**other.model, "rank": None} == {**model.model, "rank": None}


def write_sheet(prompts: Sequence[str], lines: Sequence[Line], path: Path) -> None:
    """A sheet of pictures: prompts above the columns, labels beside the rows."""
    sizes = [picture.width for line in lines for picture in line.pictures.values()]
    side = min(max([SIDES[0], *sizes]), SIDES[1])
    font, bold = ImageFont.load_default(size=14), ImageFont.load_default(size=15)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    heads = [wrapped(prompt, side, pen, font) for prompt in prompts]
    head = 12 + 18 * max((text.count("\n") + 1 for text in heads), default=0)
    step = side + GAP
    sheet = Image.new("RGB", (LABELS + len(prompts) * step, head + len(lines) * step), "white")
    pen = ImageDraw.Draw(sheet)
    for column, text in enumerate(heads):
        pen.multiline_text((LABELS + column * step, 4), text, fill="black", font=font, spacing=3)
    for number, line in enumerate(lines):
        top = head + number * step
        pen.multiline_text((8, top + side // 2 - 28), line.label, fill=RED if line.red else "black", font=bold)
        if line.unavailable:
            pen.text((LABELS, top + side // 2 - 8), line.unavailable, fill=RED, font=font)
        for column, picture in line.pictures.items():
            resized = picture.resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(resized, (LABELS + column * step, top))
    with replacing(path) as file:
        sheet.save(file, "PNG")


def wrapped(text: str, width: int, pen: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Text in lines that are at most so many pixels wide; a word that is wider has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and pen.textlength(f"{lines[-1]} {word}", font=font) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)
