"""Planted models come out as what they are, and the stage's files are complete and repeatable."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.common.checkpoints import best_epoch, by_epoch, split_by_seed, summarise
from stages.common.errors import UserError
from stages.common.params import load_params
from stages.common.tables import Row, read_table, write_table
from stages.score.__main__ import Paths, score
from stages.score.columns import Judges, score_rows
from stages.score.memorisation import load_training_set
from stages.score.summary import HEADLINE, method_details, summarise_epochs
from tests.pictures import boxes, pasted, photograph, pixels, training_pictures, with_noise
from tests.scored_world import (
    EMPTY_BOX,
    BrightLetterReader,
    Draw,
    RedBoxDetector,
    demo_params,
    good_model,
    write_captioned,
    write_samples,
    write_untrained_weights,
)

OPTIONS = {"confidence": 0.95, "samples": 200, "seed": 0}


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("world") / "captioned")


def stand_ins(**others: object) -> Judges:
    """Judges that need no weights."""
    return Judges(**({"detector": RedBoxDetector(), "reader": BrightLetterReader()} | others))  # type: ignore[arg-type]


def numbers_of(draw: Draw, captioned: Path, folder: Path) -> Row:
    """The summary of a planted model with the stand-in detector and OCR."""
    samples = write_samples(folder / "samples", "lora", {3: draw})
    training = load_training_set(captioned, 95.0)
    manifest = read_table(samples / "lora" / "manifest.jsonl")
    rows = score_rows(manifest, samples / "lora", demo_params(), stand_ins(training=training))
    return summarise(rows, **OPTIONS)


def test_a_good_model_scores_well_everywhere(captioned: Path, tmp_path: Path) -> None:
    numbers = numbers_of(good_model, captioned, tmp_path)
    assert numbers["joint_success"] >= 0.7
    assert numbers["mean"] >= 0.7
    assert numbers["colour_fidelity"] >= 0.75
    assert numbers["memorised_share"] <= 0.1
    assert numbers["prior_drift"] == 0
    assert numbers["edit_distance"] <= 0.3


def test_a_model_that_returns_training_pictures_is_flagged_as_memorising(captioned: Path, tmp_path: Path) -> None:
    copies = [pixels(d) for d in training_pictures(30)]
    numbers = numbers_of(lambda seed, *_: with_noise(copies[seed % 30], 4, seed), captioned, tmp_path)
    assert numbers["mean"] >= 0.7  # the paper's score crowns it
    assert numbers["memorised_share"] >= 0.9
    assert numbers["colour_fidelity"] == 0  # and it drew black garments, as the training pictures have


def test_a_copy_with_the_logo_replaced_is_told_from_a_copy_of_the_logo_alone(captioned: Path, tmp_path: Path) -> None:
    drawings = training_pictures(30)

    def without_logo(seed: int, *_: object) -> np.ndarray:
        drawing = drawings[seed % 30]
        return pasted(pixels(drawing), np.full((64, 64, 3), 60, np.uint8), boxes(drawing)[0])

    def logo_alone(seed: int, garment: str, colour: str | None, _: int) -> np.ndarray:
        drawing = drawings[seed % 30]
        return pasted(pixels(photograph(seed, garment, colour, None)), pixels(drawing), boxes(drawing)[0])

    assert numbers_of(without_logo, captioned, tmp_path / "a")["memorised_share"] >= 0.9
    assert numbers_of(logo_alone, captioned, tmp_path / "b")["memorised_share"] <= 0.1


def test_a_model_that_draws_the_wrong_colour_fails_prompt_fidelity(captioned: Path, tmp_path: Path) -> None:
    numbers = numbers_of(lambda seed, garment, *_: pixels(photograph(seed, garment, "black")), captioned, tmp_path)
    assert numbers["joint_success"] >= 0.7
    assert numbers["colour_fidelity"] == 0
    assert numbers["colour_fidelity_images"] == 8  # two of the prompts name a colour


def test_a_red_box_without_letters_fails_joint_success(captioned: Path, tmp_path: Path) -> None:
    numbers = numbers_of(lambda s, garment, c, _: pixels(photograph(s, garment, c, EMPTY_BOX)), captioned, tmp_path)
    assert numbers["mean_od"] >= 0.6  # this detector is fooled
    assert numbers["joint_success"] == 0
    assert numbers["mean_ocr"] == 0


def test_random_noise_scores_zero_everywhere(captioned: Path, tmp_path: Path) -> None:
    def noise(seed: int, *_: object) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8)

    numbers = numbers_of(noise, captioned, tmp_path)
    for name in ("mean_od", "mean_ocr", "mean", "joint_success", "colour_fidelity", "memorised_share"):
        assert numbers[name] == 0, name


def test_what_cannot_be_computed_is_named_and_not_zero(captioned: Path, tmp_path: Path) -> None:
    numbers = numbers_of(good_model, captioned, tmp_path)
    assert "clip_prompt_accuracy" not in numbers
    assert "no CLIP" in numbers["unavailable"]["clip_prompt_accuracy"]
    assert "prior_drift" in summarise(_rows([(3, 0, 0, 0.9, 1)]), **OPTIONS)["unavailable"]


def _rows(entries: list[tuple[int, int, int, float, int]]) -> list[Row]:
    """Scored pictures from (epoch, prompt, seed, od, ocr)."""
    return [
        {
            "epoch": e,
            "prompt_index": p,
            "seed_index": s,
            "plain": False,
            "od": od,
            "ocr": ocr,
            "joint": int(od > 0 and ocr),
            "edit_distance": 1 - ocr,
        }
        for e, p, s, od, ocr in entries
    ]


def test_the_papers_score_is_the_mean_of_both_means() -> None:
    numbers = summarise(_rows([(3, 0, 0, 0.9, 1), (3, 0, 1, 0.0, 1), (3, 1, 0, 0.8, 0), (3, 1, 1, 0.0, 0)]), **OPTIONS)
    assert (numbers["mean_od"], numbers["mean_ocr"], numbers["mean"]) == (0.425, 0.5, 0.4625)
    assert numbers["joint_success"] == 0.25
    assert numbers["images"] == 4


def test_the_best_epoch_is_never_the_untuned_one_and_the_earlier_of_equals() -> None:
    assert best_epoch({0: {"mean": 0.9}, 3: {"mean": 0.2}, 6: {"mean": 0.4}, 9: {"mean": 0.4}}) == 6


def test_selection_and_report_use_different_seeds() -> None:
    rows = _rows([(3, p, s, 0.9, 1) for p in range(2) for s in range(4)])
    chosen, reported = split_by_seed(rows)
    assert {r["seed_index"] for r in chosen} == {0, 2}
    assert {r["seed_index"] for r in reported} == {1, 3}
    assert list(by_epoch(rows)) == [3]


def test_the_untuned_base_may_have_more_seeds_than_the_checkpoints_beside_it() -> None:
    """An experiment that draws one picture a prompt runs its own stages alone: the base's eight stay."""
    base = [(0, p, s, 0.0, 0) for p in range(2) for s in range(8)]
    one = _rows([*base, *((epoch, p, 0, 0.9, 1) for epoch in (3, 6) for p in range(2))])
    assert split_by_seed(one) == (one, one)
    three = _rows([*base, *((epoch, p, s, 0.9, 1) for epoch in (3, 6) for p in range(2) for s in range(3))])
    chosen, reported = split_by_seed(three)
    assert ({r["seed_index"] for r in chosen}, {r["seed_index"] for r in reported}) == ({0, 2}, {1})
    params = load_params(Path(__file__).parents[3] / "params.yaml")
    details = method_details(one, summarise_epochs(one, params), params, None)
    assert details["selected"]["epoch"] == 3
    assert details["selected"]["images"] == 2


@pytest.fixture
def paths(captioned: Path, tmp_path: Path) -> Paths:
    """The stage's folders, with untrained networks and without a CLIP (an empty folder)."""
    detector, reader = write_untrained_weights(tmp_path)
    (tmp_path / "clip").mkdir()
    return Paths(
        samples=tmp_path / "samples",
        captioned=captioned,
        detector=detector,
        generic_logo_detector=detector,
        reader=reader,
        clip=tmp_path / "clip",
        scores=tmp_path / "scores",
        metrics=tmp_path / "metrics",
    )


def written(*folders: Path) -> dict[Path, bytes]:
    """The files below some folders."""
    return {file: file.read_bytes() for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_stage_writes_its_files_and_repeats_them_byte_for_byte(paths: Paths) -> None:
    write_samples(paths.samples, "lora", {3: good_model, 6: good_model}, seeds=2)
    write_samples(paths.samples, "base", {0: good_model}, seeds=2)
    params, contents = demo_params(), []
    for _ in range(2):
        untuned, details = (score(params, method, paths) for method in ("base", "lora"))
        contents.append(written(paths.scores, paths.metrics))
    assert contents[0] == contents[1]
    files = {path.relative_to(paths.metrics.parent).as_posix() for path in contents[0]}
    assert files == {
        "scores/base.jsonl",
        "scores/lora.jsonl",
        "metrics/details/lora.json",
        "metrics/epochs/lora.json",
        "metrics/score/lora.json",
    }
    assert untuned == {}  # the untuned base has no checkpoint that could be the best
    rows = read_table(paths.scores / "lora.jsonl")
    manifest = read_table(paths.samples / "lora" / "manifest.jsonl")
    assert [{key: row[key] for key in manifest[0]} for row in rows] == manifest
    assert details["best_epoch"] in (3, 6)
    assert {"mean_od", "mean_ocr", "mean", "images", "selected", "epoch_0", "better_than_epoch_0"} <= details.keys()
    assert json.loads((paths.metrics / "details" / "lora.json").read_text()) == details
    epochs = json.loads((paths.metrics / "epochs" / "lora.json").read_text())
    assert [row["epoch"] for row in epochs] == [0, 3, 6]
    assert epochs[0] == {"epoch": 0} | details["epoch_0"]
    assert {row["epoch"] for row in read_table(paths.scores / "base.jsonl")} == {0}


def test_the_headline_is_eight_of_the_details_and_leaves_out_what_is_unavailable(paths: Paths) -> None:
    write_samples(paths.samples, "base", {0: good_model}, seeds=2)
    score(demo_params(), "base", paths)
    for prompts in ("with", "without"):
        write_samples(paths.samples, "lora", {3: good_model}, seeds=2)
        if prompts == "without":
            manifest = paths.samples / "lora" / "manifest.jsonl"
            write_table(manifest, [row for row in read_table(manifest) if not row["plain"]])
        details = score(demo_params(), "lora", paths)
        numbers = json.loads((paths.metrics / "score" / "lora.json").read_text())
        assert len(HEADLINE) == 8
        assert list(numbers) == [key for key in HEADLINE if prompts == "with" or key != "prior_drift"]
        assert numbers == {key: details[key] for key in numbers}
        shutil.rmtree(paths.samples / "lora")


def test_a_method_that_is_left_out_has_files_without_content(paths: Paths, capsys: pytest.CaptureFixture) -> None:
    write_table(paths.samples / "dreambooth" / "manifest.jsonl", [])
    assert score(demo_params(), "dreambooth", paths) == {}
    assert capsys.readouterr().out.count("\n") == 1
    assert {
        p.relative_to(paths.metrics.parent).as_posix(): c for p, c in written(paths.scores, paths.metrics).items()
    } == {
        "scores/dreambooth.jsonl": b"",
        "metrics/epochs/dreambooth.json": b"[]\n",
        "metrics/details/dreambooth.json": b"{}\n",
        "metrics/score/dreambooth.json": b"{}\n",
    }


def test_a_method_is_not_scored_before_the_untuned_base(paths: Paths) -> None:
    write_samples(paths.samples, "lora", {3: good_model}, seeds=1)
    with pytest.raises(UserError, match=r"base\.jsonl: no such file"):
        score(demo_params(), "lora", paths)


@pytest.mark.parametrize(("method", "drawn"), [("lora", 0), ("base", 3)])
def test_pictures_of_the_wrong_checkpoints_are_refused(paths: Paths, method: str, drawn: int) -> None:
    write_samples(paths.samples, method, {drawn: good_model}, seeds=1)
    write_table(paths.scores / "base.jsonl", [])
    with pytest.raises(UserError, match=r"manifest\.jsonl: has no picture of (a tuned|the untuned)"):
        score(demo_params(), method, paths)


def test_the_word_is_read_where_the_detector_finds_nothing(captioned: Path, tmp_path: Path) -> None:
    """As in the paper, whose OCR looks at the picture by itself: `od` and the joint success stay with the detector."""

    class Blind:
        def detect(self, pictures: list) -> list:
            return [[] for _ in pictures]

    samples = write_samples(tmp_path / "samples", "lora", {3: good_model}, seeds=1)
    manifest = read_table(samples / "lora" / "manifest.jsonl")
    found = {}
    for name, generic in (("alone", None), ("found", RedBoxDetector())):
        judges = stand_ins(detector=Blind(), generic_logo_detector=generic)
        rows = score_rows(manifest, samples / "lora", demo_params(), judges)
        found[name] = [row for row in rows if not row["plain"]]
    assert {row["ocr"] for row in found["alone"]} == {0}
    assert sum(row["ocr"] for row in found["found"]) >= 0.7 * len(found["found"])
    assert {row["od"] for row in found["found"]} == {0.0}
    assert {row["joint"] for row in found["found"]} == {0}


def test_a_missing_picture_is_named_in_one_line(captioned: Path, tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "samples", "lora", {3: good_model}, seeds=1)
    (samples / "lora" / "epoch-03" / "p01-s00.png").write_bytes(b"nothing")
    manifest = read_table(samples / "lora" / "manifest.jsonl")
    with pytest.raises(UserError, match=r"p01-s00\.png: not a picture"):
        score_rows(manifest, samples / "lora", demo_params(), stand_ins())
