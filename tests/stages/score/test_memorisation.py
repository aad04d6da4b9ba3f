"""Copies are told from new pictures, with and without the logo."""

import numpy as np
import pytest

from stages.score.memorisation import TrainingSet
from stages.score.similarity import describe, similarity
from tests.pictures import GARMENTS, boxes, pasted, photograph, pixels, training_pictures, with_noise


@pytest.fixture(scope="module")
def drawings() -> list:
    return training_pictures()


@pytest.fixture(scope="module")
def training(drawings: list) -> TrainingSet:
    names = [f"{i}.png" for i in range(len(drawings))]
    return TrainingSet(names, [pixels(d) for d in drawings], [boxes(d) for d in drawings], 95.0)


def test_a_picture_is_itself_and_its_negative_is_nothing_like_it() -> None:
    picture = pixels(photograph(1))
    d = describe([picture, 255 - picture, np.full_like(picture, 90)])
    assert similarity(d, d)[0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-3)


def test_similarity_is_symmetric_and_ignores_a_small_shift() -> None:
    first, second = pixels(photograph(1)), pixels(photograph(2))
    d = describe([first, second, np.roll(first, (2, -2), (0, 1))])
    s = similarity(d, d)
    assert s[0, 1] == pytest.approx(s[1, 0], abs=1e-4)
    assert s[0, 2] > 0.97


def test_what_is_masked_does_not_count() -> None:
    picture = pixels(photograph(3, "sweater"))
    box = (16.0, 16.0, 48.0, 48.0)
    other = pasted(picture, np.zeros_like(picture) + np.uint8(255), box)
    assert similarity(describe([picture], [[box]]), describe([other], [[]]))[0, 0] > 0.99
    assert similarity(describe([picture]), describe([other]))[0, 0] < 0.9


def test_transparent_margins_do_not_count() -> None:
    picture = pixels(photograph(4))
    alpha = np.zeros((64, 64, 1), np.uint8)
    alpha[:, 12:52] = 255
    padded = np.concatenate([np.where(alpha > 0, picture, 0), alpha], axis=2)
    assert similarity(describe([picture]), describe([padded]))[0, 0] > 0.99


def test_copies_are_memorised(training: TrainingSet, drawings: list) -> None:
    copies = [with_noise(pixels(d), 8, seed) for seed, d in enumerate(drawings)]
    nearest = training.nearest(copies, [boxes(d) for d in drawings])
    assert np.mean([n.memorised for n in nearest]) >= 0.9
    assert np.mean([n.name == f"{i}.png" for i, n in enumerate(nearest)]) == 1


def test_new_pictures_of_the_same_world_are_memorised_as_often_as_the_percentile_says(training: TrainingSet) -> None:
    fresh = [photograph(500 + i, GARMENTS[i % 6], "black") for i in range(150)]
    nearest = training.nearest([pixels(d) for d in fresh], [boxes(d) for d in fresh])
    assert np.mean([n.memorised for n in nearest]) <= 0.1


def test_a_copy_with_another_logo_is_a_copy(training: TrainingSet, drawings: list) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    replaced = [pasted(pixels(d), noise, boxes(d)[0]) for d in drawings]
    nearest = training.nearest(replaced, [[] for _ in drawings])  # no logo is found on them any more
    assert np.mean([n.memorised for n in nearest]) >= 0.95


def test_a_copied_logo_on_another_picture_is_no_copy(training: TrainingSet, drawings: list) -> None:
    others = [pixels(photograph(700 + i, brand=None)) for i in range(len(drawings))]
    logos = [pasted(o, pixels(d), boxes(d)[0]) for o, d in zip(others, drawings, strict=True)]
    nearest = training.nearest(logos, [boxes(d) for d in drawings])
    assert np.mean([n.memorised for n in nearest]) <= 0.02


def test_one_training_picture_has_no_distribution() -> None:
    with pytest.raises(ValueError, match="two"):
        TrainingSet(["a"], [pixels(photograph(1))], [[]], 95.0)
