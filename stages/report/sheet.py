"""The picture that says it all: the untuned base and each method's best checkpoint, a row a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from stages.common.checkpoints import best_epoch, by_epoch
from stages.common.files import replacing
from stages.common.tables import Row
from stages.report.gallery import drawn_file
from stages.report.labels import title_of

SHEET_SEEDS = 4
"""Seeds of each prompt on metrics/report.png: with four methods beside each other it still fits a page."""


def draw_sheet(
    scores: Mapping[str, list[Row]], epochs: Mapping[str, Mapping[int, Row]], samples: Path, path: Path
) -> None:
    """metrics/report.png: the untuned base and each method's best checkpoint side by side, a row a prompt."""
    columns = [("Untuned base", method, 0) for method, by in epochs.items() if 0 in by][:1]
    columns += [(f"{title_of(m)}, epoch {best_epoch(dict(by))}", m, best_epoch(dict(by))) for m, by in epochs.items()]
    prompts = sorted({(r["prompt_index"], r["prompt"]) for rows in scores.values() for r in rows if not r["plain"]})
    cell, gap, head, foot = 64, 12, 24, 18  # pixels: a picture, between methods, the title above, the prompt below
    block = SHEET_SEEDS * cell + gap
    sheet = Image.new("RGB", (len(columns) * block + gap, len(prompts) * (cell + foot) + head), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, (name, method, epoch) in enumerate(columns):
        left = gap + column * block
        pen.text((left, 5), name, fill="black", font=font)
        rows = {(r["prompt_index"], r["seed_index"]): r for r in by_epoch(scores[method])[epoch]}
        for line, (index, prompt) in enumerate(prompts):
            top = head + line * (cell + foot)
            if column == 0:
                pen.text((left, top + cell + 1), prompt, fill="#444444", font=font)
            for number, pair in enumerate(sorted(pair for pair in rows if pair[0] == index)[:SHEET_SEEDS]):
                with Image.open(samples / drawn_file(rows[pair])) as opened:
                    picture = opened.convert("RGB").resize((cell - 2, cell - 2), Image.Resampling.LANCZOS)
                sheet.paste(picture, (left + number * cell, top))
    with replacing(path) as file:
        sheet.save(file, "PNG")
