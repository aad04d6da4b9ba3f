"""The detector's numbers, from what it said of the held-out pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from stages.common.errors import UserError
from stages.common.tables import Row, write_table
from stages.measure_detector.__main__ import Paths, measure_detector
from stages.measure_detector.measures import measure
from tests.scored_world import demo_params

BOX = [0.0, 0.0, 9.0, 9.0]


def row(kind: str, logo: bool, confidence: float | None, number: int = 0) -> Row:
    """A held-out picture of 20 x 10 pixels, and one detection in the logo's place."""
    found = [] if confidence is None else [{"box": BOX, "confidence": confidence}]
    return {
        "sha256": f"{number:064x}",
        "kind": kind,
        "width": 20,
        "height": 10,
        "boxes": [BOX] if logo else [],
        "detections": found,
        "thumbnail": f"holdout/{number:03d}.png",
    }


def test_rates_are_given_by_kind_of_negative() -> None:
    rows = [
        row("shop", False, None),
        row("shop", False, 0.5),
        row("bad-drawing", False, 0.9),
        row("social", True, None),
    ]
    rows += [row("hard-negative", False, 0.9)]
    numbers = measure(rows, 0.7, 0.95)
    assert numbers["hard_negatives"]["bad-drawing"]["false_positive_rate"] == 1
    assert numbers["hard_negatives"]["hard-negative"]["false_positive_rate"] == 1
    assert numbers["hard_negatives"]["shop"]["false_positive_rate"] == 0
    assert numbers["recall"] == 0
    assert numbers["negatives"] == 3  # the hard negative that was made of another picture is counted apart


def world(folder: Path, rows: list[Row]) -> Paths:
    for entry in rows:
        (folder / "detector" / "holdout").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (156, 78), "white").save(folder / "detector" / entry["thumbnail"])
    write_table(folder / "detector/holdout.jsonl", rows)
    (folder / "detector/pictures.json").write_text('{"pictures": {"held_out": 3}, "kinds": {"shop": 3}}')
    return Paths(folder / "detector", folder / "metrics")


def test_another_threshold_gives_other_numbers_without_another_training(tmp_path: Path) -> None:
    rows = [row("shop", True, 0.8, 0), row("shop", True, 0.6, 1), row("shop", False, 0.3, 2)]
    paths = world(tmp_path, rows)
    params = demo_params()
    strict = measure_detector(params.changed("score", threshold=0.7), paths)
    headlines = json.loads((tmp_path / "metrics/detector.json").read_text())
    assert headlines == {"mAP50": 1.0, "precision": 1.0, "recall": 0.5, "false_positive_rate": 0.0}
    loose = measure_detector(params.changed("score", threshold=0.2), paths)
    assert (strict["recall"], loose["recall"], loose["false_positive_rate"]) == (0.5, 1.0, 1.0)
    assert strict["pictures"] == {"held_out": 3}
    assert json.loads((tmp_path / "metrics/detector_details.json").read_text()) == loose


def test_found_logos_are_green_and_mistakes_red_on_the_sheet(tmp_path: Path) -> None:
    measure_detector(demo_params(), world(tmp_path, [row("shop", True, 0.9, 0), row("shop", False, 0.9, 1)]))
    with Image.open(tmp_path / "metrics/detections.png") as sheet:
        assert sheet.size == (6 * 160, 160)
        colours = {sheet.getpixel((2, 40)), sheet.getpixel((162, 40))}
    assert colours == {(0x0A, 0x7D, 0x32), (0xC0, 0x00, 0x18)}


def test_a_detector_that_was_never_tried_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holdout.jsonl: no such file"):
        measure_detector(demo_params(), Paths(tmp_path, tmp_path))
