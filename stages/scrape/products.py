"""What a product is, and which pages show the same one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from stages.scrape.image_urls import picture_key
from stages.scrape.text import normalise

SHARED_BY, SHARED_SHARE = 5, 0.2
"""A picture outside of galleries and metadata that so many products show, and this share of all, is the shop's own.

Chosen by hand: products of one colour or size may well share a photograph, but not five and not a fifth of a shop.
"""


@dataclass
class Picture:
    """One picture of a product: its addresses, the largest first; the last resorts last."""

    urls: list[str]
    trusted: bool
    """Whether structured data or a gallery names it; other pictures of a page may be the shop's boilerplate."""


@dataclass
class Product:
    """A product of the shop, as one of its pages shows it."""

    url: str
    name: str
    colour: str | None
    category: str | None
    language: str
    identities: list[str]
    """What other pages about the same product share: canonical address, language variants, article number."""
    pictures: list[Picture] = field(default_factory=list)
    other_names: list[str] = field(default_factory=list)
    """What pages in other languages call it."""


def is_named(product: Product, name_contains: str) -> bool:
    """Whether the product's name, in any of its languages, contains the text, case and spaces normalised."""
    return any(normalise(name_contains) in normalise(name) for name in (product.name, *product.other_names))


def merge_products(found: Iterable[Product], language: str = "") -> list[Product]:
    """One product for all the pages that show it: language variants, several categories, parameters.

    Colourways stay apart: they differ in name or pictures in one language. The page found first in
    `language`, else in the language that most pages have, represents the product.
    """
    groups: list[list[Product]] = []
    of_identity: dict[str, list[int]] = defaultdict(list)
    for product in found:
        pictures = sorted(picture_set(product))
        identities = list(product.identities)
        if pictures:
            identities.append(f"pictures {' '.join(pictures)}")
        place = next((p for i in identities for p in of_identity[i] if _same(groups[p], product, i)), None)
        if place is None:
            place = len(groups)
            groups.append([])
        groups[place].append(product)
        for identity in identities:
            if place not in of_identity[identity]:
                of_identity[identity].append(place)
    languages = Counter(product.language for group in groups for product in group)
    main_language = language if languages[language] or not languages else languages.most_common(1)[0][0]
    return _without_boilerplate([_joined(group, main_language) for group in groups])


def picture_set(product: Product) -> set[str]:
    """The keys of the pictures that are surely the product's own."""
    return {picture_key(picture.urls[0]) for picture in product.pictures if picture.trusted}


def _agree(a: Product, b: Product) -> bool:
    """Whether pages that share an identity are one product: other languages, the same name, or the same pictures."""
    if a.language != b.language:
        return True
    pictures = picture_set(a) == picture_set(b) or not (picture_set(a) and picture_set(b))
    return pictures or normalise(a.name) == normalise(b.name)


def _same(group: list[Product], product: Product, identity: str) -> bool:
    if identity.startswith("pictures"):
        return any(p.language != product.language or normalise(p.name) == normalise(product.name) for p in group)
    if identity.startswith("number"):
        return any(
            p.colour == product.colour
            and (p.language != product.language or normalise(p.name) == normalise(product.name))
            for p in group
        )
    return any(_agree(p, product) for p in group)


def _joined(group: list[Product], main_language: str) -> Product:
    """One product of several pages', represented by its first page in the shop's main language."""
    group = sorted(group, key=lambda product: product.language != main_language)
    first = group[0]
    seen = {picture_key(url) for picture in first.pictures for url in picture.urls}
    pictures = list(first.pictures)
    for product in group[1:]:
        for picture in product.pictures:
            keys = {picture_key(url) for url in picture.urls}
            if not keys & seen:
                pictures.append(picture)
            seen |= keys
    colour = first.colour or next((p.colour for p in group if p.colour), None)
    category = first.category or next((p.category for p in group if p.category), None)
    names = list(dict.fromkeys(product.name for product in group))
    return replace(first, colour=colour, category=category, pictures=pictures, other_names=names[1:])


def _without_boilerplate(products: list[Product]) -> list[Product]:
    """Take out what so many products show that it is none of theirs (payment logos, size charts, sharing pictures)."""
    shown = Counter(key for p in products for key in {picture_key(picture.urls[0]) for picture in p.pictures})
    for product in products:
        product.pictures = [
            picture
            for picture in product.pictures
            if picture.trusted or shown[picture_key(picture.urls[0])] < max(SHARED_BY, SHARED_SHARE * len(products))
        ]
    return products
