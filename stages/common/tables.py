"""JSON-lines tables: one row an image, columns added by each stage. The format in which stages hand work on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.common.errors import UserError
from stages.common.files import write_file

Row = dict[str, Any]


def read_table(path: Path) -> list[Row]:
    """Read a .jsonl file. Raises UserError naming file and line where a row is no JSON object."""
    rows: list[Row] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (has the stage before this one run?)") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: must be a JSON object")
        rows.append(row)
    return rows


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as .jsonl, the same bytes for the same rows (keys keep their order, numbers as Python prints them)."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    write_file(path, "".join(line + "\n" for line in lines))
