"""Whether a page is about one product, and about which.

Structured data comes first, OpenGraph and the page's own structure second; both must agree that the page is *about one*
product, because listing pages carry product markup too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lxml.html import HtmlElement  # type: ignore[import-untyped]

from stages.scrape.attributes import find_category, find_colour, find_identities
from stages.scrape.document import Document, class_words
from stages.scrape.gallery import PagePicture, gallery_pictures
from stages.scrape.links import PAGING_CLASS
from stages.scrape.pictures import find_pictures
from stages.scrape.products import Product
from stages.scrape.structured_data import Node, products_of
from stages.scrape.text import normalise, tidy
from stages.scrape.urls import page_key

_PRICE = re.compile(
    r"(?:[$€£¥₹₽₺₩฿]|\b(?:USD|EUR|GBP|CHF|SEK|NOK|DKK|PLN|CZK|JPY|CAD|AUD|kr|zł|Kč|lei|Ft)\b)\s?\d"
    r"|\b\d[\d.,' \u00a0]{0,20}\s?(?:[€£$₹₽₺₩]|(?:USD|EUR|GBP|CHF|SEK|NOK|DKK|PLN|CZK|kr|zł|Kč|lei|Ft)\b)",
    re.I,
)
"""A number with a currency; of up to 21 characters, as a search without an end tries all ends of each beginning."""
_BUY = re.compile(
    r"add[ _-]?to[ _-]?(cart|bag|basket|trolley)|buy[ _-]?(it )?now|in den (waren|einkaufs)korb|ajouter au panier|"
    r"(añadir|agregar|anadir) (al|a la) (carrito|cesta|bolsa)|aggiungi al carrello|in winkel(wagen|mand)|"
    r"lägg i (varukorg|kundvagn)|læg i kurv|legg i handlekurv|do koszyka|do košíku|kosárba|sepete ekle|"
    r"adicionar ao carrinho|lisää ostoskoriin|в корзину|カートに入れる|カートに追加|加入购物车|加入購物車|장바구니|"
    r"pre-?order|"
    r"notify me when|sold out|out of stock|ausverkauft",
    re.I,
)
_BUY_ADDRESS = re.compile(r"(cart|basket|panier|warenkorb|carrito|carrello|bag)([/_?=.-]|$)", re.I)
_PRODUCT_WORD = re.compile(r"^(product|produkt|produit|producto|prodotto|item|article|pdp)", re.I)
_EDITORIAL = re.compile(
    r"(^|[/_-])(blogs?|news|articles?|journal|stor(y|ies)|magazine|press|about|lookbook|guides?|faq|help|careers|"
    r"stores|contact|authors?|tags?|events?|recipes?)([/_.-]|$)",
    re.I,
)
_OG_PRODUCTS = ("product", "og:product", "product.item")
"""Not product.group, which Shopify's older themes say of every collection."""
HEADING_STEPS = 7
"""Elements around a product's heading within which its price stands; by hand, further out stand other products'."""
ENOUGH_POINTS = 3
"""What makes a page without structured data a product's: two signs of a product page, and none of a listing."""


@dataclass(frozen=True)
class Structure:
    """What the page's own structure says, without any metadata."""

    cards: int
    priced_cards: int
    own_price: bool
    own_buy: bool
    gallery: list[PagePicture]
    paging: bool

    @property
    def lists(self) -> bool:
        """Whether the page looks like a list of products rather than one."""
        if self.own_buy and self.gallery:
            return False
        return self.cards >= 2 and not self.own_price and (self.paging or not self.gallery or self.priced_cards >= 4)


def structure_of(document: Document) -> Structure:
    """Look at a page's structure."""
    cards = document.cards
    priced = sum(bool(_PRICE.search(card.text_content())) for card, _ in cards)
    paging = any(
        PAGING_CLASS.search(node.get("class") or "") and any(True for _ in node.iter("a"))
        for node in document.root.iter("div", "ul", "nav", "ol", "section")
    ) or any("next" in (node.get("rel") or "").split() for node in document.root.iter("link", "a"))
    return Structure(
        cards=len({page_key(target) for _, target in cards}),
        priced_cards=priced,
        own_price=_own_price(document),
        own_buy=_own_buy(document),
        gallery=gallery_pictures(document),
        paging=paging,
    )


def _own_price(document: Document) -> bool:
    """Whether a price stands near the page's heading, outside of every card."""
    if document.heading is None:
        return False
    for step, above in enumerate(document.heading.iterancestors()):
        if above.tag in ("body", "html") or step > HEADING_STEPS:
            break
        for node in above.iter():
            if not isinstance(node.tag, str) or node.tag in ("script", "style", "option", "label"):
                continue
            text = node.text or ""
            priced = node.get("itemprop") == "price" or (text and _PRICE.search(text))
            priced = priced or ("price" in class_words(node) and re.search(r"\d", node.text_content()[:60] or ""))
            if priced and document.is_own(node) and not _in_filter(node):
                return True
    return False


def _in_filter(node: HtmlElement) -> bool:
    return any(
        above.tag in ("a", "label", "fieldset", "select")
        or class_words(above) & {"filter", "filters", "facet", "facets", "cart"}
        for above in (node, *node.iterancestors())
    )


def _own_buy(document: Document) -> bool:
    """Whether the page's subject can be bought, or could be if there were any left."""
    hit: Any
    for node in document.root.iter("button", "input", "form", "a"):
        if node.tag == "form":
            hit = _BUY_ADDRESS.search(node.get("action") or "") and any(
                child.get("type") not in (None, "hidden", "search") or child.tag in ("button", "select")
                for child in node.iter("input", "button", "select")
            )
        elif node.tag == "input":
            hit = (node.get("name") or "").lower() in ("quantity", "qty", "menge") or _BUY.search(
                node.get("value") or ""
            )
        else:
            text = node.text_content() if node.tag != "a" else tidy(node.text_content())[:40]
            words = f"{text} {node.get('aria-label') or ''}"
            marks = f"{node.get('class') or ''} {node.get('id') or ''} {node.get('name') or ''}"
            hit = _BUY.search(words) or re.search(r"add[-_]?to[-_]?(cart|bag|basket)|single_add", marks, re.I)
        if hit and document.is_own(node):
            return True
    return False


def find_product(document: Document, nodes: list[Node], card_texts: list[str]) -> Product | None:
    """The one product that the page is about, or None.

    Args:
        nodes: the schema.org things that the page declares.
        card_texts: what picture cards that lead here say, normalised.
    """
    structure = structure_of(document)
    node = _main_product(document, products_of(nodes), structure)
    if node is None and _declares_list(nodes):
        return None
    if node is None and not _is_product_by_page(document, structure, card_texts):
        return None
    name = (node.text("name") if node else "") or document.name or _og_title(document) or _title_name(document)
    if not name:
        return None
    return Product(
        url=document.url,
        name=name,
        colour=find_colour(document, node, name),
        category=find_category(document, node, nodes),
        language=document.language,
        identities=find_identities(document, node),
        pictures=find_pictures(document, node, structure.gallery),
    )


def _declares_list(nodes: list[Node]) -> bool:
    """Whether the metadata says that the page is a list, and no product of its own."""
    for node in nodes:
        if node.types & {"CollectionPage", "OfferCatalog", "SearchResultsPage"}:
            return True
        if "ItemList" in node.types and any(True for _ in node.each("itemListElement")):
            return True
    return False


def _main_product(document: Document, found: list[Node], structure: Structure) -> Node | None:
    """Which of the declared products the page is about: all that is said of it in one node; None for none of them."""
    named = [node for node in found if node.text("name")]
    if not named:
        return None
    heading = normalise(document.name)
    here = {page_key(document.url), page_key(document.canonical or document.url)}

    def at_this_page(node: Node) -> bool | None:
        address = document.absolute(node.text("url"))
        if not address:
            return None
        if urlsplit(address).path.strip("/") == "" and urlsplit(document.url).path.strip("/"):
            return None
        return page_key(address) in here or urlsplit(address).path == urlsplit(document.url).path

    def has_heading(node: Node) -> bool:
        name = normalise(node.text("name"))
        return bool(heading and name) and (name in heading or heading in name)

    if len({normalise(node.text("name")) for node in named}) > 1:
        chosen = [n for n in named if at_this_page(n)] or [
            n for n in named if has_heading(n) and at_this_page(n) is None
        ]
        if len({normalise(node.text("name")) for node in chosen}) != 1:
            chosen = [n for n in chosen or named if normalise(n.text("name")) == heading]
    else:
        chosen = [n for n in named if at_this_page(n) is not False or has_heading(n)]
    if not chosen:
        return None
    one_declared = len({normalise(node.text("name")) for node in named}) == 1 and any(
        at_this_page(node) or has_heading(node) or normalise(node.text("name")) in normalise(document.title)
        for node in chosen
    )
    one_declared |= len({normalise(node.text("name")) for node in named}) == 1 and _og_type(document) in _OG_PRODUCTS
    if structure.lists and not (structure.own_buy or structure.own_price or one_declared):
        return None
    best = max(chosen, key=lambda n: (bool(at_this_page(n)), len(n.values)))
    merged: dict[str, list[Any]] = {}
    for node in (
        best,
        *[n for n in chosen if n is not best and normalise(n.text("name")) == normalise(best.text("name"))],
    ):
        for name, values in node.values.items():
            if name in ("image", "color", "hasVariant"):
                merged.setdefault(name, []).extend(values)
            else:
                merged.setdefault(name, list(values))
    return Node(best.types, merged)


def _og_type(document: Document) -> str:
    return next(iter(document.meta("og:type")), "").lower()


def _og_title(document: Document) -> str:
    return tidy(next(iter(document.meta("og:title")), ""))


def _title_name(document: Document) -> str:
    return tidy(re.split(r"\s[|–—·»-]\s", document.title)[0])


def _is_product_by_page(document: Document, structure: Structure, card_texts: list[str]) -> bool:
    """Judge by OpenGraph and the page's structure: points for what product pages have, against what listings have.

    The weights are chosen by hand, so that the shop systems of the tests, which differ in all of these, are read.
    """
    og_type = _og_type(document)
    has_picture = bool(structure.gallery) or bool(document.meta("og:image"))
    name = normalise(document.name or _og_title(document))
    if not name or not has_picture:
        return False
    declared = og_type in _OG_PRODUCTS and normalise(_og_title(document)) in (name, "")
    if declared and (not structure.paging or _og_title(document)):
        return True
    if structure.lists:
        return False
    on_cards = any(name in text for text in card_texts if text)
    points = 2 * structure.own_price + 2.5 * structure.own_buy + 2 * on_cards
    points += 2 * bool(document.meta("product:price:amount", "og:price:amount", "product:retailer_item_id"))
    points += 3 * (og_type in _OG_PRODUCTS)
    points += 0.5 * (bool(document.meta("og:image")) and normalise(_og_title(document)) == name)
    if document.heading is not None:
        line = [above for above in document.heading.iterancestors() if above.tag != "html"]
        points += any(_PRODUCT_WORD.match(word) for above in line for word in class_words(above))
    points += any(picture.in_gallery for picture in structure.gallery)
    points -= 2 * structure.paging
    points -= 1.5 * (structure.cards >= 4 and not structure.own_buy)
    points -= 3 * (og_type in ("article", "blog", "profile"))
    points -= 2.5 * bool(_EDITORIAL.search(urlsplit(document.url).path))
    return points >= ENOUGH_POINTS
