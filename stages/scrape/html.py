"""From a page's bytes to a tree, as HTML 5 says: what shops leave open or nest wrongly stands where a browser puts it.

Lexbor (selectolax) parses as browsers do and writes well-formed HTML, from which lxml, which parses HTML 4, makes the
tree that the rest of the crawl walks. Of 23 kinds of markup that is not well-formed, lxml alone gives 15 the tree that
html5lib gives them, both together 22 (a <template> before the body moves to the head), for twice lxml's time.
"""

from __future__ import annotations

import re

import lxml.html  # type: ignore[import-untyped]
from lxml.etree import ParserError  # type: ignore[import-untyped]
from lxml.html import HtmlElement
from selectolax.lexbor import LexborHTMLParser, SelectolaxError
from w3lib.encoding import html_to_unicode

MOST_TAGS = 300_000
"""Tags of a page, ends and comments included: real pages have up to 30,000, and each takes 300 bytes of memory in two
trees. By hand."""
NEW_VOIDS = ("source", "track", "wbr")
"""Elements without an end that HTML 5 added: lxml, which parses HTML 4, nests what follows in them."""
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that lxml gives, but does not take."""
_EMPTY = "<html></html>"


class UnreadablePage(Exception):
    """A page that is not read, and the reason."""


def decoded(content_type: str, body: bytes) -> str:
    """A page's text. content_type: the header's value, whose charset wins over the page's own; may be ''."""
    try:
        _, text = html_to_unicode(content_type or None, body)
    except (ValueError, LookupError):  # a charset that is Python's, but no text's
        text = body.decode("utf-8", "replace")
    return re.sub(r"^\s*<\?xml[^>]*\?>", "", text.replace("\0", ""))


def parsed(text: str) -> HtmlElement:
    """The tree of a page's text. Raises UnreadablePage where it has more than MOST_TAGS tags."""
    if text.count("<") > MOST_TAGS:
        raise UnreadablePage(f"more than {MOST_TAGS:,} tags")
    try:
        whole = LexborHTMLParser(text.encode("utf-8", "replace")).html or _EMPTY
    except SelectolaxError:
        whole = text or _EMPTY
    try:
        root: HtmlElement = lxml.html.document_fromstring(whole)
    except (ParserError, ValueError):
        root = lxml.html.document_fromstring(_EMPTY)
    unnest_voids(root)
    return root


def unnest_voids(root: HtmlElement) -> None:
    """Put what lxml has nested in elements that hold nothing in HTML 5 behind them, as an HTML 5 parser does."""
    for void in list(root.iter(*NEW_VOIDS)):
        parent = void.getparent()
        if parent is None or not (len(void) or void.text):
            continue
        moved = list(void)
        within, after = _NO_XML.sub("", void.text or ""), _NO_XML.sub("", void.tail or "")
        void.text, void.tail = None, within
        last = moved[-1] if moved else void
        last.tail = _NO_XML.sub("", last.tail or "") + after
        for place, child in enumerate(moved, parent.index(void) + 1):
            parent.insert(place, child)
