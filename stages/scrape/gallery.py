"""Which pictures a page's own markup shows of its subject, with every address that each of them has.

Shop systems keep the addresses of larger copies in srcset, in attributes of their own, in the link around a picture, in
<noscript>, and in JSON for their scripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import lxml.html  # type: ignore[import-untyped]
from lxml.etree import ParserError  # type: ignore[import-untyped]
from lxml.html import HtmlElement

from stages.scrape.document import LONGEST_ADDRESS, LONGEST_CLASS, Document
from stages.scrape.html import unnest_voids
from stages.scrape.image_urls import ORIGINAL, UNMARKED, Candidates, parse_srcset, picture_key, width_in_url
from stages.scrape.structured_data import lenient_json
from stages.scrape.urls import IMAGE_END, SKIPPED_END

_GALLERY = re.compile(
    r"galler|carousel|slider|slides?|swiper|slick|splide|product-?(image|media|photo|picture)s?|photos?|pictures|"
    r"images?|thumb|zoom|lightbox|fancybox|fotorama|flexslider|media-?viewer|pswp|magnific",
    re.I,
)
_LARGE_ATTRIBUTE = re.compile(r"zoom|large|full|orig|hi-?res|high|big|master|magnify|lightbox", re.I)
_SOURCE_ATTRIBUTE = re.compile(
    r"^(src|data-src|data-lazy(-src)?|data-original|data-echo|data-url|data-image|data-img|content)$", re.I
)
_GALLERY_KEY = re.compile(r"galler|^images?$|^media$|^photos?$|^pictures$", re.I)
_PICTURES_KEY = re.compile(r"galler|images?|media|photos?|pictures", re.I)
_FOREIGN_KEY = re.compile(r"relat|recommend|similar|upsell|cross|swatch", re.I)
_ADDRESS_KEY = re.compile(
    r"^(full|zoom|large|original|src|url|img|image|thumb|medium|small)(_?(url|src|image))?$", re.I
)
_QUOTED_ADDRESS = re.compile(
    r"[\"']((?:https?:)?\\?/\\?/?[^\"'\s<>]{4,400}?\.(?:jpe?g|png|webp)[^\"'\s<>]{0,200})[\"']", re.I
)
BOILERPLATE_NAME = re.compile(
    r"(^|[/_.-])(spacer|blank|pixel|spinner|loader|loading|ajax-loader|sprite|favicon|placeholder|no-?image|"
    r"visa|mastercard|paypal|klarna|amex|facebook|twitter|instagram|pinterest|youtube|tiktok|whatsapp|trustpilot)([/_.-]|$)",
    re.I,
)
"""Pictures that belong to the shop: what stands for one that is still loading, and the signs of others."""
ICON_SIDE = 32
"""Pixels: icons are drawn at 16, 24 or 32."""
GALLERY_STEPS = 6
"""Elements between a picture and its gallery's; by hand, as Magento's and Shopify's nest."""
LAZY_WIDTH = 500
"""Pixels that a src may have whose srcset names scaled copies: more than a thumbnail, less than a large copy."""
MOST_DENSITY = 400
"""Above this (4x), a number of a srcset is a width and not a density in hundreds."""
LONGEST_STYLE = 2000
"""Characters of a style attribute that are searched for a background. By hand."""
LONGEST_SCRIPT = 500_000
"""Characters of a script that is searched for addresses: pages have theirs in less, and the search is not free."""
MOST_NESTED = 14
"""Levels of a gallery's JSON; Magento's lies below five. By hand."""


@dataclass(frozen=True)
class PagePicture:
    """A picture that a page shows of its subject."""

    candidates: Candidates
    in_gallery: bool
    """Whether it stands in what is named like a gallery."""


def gallery_pictures(document: Document) -> list[PagePicture]:
    """Pictures on the page that belong to what it is about, those in <noscript> made part of the document."""
    return [PagePicture(candidates, in_gallery(element)) for element, candidates in _own_pictures(document)]


def _own_pictures(document: Document) -> Iterator[tuple[HtmlElement, Candidates]]:
    for image in [*document.root.iter("img"), *_hidden_images(document)]:
        if not _too_small(image) and document.is_own(image):
            candidates = _candidates(document, image)
            if candidates:
                yield image, candidates
    for anchor in document.root.iter("a"):
        if any(True for _ in anchor.iter("img")):
            continue
        url = document.absolute(anchor.get("href"))
        if url and IMAGE_END.search(urlsplit(url).path) and in_gallery(anchor) and document.is_own(anchor):
            yield anchor, [(url, ORIGINAL)]
    for element in document.root.iter("div", "li", "figure", "section", "span", "a", "button"):
        if any(True for _ in element.iter("img")) or not in_gallery(element):
            continue
        candidates = _own_addresses(document, element)
        style = re.search(
            r"background(?:-image)?\s*:[^;]*url\(\s*['\"]?([^'\")]+)", (element.get("style") or "")[:LONGEST_STYLE]
        )
        if style:
            url = document.absolute(style.group(1))
            candidates += [(url, width_in_url(url))] if url else []
        if candidates and document.is_own(element):
            yield element, candidates


def _hidden_images(document: Document) -> list[HtmlElement]:
    """Pictures in <noscript>, which lxml reads as text when it stands in the head, as elements otherwise."""
    found: list[HtmlElement] = []
    for node in document.root.iter("noscript", "template"):
        if node.text and "<img" in node.text and not len(node):
            try:
                inner = lxml.html.fragment_fromstring(f"<div>{node.text}</div>")
            except (ParserError, ValueError):
                continue
            unnest_voids(inner)
            node.text = None
            node.append(inner)
            found += inner.iter("img")
    return found


def _candidates(document: Document, image: HtmlElement) -> Candidates:
    """All addresses of the picture that an <img> shows, with widths: its own, its <picture>'s, the link's around it."""
    found = _own_addresses(document, image)
    scaled = any(width < UNMARKED for _, width in found)
    parent = image.getparent()
    if parent is not None and parent.tag == "picture":
        for source in parent.iter("source"):
            if "avif" not in (source.get("type") or "") or not found:
                found += _own_addresses(document, source)
    for above in islice(image.iterancestors(), 4):  # a link around a picture is close; further out it is a card's
        if above.tag == "a" or above.get("data-src") or above.get("data-zoom"):
            found += _own_addresses(document, above)
            url = document.absolute(above.get("href")) if above.tag == "a" else ""
            if url and (
                IMAGE_END.search(urlsplit(url).path) or picture_key(url) == picture_key((found or [("", 0)])[0][0])
            ):
                found.append((url, ORIGINAL))
            if above.tag == "a":
                break
        if len(list(islice(above.iter("img"), 2))) > 1:
            break
    source = document.absolute(image.get("src"))
    best: dict[str, int] = {}
    for url, width in found:
        if url == source and width == UNMARKED and scaled and image.get("srcset"):
            width = LAZY_WIDTH
        if not BOILERPLATE_NAME.search(urlsplit(url).path):
            best[url] = max(width, best.get(url, 0))
    return list(best.items())


def _own_addresses(document: Document, node: HtmlElement) -> Candidates:
    """Addresses of pictures in one element's attributes, whatever a shop system calls them."""
    found: Candidates = []
    for name, value in node.attrib.items():
        name, value = str(name).lower(), str(value).strip()
        if not value or value.startswith("data:"):
            continue
        if "srcset" in name:
            for address, width in parse_srcset(value):
                url = document.absolute(address)
                if url and not address.startswith("data:"):
                    named = width_in_url(url)
                    is_sure = width > MOST_DENSITY or named >= UNMARKED
                    found.append((url, width if is_sure else max(width, named)))
        elif value[0] in "[{" and ("http" in value or _image_in(value)):
            for address in _strings(lenient_json(value)):
                url = document.absolute(address)
                if url and IMAGE_END.search(urlsplit(url).path):
                    found.append((url, width_in_url(url)))
        elif name == "href" and node.tag == "a":
            continue
        elif _is_address(value) and IMAGE_END.search(re.split(r"[?#]", value, maxsplit=1)[0]):
            url = document.absolute(value)
            if url:
                found.append((url, ORIGINAL if _LARGE_ATTRIBUTE.search(name) else width_in_url(url)))
        elif _SOURCE_ATTRIBUTE.match(name) and node.tag in ("img", "source") and _is_address(value):
            url = document.absolute(value)
            if url and not SKIPPED_END.search(urlsplit(url).path):
                found.append((url, width_in_url(url)))
        elif (
            _LARGE_ATTRIBUTE.search(name)
            and node.tag in ("img", "source", "a")
            and re.match(r"(https?:)?//|/[^/]", value)
        ):
            url = document.absolute(value)
            if url and not SKIPPED_END.search(urlsplit(url).path):
                found.append((url, ORIGINAL))
    return found


def _is_address(value: str) -> bool:
    return len(value) < LONGEST_ADDRESS and not re.search(r"[\s<>{}]", value.strip())


def _image_in(value: str) -> bool:
    return bool(re.search(r"\.(jpe?g|png|webp)", value, re.I))


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)) and depth < 6:
        for entry in value if isinstance(value, list) else value.values():
            yield from _strings(entry, depth + 1)


def in_gallery(node: HtmlElement) -> bool:
    """Whether an element, or one close around it, is named like a gallery."""
    for step, above in enumerate((node, *node.iterancestors())):
        if step > GALLERY_STEPS or above.tag in ("body", "main"):
            return False
        if (above.get("class") or above.get("id")) and _is_gallery_name(
            f"{above.get('class') or ''} {above.get('id') or ''}"[:LONGEST_CLASS]
        ):
            return True
    return False


@lru_cache(4096)
def _is_gallery_name(text: str) -> bool:
    return bool(_GALLERY.search(text))


def _too_small(image: HtmlElement) -> bool:
    """Whether the markup says that this is an icon."""
    sides = []
    for name in ("width", "height"):
        digits = re.match(r"\s*(\d+)\s*(px)?\s*$", image.get(name) or "")
        if digits:
            sides.append(int(digits.group(1)))
    if sides and max(sides) <= ICON_SIDE:
        return True
    return (image.get("src") or "").split("?")[0].lower().endswith(".svg")


def script_galleries(document: Document) -> Iterator[Candidates]:
    """Galleries that a page keeps as JSON for its scripts (Magento's, Shopify's and their like)."""
    for script in document.root.iter("script"):
        kind, text = (script.get("type") or "").lower(), script.text or ""
        if ("json" not in kind and "magento" not in kind) or "ld+json" in kind or not _image_in(text):
            continue
        yield from _gallery_entries(document, lenient_json(text), "")


def _gallery_entries(document: Document, value: Any, name: str, depth: int = 0) -> Iterator[Candidates]:
    if depth > MOST_NESTED:
        return
    is_gallery = bool(_GALLERY_KEY.search(name))
    if isinstance(value, list):
        for entry in value:
            if isinstance(entry, str) and is_gallery and _image_in(entry):
                url = document.absolute(entry)
                if url:
                    yield [(url, width_in_url(url))]
            else:
                yield from _gallery_entries(document, entry, name, depth + 1)
    elif isinstance(value, dict):
        addresses = []
        for key, entry in value.items():
            if isinstance(entry, str) and _ADDRESS_KEY.match(key):
                url = document.absolute(entry)
                if url and IMAGE_END.search(urlsplit(url).path):
                    addresses.append((url, ORIGINAL if _LARGE_ATTRIBUTE.search(key) else width_in_url(url)))
        if addresses and (is_gallery or "full" in value):
            yield addresses
        for key, entry in value.items():
            if not _FOREIGN_KEY.search(key):
                inherited = name if key == "data" else ""
                child = key if _PICTURES_KEY.search(key) else inherited
                yield from _gallery_entries(document, entry, child, depth + 1)


def addresses_in_scripts(document: Document) -> Iterator[str]:
    """Addresses of pictures, of whatever, that stand in quotes in the page's scripts."""
    for script in document.root.iter("script"):
        text = script.text or ""
        if "ld+json" in (script.get("type") or "") or not _image_in(text) or len(text) > LONGEST_SCRIPT:
            continue
        for address in _QUOTED_ADDRESS.findall(text):
            url = document.absolute(address.replace("\\/", "/"))
            if url:
                yield url
