"""Where a crawl may go on from a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from lxml.html import HtmlElement  # type: ignore[import-untyped]
from w3lib.html import get_meta_refresh

from stages.scrape.document import Document
from stages.scrape.structured_data import Node
from stages.scrape.text import tidy
from stages.scrape.urls import is_action, is_page, page_key, same_page, without_tracking

PAGING_CLASS = re.compile(r"pagination|pager|paging|page-numbers|load-?more|next-?page", re.I)
_NEXT_TEXT = re.compile(
    r"^\s*(next( page)?|weiter|nächste( seite)?|suivante?|page suivante|siguiente|seguente|successiva|volgende|"
    r"nästa|neste|næste|następna|další|older|load more|show more|view more|mehr( anzeigen| laden)?|[›»→>])"
    r"\s*[›»→>]*\s*$",
    re.I,
)
_PAGE_ADDRESS = re.compile(
    r"([?&](page|p|pg|paged|seite|pagina|pagenumber|pn|start|offset|from)=\d+|/(page|seite|pagina|p)[/_-]?\d+)", re.I
)
REFRESH_WITHIN = 4096
"""Characters at the start of a page in which a refresh stands, as Scrapy has it."""
MOST_LINKS = 5000
"""Links of a page that are looked at; the largest menus and listings of shops have some two thousand. By hand."""
LONGEST_TEXT = 300
"""Characters of a link's text that are kept: names of products are shorter."""


@dataclass(frozen=True)
class Link:
    """Where a page leads."""

    url: str
    text: str = ""
    card: bool = False
    """Whether the link belongs to a picture card, as listings show products."""
    next_page: bool = False


def find_links(document: Document, nodes: list[Node], data: Iterable[tuple[str, str]] = ()) -> list[Link]:
    """Where a crawl may go on from here, in the page's order, each page once.

    Args:
        nodes: the schema.org things that the page declares; their lists lead on, too.
        data: (address, text) of what the page's data for its own script leads to.
    """
    other_languages = {
        page_key(url)
        for tag, url in document.alternates
        if document.language and tag != "x-default" and tag.split("-")[0] != document.language
    }
    found: dict[str, Link] = {}
    named = chain(_named_links(document, nodes), (Link(address, text[:LONGEST_TEXT]) for address, text in data))
    for link in islice(named, MOST_LINKS):
        url = without_tracking(document.absolute(link.url))
        if not url or not is_page(url) or same_page(url, document.url):
            continue
        key = page_key(url)
        if key in other_languages or is_action(url):
            continue
        old = found.get(key, replace(link, url=url))
        found[key] = Link(old.url, old.text or link.text, old.card or link.card, old.next_page or link.next_page)
    return list(found.values())


def _named_links(document: Document, nodes: list[Node]) -> Iterator[Link]:
    """All that a page links to, as it writes it: relative addresses, buttons and the page itself among them."""
    yield Link(_refresh(document))
    for node in document.root.iter("link"):
        if "next" in (node.get("rel") or "").lower().split():
            yield Link(node.get("href"), next_page=True)
    for card, target in document.cards:
        yield Link(target, tidy(card.text_content())[:LONGEST_TEXT] or _alt_text(card), card=True)
    for node in document.root.iter("a", "area", "option"):
        address = node.get("href") if node.tag != "option" else node.get("data-url")
        rel = (node.get("rel") or "").lower().split()
        language = (node.get("hreflang") or document.language).split("-")[0].lower()
        if not address or "nofollow" in rel or language != document.language:
            continue
        text = tidy(node.text_content())[:LONGEST_TEXT]
        is_next = "next" in rel or bool(_NEXT_TEXT.match(text) or _PAGE_ADDRESS.search(address))
        yield Link(address, text, next_page=is_next)
    for node in document.root.iter("button", "div", "section", "ul"):
        for name in ("data-next-url", "data-next-page-url", "data-next", "data-next-href"):
            value = node.get(name) or ""
            if value.startswith(("/", "http", "?")):
                yield Link(value, next_page=True)
    for thing in nodes:
        if "ItemList" in thing.types:
            yield from (Link(_address_of(item)) for item in thing.each("itemListElement"))


def _address_of(item: Any) -> str:
    """The address of an entry of a schema.org list, '' where it has none."""
    if not isinstance(item, Node):
        return item if isinstance(item, str) else ""
    return item.text("url") or item.text("@id") or next((_address_of(inner) for inner in item.each("item")), "")


def _refresh(document: Document) -> str:
    """Where a page sends its visitors by <meta http-equiv="refresh">; '' for nowhere."""
    try:
        return get_meta_refresh(document.text[:REFRESH_WITHIN], document.base)[1] or ""
    except ValueError:  # an address that cannot be taken apart
        return ""


def _alt_text(card: HtmlElement) -> str:
    return tidy(next((image.get("alt") for image in card.iter("img") if image.get("alt")), ""))
