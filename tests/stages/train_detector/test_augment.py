"""Augmented pictures keep their labels true; hard negatives do not show the logo any more."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.score.reader import load_reader
from stages.score.words import word_read
from stages.train_detector.augment import (
    Labelled,
    blurred,
    cut_out,
    readable_view,
    varied,
)
from stages.train_detector.hard_negatives import hard_negative, misspelling, other_letter
from tests.pictures import boxes, photograph

RED = (206, 18, 34)


def marked(width: int = 300, height: int = 240, box: tuple = (100, 80, 180, 112)) -> Labelled:
    """A grey picture with a red box, so that the box can be found again in whatever becomes of it."""
    image = Image.new("RGB", (width, height), (90, 90, 90))
    image.paste(RED, tuple(int(v) for v in box))  # type: ignore[arg-type]
    return Labelled(image, (tuple(float(v) for v in box),))  # type: ignore[arg-type]


def test_a_square_is_cut_around_the_logo_and_its_box_goes_with_it() -> None:
    item, lefts = marked(), set()
    for seed in range(30):
        cut = cut_out(item, 96, np.random.default_rng(seed))
        assert cut.image.size == (96, 96)
        assert red_hull(cut.image) == cut.boxes[0]
        assert (cut.boxes[0][2] - cut.boxes[0][0], cut.boxes[0][3] - cut.boxes[0][1]) == (80, 32)
        lefts.add(cut.boxes[0][0])
    assert len(lefts) > 5
    assert cut_out(item, 300, np.random.default_rng(0)) is item


def test_a_logo_wider_than_the_square_fills_it_and_a_picture_without_one_is_cut_anywhere() -> None:
    wide = cut_out(marked(), 64, np.random.default_rng(1))
    assert wide.image.size == (64, 64)
    assert wide.boxes[0][0] == 0
    assert wide.boxes[0][2] == 64
    assert wide.boxes[0][3] - wide.boxes[0][1] == 32
    assert cut_out(Labelled(marked().image, ()), 64, np.random.default_rng(2)).boxes == ()


def test_of_two_logos_the_one_that_is_cut_through_is_kept_only_where_most_of_it_is_seen() -> None:
    two = Labelled(marked().image, ((100.0, 80.0, 180.0, 112.0), (170.0, 150.0, 250.0, 182.0)))
    for seed in range(40):
        for box in cut_out(two, 128, np.random.default_rng(seed)).boxes:
            assert (box[2] - box[0]) * (box[3] - box[1]) >= 0.5 * 80 * 32


def red_hull(image: Image.Image) -> tuple[float, float, float, float]:
    levels = np.asarray(image).astype(int)
    rows, columns = np.nonzero(levels[..., 0] - levels[..., 1] > 40)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("seed", range(25))
def test_a_varied_pictures_box_still_holds_its_logo(seed: int) -> None:
    item = varied(marked(), np.random.default_rng(seed), rotation=10.0, zoom=0.2, brightness=0.3)
    (box,) = item.boxes
    # The box is drawn between the hull of a turned rectangle and that of an ellipse: a few pixels either way.
    assert np.abs(np.array(box) - red_hull(item.image)).max() <= 6


def test_a_crop_never_cuts_a_logo_off() -> None:
    corner = marked(box=(0, 0, 80, 32))
    for seed in range(25):
        item = varied(corner, np.random.default_rng(seed), rotation=0.0, zoom=0.5, brightness=0.0)
        x0, y0, x1, y1 = item.boxes[0]
        assert (x1 - x0) * (y1 - y0) >= 0.85 * 80 * 32


@pytest.mark.parametrize("seed", range(10))
def test_a_logo_that_is_too_small_is_looked_at_closely(seed: int) -> None:
    small = marked(1200, 900, (700, 500, 800, 540))  # 5 pixels of 64
    item = readable_view(small, 64, 20, np.random.default_rng(seed))
    (box,) = item.boxes
    assert (box[2] - box[0]) * 64 / max(item.image.size) >= 19.5
    assert np.abs(np.array(box) - red_hull(item.image)).max() <= 1


def test_a_large_enough_logo_and_a_negative_stay_as_they_are() -> None:
    for item in (marked(), Labelled(Image.new("RGB", (300, 300)), ())):
        assert readable_view(item, 64, 15, np.random.default_rng(0)) is item


def test_hard_negatives_have_no_box_and_differ_only_at_the_logo() -> None:
    drawing = photograph(5, "sweater", "black")
    original = Labelled(drawing.image, tuple(boxes(drawing)))
    x0, y0, x1, y1 = (round(v) for v in original.boxes[0])
    for seed in range(20):
        item = hard_negative(original, "HUGO", np.random.default_rng(seed))
        changed = np.abs(np.asarray(item.image).astype(int) - np.asarray(original.image).astype(int)).sum(axis=2)
        assert item.boxes == ()
        assert changed[y0:y1, x0:x1].mean() > 5
        changed[y0:y1, x0:x1] = 0
        assert not changed.any()


@pytest.mark.parametrize("kind", ["misspelt", "other letter", "repeated letter", "shuffled"])
def test_the_reader_does_not_read_the_word_in_a_misspelt_logo(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged by the demo's OCR, which reads the word in every one of the same pictures before."""
    monkeypatch.setattr("stages.train_detector.hard_negatives.KINDS", (kind,))
    reader = load_reader(Path("demo/weights/reader"))
    drawings = [photograph(number, "sweater", "black") for number in range(12)]
    items = [Labelled(drawing.image, tuple(boxes(drawing))) for drawing in drawings]
    fakes = [hard_negative(item, "HUGO", np.random.default_rng(number)) for number, item in enumerate(items)]

    def read(pictures: list[Labelled]) -> float:
        found = reader.read([np.asarray(p.image) for p in pictures], [item.boxes for item in items])
        return sum(word_read([reading.text for reading in of], "HUGO") for of in found) / len(found)

    assert read(items) == 1
    assert read(fakes) <= 1 / 12  # a narrow letter may be swallowed by its neighbour


def test_a_blurred_picture_is_softer_and_keeps_its_boxes() -> None:
    item = marked()
    soft = blurred(item, np.random.default_rng(1), most=2.0, resolution=64)
    edge = [np.abs(np.diff(np.asarray(p.image)[96, :, 0].astype(int))).max() for p in (item, soft)]
    assert soft.boxes == item.boxes
    assert edge[1] < edge[0] / 2
    same = blurred(item, np.random.default_rng(1), most=0.0, resolution=64)
    assert np.array_equal(np.asarray(same.image), np.asarray(item.image))


def test_a_misspelling_is_never_the_word() -> None:
    rng = np.random.default_rng(0)
    words = {misspelling("HUGO", rng) for _ in range(500)}
    assert not any(word_read(word, "HUGO") for word in words)
    assert len(words) > 50


def test_another_letter_is_mostly_one_that_looks_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(other_letter("G", rng) for _ in range(1000))
    assert drawn["G"] == 0
    assert len(drawn) == 25
    assert {letter for letter, _ in drawn.most_common(2)} == {"C", "O"}


def test_the_same_numbers_make_the_same_picture() -> None:
    first, second = (
        varied(marked(), np.random.default_rng([20, 7]), rotation=10.0, zoom=0.2, brightness=0.3) for _ in range(2)
    )
    assert first.boxes == second.boxes
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
