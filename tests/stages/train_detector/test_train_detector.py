"""The detector's stage: labels, the split, the set it trains on, and that a run repeats byte for byte."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.render import CONFUSERS, HUGO, draw, sample_scene
from stages.common.detector import load_detector
from stages.common.errors import UserError
from stages.common.params import Params
from stages.common.tables import Row, read_table, write_table
from stages.common.ultralytics_offline import settings as ultralytics_settings
from stages.train_detector.__main__ import Paths, decisive_params, train_detector
from stages.train_detector.dataset import write_dataset
from stages.train_detector.labelled import Source, labelled_set, load, split_by_product
from tests.scored_world import demo_params

BASE = Path("demo/weights/base")


def small_params(**changes: object) -> Params:
    settings = {"epochs": 1, "augmentations": 1, "hard_negatives": 1, "image_size": 64, "crop": 64}
    settings |= {"batch_size": 8, "redrawn": 0.0, "negative_augmentations": 1, "precision": "fp32"}
    return demo_params().changed("detector", **(settings | changes))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/brand, data/raw and data/filtered: 16 pictures with the logo, 6 confusers, 4 extra pictures."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("brand/extra", "raw/images", "filtered/images"):
        (folder / name).mkdir(parents=True)
    labels, extra, manifest = [], [], []
    for number in range(26):
        rng = np.random.default_rng(number)
        with_logo = number < 16 or number >= 24
        drawing = draw(sample_scene(rng, brand=HUGO if with_logo else CONFUSERS[number]), 128, 160)
        content = io.BytesIO()
        drawing.image.save(content, "JPEG")
        sha256 = hashlib.sha256(content.getvalue()).hexdigest()
        box = [list(drawing.logo_box)] if with_logo and drawing.logo_box else []
        row = {
            "sha256": sha256,
            "width": 128,
            "height": 160,
            "boxes": box,
            "product": f"p{number // 2}",
            "source": "shop",
        }
        if number >= 22:
            (folder / "brand/extra" / f"{sha256}.jpg").write_bytes(content.getvalue())
            extra.append(row | {"file": f"extra/{sha256}.jpg", "kind": "social" if box else "bad-drawing"})
            continue
        (folder / "raw/images" / f"{sha256}.jpg").write_bytes(content.getvalue())
        if number != 3:  # one picture has only the filter's box
            labels.append(row)
        if box:
            drawing.image.save(folder / "filtered/images" / f"{sha256}.png")
            machine = {
                "sha256": sha256,
                "product": row["product"],
                "file": f"images/{sha256}.png",
                "box": [1.0, 2.0, 40.0, 20.0],
            }
            manifest.append(machine)
    write_table(folder / "brand/labels.jsonl", labels)
    write_table(folder / "brand/extra.jsonl", extra)
    write_table(folder / "filtered/manifest.jsonl", manifest)
    return folder


def sources_of(world: Path) -> list[Source]:
    brand = world / "brand"
    return labelled_set(brand / "labels.jsonl", brand / "extra.jsonl", world / "raw", world / "filtered")


def test_a_persons_boxes_win_over_the_filters_and_all_negatives_are_there(world: Path) -> None:
    sources = {s.sha256: s for s in sources_of(world)}
    assert len(sources) == 26
    machine = [s for s in sources.values() if s.boxes == ((1.0, 2.0, 40.0, 20.0),)]
    assert len(machine) == 1  # the one that nobody labelled
    assert sum(not s.boxes for s in sources.values()) == 8
    assert {s.kind for s in sources.values()} == {"shop", "social", "bad-drawing"}


def test_no_product_is_on_both_sides_and_both_sides_have_every_kind(world: Path) -> None:
    training, held_out = split_by_product(sources_of(world), 0.3, 20)
    assert not {s.product for s in training} & {s.product for s in held_out}
    assert len(training) + len(held_out) == 26
    for side in (training, held_out):
        assert any(s.boxes for s in side)
        assert any(not s.boxes for s in side)


def test_another_product_moves_none_of_the_others(world: Path) -> None:
    sources = sources_of(world)
    more = [*sources, Source("f" * 64, Path("x"), ((0.0, 0.0, 9.0, 9.0),), "new", "shop", None)]
    before, after = (split_by_product(of, 0.3, 20)[1] for of in (sources, more))
    assert len({s.product for s in before} - {s.product for s in after}) <= 1


def test_the_set_is_the_pictures_their_copies_and_hard_negatives(world: Path, tmp_path: Path) -> None:
    sources = sources_of(world)
    _, count = write_dataset(sources, tmp_path / "set", small_params(augmentations=2, hard_negatives=1), BASE)
    assert count == 3 * 18 + 2 * 8 + 18  # positives three times, negatives twice, a hard negative of each positive
    labels = {p.name: p.read_text() for p in (tmp_path / "set" / "labels").iterdir()}
    assert sum(text.startswith("0 ") for text in labels.values()) == 3 * 18
    assert sum(text.startswith("1 ") for text in labels.values()) == 18  # a hard negative shows a look-alike
    for text in labels.values():
        for line in text.splitlines():
            kind, *values = line.split()
            assert kind in "01"
            assert all(0 <= float(v) <= 1 for v in values)
    with Image.open(next((tmp_path / "set" / "images").iterdir())) as picture:
        assert picture.size == (64, 64)


def test_training_sees_squares_cut_around_the_logo(world: Path, tmp_path: Path) -> None:
    settings = small_params(augmentations=0, hard_negatives=0, negative_augmentations=0, image_size=96, crop=64)
    sources = sources_of(world)
    write_dataset(sources, tmp_path / "set", settings, BASE)
    for file in (tmp_path / "set" / "images").iterdir():
        with Image.open(file) as picture:
            assert picture.size == (64, 64)
    labels = [_numbers(path) for path in (tmp_path / "set" / "labels").iterdir()]
    assert sum(len(rows) for rows in labels) == sum(len(source.boxes) for source in sources)
    positions = np.concatenate([rows for rows in labels if len(rows)])[:, 1:3]
    assert positions.std(axis=0).min() > 0.05, "the logo is not always in the middle"


def test_all_copies_but_the_first_may_be_drawn_anew(world: Path, tmp_path: Path) -> None:
    """Under the same labels: the base's autoencoder changes how a logo looks, not where it is."""
    sources = sources_of(world)[:6]
    for name, share in (("as-they-are", 0.0), ("drawn", 1.0)):
        write_dataset(sources, tmp_path / name, small_params(redrawn=share), BASE)
    files = sorted(path.name for path in (tmp_path / "drawn" / "images").iterdir())
    same = [
        (tmp_path / "drawn/images" / f).read_bytes() == (tmp_path / "as-they-are/images" / f).read_bytes()
        for f in files
    ]
    assert [name.endswith("-0.png") for name in files] == same
    for label in (tmp_path / "drawn" / "labels").iterdir():
        drawn, before = (_numbers(path) for path in (label, tmp_path / "as-they-are" / "labels" / label.name))
        assert np.allclose(drawn, before, atol=0.02)


def _numbers(label: Path) -> np.ndarray:
    return np.array([[float(value) for value in line.split()] for line in label.read_text().splitlines()])


def test_a_base_without_an_autoencoder_is_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none/vae: no autoencoder .* detector\.redrawn: 0"):
        write_dataset(sources_of(world), tmp_path / "set", small_params(redrawn=0.5), tmp_path / "none")


def test_a_picture_of_another_size_than_its_label_is_refused(world: Path) -> None:
    source = sources_of(world)[0]
    wrong = Source(source.sha256, source.file, source.boxes, source.product, source.kind, (10, 10))
    with pytest.raises(UserError, match="its label is for"):
        load(wrong)


@pytest.mark.parametrize("mode", ["16 bits", "transparent", "turned", "cmyk"])
def test_a_labelled_picture_is_decoded_as_all_others_are(mode: str, tmp_path: Path) -> None:
    """A ramp of 16 bits stays one, not white from 1/256 on; the transparent is white; the turned is upright."""
    file = tmp_path / f"picture.{'jpg' if mode == 'cmyk' else 'png'}"
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
    plain = Image.fromarray((ramp >> 8).astype(np.uint8))
    if mode == "16 bits":
        Image.fromarray(ramp).save(file)
    elif mode == "transparent":
        Image.merge("LA", (plain, Image.new("L", plain.size, 0))).save(file)
    elif mode == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        plain.save(file, exif=exif)
    else:
        plain.convert("CMYK").save(file, quality=100)
    image = load(Source("0" * 64, file, (), "p", "shop", None)).image
    assert (image.mode, image.size) == ("RGB", (32, 64) if mode == "turned" else (64, 32))
    line = np.asarray(image)[:, 0, 0] if mode == "turned" else np.asarray(image)[0, :, 0]
    assert np.abs(line.astype(int) - (255 if mode == "transparent" else ramp[0] // 257)).max() <= 3


def test_a_labelled_file_that_is_no_picture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"a.png: HTML, not a picture, but it is labelled"):
        load(Source("0" * 64, tmp_path / "a.png", (), "p", "shop", None))


def test_every_label_that_is_not_understood_is_named_by_its_line(world: Path, tmp_path: Path) -> None:
    """Nothing is trained on where one label is wrong: one that is left out would look like a picture without a logo."""
    brand = world / "brand"
    rows, extra = read_table(brand / "labels.jsonl"), read_table(brand / "extra.jsonl")
    good, other = rows[0], rows[1]
    cases: list[tuple[list[Row], list[Row], str]] = [
        ([good, other, good], [], r"labels.jsonl:3: .* is labelled twice, first at .*labels.jsonl:1"),
        ([good, good | {"boxes": []}], [], r"labels.jsonl:2: .* is labelled twice"),
        ([good], [extra[0] | {"sha256": good["sha256"]}], r"extra.jsonl:1: .* is labelled twice"),
        ([{k: v for k, v in good.items() if k != "boxes"}], [], r"labels.jsonl:1: boxes missing"),
        ([good | {"boxes": None}], [], r"labels.jsonl:1: boxes must be a list, is None"),
        ([good | {"boxes": [[1, 2, 3]]}], [], r"labels.jsonl:1: box .*: must be four numbers"),
        ([good | {"boxes": [[9, 9, 3, 3]]}], [], r"labels.jsonl:1: box .*: has no area"),
        ([good | {"boxes": [[0, 0, 500, 3]]}], [], r"labels.jsonl:1: box .*: leaves the picture"),
        ([good | {"boxes": [[0, 0, 10**400, 3]]}], [], r"labels.jsonl:1: box .*: leaves the picture"),
        ([good | {"boxes": [["1", "2", "9", "9"]]}], [], r"labels.jsonl:1: box .*: must be four numbers"),
        ([good | {"width": "128"}], [], r"labels.jsonl:1: width and height must be whole numbers"),
        ([good | {"width": True}], [], r"labels.jsonl:1: width and height must be whole numbers"),
        ([good | {"sha256": "../../secret"}], [], r"labels.jsonl:1: sha256 = .* is no sha256"),
        ([good | {"sha256": None}], [], r"labels.jsonl:1: sha256 = None is no sha256"),
        ([good, other | {"sha256": "0" * 64}], [], r"labels.jsonl:2: 0{64} is labelled but is neither"),
        ([good], [extra[0] | {"file": "extra/none.jpg"}], r"extra.jsonl:1: .*none.jpg: no such file"),
        ([good], [extra[0] | {"file": "../raw"}], r"extra.jsonl:1: .*: no such file"),
        ([good], [extra[0] | {"file": extra[1]["file"]}], r"extra.jsonl:1: .*: holds another picture"),
        ([good], [{k: v for k, v in extra[0].items() if k != "kind"}], r"extra.jsonl:1: needs file and kind"),
        ([good | {"boxes": None}, other | {"boxes": {}}], [], r"2 labels are wrong: .*:1: .*; .*:2: "),
    ]
    folder = tmp_path / "brand"
    shutil.copytree(brand / "extra", folder / "extra")
    for labels, extras, told in cases:
        write_table(folder / "labels.jsonl", labels)
        write_table(folder / "extra.jsonl", extras)
        with pytest.raises(UserError, match=told) as error:
            labelled_set(folder / "labels.jsonl", folder / "extra.jsonl", world / "raw", world / "filtered")
        assert str(error.value).isprintable()


def test_columns_that_are_not_read_are_said(world: Path, tmp_path: Path) -> None:
    rows = [row | {"negative": True} for row in read_table(world / "brand/labels.jsonl")]
    write_table(tmp_path / "labels.jsonl", rows)
    said: list[str] = []
    labelled_set(tmp_path / "labels.jsonl", tmp_path / "none", world / "raw", world / "filtered", said.append)
    assert said == [f"labels: columns of other names are not read: labels.jsonl: negative ({len(rows)} rows)"]


def test_extra_pictures_without_a_row_are_said(world: Path, tmp_path: Path) -> None:
    brand = tmp_path / "brand"
    shutil.copytree(world / "brand", brand)
    rows = read_table(brand / "extra.jsonl")
    write_table(brand / "extra.jsonl", rows[1:])
    (brand / "extra/README.md").touch()
    said: list[str] = []
    labelled_set(brand / "labels.jsonl", brand / "extra.jsonl", world / "raw", world / "filtered", said.append)
    assert [line.partition("extra: ")[2] for line in said] == [f"1 ({Path(rows[0]['file']).name})"]


def test_a_label_without_its_picture_is_named(world: Path, tmp_path: Path) -> None:
    brand = world / "brand"
    with pytest.raises(UserError, match="is labelled but is neither"):
        labelled_set(brand / "labels.jsonl", brand / "extra.jsonl", tmp_path, world / "filtered")


def test_a_run_leaves_its_files_and_repeats_them_byte_for_byte(world: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ultralytics_settings, "runs_dir", str(tmp_path / "runs"))
    monkeypatch.setattr("ultralytics.cfg.TESTS_RUNNING", False)  # under pytest it has a place of its own
    contents = []
    for name in ("a", "b"):
        paths = Paths(
            labels=world / "brand/labels.jsonl",
            extra=world / "brand/extra.jsonl",
            raw=world / "raw",
            filtered=world / "filtered",
            start=tmp_path / "none",
            base=tmp_path / "none",
            detector=tmp_path / name,
            scratch=tmp_path / "scratch",
        )
        train_detector(small_params(), paths)
        contents.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files_of(tmp_path / name)})
    assert contents[0] == contents[1]
    assert not (tmp_path / "runs").exists(), "ultralytics wrote outside its scratch folder"
    rows = read_table(tmp_path / "a" / "holdout.jsonl")
    thumbnails = {row["thumbnail"] for row in rows}
    assert len(thumbnails) == len(rows)
    assert set(contents[0]) == {"detector.safetensors", "holdout.jsonl", "pictures.json"} | thumbnails
    assert load_detector(tmp_path / "a").image_size == 64
    assert {"boxes", "detections", "kind"} <= rows[0].keys()
    positives = [row for row in rows if row["boxes"]]
    assert sum(row["kind"] == "hard-negative" for row in rows) == len(positives) > 0
    counts = json.loads(contents[0]["pictures.json"])
    assert sum(counts["kinds"].values()) == 26
    assert counts["pictures"]["held_out"] == len(rows) - len(positives)
    for row in rows:
        with Image.open(tmp_path / "a" / row["thumbnail"]) as thumbnail:
            assert max(thumbnail.size) == 156


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_only_measures_does_not_train_again() -> None:
    """Neither the score's threshold nor what other stages read is part of what decides a training."""
    params = demo_params()
    other = params.changed("score", threshold=0.1).changed("caption", template="{token}").changed("sample", steps=1)
    assert decisive_params(other) == decisive_params(params)
    assert decisive_params(params.changed("detector", epochs=1)) != decisive_params(params)
