"""Pictures that the base's autoencoder draws anew: the logo stays where it is and what it is, only softer."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.render import HUGO, draw, sample_scene
from stages.common.errors import UserError
from stages.score.reader import load_reader
from stages.score.words import word_read
from stages.train_detector.augment import Labelled
from stages.train_detector.redraw import Autoencoder, shrunk

BASE = Path("demo/weights/base")


def photograph(seed: int, width: int = 256, height: int = 256) -> Labelled:
    scene = sample_scene(np.random.default_rng(seed), brand=HUGO, garment="sweater", logo_width=(0.5, 0.54))
    drawing = draw(scene, width, height)
    assert drawing.logo_box
    return Labelled(drawing.image, (drawing.logo_box,))


def test_a_redrawn_picture_is_of_the_training_resolution_and_its_logo_is_still_read() -> None:
    autoencoder, reader = Autoencoder(BASE), load_reader(Path("demo/weights/reader"))
    drawn = autoencoder.redrawn([photograph(n) for n in range(8)], 64, [np.random.default_rng(n) for n in range(8)])
    assert {item.image.size for item in drawn} == {(64, 64)}
    readings = reader.read([np.asarray(item.image) for item in drawn], [item.boxes for item in drawn])
    assert sum(word_read([reading.text for reading in of], "HUGO") for of in readings) >= 7


def test_sides_that_the_latent_does_not_divide_are_kept() -> None:
    item = photograph(3, 250, 200)
    small, drawn = shrunk(item, 63), Autoencoder(BASE).redrawn([item], 63, [np.random.default_rng(0)])[0]
    assert drawn.image.size == small.image.size == (63, 50)
    assert drawn.boxes == small.boxes
    assert small.boxes[0] == pytest.approx([value * 63 / 250 for value in item.boxes[0]], rel=0.02)
    difference = np.asarray(drawn.image).astype(int) - np.asarray(small.image)
    assert 0 < np.abs(difference).mean() < 25


def test_the_same_numbers_draw_the_same_picture_and_others_another() -> None:
    autoencoder, item = Autoencoder(BASE), photograph(5)
    drawn = autoencoder.redrawn([item, photograph(6, 200), item], 64, [np.random.default_rng(n) for n in (1, 2, 3)])
    first, _, other = (np.asarray(each.image) for each in drawn)
    again = autoencoder.redrawn([item], 64, [np.random.default_rng(1)])[0]
    assert np.abs(first.astype(int) - np.asarray(again.image)).max() <= 1, "what else is drawn changes rounding at most"
    assert np.abs(first.astype(int) - other).max() > 8
    assert autoencoder.redrawn([], 64, []) == []


def test_a_small_picture_is_not_enlarged() -> None:
    item = Labelled(Image.new("RGB", (40, 32)), ((1.0, 2.0, 3.0, 4.0),))
    assert shrunk(item, 64) == item


def test_a_folder_without_an_autoencoder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no autoencoder"):
        Autoencoder(tmp_path)
