"""Whatever a file holds: a UserError of one line or labels, and a logo that was drawn never becomes a negative."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.common.errors import UserError
from stages.common.tables import read_table
from stages.labels.__main__ import FORMATS
from stages.labels.exchange import import_labels
from tests.stages.labels.foreign import COCO, DATA, DRAWN, LINE, LOGO, RESULT, ROOT, SIDES, THING, VALUE, A, Foreign
from tests.stages.labels.test_foreign import world

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.integers(-3, 300)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["nan", "1e999", "\ud800", "a\nb", "logo", A])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
TASK = {"id": 3, "data": DATA, "annotations": [{"id": 1, "result": [RESULT]}]}
JSONS: dict[str, Any] = {"coco": COCO, "label-studio": [TASK]}


def outcome(format_: str, files: dict[str, bytes], labels: tuple[str, ...] = ()) -> list[list[float]] | None:
    """Picture A's boxes after an import into nothing; None where it was refused in one line or left out."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        path = world(root, Foreign("", format_, files))
        try:
            import_labels(format_, path, root / "brand", root / "raw", labels)
        except UserError as refusal:
            told = str(refusal)
        else:
            rows = {row["sha256"]: row["boxes"] for row in read_table(root / "brand/labels.jsonl")}
            return rows.get(A)
    assert told.isprintable()
    return None


def places(content: Any) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    found: list[tuple[Any, ...]] = [()]
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return found + [(key, *rest) for key, value in inner for rest in places(value)]


def changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    content = copy.deepcopy(content)
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return content


@pytest.mark.parametrize("format_", FORMATS)
@FEW
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused_in_one_line(format_: str, content: bytes) -> None:
    names = {"yolo": f"{A}.txt", "voc": f"{A}.xml"}
    outcome(format_, {names.get(format_, ""): content})


@pytest.mark.parametrize("format_", JSONS)
@FEW
@given(data=st.data())
def test_one_strange_value_anywhere_never_makes_a_drawn_logo_a_negative(format_: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(JSONS[format_])))
    content = changed(JSONS[format_], path, data.draw(VALUES))
    assert outcome(format_, {"": json.dumps(content).encode()}) != []


@pytest.mark.parametrize("format_", JSONS)
def test_one_missing_key_never_makes_a_drawn_logo_a_negative(format_: str) -> None:
    for path in places(JSONS[format_]):
        if path and isinstance(path[-1], str):
            content = copy.deepcopy(JSONS[format_])
            holder = content
            for key in path[:-1]:
                holder = holder[key]
            del holder[path[-1]]
            assert outcome(format_, {"": json.dumps(content).encode()}) != [], path


@pytest.mark.parametrize(("format_", "text"), [("cvat", ROOT), ("voc", f"<annotation>{THING}</annotation>")])
@FEW
@given(data=st.data())
def test_one_strange_word_in_an_xml_never_makes_a_drawn_logo_a_negative(
    format_: str, text: str, data: st.DataObject
) -> None:
    words = list(re.finditer(r"[\w.]+", text))
    word = data.draw(st.sampled_from(words))
    strange = data.draw(st.sampled_from(["", "x", "-1", "1e999", "nan", "999999", "&amp;", "&lol;", "<", "ü", A]))
    content = (text[: word.start()] + strange + text[word.end() :]).encode()
    assert outcome(format_, {f"{A}.xml" if format_ == "voc" else "": content}) != []


@FEW
@given(st.lists(st.sampled_from([*"0123456789.,; -+e\t", "0.5", "nan", "logo"]), max_size=30))
def test_a_line_that_is_no_box_never_makes_a_negative(pieces: list[str]) -> None:
    text = "".join(pieces)
    boxes = outcome("yolo", {f"{A}.txt": text.encode()}, ())
    assert boxes != [] or not text.strip()


@pytest.mark.parametrize("label", ["logo", "person", "0", ""])
def test_asking_for_a_class_that_was_not_drawn_makes_no_negative(label: str) -> None:
    other = DRAWN.replace("logo", "hat")
    assert outcome("cvat", {"": ROOT.replace(DRAWN, other).encode()}, (label,)) is None
    boxes = {"categories": [LOGO | {"name": "hat"}, LOGO | {"id": 2}]}
    assert outcome("coco", {"": json.dumps(COCO | boxes).encode()}, (label,)) is None
    assert outcome("yolo", {f"{A}.txt": LINE.encode(), "classes.txt": b"hat\nlogo\n"}, (label,)) in (
        None,
        [[80, 40, 120, 60]],
    )


def test_a_picture_of_half_understood_shapes_is_left_out_whole() -> None:
    """A box beside a mask that cannot be read: with the box alone, the mask's logo would be background."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        mask = RESULT | {"id": "s", "type": "brushlabels", "value": {"brushlabels": ["logo"]}}
        task = TASK | {"annotations": [{"result": [RESULT | {"value": VALUE, **SIDES}, mask]}]}
        path = world(root, Foreign("", "label-studio", {"": json.dumps([task]).encode()}))
        with pytest.raises(UserError, match="brushlabels"):
            import_labels("label-studio", path, root / "brand", root / "raw", (), True)
