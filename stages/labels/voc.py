"""Pascal VOC: an XML a picture, as labelImg and Roboflow write them; corners in pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lxml.etree  # type: ignore[import-untyped]

from stages.common.files import write_file
from stages.common.text_files import Unreadable
from stages.labels.reading import Box, Drawn, Entry, Reading, Size, SizeOf, files_of, numbers, read_xml, size_told
from stages.labels.shapes import around_polygon, pairs_of


def read_voc(path: Path, size_of: SizeOf) -> Reading:
    """Read a folder of XML files, or one; a file without an object is a negative."""
    reading = Reading()
    for file in files_of(path, ".xml", reading) if path.is_dir() else [path]:
        place = file.relative_to(path).as_posix() if path.is_dir() else file.name
        try:
            root = read_xml(file)
        except Unreadable as error:
            reading.problems.append(f"{place}: {error}")
            continue
        if root.tag != "annotation":
            reading.problems.append(f"{place}:{root.sourceline}: must hold <annotation>, holds <{root.tag}>")
            continue
        # labelImg leaves <filename> as it was where a file was renamed: the file's own name counts as much.
        told = (root.findtext("filename") or "").strip()
        known = {n: size_of(n) for n in (told, file.name) if n}
        name = file.name if known.get(told) is None and known[file.name] is not None else told or file.name
        size, understood = size_told(root.findtext("size/width"), root.findtext("size/height"))
        if not understood:
            reading.problems.append(f"{place}: <size> cannot be read")
            continue
        entry = Entry(name, size, place)
        for child in root:
            if child.tag == "object":
                entry.drawn.append(_drawn(child, f"{place}:{child.sourceline}"))
        reading.entries.append(entry)
        if told and file.name != told and None not in known.values() and not _same(told, file.name):
            reading.problems.append(f"{place}: <filename> names another picture than the file's own name")
    return reading


def _same(told: str, own: str) -> bool:
    return Path(told).stem.lower() in own.lower() or Path(own).stem.lower() in told.lower()


def _drawn(thing: Any, where: str) -> Drawn:
    label = (thing.findtext("name") or "").strip()
    labels = (label,) if label else ()
    around = thing.find("bndbox")
    if around is not None:
        box = numbers([around.findtext(key) for key in ("xmin", "ymin", "xmax", "ymax")], 4)
        if box:
            return Drawn(labels, (box[0], box[1], box[2], box[3]), where)
        return Drawn(labels, None, where, "a <bndbox> without four numbers")
    polygon = thing.find("polygon")
    if polygon is not None:
        corners = [child.text for child in polygon if re.fullmatch(r"[xy]\d+", str(child.tag))]
        corners += [pt.findtext(axis) for pt in polygon.findall("pt") for axis in "xy"]
        points = pairs_of(corners)
        found = around_polygon(points) if points else None
        if found:
            return Drawn(labels, found, where)
    kinds = ", ".join(f"<{child.tag}>" for child in thing if isinstance(child.tag, str))
    return Drawn(labels, None, where, f"an object without a <bndbox> (it has {kinds or 'nothing'})")


def write_voc(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write an XML file a picture."""
    path.mkdir(parents=True, exist_ok=True)
    for name, ((width, height), boxes) in labels.items():
        root = lxml.etree.Element("annotation")
        lxml.etree.SubElement(root, "filename").text = name
        size = lxml.etree.SubElement(root, "size")
        for key, value in (("width", width), ("height", height), ("depth", 3)):
            lxml.etree.SubElement(size, key).text = str(value)
        for box in boxes:
            thing = lxml.etree.SubElement(root, "object")
            lxml.etree.SubElement(thing, "name").text = "logo"
            corners = lxml.etree.SubElement(thing, "bndbox")
            for key, edge in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                lxml.etree.SubElement(corners, key).text = f"{edge:.4f}"
        write_file(path / f"{Path(name).stem}.xml", lxml.etree.tostring(root, pretty_print=True))
