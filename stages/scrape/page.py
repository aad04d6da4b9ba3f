"""What one page of a shop says: the product that it shows, if any, with its pictures, and where its links lead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stages.scrape.document import Document
from stages.scrape.links import Link, find_links
from stages.scrape.page_data import is_drawn_by_script, links_in, product_in
from stages.scrape.product_page import find_product
from stages.scrape.products import Product
from stages.scrape.script_data import script_data
from stages.scrape.structured_data import products_of, schema_nodes
from stages.scrape.text import normalise
from stages.scrape.urls import page_key


@dataclass
class Page:
    """What was read on a page."""

    url: str
    product: Product | None
    links: list[Link]
    robots: str = ""
    """What its robots meta tags say."""
    language: str = ""
    copies: list[tuple[str, str]] = field(default_factory=list)
    """(language, address) of the same page for other languages and countries, as hreflang names them."""
    drawn_by_script: bool = False
    """Whether the page is empty until its script has run."""


def read_page(url: str, content_type: str, body: bytes, card_texts: Iterable[str] = ()) -> Page:
    """Read a page. Raises UnreadablePage where it is too large to be parsed.

    Args:
        content_type: the header's value; may be ''.
        card_texts: what picture cards that lead here say, as evidence of a product of that name.
    """
    document = Document(url, content_type, body)
    empty = is_drawn_by_script(document)  # before pictures in <noscript> are made part of the document
    nodes, data = schema_nodes(document), list(script_data(document))
    if not products_of(nodes):
        nodes += next(filter(None, (product_in(entry, document.url) for entry in data)), [])
    product = find_product(document, nodes, [normalise(text) for text in card_texts])
    robots = ", ".join(document.meta("robots", "emblem"))
    links = find_links(document, nodes, links_in(data))
    copies = [(language, at) for language, at in document.alternates if page_key(at) != page_key(url)]
    return Page(url, product, links, robots, document.language, copies, empty and product is None and not links)
