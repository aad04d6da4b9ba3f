"""CLIP tells a picture's prompt from its alternatives; where there is none, that is said."""

from pathlib import Path

import numpy as np
import pytest

from stages.common.errors import UserError
from stages.score.clip import Clip, load_clip, prompt_alternatives, without_token
from tests.pictures import photograph, pixels

SHIPPED = Path(__file__).parents[3] / "demo" / "weights" / "clip"
COLOURS = ("blue", "green", "yellow", "black")


@pytest.fixture(scope="module")
def clip() -> Clip:
    loaded = load_clip(SHIPPED)
    assert loaded is not None
    return loaded


def test_the_token_is_left_out_of_what_clip_reads() -> None:
    assert without_token("a mug with a <hugo> logo", "<hugo>") == "a mug with a logo"
    assert without_token("a mug", "<hugo>") == "a mug"
    assert without_token("a hugo mug with a hu logo", "hu") == "a hugo mug with a logo"


def test_a_prompt_competes_with_the_others_and_with_itself_in_other_colours() -> None:
    listed = prompt_alternatives("a blue sweater", ["a blue sweater", "a mug"])
    assert listed[:2] == ["a blue sweater", "a mug"]
    assert "a red sweater" in listed
    assert len(listed) == 12
    assert prompt_alternatives("a mug", ["a bag"]) == ["a mug", "a bag"]


def test_the_demos_clip_finds_the_colour_that_was_drawn(clip: Clip) -> None:
    texts = clip.texts([f"a {colour} sweater" for colour in COLOURS])
    drawn = [pixels(photograph(4000 + i, "sweater", COLOURS[i % 4], None)) for i in range(24)]
    best = (clip.pictures(drawn) @ texts.T).argmax(axis=1)
    assert np.mean(best == np.arange(24) % 4) >= 0.9


def test_vectors_have_length_one(clip: Clip) -> None:
    assert np.linalg.norm(clip.texts(["a mug"]), axis=1) == pytest.approx([1.0], abs=1e-5)


def test_no_clip_is_none_and_a_broken_one_is_one_line(tmp_path: Path) -> None:
    assert load_clip(tmp_path) is None
    (tmp_path / "config.json").write_text((SHIPPED / "config.json").read_text())
    with pytest.raises(UserError, match="cannot be loaded as a CLIP"):
        load_clip(tmp_path)
