"""README.md's table of the brands is written from their runs' numbers, and says nothing of brands that were not run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from demo.brands.catalogue import TAUGHT
from docs.brands import MARKS, NOT_RUN, PAGE, collect, decisions, rows, table
from docs.numbers import TITLES, fill

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The committed run, and one of the letterless mark with the same numbers but for the word, which it has not."""
    shutil.copytree(ROOT / "metrics/details", tmp_path / "metrics/details")
    for name in ("funnel.json", "detector_details.json", "verdict.json", "report.md"):
        shutil.copyfile(ROOT / "metrics" / name, tmp_path / "metrics" / name)
    numbers = collect(tmp_path)
    for found in numbers["methods"].values():
        for key in ("mean_ocr", "joint_success"):
            for checkpoint in (found, found["base"]):
                for end in ("", "_low", "_high"):
                    checkpoint.pop(f"{key}{end}")
    numbers["verdict"]["ship"] = None
    (tmp_path / "metrics/brands").mkdir()
    (tmp_path / "metrics/brands/mark.json").write_text(json.dumps({"brand": "mark", **numbers}))
    return tmp_path


def test_without_runs_it_is_one_line_that_says_how(tmp_path: Path) -> None:
    assert table(tmp_path) == NOT_RUN
    assert "make brand" in NOT_RUN


def test_a_brand_is_a_column_after_hugo_s(runs: Path) -> None:
    header, _, *lines = table(runs).splitlines()
    assert header == "|  | HUGO, red box | ORVEK, no letters |"
    cells = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")[1:] for line in lines}
    assert len(cells) == len(lines)
    funnel = json.loads((ROOT / "metrics/funnel.json").read_text())
    seen = f"{funnel['crawled']}, {funnel['with_logo']}, {funnel['large_enough']}"
    assert cells["photographs crawled, with the logo, large enough"] == [seen, seen]
    verdict = json.loads((ROOT / "metrics/verdict.json").read_text())["ship"]
    assert cells["shipped"] == [f"{TITLES[verdict['method']]}, epoch {verdict['epoch']}", "none"]


def test_a_number_that_is_not_there_is_said_to_be_unavailable(runs: Path) -> None:
    column = dict(rows(json.loads((runs / "metrics/brands/mark.json").read_text())))
    assert column["LoRA: read inside its box"] == "unavailable"
    assert column["LoRA: OD, OCR"].endswith(", -")
    assert column["... but not the letters?"] == "unavailable"


def test_the_findings_are_those_of_the_page_on_the_paper() -> None:
    page = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
    for found, decided in decisions(collect(ROOT)).items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {found} |")]
        assert line.endswith(f"| {decided} |")


def test_readme_holds_the_table_of_the_runs_that_are_kept() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    if MARKS[0] not in page:
        assert not any((ROOT / "metrics/brands" / f"{name}.json").exists() for name in TAUGHT)
        return
    assert page == fill(page, table(ROOT), MARKS, PAGE), "run `python -m docs.brands` and commit README.md"
