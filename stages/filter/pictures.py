"""The pictures with the logo, upright and in sRGB."""

from __future__ import annotations

from pathlib import Path

from stages.common.files import replacing
from stages.common.images import decode
from stages.common.tables import Row


def write_pictures(folder: Path, rows: list[Row], files: dict[str, Path], max_megapixels: float) -> None:
    """Save the pictures with the logo as PNG."""
    for row in rows:
        if row["file"]:
            image = decode(files[row["sha256"]].read_bytes(), max_megapixels)
            with replacing(folder / row["file"], durable=False) as file:
                image.save(file, "PNG", compress_level=6)
