"""A parsed page: its heading, its links' base, its picture cards, and what on it belongs to its subject."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cached_property
from typing import Any

from lxml.html import HtmlElement  # type: ignore[import-untyped]
from w3lib.html import get_base_url

from stages.scrape.html import decoded, parsed
from stages.scrape.text import normalise, tidy
from stages.scrape.urls import clean_url, is_action, is_page, page_key, same_page

_FOREIGN = re.compile(
    r"^(related|recommend(ed|ations?)?|up-?sells?|cross-?sells?|crossselling|recent(ly)?|viewed|similar|also|reviews?|"
    r"ugc|instagram|insta|payments?|breadcrumbs?|badges?|flags?|avatars?|ratings?|stars?|socials?|newsletter|menus?|"
    r"mega-?menu|mini-?cart|swatch(es)?|navbar|navigation|footer|header|sidebar|cookies?|brand-?logos?|manufacturer|"
    r"testimonials?|promos?|advert(isement)?s?|comments?|share|sharing|accessor(y|ies)|bundles?|trust|languages?|"
    r"currency|sponsors?|partners?|loader|spinner|placeholder)$",
    re.I,
)
"""Words of classes and ids that mark what is no part of a page's subject: other products, widgets, the frame."""
LONGEST_ADDRESS = 2000
"""Characters that browsers and servers agree to take."""
LONGEST_CLASS = 4000
"""Characters of an element's class and id that are looked at, as all that it holds asks for them. By hand."""


class Document:
    """A parsed page with the few questions that are asked of it again and again."""

    def __init__(self, url: str, content_type: str, body: bytes) -> None:
        """Parse a page's bytes. content_type: the header's value, whose charset wins over the page's own; may be ''.

        Raises UnreadablePage where the page is too large to be parsed.
        """
        self.url, self.text = url, decoded(content_type, body)
        self.root: HtmlElement = parsed(self.text)
        self._foreign: dict[HtmlElement, bool] = {}
        try:
            base = clean_url(get_base_url(self.text, url))
        except ValueError:  # an address that cannot be taken apart
            base = url
        self.base = base if base.startswith("http") else url

    def absolute(self, address: Any) -> str:
        """The clean absolute http(s) address, or ''."""
        if not isinstance(address, str) or len(address) > LONGEST_ADDRESS or not address.strip():
            return ""
        url = clean_url(address, self.base)
        return url if url.startswith(("http://", "https://")) else ""

    def meta(self, *names: str) -> list[str]:
        """Contents of the meta tags of these names, in the page's order."""
        wanted = {name.lower() for name in names}
        found = []
        for node in self.root.iter("meta"):
            name = (node.get("property") or node.get("name") or "").lower()
            if name in wanted and (node.get("content") or "").strip():
                found.append(node.get("content").strip())
        return found

    @cached_property
    def language(self) -> str:
        """The page's language as two letters, '' where it does not say."""
        return (self.root.get("lang") or "").lower().split("-")[0].split("_")[0]

    @cached_property
    def title(self) -> str:
        """The text of <title>."""
        node = self.root.find(".//title")
        return tidy(node.text_content()) if node is not None else ""

    @cached_property
    def heading(self) -> HtmlElement | None:
        """The page's heading: an h1, else what is marked as the product's name, else an h2 or h3 that is in <title>."""
        for node in self.root.iter("h1"):
            if tidy(node.text_content()):
                return node
        for node in self.root.iter("h2", "h3", "div", "span", "p"):
            marks = class_words(node)
            named = node.get("itemprop") == "name" or {"product", "title"} <= marks or {"product", "name"} <= marks
            if named and 0 < len(tidy(node.text_content())) < 200 and not in_foreign_place(node):
                return node
        title = normalise(self.title)
        for node in self.root.iter("h2", "h3"):
            text = normalise(node.text_content())
            if text and text in title and not in_foreign_place(node):
                return node
        return None

    @cached_property
    def name(self) -> str:
        """The text of the heading."""
        return tidy(self.heading.text_content()) if self.heading is not None else ""

    @cached_property
    def canonical(self) -> str:
        """The canonical address that the page names, '' where it names none."""
        for node in self.root.iter("link"):
            if "canonical" in (node.get("rel") or "").lower().split():
                url = self.absolute(node.get("href"))
                if url:
                    return url
        return ""

    @cached_property
    def alternates(self) -> list[tuple[str, str]]:
        """(language, address) of the page's other languages."""
        found = []
        for node in self.root.iter("link"):
            if "alternate" in (node.get("rel") or "").lower().split() and node.get("hreflang"):
                url = self.absolute(node.get("href"))
                if url:
                    found.append((node.get("hreflang").lower(), url))
        return found

    @cached_property
    def cards(self) -> list[tuple[HtmlElement, str]]:
        """Picture cards: the largest element around a linked picture that leads to one other page only."""
        pictured: dict[HtmlElement, str] = {}
        for anchor in self.root.iter("a"):
            target = self.absolute(anchor.get("href"))
            if not target or not is_page(target) or same_page(target, self.url) or is_action(target):
                continue
            if any(True for _ in anchor.iter("img", "picture")) or "background-image" in (anchor.get("style") or ""):
                pictured[anchor] = target
        targets: dict[HtmlElement, set[str]] = defaultdict(set)
        for anchor, target in pictured.items():
            for above in (anchor, *anchor.iterancestors()):
                targets[above].add(page_key(target))
        stops = set(self.heading.iterancestors()) if self.heading is not None else set()
        found: dict[HtmlElement, str] = {}
        others: dict[HtmlElement, bool] = {}
        for anchor, target in pictured.items():
            card = anchor
            for above in anchor.iterancestors():
                whole_page = above.tag in ("body", "html", "main", "header", "nav", "footer")
                if len(targets[above]) > 1 or above in stops or whole_page or above is self.heading:
                    break
                if self.heading is None:
                    if above not in others:
                        others[above] = _holds_other_pictures(above, pictured)
                    if others[above]:
                        break
                card = above
            found.setdefault(card, target)
        return list(found.items())

    @cached_property
    def card_elements(self) -> set[HtmlElement]:
        """The elements of the picture cards."""
        return {card for card, _ in self.cards}

    def is_own(self, node: HtmlElement) -> bool:
        """Whether a node belongs to what the page is about: not to a card, the page's frame, or foreign sections."""
        heading_line = self._heading_line
        for above in (node, *node.iterancestors()):
            if above in self.card_elements:
                return False
            if above.tag in ("header", "footer", "nav", "aside") and above not in heading_line:
                return False
            if above.tag != "body" and above not in heading_line and self._is_foreign(above):
                return False
        return True

    def _is_foreign(self, node: HtmlElement) -> bool:
        """is_foreign, asked once for each element: all that it holds ask."""
        if node not in self._foreign:
            self._foreign[node] = is_foreign(node)
        return self._foreign[node]

    @cached_property
    def _heading_line(self) -> set[HtmlElement]:
        return set(self.heading.iterancestors()) if self.heading is not None else set()


def _holds_other_pictures(node: HtmlElement, pictured: dict[HtmlElement, str]) -> bool:
    return any(not any(above in pictured for above in image.iterancestors()) for image in node.iter("img"))


def class_words(node: HtmlElement) -> set[str]:
    """The words of an element's class and id, lower-case; "productTitle" is two."""
    text = f"{node.get('class') or ''} {node.get('id') or ''}"[:LONGEST_CLASS]
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return {word.lower() for word in re.split(r"[^A-Za-z]+", text) if word}


def is_foreign(node: HtmlElement) -> bool:
    """Whether an element's class or id says that it is no part of the page's subject."""
    if not isinstance(node.tag, str) or not (node.get("class") or node.get("id")):
        return False
    return any(_FOREIGN.match(word) for word in class_words(node))


def in_foreign_place(node: HtmlElement) -> bool:
    """Whether an element stands in the page's frame or in a section about something else."""
    return any(above.tag in ("header", "footer", "nav", "aside") or is_foreign(above) for above in node.iterancestors())
