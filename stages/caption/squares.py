"""The training set's pictures: whole photographs on transparent squares."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from stages.caption.products import describe
from stages.common.files import replacing
from stages.common.images import box_on_square, square
from stages.common.tables import Row


def write_squares(folder: Path, filtered: Path, rows: list[Row], resolution: int) -> list[Row]:
    """Save the square pictures; returns the beginnings of their metadata."""
    metadata = []
    for row in rows:
        with Image.open(filtered / row["file"]) as image:
            picture, place = square(image, resolution)
        name = f"{row['sha256']}.png"
        with replacing(folder / name, durable=False) as file:
            picture.save(file, "PNG", compress_level=6)
        known = describe(row)
        metadata.append(
            {
                "file_name": name,
                "text": "",
                "caption_source": "",
                "sha256": row["sha256"],
                "box": box_on_square(row["box"], place) if row["box"] else None,
                "product": row["product"],
                "garment": known.garment,
                "colour": known.colour,
            }
        )
    return metadata
