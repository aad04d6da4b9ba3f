"""Paint a contact sheet of the demo world: `python -m demo.render --sheet sheet.png`."""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from demo.render.drawing import draw
from demo.render.garments import GARMENTS
from demo.render.sampling import sample_scene


def contact_sheet(size: int, columns: int, rows: int, enlarge: int, seed: int) -> Image.Image:
    """A grid of sampled scenes, a garment a column, each picture enlarged without smoothing."""
    rng, cell = np.random.default_rng(seed), size * enlarge
    sheet = Image.new("RGB", (columns * cell, rows * cell))
    for index in range(columns * rows):
        kind = tuple(GARMENTS)[index % columns % len(GARMENTS)]
        picture = draw(sample_scene(rng, garment=kind), size, size).image
        position = (index % columns * cell, index // columns * cell)
        sheet.paste(picture.resize((cell, cell), Image.Resampling.NEAREST), position)
    return sheet


def main() -> None:
    """Paint the sheet that the command line asks for."""
    parser = argparse.ArgumentParser("python -m demo.render", description="Paint a contact sheet of the demo world.")
    parser.add_argument("--sheet", required=True, help="PNG file to write")
    parser.add_argument("--size", type=int, default=64, help="pixels of one picture")
    parser.add_argument("--enlarge", type=int, default=3, help="pixels of the sheet per pixel of a picture")
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    contact_sheet(options.size, options.columns, options.rows, options.enlarge, options.seed).save(options.sheet)


if __name__ == "__main__":
    main()
