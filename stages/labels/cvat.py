"""CVAT for images 1.1: one XML, an element a picture, a child of it a shape, corners in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lxml.etree  # type: ignore[import-untyped]

from stages.common.files import write_file
from stages.common.text_files import Unreadable, shown
from stages.labels.reading import Box, Drawn, Entry, Reading, Size, SizeOf, number, numbers, read_xml, size_told
from stages.labels.shapes import around, around_ellipse, around_polygon, turned_about_middle


def read_cvat(path: Path, size_of: SizeOf) -> Reading:
    """Read a 'CVAT for images 1.1' file; an image without a shape or tag is a negative."""
    reading = Reading()
    try:
        root = read_xml(path)
    except Unreadable as error:
        reading.problems.append(f"{path.name}: {error}")
        return reading
    if root.tag != "annotations" or any(True for _ in root.iter("track")):
        what = "a video's tracks (export 'CVAT for images')" if root.tag == "annotations" else f"<{root.tag}>"
        reading.problems.append(f"{path.name}:{root.sourceline}: must hold 'CVAT for images 1.1', holds {what}")
        return reading
    for name in root.findall("./meta//labels/label/name"):
        if name.text and name.text.strip():
            reading.classes.append(name.text.strip())
    for image in root.iter("image"):
        where = f"{path.name}:{image.sourceline}"
        name = str(image.get("name") or "").replace("\\", "/")
        size, understood = size_told(image.get("width"), image.get("height"))
        if not name or not understood:
            reading.problems.append(f"{where}: the image has no name or no size that can be read")
            continue
        entry = Entry(name, size, where)
        for child in image:
            if isinstance(child.tag, str):  # comments have none
                entry.drawn.append(_drawn(child, f"{path.name}:{child.sourceline}"))
        reading.entries.append(entry)
    return reading


def _drawn(element: Any, where: str) -> Drawn:
    label = (element.get("label") or "").strip()
    labels = (label,) if label else ()
    box, turned = _shape(element)
    if box is None:
        return Drawn(
            labels,
            None,
            where,
            f"<{element.tag}> {shown(label)}: no box can be put around it",
            whole=element.tag == "tag",
        )
    return Drawn(labels, box, where, turned=turned)


def _shape(element: Any) -> tuple[Box | None, bool]:
    """(the box around a shape, None where it is not understood; whether it was turned)."""

    def told(*keys: str) -> list[float] | None:
        return numbers([element.get(key) for key in keys], len(keys))

    degrees = number(element.get("rotation") or 0)
    if degrees is None:
        return None, False
    match element.tag:
        case "box" if corners := told("xtl", "ytl", "xbr", "ybr"):
            x0, y0, x1, y1 = corners
            return turned_about_middle(x0, y0, x1, y1, degrees), degrees != 0
        case "ellipse" if ellipse := told("cx", "cy", "rx", "ry"):
            cx, cy, rx, ry = ellipse
            return around_ellipse(cx, cy, rx, ry, degrees), True
        case "mask" if sides := told("left", "top", "width", "height"):
            x, y, w, h = sides
            return (x, y, x + w, y + h), False
        case "polygon" | "polyline":
            points = _points(element.get("points"))
            return around_polygon(points) if points else None, False
        case "cuboid":
            keys = [
                f"{axis}{corner}"
                for corner in ("tl1", "bl1", "tr1", "br1", "tl2", "bl2", "tr2", "br2")
                for axis in "xy"
            ]
            flat = told(*keys)
            return around(list(zip(flat[::2], flat[1::2], strict=True))) if flat else None, False
    return None, False


def _points(text: Any) -> list[tuple[float, float]] | None:
    """ "x,y;x,y" as pairs."""
    pairs = [numbers(pair.split(","), 2) for pair in str(text or "").split(";")]
    return [(p[0], p[1]) for p in pairs if p] if None not in pairs else None


def write_cvat(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write a CVAT file."""
    root = lxml.etree.Element("annotations")
    lxml.etree.SubElement(root, "version").text = "1.1"
    for count, (name, ((width, height), boxes)) in enumerate(labels.items()):
        image = lxml.etree.SubElement(root, "image", id=str(count), name=name, width=str(width), height=str(height))
        for x0, y0, x1, y1 in boxes:
            places = {"xtl": f"{x0:.4f}", "ytl": f"{y0:.4f}", "xbr": f"{x1:.4f}", "ybr": f"{y1:.4f}"}
            lxml.etree.SubElement(image, "box", label="logo", occluded="0", z_order="0", **places)
    write_file(path, lxml.etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="utf-8"))
