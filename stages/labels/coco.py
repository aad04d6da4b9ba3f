"""COCO: one JSON, boxes as x, y, width, height in pixels; polygons and masks beside them or in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common.files import write_file
from stages.common.text_files import Unreadable, shown
from stages.labels.reading import Box, Drawn, Entry, Reading, Size, SizeOf, number, numbers, read_json, size_told
from stages.labels.shapes import around, around_runs, pairs_of, turned_about_middle


def read_coco(path: Path, size_of: SizeOf) -> Reading:
    """Read a COCO file; an image without annotations is a negative where the file has a list of annotations."""
    reading = Reading()
    file = path.name
    try:
        content = read_json(path)
    except Unreadable as error:
        reading.problems.append(f"{file}: {error}")
        return reading
    if isinstance(content, list):
        what = "a list (a detector's results, or Label Studio's export)"
        reading.problems.append(f"{file}: must be an object with images and annotations, is {what}")
        return reading
    images, annotations, categories = (
        _objects(content, key, file, reading) for key in ("images", "annotations", "categories")
    )
    names = _categories(categories, file, reading)
    owners = _images(images, file, reading)
    for place, annotation in enumerate(annotations, start=1):
        where = f"{file}: annotation {shown(annotation.get('id', f'number {place}'))}"
        owner = owners.get(_key(annotation.get("image_id")))
        if owner is None:
            reading.problems.append(f"{where} belongs to no image (image_id {shown(annotation.get('image_id'))})")
            continue
        labels: tuple[str, ...] = ()
        if names or annotation.get("category_id") is not None:
            category = _key(annotation.get("category_id"))
            if names and category not in names:
                reading.problems.append(
                    f"{where} has an unknown class (category_id {shown(annotation.get('category_id'))})"
                )
                continue
            labels = (names.get(category, category),)
        box, trouble, turned = _box(annotation)
        owner.drawn.append(Drawn(labels, box, where, trouble, turned))
    return reading


def _objects(content: Any, key: str, file: str, reading: Reading) -> list[dict[str, Any]]:
    """One of a COCO file's lists. Missing or null is no empty list: it does not say that nothing is there."""
    value = content.get(key) if isinstance(content, dict) else None
    if key == "categories" and value is None:
        return []  # files without classes: all boxes are one class
    if not isinstance(value, list):
        told = "missing" if isinstance(content, dict) and key not in content else shown(value)
        reading.problems.append(f"{file}: {key} must be a list, is {told}")
        return []
    good = [item for item in value if isinstance(item, dict)]
    if len(good) < len(value):
        bad = next(i for i, item in enumerate(value, start=1) if not isinstance(item, dict))
        reading.problems.append(f"{file}: {key}: number {bad} is no object but {shown(value[bad - 1])}")
    return good


def _key(value: Any) -> str:
    """An identifier as text: 1, 1.0 and "1" are one; what cannot be one is none."""
    if isinstance(value, str):
        return value
    found = number(value)
    if found is None:
        return ""
    return str(int(found)) if found == int(found) else str(found)


def _categories(categories: list[dict[str, Any]], file: str, reading: Reading) -> dict[str, str]:
    names: dict[str, str] = {}
    above = {c.get("supercategory") for c in categories if isinstance(c.get("supercategory"), str)}
    for category in categories:
        key, name = _key(category.get("id")), category.get("name")
        if not key or not isinstance(name, str) or not name:
            reading.problems.append(f"{file}: category {shown(category.get('id'))} has no id or no name")
        elif names.get(key, name) != name:
            reading.problems.append(f"{file}: category {key} is both {shown(names[key])} and {shown(name)}")
        else:
            names[key] = name
            # Roboflow lists the project itself as class 0, above all others: no class that anyone can draw.
            if len(categories) == 1 or name not in above or category.get("supercategory") == name:
                reading.classes.append(name)
    return names


def _images(images: list[dict[str, Any]], file: str, reading: Reading) -> dict[str, Entry]:
    owners: dict[str, Entry] = {}
    for image in images:
        where = f"{file}: image {shown(image.get('id'))}"
        key, name = _key(image.get("id")), image.get("file_name")
        size, understood = size_told(image.get("width"), image.get("height"))
        if not key or not isinstance(name, str) or not name:
            reading.problems.append(f"{where} has no id or no file_name")
        elif not understood:
            told = f"{shown(image.get('width'))} x {shown(image.get('height'))}"
            reading.problems.append(f"{where} has no size that can be read ({told})")
        elif key in owners:
            reading.problems.append(f"{where} is there twice ({owners[key].name}, {name})")
        else:
            owners[key] = Entry(name, size, where)
            reading.entries.append(owners[key])
    return owners


def _box(annotation: dict[str, Any]) -> tuple[Box | None, str, bool]:
    """(the box, why there is none, whether it is the box around a turned one)."""
    crowd = annotation.get("iscrowd")
    if crowd not in (None, 0, False, "0"):
        return None, f"is a crowd region (iscrowd {shown(crowd)}): no box around one logo", False
    told, mask = annotation.get("bbox"), annotation.get("segmentation")
    given = numbers(told, 4)
    if told not in (None, []) and given is None:
        return None, f"has the bbox {shown(told)}: four numbers x, y, width, height are needed", False
    if given is not None and (any(given) or not mask):
        x, y, w, h = given
        attributes = annotation.get("attributes")
        turn = attributes.get("rotation") if isinstance(attributes, dict) else None
        degrees = number(turn if turn is not None else 0)
        if degrees is None:
            return None, f"has the rotation {shown(turn)}", False
        if degrees and not mask:  # CVAT writes a turned box as it was before the turn, and the turn beside it
            return turned_about_middle(x, y, x + w, y + h, degrees), "", True
        return (x, y, x + w, y + h), "", False
    box = _around_mask(mask)
    return box, "" if box else "has no bbox, and no polygon or mask that can be read", False


def _around_mask(mask: Any) -> Box | None:
    if isinstance(mask, dict):
        size = mask.get("size")
        return around_runs(mask.get("counts"), *size) if isinstance(size, list) and len(size) == 2 else None
    if not isinstance(mask, list) or not mask:
        return None
    parts = [pairs_of(part) for part in mask]
    points = [point for part in parts if part for point in part]
    return around(points) if all(part and len(part) >= 3 for part in parts) else None


def write_coco(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write one COCO file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for count, (name, ((width, height), boxes)) in enumerate(labels.items(), start=1):
        images.append({"id": count, "file_name": name, "width": width, "height": height})
        for x0, y0, x1, y1 in boxes:
            box, place = [x0, y0, x1 - x0, y1 - y0], len(annotations) + 1
            annotations.append(
                {"id": place, "image_id": count, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "logo"}]}
    write_file(path, json.dumps(content, indent=1) + "\n")
