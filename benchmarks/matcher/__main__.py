"""Which of two ways of finding a logo finds which logos on real photographs: `filter`'s own, and one for any reference.

The second one (this folder) is a candidate for `filter`: it takes transparency as a mask, brings its own
expectations and its own look-alikes, and has no number that was fitted to HUGO's red box. Both look for the demo
world's brands on the photographs that Python packages carry: the logo itself, its confusers, and photographs without
either.

    python -m benchmarks.matcher
    python -m benchmarks.matcher --brand hugo --pictures 100 --empty 500
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import cv2
import numpy as np
from PIL import Image

from benchmarks.matcher.logo_match import LogoMatcher as AnyLogo
from benchmarks.matcher.logo_reference import Reference
from benchmarks.matcher.world import crops, pasted
from demo.brands.catalogue import TAUGHT
from demo.render.brands import logo_bitmap
from stages.filter.logo_match import LogoMatcher as FilterLogo

WIDTHS = (24, 48, 96)
LOOK_ALIKE = 0.5
Box = tuple[float, float, float, float]


@click.command(help=__doc__)
@click.option("--brand", "brands", multiple=True, type=click.Choice(sorted(TAUGHT)), default=sorted(TAUGHT))
@click.option("--pictures", default=20, show_default=True, help="With the logo, and with a confuser, of each width.")
@click.option("--empty", default=60, show_default=True, help="Without either.")
def main(brands: tuple[str, ...], pictures: int, empty: int) -> None:
    """Print a line for each brand, width and way."""
    cv2.setNumThreads(1)
    photographs = crops(200, 1)
    for name in brands:
        taught = TAUGHT[name]
        logo = _cut(logo_bitmap(taught.mark))
        white = Image.new("RGB", logo.size, "white")
        white.paste(logo, mask=logo)
        started = time.process_time()
        ways: dict[str, Callable[[Image.Image], Box | None]] = {
            "filter": _box_of(FilterLogo(white, 10, 0.956)),
            "any": _box_of(AnyLogo([Reference(logo)], 10, LOOK_ALIKE)),
        }
        click.echo(f"{name}: {time.process_time() - started:.1f} s to begin")
        confusers = [_cut(logo_bitmap(brand)) for brand in taught.confusers]
        for way, find in ways.items():
            started, looked = time.process_time(), 0
            for width in WIDTHS:
                rng = np.random.default_rng(width)
                found = wrong = shown = confused = 0
                for number in range(pictures):
                    made = pasted(photographs[int(rng.integers(200))], logo, width, rng)
                    if made:
                        shown += 1
                        box = find(made[0])
                        found += box is not None and _overlap(box, made[1]) > 0.5
                    other = pasted(photographs[int(rng.integers(200))], confusers[number % len(confusers)], width, rng)
                    if other:
                        confused += 1
                        wrong += find(other[0]) is not None
                looked += shown + confused
                counts = f"{found} of {shown} found, {wrong} of {confused} confusers taken for it"
                click.echo(f"  {way:6} {width:3} px: {counts}")
            false = sum(find(photograph) is not None for photograph in photographs[:empty])
            seconds = (time.process_time() - started) / (looked + empty)
            click.echo(f"  {way:6} found on {false} of {empty} photographs without it; {seconds:.2f} s a picture")


def _box_of(matcher: FilterLogo | AnyLogo) -> Callable[[Image.Image], Box | None]:
    def find(picture: Image.Image) -> Box | None:
        match = matcher.find(picture)
        return match.box if match else None

    return find


def _cut(logo: Image.Image) -> Image.Image:
    return logo.crop(logo.getbbox())


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


if __name__ == "__main__":
    main()
