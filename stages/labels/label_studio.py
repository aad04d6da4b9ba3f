"""Label Studio's JSON export: tasks, the people's annotations of each, shapes in percent of the picture's sides."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from stages.common.files import write_file
from stages.common.text_files import Unreadable, shown
from stages.labels.reading import Box, Drawn, Entry, Reading, Size, SizeOf, number, numbers, read_json, size_told
from stages.labels.shapes import around_ellipse, around_polygon, pairs_of, turned_about_corner

ABOUT_THE_PICTURE = ("choices", "taxonomy", "textarea", "rating", "number", "datetime", "pairwise", "ranker")
"""Types of results that are said, not drawn."""
OTHER_EXPORT = "this is no 'JSON' export of Label Studio but another one (JSON_MIN?): export it as JSON"


class Strange(Exception):
    """Something in a task has a shape that no version of Label Studio writes; the message says what."""


def read_label_studio(path: Path, size_of: SizeOf) -> Reading:
    """Read a JSON export; a task that a person finished without drawing anything is a negative.

    Each person's annotation of a task is an entry of its own: where two people disagree, the import says so.
    """
    reading = Reading()
    try:
        tasks = read_json(path)
    except Unreadable as error:
        reading.problems.append(f"{path.name}: {error}")
        return reading
    if not isinstance(tasks, list):
        told = "an object (COCO? one task?)" if isinstance(tasks, dict) else shown(tasks)
        reading.problems.append(f"{path.name}: must be a list of tasks (Label Studio's JSON export), is {told}")
        return reading
    for place, task in enumerate(tasks, start=1):
        where = f"{path.name}: task {shown(task.get('id', place) if isinstance(task, dict) else place)}"
        try:
            _task(task, where, size_of, reading)
        except Strange as error:
            reading.problems.append(f"{where}: {error}")
    return reading


def _task(task: Any, where: str, size_of: SizeOf, reading: Reading) -> None:
    if not isinstance(task, dict):
        raise Strange(f"is no object but {shown(task)}")
    data = task.get("data")
    done = task.get("annotations", task.get("completions"))
    if not isinstance(data, dict) or ("annotations" not in task and "completions" not in task):
        raise Strange(OTHER_EXPORT)
    if not isinstance(done, list):
        raise Strange(f"annotations must be a list, is {shown(done)}")
    if any(not isinstance(annotation, dict) for annotation in done):
        raise Strange("annotations must be whole objects (export with 'JSON', not as a list of their numbers)")
    kept = [a for a in done if not (a.get("was_cancelled") or a.get("skipped"))]
    kept = [a for a in kept if a.get("ground_truth")] or kept
    if not kept:
        reading.leave("left out, tasks that nobody has finished", where)
    for annotation in kept:
        results = annotation.get("result")
        if not isinstance(results, list) or any(not isinstance(r, dict) for r in results):
            raise Strange(f"result must be a list of objects, is {shown(results)}")
        shapes = [r for r in results if r.get("type") != "relation"]
        targets = sorted({str(r.get("to_name") or "") for r in shapes}) or [""]
        for target in targets:
            name = _address(data, target, size_of)
            own = [r for r in shapes if str(r.get("to_name") or "") == target]
            reading.entries.append(_entry(name, own, where, size_of))


def _address(data: dict[str, Any], target: str, size_of: SizeOf) -> str:
    """The address of the picture that the results belong to.

    to_name is the name of the Image tag, which is mostly that of its field in `data` ($image). Where the labelling
    interface calls it otherwise, the field is the one that holds a known picture's name.
    """
    texts = {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in data.items()}
    for key in (target, target.removeprefix("$")):
        value = texts.get(key) if key else None
        if isinstance(value, list):
            raise Strange(f"the field {shown(key)} holds several pictures: one picture a task is needed")
        if isinstance(value, str) and value:
            return _file_name(value)
    names = {_file_name(value) for value in texts.values() if isinstance(value, str) and value}
    known = {name for name in names if size_of(name) is not None}
    if len(known) == 1:
        return known.pop()
    if known:
        raise Strange(f"data names {len(known)} pictures, and to_name {shown(target)} is none of its fields")
    image = texts.get("image")
    if isinstance(image, str) and image:
        return _file_name(image)
    if len(names) == 1:
        return names.pop()
    raise Strange(f"no field of data ({', '.join(map(str, data)) or 'empty'}) names a picture of the shop")


def _file_name(address: str) -> str:
    """The file's name in an address: the path's last part, or that of `?d=` (Label Studio's local files)."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    local = re.search(r"(?:^|&)d=([^&]+)", parts.query)
    return unquote(local.group(1) if local else parts.path).replace("\\", "/").rsplit("/", 1)[-1] or address


def _entry(name: str, results: list[dict[str, Any]], where: str, size_of: SizeOf) -> Entry:
    """One person's results on one picture. Results of one region (its shape, its labels) share an id."""
    entry = Entry(name, None, where)
    regions: dict[str, list[dict[str, Any]]] = {}
    for place, result in enumerate(results):
        key = result.get("id")
        regions.setdefault(f"id {key}" if isinstance(key, (str, int)) else f"number {place}", []).append(result)
    for parts in regions.values():
        size = None
        for part in parts:
            told, understood = size_told(part.get("original_width"), part.get("original_height"))
            if not understood or (told and entry.size and told != entry.size):
                width, height = shown(part.get("original_width")), shown(part.get("original_height"))
                raise Strange(f"the picture's size is {width} x {height}, which cannot be read or is not that before")
            size = told or size
        entry.size = entry.size or size
        entry.drawn.append(_region(parts, size or size_of(name) or (1, 1), where))
    return entry


def _region(parts: list[dict[str, Any]], size: Size, where: str) -> Drawn:
    labels: dict[str, None] = {}
    found: list[tuple[Box, bool]] = []
    troubles = []
    for part in parts:
        value, kind = part.get("value"), str(part.get("type") or "")
        if not isinstance(value, dict):
            raise Strange(f"a result's value must be an object, is {shown(value)}")
        if not kind:
            kind = next((key for key in value if key.endswith("labels")), "")
        told = value.get(kind) if kind.endswith("labels") else None
        if told is not None:
            if not isinstance(told, list) or any(not isinstance(label, str) for label in told):
                raise Strange(f"{kind} must be a list of names, is {shown(told)}")
            labels.update(dict.fromkeys(told))
        if part.get("image_rotation") not in (None, 0):
            troubles.append(f"was drawn on the picture turned by {shown(part.get('image_rotation'))} degrees")
            continue
        box, turned = _shape(kind, value, size)
        if box:
            found.append((box, turned))
        else:
            what = next((shown(value[k]) for k in ("choices", "text", "rating") if k in value), "")
            troubles.append(f"is a result of type {shown(kind)} {what}".strip() + ": no box can be put around it")
    if found:
        return Drawn(tuple(labels), found[0][0], where, turned=found[0][1])
    whole = all(part.get("type") in ABOUT_THE_PICTURE for part in parts)
    return Drawn(tuple(labels), None, where, troubles[0], whole=whole)


def _shape(kind: str, value: dict[str, Any], size: Size) -> tuple[Box | None, bool]:
    """(the box around a shape, None where it is not understood; whether it was turned)."""
    width, height = size

    def pixels(*keys: str) -> list[float] | None:
        shares = numbers([value.get(key) for key in keys], len(keys))
        return [v / 100 * side for v, side in zip(shares, (width, height) * 2, strict=False)] if shares else None

    degrees = number(value.get("rotation") or 0)
    if degrees is None:
        return None, False
    kind = kind.removesuffix("labels")
    if kind == "rectangle" or (kind == "" and "height" in value):
        box = pixels("x", "y", "width", "height")
        return (turned_about_corner(box[0], box[1], box[2], box[3], degrees) if box else None), degrees != 0
    if kind == "ellipse":
        ellipse = pixels("x", "y", "radiusX", "radiusY")
        return (around_ellipse(ellipse[0], ellipse[1], ellipse[2], ellipse[3], degrees) if ellipse else None), True
    if kind == "polygon":
        points = pairs_of(value.get("points"))
        return (around_polygon([(x / 100 * width, y / 100 * height) for x, y in points]) if points else None), False
    return None, False


def write_label_studio(path: Path, labels: Mapping[str, tuple[Size, list[Box]]]) -> None:
    """Write tasks with annotations, as Label Studio exports and imports them."""
    tasks = []
    for count, (name, ((width, height), boxes)) in enumerate(labels.items(), start=1):
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
        tasks.append({"id": count, "data": {"image": name}, "annotations": [{"id": count, "result": results}]})
    write_file(path, json.dumps(tasks, indent=1) + "\n")
