"""What one page of a shop says: the product that it shows, if any, with its pictures, and where its links lead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stages.scrape.document import Document
from stages.scrape.links import Link, find_links
from stages.scrape.product_page import find_product
from stages.scrape.products import Product
from stages.scrape.structured_data import schema_nodes
from stages.scrape.text import normalise


@dataclass
class Page:
    """What was read on a page."""

    url: str
    product: Product | None
    links: list[Link]
    robots: str = ""
    """What its robots meta tags say."""
    size: int = 0
    """Bytes."""


def read_page(url: str, content_type: str, body: bytes, card_texts: Iterable[str] = ()) -> Page:
    """Read a page.

    Args:
        content_type: the header's value; may be ''.
        card_texts: what picture cards that lead here say, as evidence of a product of that name.
    """
    document = Document(url, content_type, body)
    nodes = schema_nodes(document)
    product = find_product(document, nodes, [normalise(text) for text in card_texts])
    robots = ", ".join(document.meta("robots", "emblem"))
    return Page(url, product, find_links(document, nodes), robots, len(body))
