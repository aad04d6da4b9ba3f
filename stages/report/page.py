"""Static pages from templates: style and script within, nothing fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: Mapping[str, Any], templates: Path = TEMPLATES) -> str:
    """A template's HTML; `style` and `script` are report.css and report.js. An unknown name is an error.

    Args:
        template: its file's name, looked for in `templates`, then beside this module.
        context: the values of its names.
        templates: a folder of one's own, for another page of the same looks.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    files = {"style": "report.css", "script": "report.js"}
    own = {name: (TEMPLATES / file).read_text(encoding="utf-8") for name, file in files.items()}
    return environment.get_template(template).render({**own, **context}) + "\n"
