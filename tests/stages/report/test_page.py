"""A page is filled from one's own template or from the report's, with the report's looks."""

from pathlib import Path

import jinja2
import pytest

from stages.report.page import TEMPLATES, render


def test_a_template_of_ones_own_has_the_reports_style(tmp_path: Path) -> None:
    (tmp_path / "own.html.j2").write_text("<style>{{ style|safe }}</style>{{ word }}")
    html = render("own.html.j2", {"word": "a < b"}, templates=tmp_path)
    assert (TEMPLATES / "report.css").read_text() in html
    assert "a &lt; b" in html


def test_ones_own_folder_comes_before_the_reports(tmp_path: Path) -> None:
    (tmp_path / "report.html.j2").write_text("mine")
    assert render("report.html.j2", {}, templates=tmp_path) == "mine\n"
    (tmp_path / "child.html.j2").write_text("{% include 'report.css' %}")
    assert (TEMPLATES / "report.css").read_text().strip() in render("child.html.j2", {}, templates=tmp_path)


def test_a_name_without_a_value_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.html.j2").write_text("{{ nothing }}")
    with pytest.raises(jinja2.UndefinedError):
        render("own.html.j2", {}, templates=tmp_path)
