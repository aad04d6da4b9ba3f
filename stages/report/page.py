"""Static pages from the templates beside this file: style and script within, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: Mapping[str, Any]) -> str:
    """A template's HTML; `style` and `script` are report.css and report.js. An unknown name is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    own = {
        name: (TEMPLATES / file).read_text("utf-8") for name, file in (("style", "report.css"), ("script", "report.js"))
    }
    return environment.get_template(template).render({**own, **context}) + "\n"
