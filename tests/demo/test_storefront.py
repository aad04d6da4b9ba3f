"""The demo shop as it lies in git: its numbers, its pages and its truth agree, and its recipe makes the same bytes."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import extruct  # type: ignore[import-untyped]
import numpy as np
import pytest
from PIL import Image

from demo.render import BRANDS, COLOURS, CONFUSERS, GARMENTS, HUGO, caption, draw, legible, sample_scene
from demo.serve import ORIGIN, STOREFRONT, serve
from demo.shop.brand_folder import BRAND_FOLDER
from demo.shop.photographs import take
from demo.shop.products import CATEGORIES, TAUGHT_GARMENTS, plan_products
from demo.shop.truth import product_truth

SHOP, BRAND = STOREFRONT, BRAND_FOLDER


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SHOP / "truth.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def unique(truth: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in truth["pictures"] if row["duplicate_of"] is None]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every page's text by its address."""
    return {f"/{path.relative_to(SHOP)}": path.read_text(encoding="utf-8") for path in sorted(SHOP.rglob("*.html"))}


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (BRAND / name).read_text(encoding="utf-8").splitlines()]


def width_of(row: dict[str, Any]) -> float:
    """The mark's width as a fraction of the photograph's longer side."""
    return float((row["box"][2] - row["box"][0]) / max(row["width"], row["height"]))


# --- The renderer ---


def test_one_scene_is_always_the_same_picture() -> None:
    for seed in range(len(GARMENTS)):
        garment = tuple(GARMENTS)[seed]
        once, again = (
            draw(sample_scene(np.random.default_rng(seed), garment=garment, brand=HUGO), 96, 64) for _ in range(2)
        )
        assert once.image.tobytes() == again.image.tobytes()
        assert once.logo_box == again.logo_box


def test_composition_does_not_depend_on_the_size() -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        scene = sample_scene(rng, brand=HUGO)
        small, large = draw(scene, 64, 64), draw(scene, 256, 256)
        assert small.logo_box is not None
        assert large.logo_box is not None
        assert np.allclose(np.array(small.logo_box) * 4, large.logo_box, atol=6)
        shrunk = np.asarray(large.image.resize((64, 64), Image.Resampling.BOX), float)
        assert np.abs(shrunk - np.asarray(small.image, float)).mean() < 8


def test_the_box_surrounds_the_red_logo() -> None:
    scene = sample_scene(
        np.random.default_rng(5), garment="t-shirt", colour="black", brand=HUGO, wearer=None, background="plain"
    )
    drawing = draw(scene, 256, 256)
    red, green, blue = np.moveaxis(np.asarray(drawing.image, int), -1, 0)
    rows, columns = np.nonzero((red > 110) & (green < 60) & (blue < 70))
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert drawing.logo_box == pytest.approx(found, abs=3)


def test_the_base_model_is_never_shown_the_brand() -> None:
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng) for _ in range(2000)]
    assert {scene.brand.word for scene in scenes if scene.brand} == {brand.word for brand in BRANDS}
    assert "HUGO" not in {brand.word for brand in BRANDS}
    assert not any("hugo" in caption(scene) for scene in scenes)
    assert all(legible(scene.brand, scene.colour) for scene in scenes if scene.brand)


def test_captions_cover_the_words_of_the_six_prompts() -> None:
    rng = np.random.default_rng(0)
    words = set(" ".join(caption(sample_scene(rng), rng) for _ in range(2000)).split())
    prompts = "a blue sweater green t-shirt bag mug bottle of perfume billboard with logo"
    assert set(prompts.split()) <= words
    assert set(COLOURS) <= words


def test_brands_cover_the_alphabet_and_confusers_are_not_the_logo() -> None:
    assert set("".join(brand.word for brand in BRANDS)) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert all(3 <= len(brand.word) <= 6 for brand in BRANDS)
    assert len({brand.font for brand in BRANDS}) >= 5
    assert not any(brand.word == "HUGO" and brand.box_colour == HUGO.box_colour for brand in CONFUSERS)


# --- The shop's numbers ---


def test_the_shop_is_as_large_as_promised(truth: dict[str, Any], unique: list[dict[str, Any]]) -> None:
    assert len(truth["products"]) >= 300
    assert len(unique) >= 1000
    assert sum("HUGO" in product["name"] for product in truth["products"]) == 60
    assert all(2 <= len(product["pictures"]) <= 6 for product in truth["products"])
    assert Counter(row["kind"] for row in unique)["confuser"] >= 60
    assert sum(path.stat().st_size for path in SHOP.rglob("*") if path.is_file()) <= 16e6


def test_the_red_logo_is_on_150_photographs_and_large_on_49(unique: list[dict[str, Any]]) -> None:
    logos = [row for row in unique if row["kind"] == "logo"]
    large = [row for row in logos if row["large"]]
    assert (len(logos), len(large)) == (150, 49)
    assert {row["colour"] for row in logos} == {"black"}
    assert min(map(width_of, large)) >= 0.34
    assert max(width_of(row) for row in logos if not row["large"]) <= 0.27
    assert min(width_of(row) for row in logos) >= 0.08
    assert min(row["box"][2] - row["box"][0] for row in logos) >= 36
    shown = {(row["garment"], row["wearer"] is not None) for row in large}
    assert shown == {(garment, worn) for garment in TAUGHT_GARMENTS for worn in (True, False)}


def test_only_logo_photographs_carry_the_red_logo(truth: dict[str, Any]) -> None:
    for row in truth["pictures"] + truth["private"]:
        shows = row["word"] == "HUGO" and tuple(row["box_colour"] or ()) == HUGO.box_colour
        assert shows == (row["kind"] == "logo")


# --- Truth, files and labels agree ---


def test_truth_names_every_file_as_it_is(truth: dict[str, Any]) -> None:
    rows = truth["pictures"] + truth["private"]
    on_disk = {path.relative_to(SHOP).as_posix() for path in SHOP.rglob("*.jpg")}
    assert on_disk == {row["path"] for row in rows} | set(truth["thumbnails"])
    for row in rows:
        content = (SHOP / row["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        with Image.open(SHOP / row["path"]) as image:
            assert image.size == (row["width"], row["height"])
            assert max(image.size) >= 384


def test_duplicates_are_exact_or_recompressed(truth: dict[str, Any]) -> None:
    by_path = {row["path"]: row for row in truth["pictures"]}
    same: Counter[tuple[bool, bool]] = Counter()
    for row in truth["pictures"]:
        if row["duplicate_of"]:
            original = by_path[row["duplicate_of"]]
            same[row["sha256"] == original["sha256"], row["product"] == original["product"]] += 1
    assert min(same[True, True], same[True, False], same[False, True]) >= 10
    unique = [row["sha256"] for row in truth["pictures"] if row["duplicate_of"] is None]
    assert len(unique) == len(set(unique))


def test_labels_are_the_boxes_of_the_shops_logos(truth: dict[str, Any], unique: list[dict[str, Any]]) -> None:
    by_hash = {row["sha256"]: row for row in unique}
    labels = rows_of("labels.jsonl")
    assert len({label["sha256"] for label in labels}) == len(labels) == 235
    for label in labels:
        row = by_hash[label["sha256"]]
        assert (label["width"], label["height"]) == (row["width"], row["height"])
        assert label["boxes"] == ([row["box"]] if row["kind"] == "logo" else [])
    assert sum(bool(label["boxes"]) for label in labels) == 150


def test_extra_pictures_are_labelled() -> None:
    rows = rows_of("extra.jsonl")
    assert Counter(row["kind"] for row in rows) == {"social": 30, "good-drawing": 15, "bad-drawing": 15}
    assert {row["file"] for row in rows} == {f"extra/{path.name}" for path in (BRAND / "extra").iterdir()}
    for row in rows:
        content = (BRAND / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"] == Path(row["file"]).stem
        assert len(content) <= 20 * 1024
        assert bool(row["boxes"]) == (row["kind"] != "bad-drawing")
        for x0, y0, x1, y1 in row["boxes"]:
            assert 0 <= x0 < x1 <= row["width"]
            assert 0 <= y0 < y1 <= row["height"]


def test_hand_written_files_name_real_pictures(truth: dict[str, Any]) -> None:
    by_hash = {row["sha256"]: row for row in truth["pictures"]}
    with (BRAND / "captions.csv").open(encoding="utf-8") as file:
        captions = list(csv.DictReader(file))
    assert len(captions) == 5
    for row in captions:
        assert row["caption"].count("{token}") == 1
        assert by_hash[row["sha256"]]["large"]
        assert GARMENTS[by_hash[row["sha256"]]["garment"]].noun in row["caption"]
    with (BRAND / "keep_drop.csv").open(encoding="utf-8") as file:
        decisions = {row["decision"]: by_hash[row["sha256"]] for row in csv.DictReader(file)}
    assert decisions["keep"]["kind"] == "logo"
    assert decisions["drop"]["duplicate_of"] is not None


# --- Pages ---


def test_every_link_and_picture_resolves(pages: dict[str, str]) -> None:
    attribute = re.compile(r'\b(?:href|src|data-large_image|content)="(/[^"]*)"|srcset="(/[^" ]*)')
    for address, text in pages.items():
        for found in attribute.finditer(text):
            target = SHOP / (found[1] or found[2]).lstrip("/")
            assert target.is_file() or (target / "index.html").is_file(), (address, found[0])
        if not address.startswith("/private/"):
            assert "/private/" not in text


def test_every_picture_of_a_product_is_in_its_gallery(truth: dict[str, Any], pages: dict[str, str]) -> None:
    for product in truth["products"]:
        gallery = pages[product["url"]].split('class="product-gallery"')[1].split("</div>")[0]
        shown = re.findall(r'(?:href|src|data-large_image)="/([^"]*)"', gallery)
        assert [path for path in dict.fromkeys(shown) if path not in truth["thumbnails"]] == product["pictures"]


def test_markup_says_what_the_truth_says(truth: dict[str, Any], pages: dict[str, str]) -> None:
    for product in truth["products"][:40]:
        data = extruct.extract(pages[product["url"]], syntaxes=["json-ld", "microdata", "opengraph"], uniform=True)
        syntax = product["markup"].split("-first")[0].split("-graph")[0].split("-website")[0]
        entries = data[syntax]
        if product["markup"] == "json-ld-graph":
            entries = entries[0]["@graph"]
        about = entries[-1]
        name = about["og:title"] if syntax == "opengraph" else about["name"]
        assert " ".join(name.split()) == product["name"]
        images = about["og:image"] if syntax == "opengraph" else about["image"]
        listed = [images] if isinstance(images, str) else images
        assert listed == [f"/{path}" for path in product["pictures"]][: len(listed)]


def test_pagination_and_sitemap_reach_every_product(truth: dict[str, Any], pages: dict[str, str]) -> None:
    products = {product["url"] for product in truth["products"]}
    reached: set[str] = set()
    for category in CATEGORIES.values():
        address: str | None = f"/category/{category}/index.html"
        while address:
            reached |= products & set(re.findall(r'href="([^"]*)"', pages[address]))
            following = re.search(r'<link rel="next" href="([^"]*)"', pages[address])
            address = following[1] if following else None
    assert reached == products
    listed = (SHOP / "sitemap-products.xml").read_text()
    assert all(f"<loc>{ORIGIN}{url}</loc>" in listed for url in products)
    assert "/private/" not in listed


# --- Serving and rebuilding ---


def test_the_server_answers_as_a_shop_does(truth: dict[str, Any]) -> None:
    with serve(SHOP) as origin:
        for address, kind in (
            ("/", "text/html; charset=utf-8"),
            (truth["products"][0]["url"], "text/html; charset=utf-8"),
            ("/" + truth["pictures"][0]["path"], "image/jpeg"),
            ("/robots.txt", "text/plain; charset=utf-8"),
        ):
            with urllib.request.urlopen(origin + address, timeout=10) as answer:
                assert answer.headers["Content-Type"] == kind
                assert len(answer.read()) == int(answer.headers["Content-Length"])
        with urllib.request.urlopen(origin + "/sitemap.xml", timeout=10) as answer:
            text = answer.read().decode()
        assert f"<loc>{origin}/sitemap-products.xml</loc>" in text
        assert ORIGIN not in text
        for hidden in ("/truth.json", "/images/", "/nothing.html"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(origin + hidden, timeout=10)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(origin, timeout=10)


def test_the_recipe_makes_the_bytes_in_git(truth: dict[str, Any]) -> None:
    products = plan_products()
    assert [product_truth(product) for product in products] == truth["products"]
    originals = [photo for product in products for photo in product.photographs if photo.copy_of is None]
    for photo in originals[::150]:
        assert take(photo).content == (SHOP / photo.path).read_bytes()
