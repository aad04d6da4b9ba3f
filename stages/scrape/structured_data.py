"""Which schema.org things a page declares: JSON-LD, microdata and RDFa, read by extruct, in one shape.

What shops write is rarely what the standards say: JSON in comments, in CDATA, in entities or with commas too many.
"""

from __future__ import annotations

import html
import json
import re
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import lxml.html  # type: ignore[import-untyped]
from extruct.jsonld import JsonLdExtractor
from extruct.rdfa import RDFaExtractor
from extruct.w3cmicrodata import MicrodataExtractor

from stages.scrape.document import Document
from stages.scrape.text import tidy

_PRODUCT_TYPES = {"Product", "ProductGroup", "IndividualProduct", "ProductModel"}
_ELSEWHERE = frozenset(
    {
        "containsPlace",
        "hasPart",
        "hasVariant",
        "isAccessoryOrSparePartFor",
        "isConsumableFor",
        "isRelatedTo",
        "isSimilarTo",
        "isVariantOf",
        "itemListElement",
        "itemOffered",
        "itemReviewed",
        "mentions",
        "offers",
        "relatedLink",
    }
)
"""schema.org's properties whose products are other ones than the page's."""
_SHORT = re.compile(r"^https?://(www\.)?schema\.org/|^schema:|^http://data-vocabulary\.org/|^product:")
"""What stands before the name of a type or property, in one of its spellings."""
_OPENING, _CLOSING = ("<!--", "<![CDATA["), ("-->", "]]>")
"""A comment or CDATA section around a whole script, as XHTML asked for it."""
MOST_MENDED = 500_000
"""Characters of JSON that are mended where it is damaged: extruct takes comments out one character at a time."""
MOST_THINGS = 20_000
"""JSON-LD things of a page, each counted as often as another one refers to it: thirty that refer to each other twice
would be a billion. A listing with all offers has some thousand. By hand."""
MOST_NESTED = 40
"""Levels of JSON that are searched for @id; what real pages nest is below ten. By hand, as the other depths here."""


class Node:
    """A schema.org thing in whichever syntax: short type names, lists of strings and nodes by property."""

    def __init__(self, types: set[str], values: dict[str, list[Any]]) -> None:
        self.types, self.values = types, values

    def each(self, *names: str) -> Iterator[Any]:
        """The values of these properties, strings and nodes."""
        for name in names:
            yield from self.values.get(name, [])

    def text(self, *names: str) -> str:
        """The first of these properties' values as a text, a node's by its name; '' where there is none."""
        for value in self.each(*names):
            if isinstance(value, Node):
                value = value.text("name", "@value", "url", "@id")
            if isinstance(value, str) and tidy(value):
                return tidy(value)
        return ""


def schema_nodes(document: Document) -> list[Node]:
    """All top-level schema.org things of the page."""
    return [*_json_ld(document), *_microdata(document), *_rdfa(document)]


def _json_ld(document: Document) -> list[Node]:
    loaded = []
    for script in document.root.iter("script"):
        if "ld+json" in (script.get("type") or "").lower():
            loaded.append(lenient_json(script.text or ""))
    return _nodes_of(loaded)


def lenient_json(text: str) -> Any:
    """JSON as shops write it: wrapped in comments, CDATA or entities, with raw line breaks, comments, commas too many.

    None where it cannot be read.
    """
    text = _unwrapped(text).rstrip(";")
    for read in (partial(json.loads, strict=False), _mended_json):
        for attempt in dict.fromkeys((text, html.unescape(text))):
            try:
                return read(attempt)
            except (ValueError, RecursionError):
                continue
    return None


def _unwrapped(text: str) -> str:
    """The text within a comment or CDATA section."""
    inner = text.strip().removeprefix("//").lstrip()
    for mark in _OPENING:
        if inner.startswith(mark):
            text = inner[len(mark) :]
    inner = text.rstrip().removesuffix(";").rstrip()
    for mark in _CLOSING:
        if inner.endswith(mark):
            text = inner[: -len(mark)].rstrip().removesuffix("//")
    return text.strip()


def _mended_json(text: str) -> list[Any]:
    """The top-level values of JSON with comments or commas too many. Raises ValueError where it is no such JSON."""
    if len(text) > MOST_MENDED:
        raise ValueError("too long to be mended")
    script = lxml.html.Element("script", type="application/ld+json")
    script.text = text
    return list(JsonLdExtractor().extract_items(script))


def _microdata(document: Document) -> list[Node]:
    if "itemscope" not in document.text:
        return []
    try:
        items = MicrodataExtractor(nested=True).extract_items(document.root, base_url=document.base)
    except Exception:  # the page's mistake, in a syntax that it may not need
        return []
    return [node for node in (_microdata_node(item) for item in items) if isinstance(node, Node)]


def _microdata_node(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    if "value" in item and "properties" not in item:
        return item["value"]
    types = item.get("type") or []
    types = {types} if isinstance(types, str) else set(types)
    values = {
        _SHORT.sub("", name): [_microdata_node(v) for v in (value if isinstance(value, list) else [value])]
        for name, value in (item.get("properties") or {}).items()
    }
    return Node({_SHORT.sub("", name) for name in types}, values)


def _rdfa(document: Document) -> list[Node]:
    if not re.search(r"typeof\s*=\s*[\"'][^\"']*Product", document.text):
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            items = RDFaExtractor().extract(document.text, base_url=document.base)
    except Exception:  # the page's mistake, in a syntax that it may not need
        return []
    return _nodes_of(_in_page_order(items, document.text))


def _in_page_order(value: Any, text: str) -> Any:
    """RDF knows no order, and its library gives another one each time: several values come as the page has them."""

    def place(entry: Any) -> tuple[int, str]:
        said = str(entry.get("@value") or entry.get("@id") or "") if isinstance(entry, dict) else str(entry)
        at = text.find(said.rstrip("/").rsplit("/", 1)[-1]) if said and not said.startswith("_:") else -1
        return (at if at >= 0 else len(text), "" if said.startswith("_:") else said)

    if isinstance(value, list):
        return sorted((_in_page_order(entry, text) for entry in value), key=place)
    if isinstance(value, dict):
        return {name: _in_page_order(entry, text) for name, entry in value.items()}
    return value


def _nodes_of(loaded: Any) -> list[Node]:
    """Nodes of JSON-LD, as written or expanded: @graph opened, @id references followed."""
    by_id: dict[str, dict[str, Any]] = {}
    converted_things = 0

    def index(value: Any, depth: int = 0) -> None:
        if depth > MOST_NESTED:
            return
        if isinstance(value, list):
            for entry in value:
                index(entry, depth + 1)
        elif isinstance(value, dict):
            if isinstance(value.get("@id"), str) and len(value) > 1:
                by_id.setdefault(value["@id"], value)
            for entry in value.values():
                index(entry, depth + 1)

    def convert(value: Any, path: tuple[int, ...]) -> Any:
        if not isinstance(value, dict):
            return str(value) if isinstance(value, (int, float)) else value
        if set(value) <= {"@value", "@language", "@type"} and "@value" in value:
            return str(value["@value"])
        if set(value) == {"@id"} and isinstance(value["@id"], str):
            value = by_id.get(value["@id"], value)
            if set(value) == {"@id"}:
                return value["@id"]
        nonlocal converted_things
        converted_things += 1
        if id(value) in path or len(path) > 20 or converted_things > MOST_THINGS:
            return None
        types = value.get("@type") or value.get("type") or []
        types = [types] if isinstance(types, str) else [t for t in types if isinstance(t, str)]
        values: dict[str, list[Any]] = {}
        for name, entry in value.items():
            if name in ("@context", "@type"):
                continue
            entries = entry if isinstance(entry, list) else [entry]
            converted = [convert(piece, (*path, id(value))) for piece in entries]
            values[_SHORT.sub("", name)] = [piece for piece in converted if piece is not None]
        return Node({_SHORT.sub("", t) for t in types}, values)

    def tops(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
        if isinstance(value, list) and depth < 10:
            for entry in value:
                yield from tops(entry, depth + 1)
        elif isinstance(value, dict):
            if "@graph" in value:
                yield from tops(value["@graph"], depth + 1)
            if set(value) - {"@graph", "@context", "@id"}:
                yield value

    index(loaded)
    return [node for node in (convert(value, ()) for value in tops(loaded)) if isinstance(node, Node)]


def products_of(nodes: list[Node]) -> list[Node]:
    """The products that a page declares about itself; not those inside lists, offers, variants or recommendations."""
    found: list[Node] = []

    def walk(node: Node, depth: int) -> None:
        if node.types & _PRODUCT_TYPES:
            found.append(node)
            return
        for name, values in node.values.items():
            if name not in _ELSEWHERE and depth < 8:
                for value in values:
                    if isinstance(value, Node):
                        walk(value, depth + 1)

    for node in nodes:
        walk(node, 0)
    return found
