"""The contact sheet of a method: epochs downwards, prompts across (the paper's Figure 10; 5 to 8 are rows)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from stages.common.tables import Row

SHEET_PICTURE = 96
"""Pixels, side of a picture at most: seven columns fit a screen."""
LINES = 3
"""Of a prompt above its column; what is longer is cut."""


def contact_sheet(rows: Sequence[Row], files: dict[str, Path]) -> Image.Image:
    """The first picture of each prompt, epochs downwards, prompts across; `files` says where each row's file is."""
    first = [row for row in rows if row["seed_index"] == 0]
    epochs = sorted({row["epoch"] for row in first})
    prompts = {row["prompt_index"]: row["prompt"] for row in first}
    with Image.open(files[first[0]["file"]]) as picture:
        side = min(SHEET_PICTURE, picture.width)
    gap, left, top = 4, 60, 44  # pixels: room for "epoch 30" on the left, for three lines of a prompt above
    size = (left + len(prompts) * (side + gap), top + len(epochs) * (side + gap))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for column, index in enumerate(sorted(prompts)):
        text = wrap(prompts[index], lambda line: pen.textlength(line, font=font) <= side)
        pen.multiline_text(
            (left + column * (side + gap), 2), "\n".join(text[:LINES]), fill="black", font=font, spacing=1
        )
    for line, epoch in enumerate(epochs):
        y = top + line * (side + gap)
        pen.text((4, y + side // 2 - 6), f"epoch {epoch}" if epoch else "base", fill="black", font=font)
    for row in first:
        with Image.open(files[row["file"]]) as picture:
            column, line = sorted(prompts).index(row["prompt_index"]), epochs.index(row["epoch"])
            sheet.paste(picture.resize((side, side)), (left + column * (side + gap), top + line * (side + gap)))
    return sheet


def wrap(text: str, fits: Callable[[str], bool]) -> list[str]:
    """Words into lines that fit, a word that doesn't fit on a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
