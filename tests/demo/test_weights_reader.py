"""The shipped reader reads words that it was not trained on, at the size that the generated pictures have."""

from pathlib import Path

import easyocr
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from demo.reader.measure import TARGET, Sample, accuracy, held_out, read
from demo.reader.network import network_params, write_weights
from demo.reader.words import trained_words
from demo.training import demo_params
from stages.common.params import read_yaml
from stages.score.reader import Reader, load_reader
from stages.score.recogniser import Recogniser
from stages.score.words import word_read

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


def test_easyocr_itself_reads_with_the_shipped_weights(tmp_path: Path) -> None:
    """In the form that it wants them of a custom model: a pickle and a module. Both are made here, not shipped."""
    tensors = load_file(TARGET / "reader.safetensors")
    torch.save({f"module.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "own_reader.pth")
    (tmp_path / "own_reader.yaml").write_bytes((TARGET / "reader.yaml").read_bytes())
    (tmp_path / "own_reader.py").write_text("from easyocr.model.vgg_model import Model\n")
    reader = easyocr.Reader(
        ["en"],
        gpu=False,
        model_storage_directory=str(tmp_path),
        user_network_directory=str(tmp_path),
        recog_network="own_reader",
        detector=False,
        download_enabled=False,
        verbose=False,
        quantize=False,
    )
    theirs = Reader(Recogniser(reader.recognizer, reader.converter, reader.character, 32, torch.device("cpu")))
    samples = held_out("words", 60, 64)
    pictures, boxes = [s.picture for s in samples], [[s.box] for s in samples]
    assert load_reader(TARGET).read(pictures, boxes) == theirs.read(pictures, boxes)
    hits = 0
    for sample in held_out("hugo", 20, 128):
        x0, y0, x1, y1 = (int(v) for v in sample.box)
        bgr = np.ascontiguousarray(sample.picture[..., ::-1])
        ((_, text, _),) = reader.recognize(bgr, horizontal_list=[[x0 - 2, x1 + 2, y0 - 1, y1 + 1]], free_list=[])
        hits += word_read(text, "HUGO")
    assert hits >= 19


def test_weights_are_small_and_are_the_recipe_s_network() -> None:
    described = read_yaml(Path(TARGET, "reader.yaml"))
    assert Path(TARGET, "reader.safetensors").stat().st_size <= 4e6
    assert described["network_params"] == network_params(demo_params()["reader"])


def test_the_shipped_files_are_what_the_recipe_writes(tmp_path: Path) -> None:
    write_weights(load_file(TARGET / "reader.safetensors"), network_params(demo_params()["reader"]), tmp_path)
    assert {path.name for path in TARGET.iterdir()} == {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (TARGET / path.name).read_bytes()
