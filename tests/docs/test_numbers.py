"""docs/paper.md holds the committed run's numbers, and says of each finding what its numbers say."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from docs.numbers import apart, comparisons, fill, finding, grid_parts, read_funnel, tables
from stages.common.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """What HEAD holds of the page and of what it is written from; the working tree where HEAD has no page yet."""
    paths = ["docs/paper.md", "metrics", "params.yaml"]
    done = subprocess.run(["git", "archive", "HEAD", *paths], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        return ROOT
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_the_page_holds_the_numbers_of_the_run_beside_it(committed: Path) -> None:
    page = (committed / "docs/paper.md").read_text(encoding="utf-8")
    assert page == fill(page, tables(committed)), "run `python -m docs.numbers` and commit docs/paper.md"


def test_the_command_writes_between_the_marks_and_nowhere_else(committed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    (folder / "docs").mkdir(parents=True)
    (folder / "metrics").symlink_to(committed / "metrics")
    (folder / "params.yaml").symlink_to(committed / "params.yaml")
    page = folder / "docs/paper.md"
    page.write_text("before\n<!-- numbers -->\nold\n<!-- /numbers -->\nafter\n", encoding="utf-8")
    command = [sys.executable, "-m", "docs.numbers"]
    for _ in range(2):  # the second time it finds its own tables
        subprocess.run(command, cwd=folder, check=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"})
        text = page.read_text(encoding="utf-8")
        assert text == f"before\n<!-- numbers -->\n\n{tables(committed)}\n\n<!-- /numbers -->\nafter\n"


def test_a_page_without_marks_is_one_line() -> None:
    for page in (
        "no marks",
        "<!-- /numbers --> <!-- numbers -->",
        "<!-- numbers --> <!-- numbers --> <!-- /numbers -->",
    ):
        with pytest.raises(UserError, match="once, in this order"):
            fill(page, "tables")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["higher", "higher"], "yes"),
        (["higher", "not distinguishable"], "in part"),
        (["not distinguishable"], "not distinguishable"),
        (["higher", "lower"], "no: the opposite"),
        (["higher", "unavailable"], "unavailable"),
    ],
)
def test_a_finding_is_seen_only_where_every_comparison_is_decided(words: list[str], said: str) -> None:
    assert finding(words) == said


def test_two_numbers_are_apart_where_their_intervals_do_not_touch() -> None:
    low = {"mean": 0.2, "mean_low": 0.1, "mean_high": 0.3}
    assert apart({"mean": 0.5, "mean_low": 0.31, "mean_high": 0.6}, low, "mean") == "higher"
    assert apart({"mean": 0.5, "mean_low": 0.30, "mean_high": 0.6}, low, "mean") == "not distinguishable"
    assert apart(low, {"mean": 0.4}, "mean") == "lower"
    assert apart(low, {}, "mean") == "unavailable"


def test_the_report_s_comparisons_are_read_both_ways_round() -> None:
    report = (
        "- DreamBooth epoch 27 against Textual inversion epoch 3: higher (+0.08, +0.00 to +0.17).\n"
        "- Textual inversion epoch 3 against LoRA epoch 27: not distinguishable (+0.00, -0.00 to +0.01).\n"
    )
    found = comparisons(report)
    assert found["dreambooth", "textual_inversion"] == "higher"
    assert found["textual_inversion", "dreambooth"] == "lower"
    assert found["lora", "textual_inversion"] == "not distinguishable"
    assert ("dreambooth", "lora") not in found


def test_the_funnel_is_read_as_a_table_or_a_mapping(tmp_path: Path) -> None:
    funnel = {"crawled": 1121, "with_logo": 150}
    (tmp_path / "mapping.json").write_text(json.dumps(funnel))
    (tmp_path / "table.json").write_text(json.dumps([{"step": s, "pictures": n} for s, n in funnel.items()]))
    assert read_funnel(tmp_path / "mapping.json") == read_funnel(tmp_path / "table.json") == funnel


def test_the_committed_report_has_all_three_comparisons(committed: Path) -> None:
    found = comparisons((committed / "metrics/report.md").read_text(encoding="utf-8"))
    assert len(found) == 6


def test_what_the_grid_gave_is_shown_where_it_was_run(tmp_path: Path) -> None:
    file = tmp_path / "paper.json"
    assert all("Not run yet" in text for text in grid_parts(file).values())
    table = {"title": "Table 2", "header": ["Method"], "rows": [["LoRA"]], "notes": ["A note."]}
    figures = [
        {"title": "Figure 9", "file": "figure9.png", "unavailable": "", "notes": []},
        {"title": "Figure 10", "file": "", "unavailable": "not in DVC's cache", "notes": []},
    ]
    found = {"finding": "It copies", "source": "5.1", "decision": "yes", "why": "+0.5"}
    content = {
        "tables": [table],
        "figures": figures,
        "findings": [found],
        "how_answered": "By pairs.",
        "notes": ["LoRA: 1 model."],
    }
    file.write_text(json.dumps(content))
    parts = grid_parts(file)
    assert parts["Table 2"] == "| Method |\n|---|\n| LoRA |\n\nA note."
    assert parts["Figure 9"] == "![Figure 9](../metrics/paper/figure9.png)"
    assert parts["Figure 10"] == "Unavailable: not in DVC's cache."
    assert "| It copies | 5.1 | yes | +0.5 |" in parts["The paper's findings, by the grid"]
