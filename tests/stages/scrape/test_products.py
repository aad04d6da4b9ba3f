"""Which pages show the same product."""

from __future__ import annotations

from typing import Any

from stages.scrape.products import Picture, Product, is_named, merge_products


def product(url: str, name: str, pictures: str = "", language: str = "en", **more: Any) -> Product:
    identities = [f"page {url}", *more.pop("identities", [])]
    taken = [Picture([f"https://s.test/{letter}.jpg"], trusted=True) for letter in pictures]
    return Product(url, name, more.get("colour"), None, language, identities, taken)


def test_languages_are_one_product_with_every_name() -> None:
    found = [
        product("/de/hemd", "HUGO Hemd", "ab", "de"),
        product("/shirt", "Shirt", "ab"),
        product("/cap", "Cap", "c"),
    ]
    shirt, cap = merge_products(found)
    assert (shirt.url, shirt.name, shirt.other_names) == ("/shirt", "Shirt", ["HUGO Hemd"])
    assert is_named(shirt, "hugo")
    assert not is_named(cap, "hugo")


def test_colourways_stay_apart() -> None:
    number = ["number sku 1"]
    found = [
        product("/a", "Shirt", "ab", colour="red", identities=number),
        product("/b", "Shirt", "cd", colour="blue", identities=number),
    ]
    assert len(merge_products(found)) == 2


def test_a_page_in_two_categories_is_one_product_with_all_pictures() -> None:
    found = [
        product("/x/a", "Shirt", "ab", identities=["page /a"]),
        product("/y/a", "Shirt", "bc", identities=["page /a"]),
    ]
    (merged,) = merge_products(found)
    assert [picture.urls[0][-5] for picture in merged.pictures] == ["a", "b", "c"]


def test_what_every_page_shows_is_the_shops_own() -> None:
    found = [product(f"/{n}", f"Shirt {n}", "abcdef"[n]) for n in range(6)]
    for shown in found:
        shown.pictures.append(Picture(["https://s.test/size-chart.jpg"], trusted=False))
    assert all(len(merged.pictures) == 1 for merged in merge_products(found))
