"""What people hand in as text is read as they meant it, or refused in one line that names file and line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.errors import UserError
from stages.common.text_files import Unreadable, decode, read_csv, tell_wrong

A, B = "a" * 64, "b" * 64
MEANT = [{"sha256": A, "caption": "the boss’s {token} shirt, red", "note": ""}]
ROW = f'{A},"the boss’s {{token}} shirt, red"\n'
TABLE = "sha256,caption\n" + ROW


def read(content: bytes, said: list[str] | None = None) -> list[dict[str, str]]:
    """What `read_csv` and `tell_wrong` make of a file's bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.csv"
        path.write_bytes(content)
        say = said.append if said is not None else lambda line: None
        rows, wrong = read_csv(path, ("sha256", "caption"), ("note",), say)
        tell_wrong(path, "each line needs both", wrong)
        return [row.values for row in rows]


def refusal(content: bytes) -> str:
    """Why a file is refused, "" where it is read."""
    try:
        read(content)
    except UserError as error:
        return str(error)
    return ""


READ = {
    "plain": TABLE.encode(),
    "utf-8 with a mark": TABLE.encode("utf-8-sig"),
    "utf-16": TABLE.encode("utf-16"),
    "utf-16, the other order": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "utf-16 without a mark": TABLE.encode("utf-16-le"),
    "utf-32": TABLE.encode("utf-32"),
    "windows line ends": TABLE.replace("\n", "\r\n").encode(),
    "old mac line ends": TABLE.replace("\n", "\r").encode(),
    "no end of the last line": TABLE.rstrip("\n").encode(),
    "empty lines": TABLE.replace("\n", "\n\n  \n").encode(),
    "an empty line first": b"\n" + TABLE.encode(),
    "semicolons": f"sha256;caption\n{A};the boss’s {{token}} shirt, red\n".encode(),
    "tabs": f"sha256\tcaption\n{A}\tthe boss’s {{token}} shirt, red\n".encode(),
    "a separator told": f"sep=;\nsha256;caption\n{A};the boss’s {{token}} shirt, red\n".encode(),
    "all quoted": f'"sha256","caption"\n"{A}","the boss’s {{token}} shirt, red"\n'.encode(),
    "spaces around": f'sha256 , caption\n {A} , "the boss’s {{token}} shirt, red" \n'.encode(),
    "hard spaces": f'sha256,caption\n\u00a0{A}\u00a0,"the boss’s {{token}} shirt, red"\n'.encode(),
    "capitals": TABLE.replace("sha256,caption", "SHA256,Caption").encode(),
    "columns the other way round": f'caption,sha256\n"the boss’s {{token}} shirt, red",{A}\n'.encode(),
    "empty columns of a spreadsheet": TABLE.replace("caption\n", "caption,,\n").replace('"\n', '",,\n').encode(),
    "empty rows of a spreadsheet": (TABLE + ",\n,\n").encode(),
}


@pytest.mark.parametrize("name", READ)
def test_it_is_read_as_meant(name: str) -> None:
    assert read(READ[name]) == MEANT


REFUSED = {
    "nothing": (b"", "captions.csv:1: the first line must be sha256,caption,note, is ''"),
    "blank lines": (b"\n \n", "first line must be"),
    "a mark alone": (b"\xef\xbb\xbf", "first line must be"),
    "no header": (ROW.encode(), "first line must be"),
    "a column misspelt": (TABLE.replace("caption", "captoin", 1).encode(), "first line must be"),
    "another separator in the header": (b"sha256|caption\n", "first line must be"),
    "a column twice": (
        f"sha256,caption,caption\n{A},a,b\n".encode(),
        r"captions.csv:1: the column 'caption' is .* twice",
    ),
    "windows-1252": (
        TABLE.encode("cp1252"),
        "line 2 is no UTF-8 .byte 0x92; Windows-1252 or .*: save the file as UTF-8",
    ),
    "latin-1": (TABLE.replace("’", "é").encode("latin-1"), "line 2 is no UTF-8"),
    "shift-jis": (TABLE.replace("’", "の").encode("shift-jis"), "line 2 is no UTF-8"),
    "half of utf-16": (TABLE.encode("utf-16")[:-1], "no text in UTF-16"),
    "zero bytes first": (b"\0\0\0\0" + TABLE.encode(), "is no text"),
    "a zero byte": (TABLE.replace("shirt", "sh\0irt").encode(), r"line 2: holds the character '.x00'"),
    "another control character": (TABLE.replace("shirt", "sh\x1birt").encode(), r"line 2: holds the character"),
    "a lost encoding": (TABLE.replace("’", "\ufffd").encode(), "line 2: its encoding was lost"),
    "saved twice": (TABLE.encode().decode("cp1252").encode(), "line 2: its encoding was lost"),
    "a comma in a caption": (f"sha256,caption\n{A},a shirt, red\n".encode(), "line 2: 3 values for 2 columns"),
    "a comma, unknown columns": (
        f"sha256,caption,x\n{A},a shirt, red, new\n".encode(),
        "line 2: 4 values for 3 columns",
    ),
    "a quote that is not closed": (
        f'sha256,caption\n{A},"a shirt\n{B},a hat\n'.encode(),
        "line 2: quotes are not in pairs",
    ),
    "a quote closed lines later": (f'sha256,caption\n{A},"a shirt\n{B},a hat"\n'.encode(), "line 2: quotes are not"),
    "a quote within quotes": (f'sha256,caption\n{A},"a "red" shirt"\n'.encode(), "line 2: quotes are not in pairs"),
    "a value of 200,000 letters": (f"sha256,caption\n{A},{'x' * 200_000}\n".encode(), "line 2: .*too long"),
    "a zip": (b"PK\x03\x04" + TABLE.encode(), "is a zip archive .as spreadsheets are."),
    "gzip": (b"\x1f\x8b\x08\0", "is a gzip archive"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "line 2 is no UTF-8"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "captions.csv"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line(name: str) -> None:
    content, told = REFUSED[name]
    with pytest.raises(UserError, match=told) as error:
        read(content)
    assert "captions.csv" in str(error.value)
    assert str(error.value).isprintable()


def test_columns_of_other_names_are_said() -> None:
    said: list[str] = []
    assert read(f"sha256,file,caption\n{A},x.png,a shirt\n".encode(), said)[0]["caption"] == "a shirt"
    assert [line.partition("csv: ")[2] for line in said] == ["not read, columns of other names: 'file'"]


def test_every_wrong_line_is_told_and_the_first_twenty_in_full() -> None:
    with pytest.raises(UserError, match=r"line 2: 3 values.*line 21: 3 values.*; and 5 more$"):
        read(b"sha256,caption\n" + b"a,b,c\n" * 25)


def test_a_folder_or_a_link_to_nothing_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path, told in ((tmp_path, "is a folder"), (tmp_path / "link", "cannot be read")):
        with pytest.raises(UserError, match=told):
            read_csv(path, ("sha256",), (), lambda line: None)


def test_labels_may_be_in_an_older_encoding_and_captions_may_not() -> None:
    assert decode("Größe".encode("cp1252")) == "Größe"
    with pytest.raises(Unreadable, match="line 2"):
        decode("sha256\nGröße".encode("cp1252"), legacy=False)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    for whole in (content, b"sha256,caption\n" + content):
        assert refusal(whole).isprintable()


VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30).map(str.strip)


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(VALUES.filter(lambda value: value and "\ufffd" not in value and value.isascii()), max_size=8),
    separator=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_what_a_spreadsheet_saves_comes_back(values: list[str], separator: str, end: str, encoding: str) -> None:
    lines = [
        separator.join(("sha256", "caption")),
        *(f'{A}{separator}"{v.replace(chr(34), chr(34) * 2)}"' for v in values),
    ]
    assert [row["caption"] for row in read((end.join(lines) + end).encode(encoding))] == values
