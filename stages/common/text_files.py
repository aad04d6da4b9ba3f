"""Text files that people hand in: their bytes, their encoding, and CSV tables; all of a file or nothing.

The one rule: what is not understood is told with its file and line. It never makes the rest of a file look as if
nothing were there.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import UserError

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
ARCHIVES = ((b"PK\x03\x04", "zip"), (b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z"), (b"Rar!", "rar"))
MOST_TOLD = 20
"""Problems that one line tells; the others are counted."""


class Unreadable(Exception):
    """A file's bytes are no text, no JSON or no XML; the message says why, the reader adds the file's name."""


# --- Bytes and text ---------------------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises Unreadable where it is a folder, cannot be opened or is an archive."""
    if path.is_dir():
        raise Unreadable("is a folder, a file is needed")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror or type(error).__name__})") from None
    for magic, name in ARCHIVES:
        if content.startswith(magic):
            raise Unreadable(f"is a {name} archive (as spreadsheets are): unpack it first, or save it as text")
    return content


def decode(content: bytes, legacy: bool = True) -> str:
    """Text as UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        legacy: take what is none of these for Windows-1252. Good enough for names and numbers; words that are taught
            must not be guessed.

    Raises Unreadable, naming the line, where it is none of these.
    """
    try:
        for mark, encoding in BYTE_ORDER_MARKS:
            if content.startswith(mark):
                return content[len(mark) :].decode(encoding)
        if b"\0" in content[:64]:
            # Such files begin with ASCII: where the zeros stand tells width and order, as RFC 4627 (3) reads JSON.
            zeros = "".join("x" if byte else "0" for byte in content[:4])
            wide = {"x000": "utf-32-le", "000x": "utf-32-be"}
            text = content.decode(wide.get(zeros, "utf-16-be" if zeros.startswith("0") else "utf-16-le"))
            if "\0" in text:
                raise Unreadable("is no text (it holds zero bytes)")
            return text
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            if legacy:
                return content.decode("cp1252")
            line = content[: error.start].count(b"\n") + 1
            raise Unreadable(
                f"line {line} is no UTF-8 (byte {content[error.start]:#04x}; Windows-1252 or another older encoding): "
                "save the file as UTF-8"
            ) from None
    except UnicodeDecodeError as error:
        kinds = "UTF-8, UTF-16 or Windows-1252" if legacy else error.encoding.upper()
        raise Unreadable(f"is no text in {kinds} ({error.reason} at byte {error.start})") from None


def one_line(text: str) -> str:
    """Text that can be printed anywhere as one line, whatever a foreign file put into its names."""
    readable = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in readable)


def shown(value: Any, most: int = 60) -> str:
    """A foreign value for a message: its repr, cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of more than 4300 digits have no repr
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a message, the first ones: "a, b and 3 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# --- CSV --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One row of a CSV file.

    Attributes:
        number: of the line in the file, from 1.
        values: column -> value without the spaces around it, "" where the line ends before it.
    """

    number: int
    values: dict[str, str]


def read_csv(
    path: Path, needed: Sequence[str], optional: Sequence[str], say: Callable[[str], None]
) -> tuple[list[Line], list[tuple[int, str]]]:
    """The rows of a CSV file that a person wrote, and what is wrong: (line, why) for each; the caller adds its own.

    The first line names the columns, in any order and case; commas, semicolons or tabs stand between them. Values
    that hold the separator stand in double quotes, and no value goes on over the end of its line: a quote that is not
    closed would swallow the lines behind it. Empty lines are skipped.

    Args:
        path: the file, in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.
        needed: columns that must be there.
        optional: columns that may be there; of all others `say` is told that they are not read.
        say: told what is left out.

    Raises:
        UserError: naming the file (and the line) where it is no text or its first line does not name the columns.
    """
    header = ",".join([*needed, *optional])
    try:
        text = decode(read_bytes(path), legacy=False)
    except Unreadable as error:
        raise UserError(one_line(f"{path}: {error}")) from None
    lines = io.StringIO(text, newline=None).getvalue().split("\n")
    start, told = _first_line(lines)
    separator = told or next((mark for mark in ",;\t" if _names(lines[start], mark) >= set(needed)), None)
    if separator is None or not _names(lines[start], separator) >= set(needed):
        raise UserError(one_line(f"{path}:{start + 1}: the first line must be {header}, is {shown(lines[start])}"))
    names = [name.strip().casefold() for name in _split(lines[start], separator)]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise UserError(one_line(f"{path}:{start + 1}: the column {shown(twice[0])} is there twice"))
    unread = [name for name in names if name and name not in {*needed, *optional}]
    if unread:
        say(one_line(f"{path}: not read, columns of other names: {listed([shown(name) for name in unread])}"))
    rows: list[Line] = []
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(lines[start + 1 :], start=start + 2):
        try:
            values = _values(line, separator, names)
        except Unreadable as error:
            wrong.append((number, str(error)))
            continue
        if any(values):
            found = dict(zip(names, values, strict=False))
            rows.append(Line(number, {name: found.get(name, "") for name in (*needed, *optional)}))
    return rows, wrong


def _values(line: str, separator: str, names: Sequence[str]) -> list[str]:
    """The values of a line, none behind the last column. Raises Unreadable where it cannot be told what is meant."""
    control = next((c for c in line if unicodedata.category(c) == "Cc" and c != "\t"), None)
    if control is not None:
        raise Unreadable(f"holds the character {control!r}: it is no text")
    if "\ufffd" in line or _twice_encoded(line):
        raise Unreadable(f"its encoding was lost before it was saved: {shown(line[-60:], 80)}")
    try:
        values = [value.strip() for value in _split(line.rstrip(" "), separator)]
    except csv.Error as error:
        raise Unreadable(f"quotes are not in pairs, or the line is too long ({error})") from None
    if any(value and not (index < len(names) and names[index]) for index, value in enumerate(values)):
        count = f"{len(values)} values for {sum(map(bool, names))} columns"
        raise Unreadable(f"{count}: a value that holds {separator!r} must stand in double quotes")
    return values


def _twice_encoded(line: str) -> bool:
    """Whether a line is UTF-8 that a program took for Windows-1252 and saved as UTF-8 ("boss\u00e2\u20ac\u2122s")."""
    try:
        return not line.isascii() and bool(line.encode("cp1252").decode("utf-8"))
    except UnicodeError:
        return False


def tell_wrong(path: Path, needs: str, wrong: Sequence[tuple[int, str]]) -> None:
    """Raise UserError, in one line, where anything is wrong: the file, what each line needs, every line's trouble."""
    if wrong:
        told = "; ".join(f"line {number}: {why}" for number, why in sorted(wrong)[:MOST_TOLD])
        more = f"; and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
        raise UserError(one_line(f"{path}: {needs}; {told}{more}"))


def _first_line(lines: list[str]) -> tuple[int, str | None]:
    """(the index of the line with the columns' names, the separator that a spreadsheet's `sep=;` above it tells)."""
    start = next((index for index, line in enumerate(lines) if line.strip()), 0)
    said = lines[start].strip().strip('"').casefold()
    if said.startswith("sep=") and len(said) == len("sep=;") and start + 1 < len(lines):
        return start + 1, said[-1]
    return start, None


def _names(line: str, separator: str) -> set[str]:
    try:
        return {name.strip().casefold() for name in _split(line, separator)}
    except csv.Error:
        return set()


def _split(line: str, separator: str) -> list[str]:
    """The values of one line. Raises csv.Error where a quote is not closed."""
    return next(csv.reader([line], delimiter=separator, strict=True, skipinitialspace=separator != "\t"), [])
