"""The sheet of held-out pictures with what was found on them, like the paper's Figure 4 (generated ones)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from stages.common.files import replacing
from stages.common.tables import Row

DRAWN, COLUMNS, CELL = 24, 6, 160
"""Pictures on the sheet, in a line, and pixels of a picture's square, of which 4 are its margin."""
RIGHT, WRONG = "#0a7d32", "#c00018"


def draw_detections(rows: Sequence[Row], folder: Path, threshold: float, path: Path) -> None:
    """Draw found logos in green, mistakes in red, confidence beside the box; mistakes first among the negatives.

    Args:
        rows: of holdout.jsonl.
        folder: where their thumbnails are.
    """
    positives = [i for i, row in enumerate(rows) if row["boxes"]][: DRAWN // 2]
    wrong = [
        i
        for i, row in enumerate(rows)
        if not row["boxes"] and any(d["confidence"] >= threshold for d in row["detections"])
    ]
    negatives = wrong + [i for i, row in enumerate(rows) if not row["boxes"] and i not in wrong]
    chosen = positives + negatives[: DRAWN - len(positives)]
    sheet = Image.new("RGB", (COLUMNS * CELL, -(-len(chosen) // COLUMNS) * CELL), "white")
    font = ImageFont.load_default(size=13)
    for number, index in enumerate(chosen):
        row = rows[index]
        scale = (CELL - 4) / max(row["width"], row["height"])
        left, top = number % COLUMNS * CELL + 2, number // COLUMNS * CELL + 2
        with Image.open(folder / row["thumbnail"]) as thumbnail:
            sheet.paste(thumbnail.convert("RGB"), (left, top))
        pen = ImageDraw.Draw(sheet)
        for detection in row["detections"]:
            if detection["confidence"] >= threshold:
                box = [v * scale + d for v, d in zip(detection["box"], (left, top) * 2, strict=True)]
                colour = RIGHT if row["boxes"] else WRONG
                pen.rectangle(box, outline=colour, width=2)
                corner, text = (box[0] + 1, max(top, box[1] - 17)), f"{detection['confidence']:.2f}"
                pen.text(corner, text, fill=colour, font=font, stroke_width=2, stroke_fill="white")
    with replacing(path) as file:
        sheet.save(file, "PNG")
