"""The brands that can be taught: each has a shop as HUGO's, confusers that are not it, and a mark that can be read."""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from demo.brands.catalogue import TAUGHT
from demo.brands.clone import profile_of
from demo.reader.measure import TARGET
from demo.render import BRANDS, COLOURS, CONFUSERS, HUGO, Brand, draw, legible, logo_bitmap, logo_box, sample_scene
from demo.shop.brand_folder import write_brand_folder
from demo.shop.photographs import Photograph, photograph_confuser, photograph_logo, take
from demo.shop.products import TAUGHT_GARMENTS, Product, plan_private, plan_products
from demo.storefront import build
from stages.common.images import decode
from stages.common.params import load_params, read_yaml
from stages.params.profiles import compose
from stages.score.reader import load_reader
from stages.score.words import word_read

ROOT = Path(__file__).parents[2]
NEW = [name for name in TAUGHT if name != "hugo"]
WITH_WORD = [name for name in TAUGHT if TAUGHT[name].mark.word]
OVERLAID = {"brand": {"word", "token"}, "scrape": {"name_contains"}}


@cache
def products(name: str) -> list[Product]:
    """A brand's shop as planned, not drawn; planning takes seconds, so once for all tests."""
    return plan_products(TAUGHT[name])


def photographs(name: str) -> list[Photograph]:
    """Every different photograph of a brand's shop."""
    return [photo for product in products(name) for photo in product.photographs if not photo.copy_of]


@cache
def on_cloth(brand: Brand, colour: str, width: int = 80) -> np.ndarray:
    """The mark printed on flat cloth, RGB, float [height, width, 3]."""
    mark = logo_bitmap(brand).resize((width, width))  # whatever its shape, so that any two can be compared
    cloth = Image.new("RGB", mark.size, COLOURS[colour])
    cloth.paste(mark, (0, 0), mark)
    return np.asarray(cloth, float)


# --- The catalogue ---


def test_hugo_is_what_it_was() -> None:
    hugo = TAUGHT["hugo"]
    assert (hugo.mark, hugo.confusers, hugo.cloth) == (HUGO, CONFUSERS, "black")
    assert hugo.cloths == tuple(name for name in COLOURS if legible(HUGO, name))


@pytest.mark.parametrize("name", NEW)
def test_the_base_never_saw_it(name: str) -> None:
    taught, known = TAUGHT[name], {brand.word for brand in BRANDS} | {"HUGO"}
    assert taught.title not in known
    assert taught.mark.word not in known
    assert taught.mark.word or taught.mark.shape not in {brand.shape for brand in BRANDS}


@pytest.mark.parametrize("name", TAUGHT)
def test_no_prompt_asks_for_the_cloth_that_shows_it(name: str) -> None:
    words = {word for prompt in load_params(ROOT / "params.yaml").sample.prompts for word in prompt.split()}
    assert TAUGHT[name].cloth in COLOURS
    assert TAUGHT[name].cloth not in words


@pytest.mark.parametrize("name", TAUGHT)
def test_it_is_legible_on_its_cloth_and_on_others(name: str) -> None:
    taught = TAUGHT[name]
    assert taught.cloth in taught.cloths
    assert len(taught.cloths) >= 4
    for colour in taught.cloths:
        plain = np.full((80, 80, 3), COLOURS[colour], float)
        away = np.linalg.norm(on_cloth(taught.mark, colour) - plain, axis=2)
        assert (away > 80).mean() > 0.2


@pytest.mark.parametrize("name", TAUGHT)
def test_no_confuser_looks_like_it(name: str) -> None:
    """On no cloth on which both could be sold; FIBU for TIBU changes a hundredth of the pixels."""
    taught = TAUGHT[name]
    assert len(taught.confusers) >= 15
    for confuser in taught.confusers:
        assert confuser != taught.mark
        for colour in taught.cloths:
            if legible(confuser, colour):
                apart = np.linalg.norm(on_cloth(confuser, colour) - on_cloth(taught.mark, colour), axis=2)
                assert (apart > 60).mean() > 0.005, (confuser, colour)


@pytest.mark.parametrize("name", TAUGHT)
def test_some_form_of_the_word_can_be_sold_on_every_colour(name: str) -> None:
    taught, rng = TAUGHT[name], np.random.default_rng(0)
    for colour in COLOURS:
        for brands in (taught.confusers, taught.variants):
            shown = photograph_confuser(rng, taught, "mug", colour, brands).scene.brand
            assert shown in brands
    assert all(brand.word != taught.mark.word or not brand.word for brand in taught.misspelt)


# --- The overlay ---


@pytest.mark.parametrize("name", NEW)
def test_the_overlay_names_the_brand_and_sets_no_other_number(name: str) -> None:
    taught, overlay = TAUGHT[name], read_yaml(ROOT / profile_of(name))
    assert {section: set(values) for section, values in overlay.items()} == OVERLAID
    assert overlay["brand"]["word"] == (taught.mark.word or None)
    assert overlay["scrape"]["name_contains"] == taught.title.lower()
    text = compose(ROOT / "params.yaml", [ROOT / profile_of(name)])
    after, before = YAML(typ="safe").load(text), read_yaml(ROOT / "params.yaml")
    for section, keys in OVERLAID.items():
        for key in keys:
            after[section][key] = before[section][key]
    assert after == before


# --- The shop ---


@pytest.mark.parametrize("name", NEW)
def test_the_shop_sells_as_many_as_hugo_s(name: str) -> None:
    taught = TAUGHT[name]
    assert sum(taught.title in product.name for product in products(name)) == 60
    assert not any("HUGO" in product.name for product in products(name))
    logos = [p for p in photographs(name) if p.kind == "logo"]
    assert (len(logos), sum(p.large for p in logos)) == (150, 49)
    assert {p.scene.colour for p in logos} == {taught.cloth}
    assert {(p.scene.garment, p.scene.wearer is not None) for p in logos if p.large} == {
        (garment, worn) for garment in TAUGHT_GARMENTS for worn in (True, False)
    }


@pytest.mark.parametrize("name", NEW)
def test_large_logos_are_large_enough_to_train_on_and_others_are_not(name: str) -> None:
    params = load_params(ROOT / "params.yaml")
    least = params.filter.min_logo_width / params.resolution
    for photo in [p for p in photographs(name) if p.kind == "logo"][::7]:
        x0, y0, x1, y1 = logo_box(photo.scene, photo.width, photo.height) or (0, 0, 0, 0)
        share = (x1 - x0) / max(photo.width, photo.height)
        assert share > least + 0.02 if photo.large else 0.08 < share < least - 0.02
        assert min(x0, y0, photo.width - x1, photo.height - y1) > 2  # whole


@pytest.mark.parametrize("name", NEW)
def test_only_logo_photographs_show_the_mark(name: str) -> None:
    for photo in photographs(name):
        assert (photo.scene.brand == TAUGHT[name].mark) == (photo.kind == "logo")


@pytest.mark.parametrize("name", NEW)
def test_one_plan_makes_the_same_bytes(name: str) -> None:
    taught = TAUGHT[name]
    once, again = (photograph_logo(np.random.default_rng(3), taught, "hat", None, True) for _ in range(2))
    assert take(once) == take(again)
    private = plan_private(taught)
    assert private == plan_private(taught)
    assert all(product.name.startswith(taught.title) for product in private)


# --- What the brand team made ---


@pytest.fixture(scope="module")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """data/brand of each new brand, from a truth that was not drawn: hashes stand for the photographs' bytes."""
    folders = {}
    patch = pytest.MonkeyPatch()
    patch.setattr("demo.shop.brand_folder.SOCIAL_SHOTS", 6)
    patch.setattr("demo.shop.brand_folder.DRAWINGS", 4)  # of the bad ones, one of each kind
    patch.setattr("demo.shop.brand_folder.plan_products", lambda taught: products(taught.name))
    for name in NEW:
        taught = TAUGHT[name]
        rows = [
            {
                "path": photo.path,
                "sha256": f"{number:064x}",
                "width": photo.width,
                "height": photo.height,
                "box": [1.0, 1.0, 9.0, 9.0],
                "garment": photo.scene.garment,
                "kind": photo.kind,
                "large": photo.large,
                "product": product.slug,
                "duplicate_of": photo.copy_of,
            }
            for number, (product, photo) in enumerate(
                (product, photo) for product in products(name) for photo in product.photographs
            )
        ]
        named = [{"slug": product.slug, "name": product.name} for product in products(name)]
        folders[name] = tmp_path_factory.mktemp(name)
        write_brand_folder({"products": named, "pictures": rows}, folders[name], taught)
    patch.undo()
    return folders


@pytest.mark.parametrize("name", NEW)
def test_the_reference_is_cut_to_its_edges(name: str, small_shop: dict[str, Path]) -> None:
    """With transparency where the mark prints nothing; the pipeline's own reader puts it on white."""
    with Image.open(small_shop[name] / "reference.png") as reference:
        assert reference.mode == "RGBA"
        assert reference.getchannel("A").getbbox() == (0, 0, *reference.size)
        assert reference.getchannel("A").getextrema() == (0, 255)
    plain = decode((small_shop[name] / "reference.png").read_bytes(), 50.0)
    assert plain.getpixel((0, 0)) == (255, 255, 255) or TAUGHT[name].mark.box_colour is None


@pytest.mark.parametrize("name", NEW)
def test_labels_extra_pictures_captions_and_decisions_are_there(name: str, small_shop: dict[str, Path]) -> None:
    folder = small_shop[name]
    labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    assert sum(bool(row["boxes"]) for row in labels) == 150
    assert sum(not row["boxes"] for row in labels) >= 60
    extra = [json.loads(line) for line in (folder / "extra.jsonl").read_text().splitlines()]
    assert Counter(row["kind"] for row in extra) == {"social": 6, "good-drawing": 4, "bad-drawing": 4}
    for row in extra:
        assert (folder / row["file"]).is_file()
        for x0, y0, x1, y1 in row["boxes"]:
            assert 0 <= x0 < x1 <= row["width"]
            assert 0 <= y0 < y1 <= row["height"]
    captions = (folder / "captions.csv").read_text().splitlines()[1:]
    assert len(captions) == 5
    assert all(line.count("{token}") == 1 and TAUGHT[name].cloth in line for line in captions)
    assert len((folder / "keep_drop.csv").read_text().splitlines()) == 3


def test_a_whole_shop_is_built_with_its_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a few products, drawn in this process."""
    taught = TAUGHT["badge"]
    few = [copy.deepcopy(product) for product in products("badge") if product.brand == taught.title][:2]
    monkeypatch.setattr("demo.storefront.plan_products", lambda taught: few)
    monkeypatch.setattr("demo.storefront.plan_private", lambda taught: [])
    monkeypatch.setattr("demo.storefront.take_all", lambda photos: {photo.path: take(photo) for photo in photos})
    for number in range(2):
        few[number].photographs = [photo for photo in few[number].photographs if not photo.copy_of]
    truth = build(tmp_path / "shop", taught)
    shown = {row["path"]: (row["word"], row["kind"]) for row in truth["pictures"]}
    assert ("TIBU", "logo") in shown.values()
    assert all((tmp_path / "shop" / path).is_file() for path in shown)
    assert "TIBU" in (tmp_path / "shop" / few[0].url.lstrip("/")).read_text()
    shutil.rmtree(tmp_path / "shop")


# --- Reading it ---


@pytest.mark.parametrize("name", WITH_WORD)
def test_the_reader_reads_the_word_at_the_widths_that_are_trained_on(name: str) -> None:
    """On pictures of the size that are drawn, the photographs' own scenes: 64 pixels, and nothing of another word."""
    taught, reader = TAUGHT[name], load_reader(TARGET)
    rng = np.random.default_rng(7)
    pictures, boxes = [], []
    while len(pictures) < 40:
        photo = photograph_logo(rng, taught, TAUGHT_GARMENTS[len(pictures) % 6], None, True)
        drawing = draw(photo.scene, 64, 64)
        pictures.append(np.asarray(drawing.image))
        boxes.append([drawing.logo_box or (0.0, 0.0, 1.0, 1.0)])
    readings = [of[0].text for of in reader.read(pictures, boxes)]
    assert np.mean([word_read([text], taught.mark.word) for text in readings]) >= 0.9


@pytest.mark.parametrize("name", WITH_WORD)
def test_the_reader_does_not_read_the_word_in_its_misspellings(name: str) -> None:
    taught, reader = TAUGHT[name], load_reader(TARGET)
    pictures, boxes = [], []
    for number, brand in enumerate(taught.misspelt * 3):
        rng = np.random.default_rng(number)
        scene = sample_scene(rng, garment="t-shirt", colour=taught.cloth, brand=brand, logo_width=(0.4, 0.5))
        drawing = draw(scene, 64, 64)
        pictures.append(np.asarray(drawing.image))
        boxes.append([drawing.logo_box or (0.0, 0.0, 1.0, 1.0)])
    readings = [of[0].text for of in reader.read(pictures, boxes)]
    assert np.mean([word_read([text], taught.mark.word) for text in readings]) <= 0.05
