"""What a page hands to its own script: shops drawn by script often have the product's data in the page all the same."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from stages.scrape.document import Document
from stages.scrape.structured_data import Node
from stages.scrape.text import tidy

_PRODUCT_KEY = re.compile(
    r"^(initial|current|selected|single)?_?(product|item|article|pdp)_?(data|details?|page|info|[-:/].*)?$", re.I
)
_NAME_KEYS = ("name", "title", "productName", "displayName")
_PICTURE_KEYS = ("images", "image", "media", "gallery", "photos", "pictures", "featuredImage", "mainImage", "imageUrl")
_ADDRESS_KEYS = ("url", "src", "originalSrc", "original", "full", "large", "href", "contentUrl")
_WRAPPERS = ("edges", "nodes", "node", "image", "items", "data", "attributes")
"""Keys that stand around a thing and say nothing of it (GraphQL's, Strapi's)."""
_LINK_KEYS = ("url", "href", "path", "link", "permalink", "productUrl", "canonicalUrl", "uri")
_SLUG_KEYS = ("slug", "handle", "urlKey", "url_key", "urlPath", "url_path")
_SALE_KEYS = ("price", "prices", "priceRange", "price_range", "sku", "variants", "offers", "sellingPrice", "finalPrice")
MOST_NESTED = 14
"""Levels of data that are searched, as in a gallery's JSON."""
LEAST_WORDS = 200
"""Characters that a page shows before it counts as one that is there without its script. By hand: a loading page has
the shop's name and "please enable JavaScript"."""


def is_drawn_by_script(document: Document) -> bool:
    """Whether the page is an empty root, to be filled by a script: hardly a word, no link, but scripts."""
    if not any(True for _ in document.root.iter("script")) or any(a.get("href") for a in document.root.iter("a")):
        return False
    shown = 0
    for node in document.root.iter():
        if isinstance(node.tag, str) and node.tag not in ("script", "style", "noscript", "template", "title", "head"):
            shown += len((node.text or "").strip())
        shown += len((node.tail or "").strip())
    return shown < LEAST_WORDS


def product_in(data: Any, url: str) -> list[Node]:
    """The product that the page at `url` is about, none or one: the outermost thing that is called one and has a name.

    Called one is what its key calls so, or what is sold at the page's own address: Nuxt's keys are often numbers.
    """
    waiting: deque[tuple[str, Any, int]] = deque([("", data, 0)])
    while waiting:
        key, value, depth = waiting.popleft()
        if not isinstance(value, dict) or depth > MOST_NESTED:
            continue
        called = bool(_PRODUCT_KEY.match(key)) or value.get("__typename") == "Product"
        if called or (depth == 0 and "price" in value) or (_is_sold(value) and _is_at(value, url)):
            node = _product(value)
            if node is not None:
                return [node]
        waiting.extend((name, entry, depth + 1) for name, entry in value.items())
    return []


def _is_sold(value: dict[str, Any]) -> bool:
    return any(key in value for key in _SALE_KEYS)


def _is_at(value: dict[str, Any], url: str) -> bool:
    """Whether a thing's own address, or the last part of it, is the page's."""
    last = unquote(urlsplit(url).path).rstrip("/").rsplit("/", 1)[-1].removesuffix(".html")
    said = [value[key] for key in (*_LINK_KEYS, *_SLUG_KEYS) if isinstance(value.get(key), str)]
    return bool(last) and any(
        unquote(urlsplit(address).path).rstrip("/").rsplit("/", 1)[-1].removesuffix(".html") == last
        for address in said
        if "[" not in address
    )


def _product(value: dict[str, Any]) -> Node | None:
    """A thing of the data as a schema.org product; None for what has no name or no pictures."""
    for wrapper in _WRAPPERS:
        if isinstance(value.get(wrapper), dict) and not any(name in value for name in _NAME_KEYS):
            value = value[wrapper]
    name = next((tidy(value[key]) for key in _NAME_KEYS if isinstance(value.get(key), str) and value[key].strip()), "")
    pictures = [address for key in _PICTURE_KEYS for address in _addresses(value.get(key))]
    if not name or not pictures:
        return None
    values: dict[str, list[Any]] = {"name": [name], "image": list(dict.fromkeys(pictures))}
    for ours, theirs in {
        "color": ("color", "colour"),
        "sku": ("sku",),
        "gtin": ("gtin", "ean"),
        "category": ("category",),
    }.items():
        said = [value[key] for key in theirs if key in value]
        said = [entry.get("name") if isinstance(entry, dict) else entry for entry in said]
        values[ours] = [str(entry) for entry in said if isinstance(entry, (str, int)) and str(entry).strip()]
    return Node({"Product"}, {key: entries for key, entries in values.items() if entries})


def _addresses(value: Any, depth: int = 0) -> Iterator[str]:
    """Addresses of the pictures in a value, in its order."""
    if isinstance(value, str) and value.startswith(("/", "http")):
        yield value
    elif isinstance(value, list) and depth < MOST_NESTED:
        for entry in value:
            yield from _addresses(entry, depth + 1)
    elif isinstance(value, dict) and depth < MOST_NESTED:
        address = next((value[key] for key in _ADDRESS_KEYS if isinstance(value.get(key), str)), None)
        for entry in [address] if address else [value[key] for key in _WRAPPERS if key in value]:
            yield from _addresses(entry, depth + 1)


def links_in(data: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """(address, name) of what the data leads to."""
    if depth > MOST_NESTED:
        return
    if isinstance(data, list):
        for entry in data:
            yield from links_in(entry, depth + 1)
    elif isinstance(data, dict):
        name = next((tidy(data[key]) for key in _NAME_KEYS if isinstance(data.get(key), str)), "")
        for key in _LINK_KEYS:
            address = data.get(key)
            if isinstance(address, str) and re.match(r"https?://|/(?!/)", address):
                yield address, name
        for entry in data.values():
            yield from links_in(entry, depth + 1)
