"""The colour asked for, and the colour drawn."""

import numpy as np
import pytest

from demo.render import COLOURS, GARMENTS
from stages.score.colours import colour_asked, colour_drawn, garment_region
from tests.pictures import boxes, photograph, pixels


@pytest.mark.parametrize(
    ("prompt", "colour"),
    [
        ("a blue sweater with a <hugo> logo", "blue"),
        ("a Gray hat", "grey"),
        ("a bored man", None),
        ("a mug", None),
        ("a green t-shirt, red logo", "green"),
        ("a bottle of perfume", None),
    ],
)
def test_colour_asked(prompt: str, colour: str | None) -> None:
    assert colour_asked(prompt) == colour


def test_the_renderers_colours_are_named_right() -> None:
    right, cases = 0, 0
    for i, kind in enumerate(GARMENTS):
        for j, colour in enumerate(COLOURS):
            drawing = photograph(100 * i + j, kind, colour)
            logo = boxes(drawing)[0] if boxes(drawing) else None
            right += colour_drawn(pixels(drawing), logo) == colour
            cases += 1
    assert right / cases >= 0.97


def test_the_logo_itself_does_not_count() -> None:
    picture = np.zeros((64, 64, 3), np.uint8) + np.uint8([36, 86, 196])
    picture[24:40, 12:52] = (206, 18, 34)
    assert colour_drawn(picture, (12, 24, 52, 40)) == "blue"


def test_noise_has_no_colour() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert colour_drawn(noise, None) is None


def test_the_region_lies_around_the_logo_and_within_the_picture() -> None:
    region = garment_region(64, 64, (20, 30, 44, 40))
    assert not region[31:39, 21:43].any()
    assert region[26, 32]
    assert garment_region(64, 64, (-5, -5, 80, 80)).shape == (64, 64)
