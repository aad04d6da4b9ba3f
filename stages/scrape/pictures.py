"""Which pictures a product has: those of its metadata and of the page's gallery, each once, the largest address first.

Half of the pages name only their first picture in the metadata, so both are read together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from stages.scrape.document import Document
from stages.scrape.gallery import BOILERPLATE_NAME, PagePicture, addresses_in_scripts, script_galleries
from stages.scrape.image_urls import UNMARKED, Candidates, picture_key, width_in_url
from stages.scrape.products import Picture
from stages.scrape.structured_data import Node
from stages.scrape.urls import SKIPPED_END, same_page


def find_pictures(document: Document, node: Node | None, shown: list[PagePicture]) -> list[Picture]:
    """All pictures of the page's product, in its order, each once, the largest address of each first.

    Args:
        node: what structured data says of the product.
        shown: what the page's markup shows of it.
    """
    groups = _Groups()
    for url in _metadata_pictures(document, node):
        groups.add([(url, width_in_url(url))], trusted=True)
    for picture in shown:
        groups.add(picture.candidates, trusted=picture.in_gallery)
    for candidates in script_galleries(document):
        groups.add(candidates, trusted=True)
    shared = [
        document.absolute(url)
        for url in document.meta("og:image", "og:image:url", "og:image:secure_url", "twitter:image")
    ]
    for url in shared:
        if url and not BOILERPLATE_NAME.search(urlsplit(url).path):
            groups.add([(url, min(width_in_url(url), UNMARKED - 1))], trusted=False)  # it may be cut for sharing
    groups.enlarge(addresses_in_scripts(document))
    return groups.pictures()


class _Groups:
    """Joins the addresses of one picture: those of one element, and those that share a picture_key."""

    def __init__(self) -> None:
        self.groups: list[dict[str, int]] = []
        self.trusted: list[bool] = []
        self.of_key: dict[str, int] = {}

    def add(self, candidates: Candidates, trusted: bool) -> None:
        keys = list(dict.fromkeys(picture_key(url) for url, _ in candidates))
        known = sorted({self.of_key[key] for key in keys if key in self.of_key})
        if known:
            place = known[0]
            for other in known[1:]:
                self.groups[place].update(
                    {u: max(w, self.groups[place].get(u, 0)) for u, w in self.groups[other].items()}
                )
                self.trusted[place] |= self.trusted[other]
                self.groups[other] = {}
                self.of_key = {k: place if v == other else v for k, v in self.of_key.items()}
        else:
            place = len(self.groups)
            self.groups.append({})
            self.trusted.append(False)
        for url, width in candidates:
            self.groups[place][url] = max(width, self.groups[place].get(url, 0))
        for key in keys:
            self.of_key[key] = place
        self.trusted[place] |= trusted

    def enlarge(self, urls: Iterable[str]) -> None:
        """Add further addresses of pictures that are known already."""
        for url in urls:
            place = self.of_key.get(picture_key(url))
            if place is not None and url not in self.groups[place]:
                self.groups[place][url] = width_in_url(url)

    def pictures(self) -> list[Picture]:
        return [
            Picture(sorted(group, key=lambda url: (-group[url], list(group).index(url))), trusted)
            for group, trusted in zip(self.groups, self.trusted, strict=True)
            if group
        ]


def _metadata_pictures(document: Document, node: Node | None) -> list[str]:
    found: list[str] = []

    def take(value: Any, depth: int = 0) -> None:
        if isinstance(value, Node) and depth < 4:
            address = next((v for v in value.each("contentUrl", "url", "@id", "src") if isinstance(v, str)), "")
            if address and not address.startswith(("#", "_:")):
                take(address)
            else:
                for inner in value.each("image"):
                    take(inner, depth + 1)
        elif isinstance(value, str):
            url = document.absolute(value)
            if url and not SKIPPED_END.search(urlsplit(url).path) and not same_page(url, document.url):
                found.append(url)

    if node is not None:
        for value in node.each("image", "images", "photo", "associatedMedia"):
            take(value)
        for variant in node.each("hasVariant"):
            if isinstance(variant, Node):
                for value in variant.each("image"):
                    take(value)
    return list(dict.fromkeys(found))
