"""What data/raw holds: a row for every picture that was found, and the bytes of those that were taken."""

from __future__ import annotations

import shutil
from pathlib import Path

from stages.common.params import Scrape
from stages.common.tables import Row, write_table
from stages.scrape.crawl import Crawled
from stages.scrape.downloads import Taken
from stages.scrape.look import Look
from stages.scrape.products import Product, is_named
from stages.scrape.store import Store

THUMBNAIL = "thumbnail: the shop gave no full-size picture"
OTHER_NAME = "name without"
"""Begins the reason of pictures that nobody asked for."""


def manifest(params: Scrape, crawled: Crawled, taken: list[Taken]) -> list[Row]:
    """A row for every picture of every product, in the order of their addresses."""
    rows = [*rows_of_taken(taken), *rows_of_untaken(params, crawled)]
    return sorted(rows, key=lambda row: (row["page_url"], row["image_url"]))


def rows_of_taken(taken: list[Taken]) -> list[Row]:
    """A row for each picture that was asked for, whatever came of it."""
    rows = []
    for item in taken:
        fetched = item.fetched
        row = _row(item.product, fetched.url)
        row |= {
            "final_url": fetched.final_url,
            "http_status": fetched.status or None,
            "content_type": fetched.content_type or None,
            "robots": fetched.robots,
            "drop_reason": fetched.error,
        }
        if item.look is not None:
            row |= _content(item.look)
            row["thumbnail"] = item.thumbnail
        if item.thumbnail:
            row["drop_reason"] = THUMBNAIL
        rows.append(row)
    return rows


def rows_of_untaken(params: Scrape, crawled: Crawled) -> list[Row]:
    """A row for each picture that was not asked for: other names, and pages that refuse use for AI."""
    rows = []
    for product in crawled.products:
        named = is_named(product, params.name_contains)
        if named and product.url not in crawled.refusing:
            continue
        reason = "the page refuses use for AI" if named else f"{OTHER_NAME} {params.name_contains!r}"
        for picture in product.pictures:
            row = _row(product, picture.urls[0])
            rows.append(row | {"robots": "noai" if named else "allowed", "drop_reason": reason})
    return rows


def _row(product: Product, image_url: str) -> Row:
    """The columns of one picture, in their order, before anything is known of its bytes."""
    return {
        "page_url": product.url,
        "image_url": image_url,
        **dict.fromkeys(("final_url", "http_status", "content_type")),
        **dict.fromkeys(("sha256", "file", "bytes", "width", "height", "exif_orientation", "mode")),
        "product": product.name,
        "colour": product.colour,
        "category": product.category,
        "robots": "allowed",
        "thumbnail": False,
        "drop_reason": None,
    }


def _content(look: Look) -> Row:
    """What a picture's bytes say of themselves."""
    if look.header is None:
        return {"drop_reason": look.reason}
    return {
        "sha256": look.sha256,
        "file": f"images/{look.sha256}.{look.header.extension}",
        "bytes": look.size,
        "width": look.header.width,
        "height": look.header.height,
        "exif_orientation": look.header.exif_orientation,
        "mode": look.header.mode,
    }


def write_raw(folder: Path, rows: list[Row], store: Store) -> None:
    """Write the pictures' bytes under names that only their content decides, and the manifest beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    for sha256, file in {row["sha256"]: row["file"] for row in rows if row["file"]}.items():
        shutil.copyfile(store.body_path(sha256), folder / file)
    write_table(folder / "manifest.jsonl", rows)
