"""Stage scrape: take all pictures of a brand's products from a shop, politely.

Reads the shop over http (scrape.start_urls and scrape.sitemap_urls; or scrape.storefront, a folder that is served on
loopback during the crawl, so that the demo's crawl is a real one).
Writes data/raw/images/<sha256>.<ext>, the bytes as the shop sent them, and data/raw/manifest.jsonl, a row for each
picture found on a product's page, also for those that were not taken, with the one reason why.

Why raw bytes: any re-encoding here would be in every later number. What is wrong with a file, `filter` finds out.

A killed crawl resumes: what was fetched lies in .emblem/scratch until the crawl has ended well. Rows are in the order
of their addresses and hold no time and no port, so the same shop gives the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import PARAMS_FILE, Scrape, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.common.tables import Row, write_table

if TYPE_CHECKING:
    from stages.scrape.crawl import Crawled, Taken
    from stages.scrape.fetch import Guard
    from stages.scrape.products import Picture, Product

RAW = Path("data/raw")
STOREFRONT_ORIGIN = "http://storefront.invalid"


def scrape(params: Scrape, target: Path = RAW, scratch_root: Path = SCRATCH_ROOT) -> list[Row]:
    """Crawl the shop and publish its pictures with their manifest in `target`; returns the manifest's rows.

    Raises UserError where nothing was found, or more than params.max_failed_share of the pictures was lost.
    """
    remove_partials([target])
    with serving(params) as (origin, starts, sitemaps):
        key = digest(params.model_dump(), Path(params.storefront) if params.storefront else "", "1")
        folder = scratch_folder("scrape", key, scratch_root)
        crawled, taken = crawl_shop(params, starts, sitemaps, origin, folder / "fetched")
    rows = [*rows_of_taken(taken), *rows_of_untaken(params, crawled)]
    rows.sort(key=lambda row: (row["page_url"], row["image_url"]))
    check(params, crawled, rows, folder)
    write_raw(folder / "raw", rows, taken)
    publish(folder / "raw", target)
    shutil.rmtree(folder)
    report(crawled, rows)
    return rows


# --- The shop --------------------------------------------------------------------------------------------------------


@contextmanager
def serving(params: Scrape) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yields the storefront's real origin ('' for a real shop), the start pages and the sitemaps, all absolute."""
    if not params.storefront:
        addresses = [*params.start_urls, *params.sitemap_urls]
        for url in addresses:
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise UserError(
                    f"scrape.start_urls: {url!r} is no http(s) address (only a storefront's may be relative)"
                )
        if not addresses:
            raise UserError("scrape.start_urls and scrape.sitemap_urls are both empty: name a page to start from")
        yield "", list(params.start_urls), list(params.sitemap_urls)
        return
    if not Path(params.storefront, "index.html").is_file():
        raise UserError(f"scrape.storefront = {params.storefront!r}: no such folder with an index.html")
    from demo.serve import serve

    with serve(Path(params.storefront)) as origin:
        starts = [urljoin(f"{STOREFRONT_ORIGIN}/", url) for url in params.start_urls]
        yield origin, starts, [urljoin(f"{STOREFRONT_ORIGIN}/", url) for url in params.sitemap_urls]


def crawl_shop(
    params: Scrape, starts: list[str], sitemaps: list[str], origin: str, store: Path
) -> tuple[Crawled, list[Taken]]:
    """Find the shop's products, and fetch the pictures of those whose name is asked for."""
    from stages.scrape.crawl import Crawl, is_named, run_in_scrapy, scrapy_settings, take_pictures
    from stages.scrape.fetch import Fetcher, Guard, PoliteThrottle, Store, is_public, port_of

    if params.javascript:
        check_javascript()
    real = [origin] if origin else [*starts, *sitemaps]
    named_private = [url for url in (*real, *_as_urls(params.allowed_hosts)) if origin or params.allow_loopback]
    private = {(urlsplit(url).hostname or "", port_of(url)) for url in named_private}
    guard = Guard(real, params.allowed_hosts, private)
    outcome: list[Any] = []

    async def work(crawler: Any) -> None:
        throttle = crawler.get_extension(PoliteThrottle)
        alias = (STOREFRONT_ORIGIN, origin) if origin else None
        fetcher = Fetcher(crawler.engine, throttle, params, Store(store), guard, alias)
        crawl = Crawl(params, fetcher, starts, sitemaps)
        crawled = await crawl.find_products()
        wanted = [p for p in crawled.products if is_named(p, params.name_contains) and p.url not in crawled.refusing]
        taken = await take_pictures(crawl, wanted, width_of, params.max_megabytes * 2**20 - crawl.bytes)
        outcome.extend((crawled, taken))

    hosts = [urlsplit(url).hostname or "" for url in real]
    loopback_only = all(_is_loopback(host, is_public) for host in hosts)
    run_in_scrapy(scrapy_settings(params, loopback_only) | {"PLAYWRIGHT_ABORT_REQUEST": browser_may_not(guard)}, work)
    return outcome[0], outcome[1]


def _as_urls(hosts: list[str]) -> list[str]:
    return [host if "//" in host else f"http://{host}" for host in hosts]


def _is_loopback(host: str, is_public: Any) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return host == "localhost"


def browser_may_not(guard: Guard) -> Callable[[Any], bool]:
    """What a page that is drawn in a browser may not load: pictures and films (not needed to draw it), other hosts."""
    return lambda request: (
        request.resource_type in ("image", "media", "font") or bool(guard.refusal_of_name(request.url))
    )


def check_javascript() -> None:
    """Raises UserError where the extra that draws pages in a browser is not installed."""
    try:
        import scrapy_playwright  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        message = 'pip install "emblem[javascript]" && playwright install chromium'
        raise UserError(f"scrape.javascript = true needs an extra: {message}") from None


def width_of(content: bytes) -> int:
    """The width in pixels that a picture's header tells, 0 for what is no picture."""
    from stages.common.images import UnreadableImage, read_header

    try:
        return read_header(content).width
    except UnreadableImage:
        return 0


# --- The manifest ----------------------------------------------------------------------------------------------------


def rows_of_taken(taken: list[Taken]) -> list[Row]:
    """A row for each picture that was asked for, whatever came of it."""
    from stages.common.images import UnreadableImage, read_header

    rows = []
    for item in taken:
        fetched, reason = item.fetched, item.fetched.error
        row = _row(item.product, item.picture, fetched.url)
        row |= {
            "final_url": fetched.final_url,
            "http_status": fetched.status or None,
            "content_type": fetched.content_type or None,
            "robots": fetched.robots,
            "drop_reason": reason,
        }
        if reason is None:
            try:
                header = read_header(fetched.body)
            except UnreadableImage as error:
                row["drop_reason"] = str(error)
            else:
                sha256 = hashlib.sha256(fetched.body).hexdigest()
                row |= {
                    "sha256": sha256, "file": f"images/{sha256}.{header.extension}", "bytes": len(fetched.body),
                    "width": header.width, "height": header.height, "exif_orientation": header.exif_orientation,
                    "mode": header.mode,
                }  # fmt: skip
        rows.append(row)
    return rows


def rows_of_untaken(params: Scrape, crawled: Crawled) -> list[Row]:
    """A row for each picture that was not asked for: other names, and pages that refuse use for AI."""
    from stages.scrape.crawl import is_named

    rows = []
    for product in crawled.products:
        named = is_named(product, params.name_contains)
        if named and product.url not in crawled.refusing:
            continue
        reason = "the page refuses use for AI" if named else f"name without {params.name_contains!r}"
        for picture in product.pictures:
            row = _row(product, picture, picture.urls[0])
            rows.append(row | {"robots": "noai" if named else "allowed", "drop_reason": reason})
    return rows


def _row(product: Product, picture: Picture, image_url: str) -> Row:
    return {
        "page_url": product.url, "image_url": image_url, "final_url": None, "http_status": None, "content_type": None,
        "sha256": None, "file": None, "bytes": None, "width": None, "height": None, "exif_orientation": None,
        "mode": None, "product": product.name, "colour": product.colour, "category": product.category,
        "robots": "allowed", "drop_reason": None,
    }  # fmt: skip


def check(params: Scrape, crawled: Crawled, rows: list[Row], folder: Path) -> None:
    """Raise UserError where the crawl did not do its work, and forget what failed, so that the next run asks again."""
    from stages.scrape.crawl import SMALLER_COPY, is_named
    from stages.scrape.fetch import Store

    failures = "; ".join(f"{count} pages: {reason}" for reason, count in crawled.failures.most_common(3))
    told = "; ".join([*crawled.notes, *([failures] if failures else [])])
    more = f" ({told})" if told else ""
    named = [product for product in crawled.products if is_named(product, params.name_contains)]
    left = ("name without", SMALLER_COPY)
    asked = [row for row in rows if row["robots"] == "allowed" and not (row["drop_reason"] or "").startswith(left)]
    lost = [row for row in asked if row["drop_reason"]]
    message = ""
    if not crawled.products:
        message = f"no product found on {crawled.pages} pages{more}: do scrape.start_urls lead to the shop's products?"
    elif not named:
        names = ", ".join(repr(product.name) for product in crawled.products[:3])
        count = len(crawled.products)
        message = (
            f"none of {count} products is named {params.name_contains!r} (scrape.name_contains), but {names}{more}"
        )
    elif not asked:
        reasons = Counter(row["drop_reason"] for row in rows if row["robots"] != "allowed").most_common(1)
        why = reasons[0][0] if reasons else "none found"
        message = f"none of the pictures of {len(named)} products may be taken: {why}{more}"
    elif len(lost) > params.max_failed_share * len(asked):
        reason, count = Counter(row["drop_reason"] for row in lost).most_common(1)[0]
        example = next(row["image_url"] for row in lost if row["drop_reason"] == reason)
        allowed = f"scrape.max_failed_share = {params.max_failed_share:g}"
        share = f"{len(lost)} of {len(asked)} pictures lost, more than {allowed}"
        message = f"{share}; most often ({count}): {reason}, such as {example}{more}"
    if message:
        Store(folder / "fetched").forget_failures()
        raise UserError(message)


def write_raw(folder: Path, rows: list[Row], taken: list[Taken]) -> None:
    """Write the pictures' bytes under names that only their content decides, and the manifest beside them."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    files = {row["sha256"]: folder / row["file"] for row in rows if row["file"]}
    for item in taken:
        path = files.get(hashlib.sha256(item.fetched.body).hexdigest())
        if path is not None and not item.fetched.error:
            path.write_bytes(item.fetched.body)
    write_table(folder / "manifest.jsonl", rows)


def report(crawled: Crawled, rows: list[Row]) -> None:
    """Say in a few lines what was found and what was not taken."""
    files = len({row["sha256"] for row in rows if row["sha256"]})
    taken = sum(1 for row in rows if row["sha256"])
    click.echo(
        f"{len(crawled.products)} products on {crawled.pages} pages; {taken} pictures taken, {files} different files"
    )
    for reason, count in Counter(row["drop_reason"] for row in rows if row["drop_reason"]).most_common():
        click.echo(f"  {count} not taken: {reason}")
    for reason, count in crawled.failures.most_common():
        click.echo(f"  {count} pages not read: {reason}", err=True)
    for note in crawled.notes:
        click.echo(f"  {note}", err=True)


@click.command(help=__doc__)
def main() -> None:
    """Run the stage."""
    stage_main(lambda: _run())()


def _run() -> None:
    scrape(load_params(PARAMS_FILE).scrape)


if __name__ == "__main__":
    main()
