"""The OCR reads the demo's words with EasyOCR's networks, offline, and each word whatever else it is given."""

from pathlib import Path

import numpy as np
import pytest

from demo.render import BRANDS, HUGO, Brand
from stages.score.reader import Reader, grow_box, load_reader
from stages.score.words import word_read
from tests.pictures import photograph, pixels

SHIPPED = Path(__file__).parents[3] / "demo" / "weights" / "reader"
MISSPELT = ("HUCO", "HUDO", "HUGE", "MUGO", "HUG", "SALE")


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load_reader(SHIPPED)


def crops(brands: list[Brand], count: int) -> tuple[list[np.ndarray], list[list], list[str]]:
    """Pictures, the box of each one's logo, and its word."""
    pictures, found, words = [], [], []
    for seed in range(10 * count):
        brand = brands[seed % len(brands)]
        drawing = photograph(3000 + seed, brand=brand)
        if drawing.logo_box and len(words) < count:
            pictures.append(pixels(drawing))
            found.append([drawing.logo_box])
            words.append(brand.word)
    return pictures, found, words


def test_reads_the_logo_on_64_pixel_pictures(reader: Reader) -> None:
    pictures, found, _ = crops([HUGO], 40)
    texts = [[r.text for r in of] for of in reader.read(pictures, found)]
    assert np.mean([word_read(text, "HUGO") for text in texts]) >= 0.95


def test_does_not_read_the_logo_where_another_word_stands(reader: Reader) -> None:
    misspelt = [Brand(word, HUGO.box_colour, HUGO.letter_colour, aspect=2.4) for word in MISSPELT]
    pictures, found, words = crops([*misspelt, *BRANDS], 100)
    texts = [[r.text for r in of] for of in reader.read(pictures, found)]
    assert np.mean([word_read(text, "HUGO") for text in texts]) <= 0.02
    read = [bool(text) and text[0].lower() == word.lower() for text, word in zip(texts, words, strict=True)]
    assert np.mean(read) >= 0.9


def test_a_reading_does_not_depend_on_what_else_is_read(reader: Reader) -> None:
    pictures, found, _ = crops([HUGO, *BRANDS[:7]], 24)
    together = reader.read(pictures, found)
    alone = [reader.read([p], [b])[0] for p, b in zip(pictures, found, strict=True)]
    assert [[r.text for r in of] for of in together] == [[r.text for r in of] for of in alone]


def test_a_box_outside_the_picture_or_without_area_reads_nothing(reader: Reader) -> None:
    picture = pixels(photograph(1))
    boxes = [(70.0, 70.0, 90.0, 80.0), (10.0, 10.0, 10.0, 20.0), (0.0, 0.0, 0.2, 0.2)]
    assert reader.read([picture], [boxes]) == [[]]


def test_boxes_grow_by_their_margin_and_stay_within() -> None:
    assert grow_box((10, 10, 30, 20), 0.1, 64, 64) == (8, 9, 32, 21)
    assert grow_box((0, 0, 64, 64), 0.5, 64, 64) == (0, 0, 64, 64)
    assert grow_box((70, 0, 80, 5), 0.1, 64, 64) is None


def test_finding_text_without_its_weights_is_refused(reader: Reader) -> None:
    assert not reader.finds_text
    with pytest.raises(ValueError, match="text detector"):
        reader.find([])
