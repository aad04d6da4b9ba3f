"""What else a page says of its product: colour, category, and what it shares with other pages about the same one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from stages.scrape.document import Document, class_words
from stages.scrape.structured_data import Node
from stages.scrape.text import normalise, tidy
from stages.scrape.urls import page_key

_AS_THEY_ARE = (
    "orange beige cream ivory burgundy maroon khaki olive teal turquoise gold silver charcoal tan camel "
    "mint coral lilac lavender rust mustard bordeaux petrol anthracite aqua cyan magenta violet indigo "
    "nude ecru sand stone taupe rose"
)
COLOURS = {
    word: colour
    for colour, words in {
        "black": "black schwarz noir noire negro negra nero nera zwart svart",
        "white": "white weiß weiss blanc blanche blanco blanca bianco bianca wit vit",
        "grey": "grey gray grau gris grigio grijs",
        "blue": "blue blau bleu bleue azul blu blauw",
        "green": "green grün gruen vert verte verde groen",
        "red": "red rot rouge rojo roja rosso rossa rood",
        "yellow": "yellow gelb jaune amarillo giallo geel",
        "brown": "brown braun marron",
        "pink": "pink rosa",
        "purple": "purple lila",
        "navy": "navy dunkelblau marine",
    }.items()
    for word in words.split()
} | {word: word for word in _AS_THEY_ARE.split()}
"""Colour words of the languages that shops write in, and what they are in English."""
_NUMBERS = ["gtin13", "gtin", "gtin12", "gtin14", "gtin8", "sku", "productID", "productGroupID", "inProductGroupWithID"]
"""schema.org's article numbers, the one that is most surely the product's own first."""
_COLOUR_LABEL = re.compile(r"^\s*(colou?r|farbe|couleur|colore?|kleur|färg|kolor|barva)\b\s*:?\s*", re.I)
LONGEST_LABEL, LONGEST_COLOUR = 60, 40
"""Characters of a line of a product's properties, and of a colour's name ("heather grey melange"). By hand."""


def colour_in(text: str) -> str | None:
    """The first basic colour word of a text, in English."""
    for word in re.findall(r"[^\W\d_]+", text.casefold()):
        if word in COLOURS:
            return COLOURS[word]
    return None


def find_identities(document: Document, node: Node | None) -> list[str]:
    """What other pages about the same product share with this one, the kind of it in front ("page ...")."""
    found = [f"page {page_key(document.url)}"]
    if document.canonical:
        same_depth = (
            len(urlsplit(document.canonical).path.strip("/")) > 0 or len(urlsplit(document.url).path.strip("/")) == 0
        )
        if same_depth:
            found.append(f"page {page_key(document.canonical)}")
    found += [f"page {page_key(url)}" for _, url in document.alternates]
    if node is not None:
        for name in _NUMBERS:
            value = node.text(name)
            if value:
                found.append(f"number {name.rstrip('0123456789')} {normalise(value)}")
                break
    return list(dict.fromkeys(found))


def find_colour(document: Document, node: Node | None, name: str) -> str | None:
    """The product's colour: a basic English word where one is known, else as the shop writes it; None for none."""
    named = []
    if node is not None:
        named = [node.text("color", "colour")]
        named += [variant.text("color") for variant in node.each("hasVariant") if isinstance(variant, Node)][:1]
    named += document.meta("product:color", "og:color")
    for term in document.root.iter("dt", "th", "td", "label", "strong", "b", "span", "li"):
        words = tidy(term.text_content())[:LONGEST_LABEL]
        if _COLOUR_LABEL.match(words) and not any(named):
            rest, after = _COLOUR_LABEL.sub("", words), term.getnext()
            named.append(rest or (tidy(after.text_content())[:LONGEST_LABEL] if after is not None else ""))
    for text in (*named, name):
        if text and colour_in(text):
            return colour_in(text)
    return next((text.lower() for text in named if text and len(text) < LONGEST_COLOUR), None)


def find_category(document: Document, node: Node | None, nodes: list[Node]) -> str | None:
    """The innermost category, as metadata, else breadcrumbs name it; None where nothing does."""
    named = node.text("category") if node is not None else ""
    named = named or next(iter(document.meta("product:category", "product:product_type")), "")
    path = named or _declared_breadcrumb(nodes) or _visible_breadcrumb(document)
    return re.split(r"\s*(?:>|/|»|\|)\s*", path)[-1] or None if path else None


def _declared_breadcrumb(nodes: list[Node]) -> str:
    """The last but one name of the page's BreadcrumbList, as the last is the product itself."""
    found = ""
    for crumb in nodes:
        if "BreadcrumbList" in crumb.types:
            items = [item for item in crumb.each("itemListElement") if isinstance(item, Node)]
            names = [item.text("name") or item.text("item") for item in items]
            found = names[-2] if len(names) > 2 else names[0] if len(names) == 1 else ""
    return found


def _visible_breadcrumb(document: Document) -> str:
    """The last link of the first element that is named like a breadcrumb, where it is not the only one."""
    for element in document.root.iter("nav", "ol", "ul", "div", "p"):
        if any("breadcrumb" in word for word in class_words(element)):
            names = [tidy(a.text_content()) for a in element.iter("a")]
            return names[-1] if len(names) > 1 else ""
    return ""
