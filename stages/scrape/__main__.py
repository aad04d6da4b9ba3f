"""Stage scrape: take all pictures of a brand's products from a shop, politely.

Reads the shop over http (scrape.start_urls and scrape.sitemap_urls; or scrape.storefront, a folder that is served on
loopback during the crawl, so that the demo's crawl is a real one).
Writes data/raw/images/<sha256>.<ext>, the bytes as the shop sent them, and data/raw/manifest.jsonl, a row for each
picture found on a product's page, also for those that were not taken, with the one reason why. A picture of which the
shop gave no more than a thumbnail is taken, with `thumbnail` true and that as its reason: it is not trained on.

Why raw bytes: any re-encoding here would be in every later number. What is wrong with a file, `filter` finds out.

A killed crawl resumes: what was fetched lies in .emblem/scratch until the crawl has ended well. Rows are in the order
of their addresses and hold no time and no port, so the same shop gives the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import Scrape, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.common.tables import Row
from stages.scrape.shop import Shop, shop_on_the_web, storefront


@dataclass(frozen=True)
class Paths:
    """The stage's folders."""

    raw: Path = Path("data/raw")
    scratch: Path = SCRATCH_ROOT


PATHS = Paths()


def scrape(params: Scrape, paths: Paths = PATHS) -> list[Row]:
    """Crawl the shop and publish its pictures with their manifest in `paths.raw`; returns the manifest's rows.

    Raises UserError where nothing was found, or more than params.max_failed_share of the pictures was lost.
    """
    from stages.scrape.crawl import crawl_shop
    from stages.scrape.manifest import manifest, write_raw
    from stages.scrape.outcome import check, report
    from stages.scrape.store import Store

    remove_partials([paths.raw])
    with serving(params) as shop:
        folder = scratch_folder("scrape", resume_key(params), paths.scratch)
        store = Store(folder / "fetched")
        crawled, taken = crawl_shop(params, shop, store)
    rows = manifest(params, crawled, taken)
    check(params, crawled, rows, store)
    write_raw(folder / "raw", rows, store)
    publish(folder / "raw", paths.raw)
    shutil.rmtree(folder)
    report(crawled, rows)
    return rows


@contextmanager
def serving(params: Scrape) -> Iterator[Shop]:
    """Yields the shop to crawl; a storefront is served on loopback meanwhile. Raises UserError where there is none."""
    if not params.storefront:
        yield shop_on_the_web(params)
        return
    folder = Path(params.storefront)
    if not (folder / "index.html").is_file():
        raise UserError(f"scrape.storefront = {params.storefront!r}: no such folder with an index.html")
    from demo.serve import serve

    with serve(folder) as origin:
        yield storefront(params, origin)


def resume_key(params: Scrape) -> str:
    """What decides what is fetched: a crawl resumes from what one with the same key has left behind."""
    layout = "2"  # of the store's files
    return digest(params.model_dump(), Path(params.storefront) if params.storefront else "", layout)


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    scrape(load_params().scrape)


if __name__ == "__main__":
    main()
