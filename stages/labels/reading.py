"""What a labelling tool's file says, before anyone decides what of it is a label, and how its text is read.

The one rule: what a reader does not understand stays in what it returns, as a shape without a box or as a problem. It
is never dropped, because a picture from which it was dropped would look as if nothing were there.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lxml.etree  # type: ignore[import-untyped]

from stages.common.text_files import Unreadable, decode, read_bytes, shown

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


# --- Files -----------------------------------------------------------------------------------------------------------


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
