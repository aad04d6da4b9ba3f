"""JSON-lines tables: what is written comes back, and what is no row is named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.common.tables import read_numbered, read_table, write_table


def test_what_is_written_comes_back_whatever_a_shop_calls_its_products(tmp_path: Path) -> None:
    """JSON may hold U+2028 and U+0085 as they are; some programs take them for the end of a line."""
    rows = [{"product": f"a{c}b", "n": 1} for c in '\u2028\u2029\u0085\x0b\x0c\x1c\r\n\t"é😀']
    write_table(tmp_path / "t.jsonl", rows)
    assert read_table(tmp_path / "t.jsonl") == rows


def test_a_mark_windows_line_ends_and_empty_lines_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \r\n{"a": 2}')
    assert read_numbered(tmp_path / "t.jsonl") == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1}\n{"a": \n', "t.jsonl:2: not JSON"),
        (b'{"a": 1}\n\n[1]\n', "t.jsonl:3: must be a JSON object"),
        (b'{"boxes": [[1, 2, 3, 4]], "boxes": []}\n', "t.jsonl:1: 'boxes' is there twice"),
        (b'{"boxes": [[1, 2, NaN, 4]]}\n', "t.jsonl:1: NaN is no number"),
        (b'{"a": -Infinity}\n', "t.jsonl:1: -Infinity is no number"),
        ('{"a": "Größe"}\n'.encode("cp1252"), "t.jsonl:1: no UTF-8"),
        ('{"a": 1}\n'.encode("utf-16"), "t.jsonl:1: no UTF-8"),
        (b'{"a": 1}\0\n', "t.jsonl:1: not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}\n", "t.jsonl:1: "),
        (b'{"a": ' + b"[" * 100_000, "t.jsonl:1: "),
        (b'[{"a": 1},\n{"a": 2}]\n', "t.jsonl:1: not JSON"),
    ],
)
def test_what_is_no_row_is_named(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_table(tmp_path / "t.jsonl")
