"""What is on the shop's photographs: for tests and for the brand team's labels, never served."""

from __future__ import annotations

import hashlib
from typing import Any

from demo.shop.photographs import Taken
from demo.shop.products import Product


def product_truth(product: Product) -> dict[str, Any]:
    """A product as its page shows it."""
    return {
        "slug": product.slug,
        "name": product.name,
        "url": product.url,
        "brand": product.brand,
        "garment": product.garment,
        "colour": product.colour,
        "category": product.category,
        "markup": product.markup,
        "german": product.german,
        "pictures": [photo.path for photo in product.photographs],
    }


def picture_truths(product: Product, taken: dict[str, Taken]) -> list[dict[str, Any]]:
    """What is on each of a product's photographs, and where its mark is."""
    return [
        {
            "path": photo.path,
            "sha256": hashlib.sha256(taken[photo.path].content).hexdigest(),
            "width": photo.width,
            "height": photo.height,
            "box": taken[photo.path].box,
            "word": photo.scene.brand.word if photo.scene.brand else None,
            "box_colour": photo.scene.brand.box_colour if photo.scene.brand else None,
            "garment": photo.scene.garment,
            "colour": photo.scene.colour,
            "wearer": photo.scene.wearer.kind if photo.scene.wearer else None,
            "kind": photo.kind,
            "large": photo.large,
            "product": product.slug,
            "duplicate_of": photo.copy_of,
        }
        for photo in product.photographs
    ]
