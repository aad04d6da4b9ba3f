"""The demo world's shop: static product pages with photographs, the truth about them, and what its brand team made.

Reads nothing. Writes, the same bytes each time:
  demo/storefront/  the site: pages, photographs, sitemap, robots.txt; and truth.json, for tests, never served
  data/brand/       what people would make by hand: the reference logo, labelled boxes, extra pictures, captions

Why: the pipeline's crawl is a real HTTP crawl even where no network is. The shop has what makes real shops hard: pages
that name their pictures in four different ways, galleries that show more than the metadata, listing pages, language
variants, duplicates, a tree that robots.txt closes, and pictures that nearly show the brand (confusers).

`python -m demo.storefront` makes both folders; demo/serve.py puts the site on loopback. With `--name badge` the shop
sells another brand of demo/brands/catalogue.py in HUGO's place.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from demo.brands.catalogue import TAUGHT, Taught
from demo.serve import STOREFRONT
from demo.shop.brand_folder import BRAND_FOLDER, write_brand_folder
from demo.shop.pages import thumbnail_path, write_pages
from demo.shop.photographs import jpeg, take_all
from demo.shop.products import HUGO, Product, plan_private, plan_products
from demo.shop.truth import picture_truths, product_truth


def build(folder: Path = STOREFRONT, taught: Taught = HUGO) -> dict[str, Any]:
    """Make the whole site in `folder`, replacing what is there; returns the truth, which is also written beside it."""
    products, private = plan_products(taught), plan_private(taught)
    photographs = [photo for product in (*products, *private) for photo in product.photographs]
    taken = take_all(photographs)
    shutil.rmtree(folder, ignore_errors=True)
    for path, result in taken.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(result.content)
    thumbnails = _write_thumbnails(folder, products)
    write_pages(folder, products, private)
    truth = {
        "products": [product_truth(product) for product in products],
        "pictures": [row for product in products for row in picture_truths(product, taken)],
        "private": [row for product in private for row in picture_truths(product, taken)],
        "thumbnails": thumbnails,
    }
    lines = json.dumps(truth, indent=1, ensure_ascii=False)
    (folder / "truth.json").write_text(lines + "\n", encoding="utf-8")
    return truth


def _write_thumbnails(folder: Path, products: list[Product]) -> list[str]:
    written = []
    for product in products:
        for photo in product.photographs if product.gallery == "thumbnails" else ():
            small = Image.open(folder / photo.path)
            small.thumbnail((96, 96))
            written.append(thumbnail_path(photo.path))
            (folder / written[-1]).write_bytes(jpeg(small, 70))
    return written


def main() -> None:
    """Make both folders."""
    parser = argparse.ArgumentParser(description="Make the demo shop and what its brand team made by hand.")
    parser.add_argument("--name", choices=TAUGHT, default=HUGO.name, help="the brand to teach")
    parser.add_argument("--storefront", type=Path, default=STOREFRONT)
    parser.add_argument("--brand", type=Path, default=BRAND_FOLDER)
    options = parser.parse_args()
    taught = TAUGHT[options.name]
    write_brand_folder(build(options.storefront, taught), options.brand, taught)


if __name__ == "__main__":
    main()
