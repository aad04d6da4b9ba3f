# ruff: noqa: E501
"""Labels survive a trip through other tools, and every bad one is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stages.common.errors import UserError
from stages.common.tables import Row, read_table, write_table
from stages.labels.__main__ import FORMATS, main
from stages.labels.checks import check
from stages.labels.exchange import export_labels, import_labels, sha256_in
from tests.shop_server import picture

A, B, C = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b", b"c"))


def label(sha256: str, boxes: list[list[float]], width: int = 400, height: int = 300) -> Row:
    return {
        "sha256": sha256,
        "width": width,
        "height": height,
        "boxes": boxes,
        "product": f"p-{sha256[:4]}",
        "source": "shop",
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    brand, raw = tmp_path / "brand", tmp_path / "raw"
    shop = [
        {"sha256": A, "width": 400, "height": 300, "exif_orientation": 1, "product": "shirt"},
        {"sha256": B, "width": 300, "height": 400, "exif_orientation": 6, "product": "socks"},
        {"sha256": C, "width": 400, "height": 300, "exif_orientation": 1, "product": "hat"},
    ]
    write_table(raw / "manifest.jsonl", shop)
    write_table(
        brand / "labels.jsonl",
        [label(A, [[10.5, 20.25, 110, 60], [200, 100, 260.75, 130]]), label(B, [[1, 2, 399, 299]]), label(C, [])],
    )
    return brand, raw


@pytest.mark.parametrize("format_", FORMATS)
def test_labels_come_back_from_every_tool_as_they_went(
    format_: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    brand, raw = folders
    before = read_table(brand / "labels.jsonl")
    path = tmp_path / ("labels" if format_ == "yolo" else "labels.file")
    assert export_labels(format_, path, brand) == 3
    (brand / "labels.jsonl").unlink()
    assert import_labels(format_, path, brand, raw) == 3
    after = {row["sha256"]: row for row in read_table(brand / "labels.jsonl")}
    for row in before:
        assert after[row["sha256"]]["width"] == row["width"]
        assert after[row["sha256"]]["height"] == row["height"]
        assert after[row["sha256"]]["boxes"] == [pytest.approx(box, abs=0.02) for box in row["boxes"]]
    assert after[B]["product"] == "socks"
    assert after[A]["source"] == format_


def test_an_import_replaces_only_the_rows_it_names(folders: tuple[Path, Path], tmp_path: Path) -> None:
    brand, raw = folders
    coco = {
        "images": [{"id": 7, "file_name": f"up/{A}.jpg", "width": 400, "height": 300}],
        "annotations": [{"id": 1, "image_id": 7, "bbox": [0, 0, 40, 30]}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    assert import_labels("coco", tmp_path / "coco.json", brand, raw) == 1
    rows = read_table(brand / "labels.jsonl")
    assert [row["sha256"] for row in rows] == [A, B, C]
    assert rows[0]["boxes"] == [[0, 0, 40, 30]]
    assert rows[0]["product"] == f"p-{A[:4]}"
    assert rows[1]["boxes"] == [[1, 2, 399, 299]]


def test_an_empty_yolo_file_is_a_negative(folders: tuple[Path, Path], tmp_path: Path) -> None:
    brand, raw = folders
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / f"{A}.txt").write_text("")
    import_labels("yolo", tmp_path / "yolo", brand, raw)
    assert read_table(brand / "labels.jsonl")[0]["boxes"] == []


def test_a_turned_label_studio_box_becomes_the_box_around_it(folders: tuple[Path, Path], tmp_path: Path) -> None:
    brand, raw = folders
    value = {"x": 50, "y": 50, "width": 10, "height": 20, "rotation": 90, "rectanglelabels": ["logo"]}
    result = {"type": "rectanglelabels", "original_width": 400, "original_height": 300, "value": value}
    tasks = [
        {"id": 1, "data": {"image": f"/data/upload/3/ab12cd34-{A}.jpg"}, "annotations": [{"result": [result]}]},
        {"id": 2, "data": {"image": f"/data/upload/3/ab12cd35-{B}.jpg"}, "annotations": []},
    ]
    (tmp_path / "ls.json").write_text(json.dumps(tasks))
    assert import_labels("label-studio", tmp_path / "ls.json", brand, raw) == 1
    # 40 x 60 pixels from (200, 150), turned clockwise by a right angle about that corner: it now lies to the left.
    assert read_table(brand / "labels.jsonl")[0]["boxes"] == [pytest.approx([140, 150, 200, 190], abs=0.02)]


def test_a_bad_import_tells_everything_and_changes_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    brand, raw = folders
    before = (brand / "labels.jsonl").read_bytes()
    images = [
        {"id": n, "file_name": name, "width": w, "height": h}
        for n, (name, w, h) in enumerate([(f"{A}.png", 400, 300), (f"{B}.png", 300, 400), ("holiday.png", 10, 10)])
    ]
    boxes = [
        {"id": 1, "image_id": 0, "bbox": [390, 0, 40, 30]},
        {"id": 2, "image_id": 0, "bbox": [1, 1, 0, 5]},
        {"id": 3, "image_id": 99, "bbox": [1, 1, 5, 5]},
    ]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    with pytest.raises(UserError) as error:
        import_labels("coco", tmp_path / "coco.json", brand, raw)
    for piece in (
        "leaves the picture",
        "has no area",
        "belongs to no image",
        "orientation",
        "holiday.png: no picture of the shop",
    ):
        assert piece in str(error.value)
    assert (brand / "labels.jsonl").read_bytes() == before


def test_good_labels_pass(folders: tuple[Path, Path]) -> None:
    assert check(*folders) == ([], 3)


def test_every_bad_row_is_reported_at_once(folders: tuple[Path, Path]) -> None:
    brand, raw = folders
    (brand / "extra").mkdir()
    content = picture(1, 40, 30)
    sha256 = hashlib.sha256(content).hexdigest()
    (brand / "extra" / f"{sha256}.jpg").write_bytes(content)
    rows = [
        label(A, [[10, 10, 5, 20], [0, 0, 500, 20], [1, 2, 3], [1, 1, 9, 9], [1, 1, 9, 9.2]]),
        label(A, []),
        label(B, [], 300, 400),
        label("f" * 64, []),
        {"sha256": C, "boxes": []},
    ]
    write_table(brand / "labels.jsonl", rows)
    extra = label(sha256, [[0, 0, 10, 10]], 40, 30)
    write_table(
        brand / "extra.jsonl",
        [extra | {"file": f"extra/{sha256}.jpg"}, extra | {"sha256": A, "file": "../../etc/passwd"}],
    )
    told = "\n".join(check(brand, raw)[0])
    for piece in (
        "has no area",
        "leaves the picture",
        "must be four numbers",
        "drawn twice",
        "labelled twice",
        "orientation",
        "is no picture of the shop",
        "width, height, product, source missing",
        "no such file in",
    ):
        assert piece in told, piece
    result = CliRunner().invoke(main, ["check", "--brand", str(brand), "--raw", str(raw)])
    assert result.exit_code == 1
    assert "problems in 7 rows" in result.output


def test_the_labels_of_this_repository_are_good(tmp_path: Path) -> None:
    brand = Path(__file__).parents[3] / "data/brand"
    assert check(brand, tmp_path)[0] == []


def test_a_sha256_is_found_in_what_tools_make_of_a_name() -> None:
    assert sha256_in(f"task_1/8f3a12bc-{A}.JPG") == A
    assert sha256_in("holiday.jpg") is None


@pytest.mark.parametrize("wrong", [label(A, []), {"sha256": B}, label(C, [[5, 5, 1, 1]]), {}])
def test_labels_that_are_wrong_are_neither_exported_nor_merged_over(
    wrong: Row, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """A row that is there twice, or without a sha256, would be lost in silence."""
    brand, raw = folders
    export_labels("coco", tmp_path / "good.json", brand)
    write_table(brand / "labels.jsonl", [label(A, [[1, 2, 30, 40]]), wrong])
    before = (brand / "labels.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"labels.jsonl:2: "):
        export_labels("coco", tmp_path / "out.json", brand)
    with pytest.raises(UserError, match=r"labels.jsonl:2: "):
        import_labels("coco", tmp_path / "good.json", brand, raw)
    assert (brand / "labels.jsonl").read_bytes() == before
