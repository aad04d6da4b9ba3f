"""JSON-lines tables: one row an image, columns added by each stage. The format in which stages hand work on."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.common.errors import UserError
from stages.common.files import write_file

Row = dict[str, Any]


def read_table(path: Path) -> list[Row]:
    """Read a .jsonl file. Raises UserError naming file and line where a row is no JSON object."""
    return [row for _, row in read_numbered(path)]


def read_numbered(path: Path) -> list[tuple[int, Row]]:
    """Read a .jsonl file; each row with its line in the file, from 1. Empty lines are skipped.

    Raises UserError naming file and line where the file is missing or no UTF-8, or a row is no JSON object, holds a
    number that is none (NaN) or has one key twice (json would keep the second value alone).
    """
    rows: list[tuple[int, Row]] = []
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (has the stage before this one run?)") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    # No splitlines of text: it also splits where a value holds U+2028 or U+0085, which JSON need not escape.
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode(), object_pairs_hook=_object, parse_constant=_no_number)
        except UnicodeDecodeError:
            raise UserError(f"{path}:{number}: no UTF-8 text: save the file as UTF-8") from None
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{number}: not JSON: {error.msg}") from None
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from None
        except RecursionError:
            raise UserError(f"{path}:{number}: not JSON that can be read: nested too deep") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: must be a JSON object")
        rows.append((number, row))
    return rows


def _object(pairs: list[tuple[str, Any]]) -> Row:
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as .jsonl, the same bytes for the same rows (keys keep their order, numbers as Python prints them)."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    write_file(path, "".join(line + "\n" for line in lines))
