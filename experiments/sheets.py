"""The sheets of pictures that differ between two commits, both sides beside each other.

DVC keeps the sheets. One that is in no cache or remote in reach is said to be so; the others are shown all the same.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from experiments.outputs import Outputs
from stages.common.errors import UserError
from stages.common.files import replacing

SHEETS = ("metrics/report.png", "metrics/samples/*.png", "metrics/detections.png", "metrics/funnel.png")
WIDEST = 900
"""Pixels that one side of a picture is reduced to, at most: a forge shows about as many. Chosen by hand."""
NOT_THERE, NOT_CACHED, NOT_READABLE = "not there", "not in the cache", "not readable as a picture"
GAP, HEAD = 12, 24
"""Pixels between the two sides, and above them for their names."""


@dataclass(frozen=True)
class Comparison:
    """A sheet that changed: its path, and the picture's file name, or why there is none."""

    path: str
    name: str = ""
    reason: str = ""


def write_comparisons(base: tuple[str, Outputs], head: tuple[str, Outputs], folder: Path) -> list[Comparison]:
    """Write a picture of each sheet that changed into a folder; both sides are given with the name to show."""
    found = []
    for path in sheets_of(base[1], head[1]):
        if base[1].md5(path) == head[1].md5(path):
            continue
        sides = [(shown, open_sheet(outputs, path)) for shown, outputs in (base, head)]
        if all(isinstance(picture, str) for _, picture in sides):
            found.append(Comparison(path, reason="; ".join(f"{shown}: {picture}" for shown, picture in sides)))
            continue
        name = re.sub(r"[^\w.-]", "-", path.removeprefix("metrics/"))
        with replacing(folder / name, durable=False) as file:
            side_by_side(sides).save(file, "PNG")
        found.append(Comparison(path, name))
    return found


def sheets_of(*sides: Outputs) -> list[str]:
    """Paths of the sheets on either side, in the order of SHEETS."""
    return [path for pattern in SHEETS for path in sorted({path for side in sides for path in side.find(pattern)})]


def open_sheet(outputs: Outputs, path: str) -> Image.Image | str:
    """A sheet, at most WIDEST pixels wide, or why it cannot be shown."""
    if outputs.md5(path) is None:
        return NOT_THERE
    try:
        picture = Image.open(io.BytesIO(outputs.read(path))).convert("RGB")
    except UserError:
        return NOT_CACHED
    except (OSError, Image.DecompressionBombError):
        return NOT_READABLE
    if picture.width <= WIDEST:
        return picture
    size = (WIDEST, max(1, round(picture.height * WIDEST / picture.width)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def side_by_side(sides: list[tuple[str, Image.Image | str]]) -> Image.Image:
    """Pictures beside each other under their names; where a side has none, an empty field says why."""
    pictures = [picture for _, picture in sides if isinstance(picture, Image.Image)]
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (len(sides) * (width + GAP) - GAP, height + HEAD), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for number, (shown, picture) in enumerate(sides):
        x = number * (width + GAP)
        pen.text((x + 4, 4), shown, fill="black", font=font)
        if isinstance(picture, str):
            pen.text((x + 4, HEAD + 4), picture, fill="#a00000", font=font)
        else:
            sheet.paste(picture, (x, HEAD))
    return sheet
