"""The shipped reader reads words that it was not trained on, at the size that the generated pictures have."""

from pathlib import Path

import numpy as np
import pytest

from demo.reader import TARGET, Sample, accuracy, held_out, network_params, read, trained_words
from demo.training import demo_params
from stages.common.params import read_yaml
from stages.score.reader import word_read

COUNT = 250


@pytest.fixture(scope="module")
def known() -> set[str]:
    return trained_words(demo_params())


@pytest.fixture(scope="module")
def misread() -> list[Sample]:
    """Words one letter away from HUGO, on HUGO's own red box, on 64-pixel pictures."""
    return held_out("near misses", COUNT, 64)


def test_reads_unseen_words_on_clean_pictures(known: set[str]) -> None:
    samples = held_out("words", COUNT, 128, known)
    assert accuracy(samples, read(samples)) >= 0.98


def test_reads_unseen_words_at_half_resolution(known: set[str]) -> None:
    samples = held_out("words", COUNT, 64, known)
    assert accuracy(samples, read(samples)) >= 0.90


def test_reads_the_brand_where_it_is() -> None:
    samples = held_out("hugo", COUNT, 64)
    assert accuracy(samples, read(samples)) >= 0.95


def test_does_not_guess_the_brand_on_near_misses(misread: list[Sample]) -> None:
    readings = read(misread)
    assert sum(word_read(reading, "HUGO") for reading in readings) / len(readings) <= 0.02


def test_easyocr_itself_reads_with_the_shipped_files() -> None:
    import easyocr

    reader = easyocr.Reader(
        ["en"],
        gpu=False,
        model_storage_directory=str(TARGET),
        user_network_directory=str(TARGET),
        recog_network="reader",
        detector=False,
        download_enabled=False,
        verbose=False,
    )
    samples = held_out("hugo", 20, 128)
    hits = 0
    for sample in samples:
        x0, y0, x1, y1 = (int(v) for v in sample.box)
        bgr = np.ascontiguousarray(sample.picture[..., ::-1])
        ((_, text, _),) = reader.recognize(bgr, horizontal_list=[[x0 - 2, x1 + 2, y0 - 1, y1 + 1]], free_list=[])
        hits += word_read(text, "HUGO")
    assert hits >= 19


def test_weights_are_small_and_are_the_recipe_s_network() -> None:
    described = read_yaml(Path(TARGET, "reader.yaml"))
    assert Path(TARGET, "reader.pth").stat().st_size <= 4e6
    assert described["network_params"] == network_params(demo_params()["reader"])
