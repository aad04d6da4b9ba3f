"""Whether a crawl did its work, and what is said of it."""

from __future__ import annotations

from collections import Counter

import click

from stages.common.errors import UserError
from stages.common.params import Scrape
from stages.common.tables import Row
from stages.scrape.crawl import Crawled
from stages.scrape.downloads import SMALLER_COPY
from stages.scrape.manifest import OTHER_NAME, THUMBNAIL
from stages.scrape.products import is_named
from stages.scrape.store import Store

EXAMPLES = 3
"""Names or failures that an error mentions: it is one line."""


def check(params: Scrape, crawled: Crawled, rows: list[Row], store: Store) -> None:
    """Raise UserError where the crawl did not do its work, and forget what failed, so that the next run asks again."""
    fault = _no_products(params, crawled) or _lost_pages(params, crawled)
    fault = fault or _no_pictures(params, crawled, rows)
    if fault and not crawled.products:
        store.forget()  # the shop may not have been there yet
    elif fault:
        store.forget_failures()
    if fault:
        raise UserError(fault)


def _no_products(params: Scrape, crawled: Crawled) -> str:
    """What is wrong with the products that were found; '' for nothing."""
    more = _more(crawled)
    if not crawled.products:
        return f"no product found on {crawled.pages} pages{more}: {_advice(params, crawled)}"
    if any(is_named(product, params.name_contains) for product in crawled.products):
        return ""
    count, names = len(crawled.products), ", ".join(repr(product.name) for product in crawled.products[:EXAMPLES])
    return f"none of {count} products is named {params.name_contains!r} (scrape.name_contains), but {names}{more}"


def _advice(params: Scrape, crawled: Crawled) -> str:
    if crawled.drawn_by_script and not params.javascript:
        return f"{crawled.drawn_by_script} pages are empty until a script has drawn them, set scrape.javascript: true"
    return "do scrape.start_urls lead to the shop's products?"


def _lost_pages(params: Scrape, crawled: Crawled) -> str:
    """What is wrong with the pages of products; '' for nothing."""
    lost, seen = crawled.lost_products, len(crawled.products) + len(crawled.lost_products)
    if len(lost) <= params.max_failed_share * seen:
        return ""
    reason, count = Counter(crawled.lost[url] for url in lost).most_common(1)[0]
    example = next(url for url in lost if crawled.lost[url] == reason)
    share = f"{len(lost)} of {seen} product pages lost, more than scrape.max_failed_share = {params.max_failed_share:g}"
    return f"{share}; most often ({count}): {reason}, such as {example}"


def _no_pictures(params: Scrape, crawled: Crawled, rows: list[Row]) -> str:
    """What is wrong with the pictures that were asked for; '' for nothing."""
    more, left = _more(crawled), (OTHER_NAME, SMALLER_COPY)
    asked = [row for row in rows if row["robots"] == "allowed" and not (row["drop_reason"] or "").startswith(left)]
    lost = [row for row in asked if row["drop_reason"] and not row["thumbnail"]]
    if asked and all(row["thumbnail"] for row in asked):
        return f"all {len(asked)} pictures are thumbnails: the shop gave no full-size picture{more}"
    if not asked:
        named = sum(is_named(product, params.name_contains) for product in crawled.products)
        reasons = Counter(row["drop_reason"] for row in rows if row["robots"] != "allowed").most_common(1)
        why = reasons[0][0] if reasons else "none found"
        return f"none of the pictures of {named} products may be taken: {why}{more}"
    if len(lost) <= params.max_failed_share * len(asked):
        return ""
    reason, count = Counter(row["drop_reason"] for row in lost).most_common(1)[0]
    example = next(row["image_url"] for row in lost if row["drop_reason"] == reason)
    allowed = f"scrape.max_failed_share = {params.max_failed_share:g}"
    share = f"{len(lost)} of {len(asked)} pictures lost, more than {allowed}"
    return f"{share}; most often ({count}): {reason}, such as {example}{more}"


def _more(crawled: Crawled) -> str:
    """What else was noted during the crawl, in brackets."""
    failures = "; ".join(
        f"{count} pages: {reason}, such as {_example(crawled, reason)}"
        for reason, count in crawled.failures.most_common(EXAMPLES)
    )
    notes = "; ".join(filter(None, [*crawled.notes, failures]))
    return f" ({notes})" if notes else ""


def _example(crawled: Crawled, reason: str) -> str:
    """The first page that was lost for a reason."""
    return next(url for url, why in crawled.lost.items() if why == reason)


def report(crawled: Crawled, rows: list[Row]) -> None:
    """Say in a few lines what was found and what was not taken."""
    files = len({row["sha256"] for row in rows if row["sha256"]})
    taken = sum(1 for row in rows if row["sha256"])
    click.echo(
        f"{len(crawled.products)} products on {crawled.pages} pages; {taken} pictures taken, {files} different files"
    )
    for reason, count in Counter(row["drop_reason"] for row in rows if row["drop_reason"]).most_common():
        click.echo(f"  {count} {'not to be used' if reason == THUMBNAIL else 'not taken'}: {reason}")
    full = {row["page_url"] for row in rows if row["sha256"] and not row["thumbnail"]}
    without = len({row["page_url"] for row in rows if row["thumbnail"]} - full)
    if without:
        click.echo(f"  {without} products have no full-size picture, only thumbnails")
    for reason, count in crawled.failures.most_common():
        click.echo(f"  {count} pages not read: {reason}, such as {_example(crawled, reason)}", err=True)
    for note in crawled.notes:
        click.echo(f"  {note}", err=True)
