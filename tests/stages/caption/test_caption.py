# ruff: noqa: E501
"""Captions say what is known, name the token once, and open as a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.caption.__main__ import Paths, caption, put_token
from stages.caption.image_to_text import with_logo
from stages.caption.products import Known, find_garment, find_position
from stages.caption.template import fill_template
from stages.caption.written import read_captions
from stages.common.errors import UserError
from stages.common.params import Params, load_params
from stages.common.tables import Row, write_table
from tests.sd_shaped_base import write_captioner

REPOSITORY = Path(__file__).parents[3]
TEMPLATE = "a {wearer}{colour} {garment} with a {token} logo {position}"


@pytest.fixture
def params() -> Params:
    return load_params(REPOSITORY / "params.yaml")


def filtered(folder: Path, **changes: Any) -> Row:
    rng = np.random.default_rng(1)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    row = {
        "sha256": "ab" * 32,
        "file": f"images/{'ab' * 32}.png",
        "width": 90,
        "height": 120,
        "exif_orientation": 1,
        "box": [30.0, 40.0, 60.0, 52.0],
        "logo_width": 16.0,
        "large_enough": True,
        "product": "HUGO Black Sweater Relaxed",
        "colour": "black",
        "category": "sweaters",
        "drop_reason": None,
    } | changes
    Image.fromarray(rng.integers(1, 256, (120, 90, 3), dtype=np.uint8)).save(folder / row["file"])
    write_table(folder / "manifest.jsonl", [row, row | {"sha256": "cd" * 32, "large_enough": False}])
    return row


def run(params: Params, folder: Path) -> list[Row]:
    paths = Paths(
        filtered=folder / "filtered",
        captions=folder / "brand" / "captions.csv",
        captioner=folder / "captioner",
        captioned=folder / "captioned",
        scratch=folder / "scratch",
    )
    return caption(params, paths)


def test_a_template_caption_and_its_square(params: Params, tmp_path: Path) -> None:
    filtered(tmp_path / "filtered")
    (row,) = run(params, tmp_path)
    token = params.brand.token
    assert row["text"] == f"a black sweater with a {token} logo on the chest"
    assert row["caption_source"] == "template"
    image = Image.open(tmp_path / "captioned" / row["file_name"])
    side = params.resolution
    pixels = np.asarray(image)
    assert image.mode == "RGBA"
    assert image.size == (side, side)
    margin = (side - side * 3 // 4) // 2
    assert (pixels[:, :margin, 3] == 0).all()
    assert (pixels[:, margin : side - margin, 3] == 255).all()
    scale = side / 120
    assert row["box"] == pytest.approx([30 * scale + margin, 40 * scale, 60 * scale + margin, 52 * scale], abs=0.01)


def test_a_hand_caption_wins(params: Params, tmp_path: Path) -> None:
    row = filtered(tmp_path / "filtered")
    (tmp_path / "brand").mkdir()
    (tmp_path / "brand/captions.csv").write_text(f'sha256,caption\n{row["sha256"]},"a man, and a {{token}} logo"\n')
    (found,) = run(params, tmp_path)
    assert found["text"] == f"a man, and a {params.brand.token} logo"
    assert found["caption_source"] == "hand"


def test_datasets_opens_what_is_written(params: Params, tmp_path: Path) -> None:
    filtered(tmp_path / "filtered")
    run(params, tmp_path)
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "captioned"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert len(loaded) == 1
    assert params.brand.token in loaded[0]["text"]
    assert loaded[0]["image"].mode == "RGBA"


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (Known("sweater", "black", None, "on the chest"), "a black sweater with a {token} logo on the chest"),
        (Known("sweater", "orange", None, None), "an orange sweater with a {token} logo"),
        (Known("shorts", "black", None, "on the left leg"), "black shorts with a {token} logo on the left leg"),
        (Known("socks", None, None, "on the side"), "socks with a {token} logo on the side"),
        (
            Known("hoodie", "white", "man", "on the chest"),
            "a man wearing a white hoodie with a {token} logo on the chest",
        ),
        (Known("shorts", "white", "woman", None), "a woman wearing white shorts with a {token} logo"),
        (Known("bag", None, "woman", "on the front"), "a bag with a {token} logo on the front"),
        (Known(None, None, None, None), "a product with a {token} logo"),
    ],
)
def test_only_what_is_known_is_said_and_in_good_english(known: Known, text: str) -> None:
    assert fill_template(TEMPLATE, known) == text


@pytest.mark.parametrize(
    ("name", "garment"),
    [
        ("HUGO Black T-Shirt Classic Fit", "t-shirt"),
        ("HUGO Kapuzenpullover mit Logo", "hoodie"),
        ("Logo tee in cotton", "t-shirt"),
        ("Hooded sweatshirt with logo", "hoodie"),
        ("Swim shorts", "swim shorts"),
        ("HUGO Perfume 100 ml", "bottle of perfume"),
        ("Rocket poster", None),
        ("Two-pack of socks", "socks"),
    ],
)
def test_the_garment_is_found_in_names(name: str, garment: str | None) -> None:
    assert find_garment(name) == garment


def test_the_side_is_the_viewers() -> None:
    row = {"box": [10, 60, 30, 70], "width": 100, "height": 100, "exif_orientation": 1}
    assert find_position("shorts", row) == "on the left leg"
    assert find_position("shorts", row | {"box": [70, 60, 90, 70]}) == "on the right leg"
    assert find_position(None, row) is None


@pytest.mark.parametrize(
    "text", ["a sweater", "a {token} logo and a {token} logo", "a <hugo> sweater with a {token} logo"]
)
def test_a_missing_or_doubled_token_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="must name <hugo> once"):
        put_token(text, "<hugo>", "ab")


def test_all_bad_hand_captions_are_reported_at_once(tmp_path: Path) -> None:
    lines = [
        f"{'a' * 64},no token",
        f"{'b' * 64},{{token}} {{token}}",
        "short,a {token}",
        f"{'c' * 64},a {{token}}",
        f"{'c' * 64},a {{token}}",
    ]
    (tmp_path / "captions.csv").write_text("sha256,caption\n" + "\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"line 2.*0 times.*line 3.*2 times.*line 4.*no sha256.*line 6.*second caption"):
        read_captions(tmp_path / "captions.csv")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"{'a' * 64},a {{colour}} shirt with a {{token}} logo", "line 2: has a brace beside {token}"),
        (f"{'a' * 64},a {{{{token}}}} logo", "line 2: has a brace beside {token}"),
        (f"{'a' * 64},a {{Token}} logo", "line 2: has {token} 0 times"),
        (f"{'g' * 64},a {{token}} logo", "line 2: no sha256"),
        (f"{'a' * 64}.png,a {{token}} logo", "line 2: no sha256"),
        (f"{'a' * 64}", "line 2: has {token} 0 times"),
        (f"{'a' * 64},a {{token}} shirt, red", "line 2: 3 values for 2 columns"),
        (f"# a note\n{'a' * 64},a {{token}} logo", "line 2: no sha256"),
    ],
)
def test_a_hand_caption_that_is_not_understood_is_named_by_its_line(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text(f"sha256,caption\n{line}\n")
    with pytest.raises(UserError, match=re.escape(told)):
        read_captions(tmp_path / "captions.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_hand_caption_is_read_in_full_whatever_its_encoding(encoding: str, tmp_path: Path) -> None:
    line = f'sha256;caption\r\n{"A" * 64};"the boss’s {{token}}, ""new""; red"\r\n'
    (tmp_path / "captions.csv").write_bytes(line.encode(encoding))
    assert read_captions(tmp_path / "captions.csv") == {"a" * 64: 'the boss’s {token}, "new"; red'}


def test_captions_of_no_picture_are_counted_and_said(
    params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One for the picture that is trained on, one for a picture that is not, one for none of the shop."""
    row = filtered(tmp_path / "filtered")
    (tmp_path / "brand").mkdir()
    lines = [f"{sha256},a {{token}} logo" for sha256 in (row["sha256"], "cd" * 32, "ef" * 32)]
    (tmp_path / "brand/captions.csv").write_text("\n".join(["sha256,caption", *lines]) + "\n")
    run(params, tmp_path)
    told = capsys.readouterr().out
    assert f"captions of no picture of the shop: 1 ({'ef' * 32})" in told
    assert f"captions of pictures that are not trained on (data/filtered): 1 ({'cd' * 32})" in told


def test_a_token_within_a_word_is_no_second_token() -> None:
    assert put_token("a hugo shirt with a {token} logo", "hu", "ab") == "a hugo shirt with a hu logo"
    with pytest.raises(UserError, match="must name hu once, has it 2 times"):
        put_token("a HU shirt with a {token} logo", "hu", "ab")
    with pytest.raises(UserError, match="must name hu once, has it 0 times"):
        put_token("a {token}shirt", "hu", "ab")


def test_an_unknown_word_in_the_template_is_an_error() -> None:
    with pytest.raises(UserError, match=r"unknown key \{season\}"):
        fill_template("a {season} {garment} with a {token} logo", Known(None, None, None, None))
    for template in ("a {garment", "a } {token}", "a {garment!x}", "a {} {token}", "a {garment:>9}", "{garment[0]}"):
        with pytest.raises(UserError, match=r"caption.template.*allowed: \{wearer\}"):
            fill_template(template, Known(None, None, None, None))


def test_a_models_caption_gets_the_logo_once() -> None:
    assert with_logo("a man wearing a black sweater.") == "a man wearing a black sweater with a {token} logo"
    assert with_logo("a black shirt with a red logo on it") == "a black shirt with a {token} logo"


def test_a_model_captions_what_no_one_knows(params: Params, tmp_path: Path) -> None:
    """A BLIP of random weights, made here: what it says is nonsense, but it comes through the real classes."""
    filtered(tmp_path / "filtered", product="HUGO Item 7", category=None, colour=None)
    (tmp_path / "captioner").mkdir()  # as `pretrained` leaves it where params.yaml names none
    (row,) = run(params, tmp_path)
    assert (row["caption_source"], row["text"]) == ("template", f"a product with a {params.brand.token} logo")
    write_captioner(tmp_path / "captioner")
    (row,) = run(params, tmp_path)
    assert row["caption_source"] == "model"
    assert row["text"].count(params.brand.token) == 1


def test_no_large_enough_picture_is_an_error(params: Params, tmp_path: Path) -> None:
    filtered(tmp_path / "filtered", large_enough=False)
    with pytest.raises(UserError, match="no picture has a large enough logo"):
        run(params, tmp_path)
