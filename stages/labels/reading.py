"""What a labelling tool's file says, before anyone decides what of it is a label, and how its text is read.

The one rule: what a reader does not understand stays in what it returns, as a shape without a box or as a problem. It
is never dropped, because a picture from which it was dropped would look as if nothing were there.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lxml.etree  # type: ignore[import-untyped]

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the upright picture."""
Size = tuple[int, int]
SizeOf = Callable[[str], Size | None]
"""The (width, height) of the upright picture of that file name, None where it is unknown."""
Labels = dict[str, tuple[Size, list[Box]]]
"""What is exported: file name -> (size, boxes)."""


@dataclass(frozen=True)
class Drawn:
    """One thing that a person drew or said about a picture.

    Attributes:
        labels: its classes; none where the tool knows no classes.
        box: the upright box around it, None where there is none.
        trouble: why there is no box.
        where: file and line (or element) for messages.
        turned: whether it is a turned shape, whose upright box may leave the picture although its middle does not.
        whole: whether it is said about the whole picture (a tag, a choice), not drawn on it.
    """

    labels: tuple[str, ...]
    box: Box | None
    where: str
    trouble: str = ""
    turned: bool = False
    whole: bool = False


@dataclass
class Entry:
    """One picture of the file. Nothing drawn means that a person looked and there is no logo."""

    name: str
    size: Size | None
    where: str
    drawn: list[Drawn] = field(default_factory=list)


@dataclass
class Reading:
    """A whole file.

    Attributes:
        classes: every class that the file declares, drawn or not.
        problems: what forbids the import, each with its place.
        left: what a person is told although it forbids nothing: "left out, hidden files" -> their names.
        named: whether the classes have names (a YOLO folder without a list of names has numbers).
    """

    entries: list[Entry] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left: dict[str, list[str]] = field(default_factory=dict)
    named: bool = True

    def leave(self, what: str, which: str) -> None:
        """Remember something to be told."""
        self.left.setdefault(what, []).append(which)


class Unreadable(Exception):
    """A file's bytes are no text, no JSON or no XML; the message says why, the reader adds the file's name."""


# --- Files and text ---------------------------------------------------------------------------------------------------

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
ARCHIVES = ((b"PK\x03\x04", "zip"), (b"\x1f\x8b", "gzip"), (b"7z\xbc\xaf", "7z"), (b"Rar!", "rar"))


def files_of(folder: Path, suffix: str, reading: Reading) -> list[Path]:
    """A folder's files of one suffix, whatever its case; other labels and hidden files are counted as left out."""
    found = []
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        if not file.is_file():
            continue
        if any(part.startswith(".") or part == "__MACOSX" for part in inside.parts):
            reading.leave("left out, hidden files", inside.as_posix())
        elif file.suffix.lower() == suffix:
            found.append(file)
        elif file.suffix.lower() in (".txt", ".json", ".xml", ".csv"):
            reading.leave("left out, files of another format", inside.as_posix())
    return found


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
            raise Unreadable(f"is a {name} archive: unpack it first")
    return content


def decode(content: bytes) -> str:
    """Text as UTF-8, UTF-16, UTF-32 (with or without a byte order mark) or, where it is none of them, Windows-1252.

    Raises Unreadable where it is none of these.
    """
    try:
        for mark, encoding in BYTE_ORDER_MARKS:
            if content.startswith(mark):
                return content[len(mark) :].decode(encoding)
        if b"\0" in content[:64]:
            # Labels begin with ASCII: where the zeros stand tells width and order, as RFC 4627 (section 3) reads JSON.
            zeros = "".join("x" if byte else "0" for byte in content[:4])
            wide = {"x000": "utf-32-le", "000x": "utf-32-be"}
            text = content.decode(wide.get(zeros, "utf-16-be" if zeros.startswith("0") else "utf-16-le"))
            if "\0" in text:
                raise Unreadable("is no text (it holds zero bytes)")
            return text
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            return content.decode("cp1252")
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"is no text in UTF-8, UTF-16 or Windows-1252 ({error.reason} at byte {error.start})"
        ) from None


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


# --- JSON and XML -----------------------------------------------------------------------------------------------------


def read_json(path: Path) -> Any:
    """A JSON file's content. Raises Unreadable naming the line, also where an object has one key twice."""
    text = decode(read_bytes(path))
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise Unreadable(f"no JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise Unreadable("no JSON that can be read: nested too deep") from None
    except ValueError as error:
        raise Unreadable(f"no JSON that can be read: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, refused where a key is there twice: json would keep the second and drop the first's boxes."""
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"an object has {shown(next(k for k in keys if keys.count(k) > 1))} twice")
    return content


def read_xml(path: Path) -> Any:
    """An XML file's root element. Raises Unreadable naming the line.

    A file whose declared encoding is not the one that it is in (resaved by an editor) is read by its bytes.
    """
    content = read_bytes(path)
    parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        return lxml.etree.fromstring(content, parser)
    except (lxml.etree.XMLSyntaxError, ValueError, LookupError) as first:
        try:
            text = re.sub(r"\A\s*<\?xml[^>]*\?>", "", decode(content))
            return lxml.etree.fromstring(text.encode(), lxml.etree.XMLParser(resolve_entities=False, no_network=True))
        except (lxml.etree.XMLSyntaxError, ValueError, Unreadable):
            raise Unreadable(f"no XML: {first}") from None


# --- Numbers ----------------------------------------------------------------------------------------------------------


def number(value: Any) -> float | None:
    """A finite number (text of one is one), or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def numbers(values: Any, count: int | None = None) -> list[float] | None:
    """Finite numbers, exactly `count` of them where it is given, or None."""
    if not isinstance(values, (list, tuple)) or (count is not None and len(values) != count):
        return None
    found = [number(value) for value in values]
    return [v for v in found if v is not None] if None not in found else None


def size_told(width: Any, height: Any) -> tuple[Size | None, bool]:
    """(the size that a file tells, whether what it tells can be understood).

    Nothing, or labelImg's 0 x 0, tells no size and is understood.
    """
    if all(v is None or v == "" or number(v) == 0 for v in (width, height)):
        return None, True
    sides = numbers([width, height], 2)
    if sides is None or any(side <= 0 or side != int(side) for side in sides):
        return None, False
    return (int(sides[0]), int(sides[1])), True
