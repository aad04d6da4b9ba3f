"""YOLO: a text file a picture, a line a box: "class cx cy w h" as shares of the picture's sides.

Exports differ in what else lies there: lists of names (classes.txt, data.yaml, obj.names), readmes, lists of pictures;
and in what a line holds: a polygon or four corners in place of a box, keypoints behind it, commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.common.files import write_file
from stages.common.text_files import Unreadable, decode, read_bytes, shown
from stages.labels.reading import Box, Drawn, Entry, Reading, Size, SizeOf, files_of
from stages.labels.shapes import around_polygon

NAMES_FILES = ("classes.txt", "labels.txt", "obj.names", "_darknet.labels")
"""YOLO tools', make-sense's, darknet's, Roboflow's list of class names."""
PART_FOLDERS = ("labels", "train", "valid", "val", "test")
"""Where one of these is imported, the list of names lies one or two folders above."""
NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)


def read_yolo(path: Path, size_of: SizeOf) -> Reading:
    """Read a folder of .txt files; an empty file is a negative."""
    reading = Reading()
    if not path.is_dir():
        reading.problems.append(f"{path.name}: YOLO labels are a folder of .txt files, this is a file")
        return reading
    names, keypoints = _names(path, reading)
    reading.classes = names
    reading.named = bool(names)
    for file in files_of(path, ".txt", reading):
        place = file.relative_to(path).as_posix()
        try:
            lines = decode(read_bytes(file)).splitlines()
        except Unreadable as error:
            reading.problems.append(f"{place}: {error}")
            continue
        named = size_of(file.name) is not None or re.search(r"[0-9a-fA-F]{64}", file.name)
        if not named and not any(_is_label(line) for line in lines):
            reading.leave("left out, text files that are no labels", place)
            continue
        entry = Entry(file.name, None, place)
        for count, line in enumerate(lines, start=1):
            if line.strip():
                entry.drawn.append(_drawn(line, f"{place}:{count}", size_of(file.name), names, keypoints))
        reading.entries.append(entry)
    return reading


def _is_label(line: str) -> bool:
    columns = _columns(line)
    return columns is not None and len(columns) >= 5


def _columns(line: str) -> list[str] | None:
    """A line's columns, numbers with decimal points; None where they cannot be told apart.

    "0, 0.5, 0.5" and "0;0,5;0,5" and "0 0,5 0,5" each can be read in one way only; "0,1,1,1,1" cannot.
    """
    line = line.strip()
    if ";" in line:
        columns = [c.strip() for c in line.split(";")]
        if "." not in line:
            columns = [c.replace(",", ".") for c in columns]
    elif "," in line:
        columns = [c.strip() for c in line.split(",")]
        spaced = all(re.match(r"\s", line[at.end() :]) for at in re.finditer(",", line))
        if any(len(c.split()) != 1 for c in columns) or not (spaced or "." in line):
            columns = line.split()
            if "." in line or any(c.count(",") > 1 or c.endswith(",") for c in columns):
                return None
            columns = [c.replace(",", ".") for c in columns]
    else:
        columns = line.split()
    return columns if all(NUMBER.fullmatch(c) for c in columns[1:]) else None


def _drawn(line: str, where: str, size: Size | None, names: list[str], keypoints: bool) -> Drawn:
    """What a line draws."""
    columns = _columns(line)
    if columns is None or len(columns) < 5:
        return Drawn((), None, where, f"must be 'class cx cy w h', is {shown(line.strip())}")
    label, trouble = _label(columns[0], names)
    labels = (label,) if label else ()
    values = [float(c) for c in columns[1:]]
    if trouble:
        return Drawn(labels, None, where, trouble)
    if keypoints or len(values) == 4:
        box = _from_middle(values[:4])
    elif len(values) % 2:
        return Drawn(
            labels,
            None,
            where,
            f"has {len(columns)} columns: 'class cx cy w h' has 5, what the last one means (a confidence, an angle) is "
            "not known",
        )
    else:
        polygon = around_polygon(list(zip(values[::2], values[1::2], strict=True)))
        if polygon is None:
            return Drawn(labels, None, where, "is a polygon without an area")
        box = polygon
    if any(abs(v) > 1.5 for v in values[:4]):
        return Drawn(labels, None, where, "must hold shares of the picture's sides, 0 to 1 (these look like pixels)")
    width, height = size or (1, 1)
    return Drawn(labels, (box[0] * width, box[1] * height, box[2] * width, box[3] * height), where)


def _from_middle(values: list[float]) -> Box:
    cx, cy, w, h = values
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def _label(column: str, names: list[str]) -> tuple[str, str]:
    """(the class, what is wrong with it)."""
    if names and column in names:
        return column, ""
    if not NUMBER.fullmatch(column) or float(column) != int(float(column)) or float(column) < 0:
        return "", f"the class {shown(column)} is no whole number of at least 0"
    index = int(float(column))
    if not names:
        return str(index), ""
    if index >= len(names):
        return "", f"class {index} is none of the {len(names)} named ones ({', '.join(names[:10])})"
    return names[index] or str(index), ""


# --- The names of the classes -----------------------------------------------------------------------------------------


def _names(path: Path, reading: Reading) -> tuple[list[str], bool]:
    """(the classes' names, none where no file tells them; whether lines have keypoints behind the box)."""
    files = [f for f in sorted(path.rglob("*")) if f.is_file() and _may_name(f) and not f.name.startswith(".")]
    inside = path.resolve()
    for _ in range(2):
        if inside.name.lower() not in PART_FOLDERS:
            break
        inside = inside.parent
        files += [f for f in sorted(inside.iterdir()) if f.is_file() and _may_name(f)]
    found: dict[str, list[str]] = {}
    keypoints = False
    for file in files:
        try:
            text = decode(read_bytes(file))
            if file.suffix.lower() in (".yaml", ".yml"):
                content = _yaml(text)
                listed = _listed(content)
                keypoints = keypoints or bool(isinstance(content, dict) and content.get("kpt_shape"))
            else:
                # A list of pictures' labels that is called labels.txt is told as a label file of no picture.
                listed = [] if any(map(_is_label, text.splitlines())) else [n.strip() for n in text.splitlines()]
        except Unreadable as error:
            reading.problems.append(f"{file.name}: {error}")
            continue
        while listed and not listed[-1]:
            listed.pop()
        if listed:
            found[file.name] = listed
    distinct = {tuple(names) for names in found.values()}
    if len(distinct) > 1:
        told = "; ".join(f"{file}: {', '.join(names[:10])}" for file, names in found.items())
        reading.problems.append(f"the lists of classes differ ({told})")
    return (next(iter(found.values())) if found else []), keypoints


def _may_name(file: Path) -> bool:
    return file.name.lower() in NAMES_FILES or file.suffix.lower() in (".yaml", ".yml", ".names")


def _yaml(text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, RecursionError, AttributeError, OverflowError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        at = f" (line {line + 1})" if line is not None else ""
        raise Unreadable(f"no YAML that can be read{at}") from None


def _listed(content: Any) -> list[str]:
    """The names in data.yaml: a list, or a number for each."""
    names = content.get("names") if isinstance(content, dict) else None
    if names is None:
        return []
    if isinstance(names, list):
        names = dict(enumerate(names))
    # Words and numbers alone: a list that holds itself through YAML's aliases has no end as text.
    if not isinstance(names, dict) or not all(
        isinstance(k, int)
        and 0 <= k < 10_000
        and (isinstance(v, (str, float)) or (isinstance(v, int) and abs(v) < 10**9))
        for k, v in names.items()
    ):
        raise Unreadable("names must be a list of words, or have a number for each")
    return [str(names[k]) if k in names else "" for k in range(max(names, default=-1) + 1)]


# --- Writing ----------------------------------------------------------------------------------------------------------


def write_yolo(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write a text file a picture (a negative's is empty) and the list of the one class."""
    path.mkdir(parents=True, exist_ok=True)
    write_file(path / "classes.txt", "logo\n")
    for name, ((width, height), boxes) in labels.items():
        lines = [
            f"0 {(x0 + x1) / 2 / width:.8f} {(y0 + y1) / 2 / height:.8f} "
            f"{(x1 - x0) / width:.8f} {(y1 - y0) / height:.8f}\n"
            for x0, y0, x1, y1 in boxes
        ]
        write_file(path / f"{Path(name).stem}.txt", "".join(lines))
