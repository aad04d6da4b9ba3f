"""Boxes as other tools write them: YOLO txt, COCO json, Label Studio json, CVAT xml. Reading and writing of each.

Every reader returns `Labels`: file name -> (size, boxes), boxes as (x0, y0, x1, y1) in pixels of the upright picture;
no boxes means that a person looked and there is no logo. All mistakes of a file are collected, not the first one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lxml.etree  # type: ignore[import-untyped]

from stages.common.files import write_file

Box = tuple[float, float, float, float]
Size = tuple[int, int]
Labels = dict[str, tuple[Size, list[Box]]]
SizeOf = Callable[[str], Size | None]
"""The (width, height) of the upright picture of that file name, None where it is unknown."""


# --- YOLO: a text file a picture, "class cx cy w h" as shares of the picture's sides ----------------------------------


def read_yolo(path: Path, size_of: SizeOf, problems: list[str]) -> Labels:
    """Read a folder of .txt files; an empty file is a negative."""
    found: Labels = {}
    for file in sorted(path.rglob("*.txt")):
        if file.name in ("classes.txt", "train.txt", "val.txt", "test.txt", "notes.txt"):
            continue
        size = size_of(file.stem)
        if size is None:
            problems.append(f"{file.name}: no picture of this name is known")
            continue
        boxes = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            numbers = _numbers(line.split()[1:5])
            if numbers is None or len(line.split()) < 5:
                problems.append(f"{file.name}:{number}: must be 'class cx cy w h', is {line.strip()!r}")
                continue
            cx, cy, w, h = numbers
            x, y = size
            boxes.append(((cx - w / 2) * x, (cy - h / 2) * y, (cx + w / 2) * x, (cy + h / 2) * y))
        found[file.stem] = (size, boxes)
    return found


def write_yolo(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write a text file a picture; a negative's is empty."""
    path.mkdir(parents=True, exist_ok=True)
    for name, ((width, height), boxes) in labels.items():
        lines = [
            f"0 {(x0 + x1) / 2 / width:.8f} {(y0 + y1) / 2 / height:.8f} "
            f"{(x1 - x0) / width:.8f} {(y1 - y0) / height:.8f}\n"
            for x0, y0, x1, y1 in boxes
        ]
        write_file(path / f"{Path(name).stem}.txt", "".join(lines))


# --- COCO: one json, boxes as x, y, width, height in pixels -----------------------------------------------------------


def read_coco(path: Path, size_of: SizeOf, problems: list[str]) -> Labels:
    """Read a COCO file; an image without annotations is a negative."""
    content = _json(path, problems)
    if not isinstance(content, dict):
        problems.append(f"{path.name}: must be an object with images and annotations")
        return {}
    found: Labels = {}
    names: dict[Any, str] = {}
    for image in content.get("images", []):
        name = str(image.get("file_name", ""))
        size = _size(image.get("width"), image.get("height")) or size_of(Path(name).stem)
        if not name or size is None:
            problems.append(f"{path.name}: image {image.get('id')!r} has no file_name or no size")
            continue
        names[image.get("id")] = name
        found[name] = (size, [])
    for annotation in content.get("annotations", []):
        owner = names.get(annotation.get("image_id"))
        numbers = _numbers(annotation.get("bbox"))
        if owner is None or numbers is None:
            what = "belongs to no image" if owner is None else f"has the bbox {annotation.get('bbox')!r}"
            problems.append(f"{path.name}: annotation {annotation.get('id')!r} {what}")
            continue
        x, y, w, h = numbers
        found[owner][1].append((x, y, x + w, y + h))
    return found


def write_coco(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write one COCO file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, ((width, height), boxes)) in enumerate(labels.items(), start=1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for x0, y0, x1, y1 in boxes:
            box, place = [x0, y0, x1 - x0, y1 - y0], len(annotations) + 1
            annotations.append(
                {"id": place, "image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "logo"}]}
    write_file(path, json.dumps(content, indent=1) + "\n")


# --- Label Studio: one json, boxes in percent, turned about their top left corner ------------------------------------


def read_label_studio(path: Path, size_of: SizeOf, problems: list[str]) -> Labels:
    """Read a JSON export; a task that was finished without a box is a negative."""
    tasks = _json(path, problems)
    if not isinstance(tasks, list):
        problems.append(f"{path.name}: must be a list of tasks (Label Studio's JSON export)")
        return {}
    found: Labels = {}
    for task in tasks:
        address = next((v for v in (task.get("data") or {}).values() if isinstance(v, str)), "")
        name = address.split("?")[0].rsplit("/", 1)[-1]
        done = [a for a in task.get("annotations") or [] if not a.get("was_cancelled")]
        if not name or not done:
            continue  # nobody has looked at it yet
        size, boxes = size_of(Path(name).stem), []
        for result in done[-1].get("result") or []:
            value = result.get("value") or {}
            if result.get("type") not in ("rectanglelabels", "rectangle") and "width" not in value:
                continue
            size = _size(result.get("original_width"), result.get("original_height")) or size
            numbers = _numbers([value.get(key) for key in ("x", "y", "width", "height")])
            if numbers is None or size is None:
                problems.append(
                    f"{path.name}: task {task.get('id')!r}: a box without numbers or without the picture's size"
                )
                continue
            boxes.append(_turned(numbers, float(value.get("rotation") or 0), size))
        if size is None:
            problems.append(f"{path.name}: task {task.get('id')!r}: no picture named {name!r} is known")
            continue
        found[name] = (size, boxes)
    return found


def _turned(percent: list[float], degrees: float, size: Size) -> Box:
    """The upright box around a rectangle in percent that is turned clockwise about its top left corner."""
    x, y, w, h = (value / 100 * side for value, side in zip(percent, (*size, *size), strict=True))
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in ((0, 0), (w, 0), (w, h), (0, h))]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    return min(xs), min(ys), max(xs), max(ys)


def write_label_studio(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write tasks with annotations, as Label Studio exports and imports them."""
    tasks = []
    for number, (name, ((width, height), boxes)) in enumerate(labels.items(), start=1):
        results = [
            {
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {
                    "x": x0 / width * 100,
                    "y": y0 / height * 100,
                    "width": (x1 - x0) / width * 100,
                    "height": (y1 - y0) / height * 100,
                    "rotation": 0,
                    "rectanglelabels": ["logo"],
                },
            }
            for x0, y0, x1, y1 in boxes
        ]
        tasks.append({"id": number, "data": {"image": name}, "annotations": [{"id": number, "result": results}]})
    write_file(path, json.dumps(tasks, indent=1) + "\n")


# --- CVAT for images 1.1: one xml, corners in pixels -----------------------------------------------------------------


def read_cvat(path: Path, size_of: SizeOf, problems: list[str]) -> Labels:
    """Read a 'CVAT for images 1.1' file; an image without a box is a negative."""
    parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = lxml.etree.fromstring(path.read_bytes(), parser)
    except lxml.etree.XMLSyntaxError as error:
        problems.append(f"{path.name}: no XML: {error}")
        return {}
    found: Labels = {}
    for image in root.iter("image"):
        name = str(image.get("name") or "").rsplit("/", 1)[-1]
        size = _size(image.get("width"), image.get("height")) or size_of(Path(name).stem)
        if not name or size is None:
            problems.append(f"{path.name}: image {image.get('id')!r} has no name or no size")
            continue
        boxes: list[Box] = []
        for box in image.iter("box"):
            numbers = _numbers([box.get(key) for key in ("xtl", "ytl", "xbr", "ybr")])
            if numbers is None:
                problems.append(f"{path.name}: {name}: a box without numbers")
                continue
            boxes.append(_turned_about_middle(numbers, float(box.get("rotation") or 0)))
        found[name] = (size, boxes)
    return found


def _turned_about_middle(corners: list[float], degrees: float) -> Box:
    x0, y0, x1, y1 = corners
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
    half = (w * cos + h * sin, w * sin + h * cos)
    return cx - half[0], cy - half[1], cx + half[0], cy + half[1]


def write_cvat(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write a CVAT file."""
    root = lxml.etree.Element("annotations")
    lxml.etree.SubElement(root, "version").text = "1.1"
    for number, (name, ((width, height), boxes)) in enumerate(labels.items()):
        image = lxml.etree.SubElement(root, "image", id=str(number), name=name, width=str(width), height=str(height))
        for x0, y0, x1, y1 in boxes:
            places = {"xtl": f"{x0:.4f}", "ytl": f"{y0:.4f}", "xbr": f"{x1:.4f}", "ybr": f"{y1:.4f}"}
            lxml.etree.SubElement(image, "box", label="logo", occluded="0", z_order="0", **places)
    write_file(path, lxml.etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="utf-8"))


READERS = {"yolo": read_yolo, "coco": read_coco, "label-studio": read_label_studio, "cvat": read_cvat}
WRITERS = {"yolo": write_yolo, "coco": write_coco, "label-studio": write_label_studio, "cvat": write_cvat}


def _numbers(values: Any) -> list[float] | None:
    """Four finite numbers, or None."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == 4 and all(math.isfinite(n) for n in numbers) else None


def _size(width: Any, height: Any) -> Size | None:
    try:
        size = (int(float(width)), int(float(height)))
    except (TypeError, ValueError):
        return None
    return size if size[0] > 0 and size[1] > 0 else None


def _json(path: Path, problems: list[str]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        problems.append(f"{path.name}: not readable as JSON: {error}")
        return None
