"""What one shop page says: whether it shows a product, which, with which pictures, and where its links lead.

Structured data comes first (JSON-LD, microdata, RDFa by extruct, then OpenGraph), the page's own structure second; both
must agree that the page is *about one* product, because listing pages carry product markup too. Pictures come from the
metadata and from the page's gallery together (half of the pages name only their first picture in the metadata), the
several addresses of one picture are joined, and the largest of them is put first.
"""

from __future__ import annotations

import json
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import lxml.html  # type: ignore[import-untyped]
from lxml.etree import ParserError  # type: ignore[import-untyped]
from lxml.html import HtmlElement
from w3lib.encoding import html_to_unicode

from stages.scrape.fetch import clean_url

# --- What is found ---------------------------------------------------------------------------------------------------


@dataclass
class Picture:
    """One picture of a product: its addresses, the largest first; the last resorts last."""

    urls: list[str]
    trusted: bool
    """Whether structured data or a gallery names it; other pictures of a page may be the shop's furniture."""


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


@dataclass(frozen=True)
class Link:
    """Where a page leads."""

    url: str
    text: str
    card: bool = False
    """Whether the link belongs to a picture card, as listings show products."""
    next_page: bool = False


@dataclass
class Page:
    """What was read on a page."""

    url: str
    product: Product | None
    links: list[Link]
    refuses_ai: str = ""
    """The robots meta tag."""
    size: int = 0


# --- Words -----------------------------------------------------------------------------------------------------------

_IMAGE_END = re.compile(r"\.(jpe?g|png|webp|gif|avif|tiff?|bmp|jfif|jpe)$", re.I)
_SKIPPED_END = re.compile(
    r"\.(pdf|zip|docx?|xlsx?|mp4|webm|mov|mp3|css|js|json|rss|atom|woff2?|ico|svg|exe|gz|txt|csv|ics)$", re.I
)
_ACTION = re.compile(
    r"(^|[/?&=._-])(cart|basket|bag/add|checkout|warenkorb|panier|login|logout|log-in|sign-?in|sign-?up|register|account|"
    r"my-?account|konto|wish-?list|merkzettel|compare|comparison|add-to-cart|add_to_cart|addtocart|order-?status|"
    r"password|newsletter|unsubscribe|write-?review|reviews?/add|share|print|rss|feed|wp-json|wp-admin|wp-login|cdn-cgi)"
    r"($|[/?&=._-])",
    re.I,
)
_TRACKING = re.compile(
    r"^(utm_\w+|gclid|fbclid|msclkid|mc_[ce]id|_ga|_gl|ref_?|sid|phpsessid|sessionid|jsessionid|oscsid|zenid|srsltid|"
    r"pr_\w+|_pos|_sid|_ss|_psq|_fid|_v|tracking|campaign)$",
    re.I,
)
_PRICE = re.compile(
    r"(?:[$€£¥₹₽₺₩฿]|\b(?:USD|EUR|GBP|CHF|SEK|NOK|DKK|PLN|CZK|JPY|CAD|AUD|kr|zł|Kč|lei|Ft)\b)\s?\d[\d.,' \u00a0]*"
    r"|\b\d[\d.,' \u00a0]*\s?(?:[€£$₹₽₺₩]|(?:USD|EUR|GBP|CHF|SEK|NOK|DKK|PLN|CZK|kr|zł|Kč|lei|Ft)\b)",
    re.I,
)
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
_FOREIGN = re.compile(
    r"^(related|recommend(ed|ations?)?|up-?sells?|cross-?sells?|crossselling|recent(ly)?|viewed|similar|also|reviews?|"
    r"ugc|instagram|insta|payments?|breadcrumbs?|badges?|flags?|avatars?|ratings?|stars?|socials?|newsletter|menus?|"
    r"mega-?menu|mini-?cart|swatch(es)?|navbar|navigation|footer|header|sidebar|cookies?|brand-?logos?|manufacturer|"
    r"testimonials?|promos?|advert(isement)?s?|comments?|share|sharing|accessor(y|ies)|bundles?|trust|languages?|"
    r"currency|sponsors?|partners?|loader|spinner|placeholder)$",
    re.I,
)
_GALLERY = re.compile(
    r"galler|carousel|slider|slides?|swiper|slick|splide|product-?(image|media|photo|picture)s?|photos?|pictures|"
    r"images?|thumb|zoom|lightbox|fancybox|fotorama|flexslider|media-?viewer|pswp|magnific",
    re.I,
)
_PRODUCT_WORD = re.compile(r"^(product|produkt|produit|producto|prodotto|item|article|pdp)", re.I)
_EDITORIAL = re.compile(
    r"(^|[/_-])(blogs?|news|articles?|journal|stor(y|ies)|magazine|press|about|lookbook|guides?|faq|help|careers|"
    r"stores|contact|authors?|tags?|events?|recipes?)([/_.-]|$)",
    re.I,
)
_PAGING_CLASS = re.compile(r"pagination|pager|paging|page-numbers|load-?more|next-?page", re.I)
_NEXT_TEXT = re.compile(
    r"^\s*(next( page)?|weiter|nächste( seite)?|suivante?|page suivante|siguiente|seguente|successiva|volgende|"
    r"nästa|neste|næste|następna|další|older|load more|show more|view more|mehr( anzeigen| laden)?|[›»→>])"
    r"\s*[›»→>]*\s*$",
    re.I,
)
_PAGE_ADDRESS = re.compile(
    r"([?&](page|p|pg|paged|seite|pagina|pagenumber|pn|start|offset|from)=\d+|/(page|seite|pagina|p)[/_-]?\d+)", re.I
)

COLOURS = {
    **{
        name: name
        for group in (
            ("black", "white", "grey", "blue", "green", "red", "yellow", "brown", "pink", "purple", "orange", "navy"),
            ("beige",),
            ("cream", "ivory", "burgundy", "maroon", "khaki", "olive", "teal", "turquoise", "gold",
    "silver", "charcoal"),
            ("tan", "camel", "mint", "coral", "lilac", "lavender", "rust", "mustard", "bordeaux", "petrol",
    "anthracite"),
            ("aqua", "cyan", "magenta", "violet", "indigo", "nude", "ecru", "sand", "stone", "taupe", "rose"),
        )
        for name in group
    },
    "gray": "grey", "schwarz": "black", "weiß": "white", "weiss": "white", "grau": "grey", "blau": "blue",
    "grün": "green", "gruen": "green", "rot": "red", "gelb": "yellow", "braun": "brown", "rosa": "pink",
    "lila": "purple",
    "dunkelblau": "navy", "marine": "navy", "noir": "black", "noire": "black", "blanc": "white", "blanche": "white",
    "gris": "grey", "bleu": "blue", "bleue": "blue", "vert": "green", "verte": "green", "rouge": "red",
    "jaune": "yellow",
    "marron": "brown", "negro": "black", "negra": "black", "blanco": "white", "blanca": "white", "azul": "blue",
    "verde": "green", "rojo": "red", "roja": "red", "amarillo": "yellow", "nero": "black", "nera": "black",
    "bianco": "white", "bianca": "white", "grigio": "grey", "blu": "blue", "rosso": "red", "rossa": "red",
    "giallo": "yellow", "zwart": "black", "wit": "white", "grijs": "grey", "blauw": "blue", "groen": "green",
    "rood": "red", "geel": "yellow", "svart": "black", "vit": "white",
}  # fmt: skip
_COLOUR_LABEL = re.compile(r"^\s*(colou?r|farbe|couleur|colore?|kleur|färg|kolor|barva)\b\s*:?\s*", re.I)


def normalise(text: str) -> str:
    """A name for comparing: one kind of space between words, one form of each letter, no case."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def tidy(text: Any) -> str:
    """A name for people: stray and special spaces made single plain ones, control characters taken out."""
    kept = "".join(c if c.isprintable() or c.isspace() else "" for c in unicodedata.normalize("NFKC", str(text)))
    return " ".join(kept.split())


def colour_in(text: str) -> str | None:
    """The first basic colour word of a text, in English."""
    for word in re.findall(r"[^\W\d_]+", text.casefold()):
        if word in COLOURS:
            return COLOURS[word]
    return None


# --- Addresses of pictures -------------------------------------------------------------------------------------------

_SIZE_END = re.compile(
    r"([-_@.](?:(\d{2,4})x(\d{0,4})|x(\d{2,4})|(\d{3,4})w)(?:_?crop(?:_\w+)?)?(?:@\d(?:\.\d)?x)?)(?=\.\w+$|$)", re.I
)
_SIZE_WORD_END = re.compile(
    r"([-_.](?:(pico|icon|thumb(?:nail)?s?|mini|tiny|xs|small|sm|compact|medium|med|md|large|lg|grande|big|xl|"
    r"zoom|full|original|orig|master|hires)|(?:(\d{2,4})px)))(?=\.\w+$|$)", re.I
)  # fmt: skip
_SIZE_FOLDER = re.compile(
    r"/(thumb(?:nail)?s?|mini|tiny|xs|small|sm|medium|med|md|large|lg|big|xl|zoom|full|original|originals|master|hires|"
    r"(?:s|w|h|c|q|size|width)[-_]?\d{2,4}|\d{2,4}x\d{0,4}|\d{2,4}[wp]x?|"
    r"(?:small|medium|large|home|cart|category|thickbox|product_listing)_default)(?=/)", re.I
)  # fmt: skip
_SIZE_CACHE = re.compile(
    r"/(?:cache|resized?|resolve)/(?:[0-9a-f]{16,64}|\d{2,4}x\d{2,4}|[\w]*(?:thumb|small|medium|large)\w*)(?=/)", re.I
)
_SIZE_PREFIX = re.compile(r"(?<=/)(thumb(?:nail)?|small|medium|large|big|tn|th|mini)[-_](?=[^/]+$)", re.I)
_SIZE_QUERY = re.compile(
    r"^(w|wid|width|sw|imwidth|h|hei|height|sh|imheight|size|s|resize|fit|crop|quality|q|qlt|dpr|scale|format|fm|fmt|auto|"
    r"sm|sfrm|bgcolor|bg|op_sharpen|strip|optimi[sz]e|v|ver|version|t|ts|timestamp|mode|im|impolicy|imdensity|ixlib|cs)$",
    re.I,
)
_WORD_WIDTH = {
    "pico": 16, "icon": 32, "xs": 60, "tiny": 60, "mini": 80, "thumb": 100, "thumbs": 100, "thumbnail": 100,
    "thumbnails": 100, "tn": 100, "th": 100, "small": 160, "sm": 160, "compact": 160, "cart_default": 125,
    "small_default": 98, "home_default": 250, "category_default": 300, "medium_default": 452, "large_default": 800,
    "thickbox_default": 1100, "product_listing_default": 220, "medium": 400, "med": 400, "md": 400, "large": 900,
    "lg": 900, "grande": 900, "big": 1000, "xl": 1200,
}  # fmt: skip
UNMARKED, ORIGINAL = 100_000, 1_000_000
"""Stand-ins for widths that no address tells: of one without a mark of its size, and of one said to be full."""


def picture_key(url: str) -> str:
    """What the addresses of one picture at several sizes have in common."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    path = _SIZE_CACHE.sub("", path)
    path = _SIZE_FOLDER.sub("", path)
    path = _SIZE_PREFIX.sub("", path)
    for _ in range(2):
        path = _SIZE_WORD_END.sub("", _SIZE_END.sub("", path))
    query = sorted((k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _SIZE_QUERY.match(k))
    stem = re.sub(r"\.(jpe?g|png|webp|avif)$", "", path, flags=re.I)
    return f"{(parts.hostname or '').removeprefix('www.')}{stem}?{urlencode(query)}"


def width_told(url: str) -> int:
    """The picture's width in pixels as its address tells it; UNMARKED or ORIGINAL where it does not."""
    parts = urlsplit(url)
    for name, value in parse_qsl(parts.query):
        if re.match(r"^(w|wid|width|sw|imwidth|size|s|resize)$", name, re.I) and re.match(r"\d{2,4}\b", value):
            return int(re.match(r"\d+", value).group())  # type: ignore[union-attr]
    path = unquote(parts.path)
    found = _SIZE_END.search(path)
    if found:
        return int(next(group for group in found.groups()[1:] if group))
    words = [m.group(1).lower() for m in _SIZE_FOLDER.finditer(path)]
    words += [m.group(1).lower() for m in _SIZE_PREFIX.finditer(path)]
    found = _SIZE_WORD_END.search(path)
    if found:
        words.append((found.group(2) or found.group(3)).lower())
    for word in words:
        digits = re.search(r"\d{2,4}", word)
        if digits:
            return int(digits.group())
        if word in _WORD_WIDTH:
            return _WORD_WIDTH[word]
        return ORIGINAL
    return UNMARKED


def larger_guesses(url: str) -> list[str]:
    """Addresses at which shop systems keep the original of a picture whose address tells that it is scaled down."""
    if width_told(url) >= UNMARKED:
        return []
    parts = urlsplit(url)
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _SIZE_QUERY.match(k)])
    paths = [_SIZE_WORD_END.sub("", _SIZE_END.sub("", parts.path))]
    for size_folder in (_SIZE_CACHE, _SIZE_FOLDER, _SIZE_PREFIX):
        paths.append(size_folder.sub("", paths[-1]))
    if re.search(r"(?<=[-_./])(thumb(nail)?s?|small|medium)(?=[-_./])", parts.path, re.I):
        for better in ("large", "original"):
            paths.append(re.sub(r"(?<=[-_./])(thumb(nail)?|small|medium)(?=s?[-_./])", better, parts.path, flags=re.I))
    paths.append(re.sub(r"/cache(?=/)", "", paths[0]))
    paths.append(parts.path)
    guesses = [urlunsplit((parts.scheme, parts.netloc, path, query, "")) for path in paths]
    return [guess for guess in dict.fromkeys(guesses) if guess != url][:5]


def parse_srcset(text: str) -> list[tuple[str, int]]:
    """The addresses of a srcset with their width in pixels (densities count as hundreds)."""
    found = []
    for match in re.finditer(r"\s*([^\s,][^\s]*[^\s,]|[^\s,])(?:\s+([\d.]+)([wx]))?\s*(?:,|$)", text):
        url, number, unit = match.groups()
        size = float(number) if number else 1.0
        found.append((url, int(size if unit == "w" else size * 100)))
    return found


# --- Reading a page --------------------------------------------------------------------------------------------------


class Document:
    """A parsed page with the few questions that are asked of it again and again."""

    def __init__(self, url: str, content_type: str, body: bytes) -> None:
        _, text = html_to_unicode(content_type or None, body)
        text = text.replace("\0", "")
        text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
        try:
            self.root: HtmlElement = lxml.html.document_fromstring(text or "<html></html>")
        except (ParserError, ValueError):
            self.root = lxml.html.document_fromstring("<html></html>")
        self.url, self.text = url, text
        base = self.root.find(".//base[@href]")
        self.base = clean_url(base.get("href", ""), url) if base is not None else url
        if not self.base.startswith("http"):
            self.base = url

    def absolute(self, address: Any) -> str:
        """The clean absolute http(s) address, or ''."""
        url = clean_url(str(address), self.base) if isinstance(address, str) and address.strip() else ""
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
            marks = _tokens(node)
            named = node.get("itemprop") == "name" or {"product", "title"} <= marks or {"product", "name"} <= marks
            if named and 0 < len(tidy(node.text_content())) < 200 and not _in_foreign_place(node):
                return node
        title = normalise(self.title)
        for node in self.root.iter("h2", "h3"):
            text = normalise(node.text_content())
            if text and text in title and not _in_foreign_place(node):
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
            if (
                not target
                or not is_page(target)
                or same_page(target, self.url)
                or _ACTION.search(urlsplit(target).path)
            ):
                continue
            if any(True for _ in anchor.iter("img", "picture")) or "background-image" in (anchor.get("style") or ""):
                pictured[anchor] = target
        targets: dict[HtmlElement, set[str]] = defaultdict(set)
        for anchor, target in pictured.items():
            for above in (anchor, *anchor.iterancestors()):
                targets[above].add(page_key(target))
        stops = set(self.heading.iterancestors()) if self.heading is not None else set()
        found: dict[HtmlElement, str] = {}
        for anchor, target in pictured.items():
            card = anchor
            for above in anchor.iterancestors():
                whole_page = above.tag in ("body", "html", "main", "header", "nav", "footer")
                if len(targets[above]) > 1 or above in stops or whole_page or above is self.heading:
                    break
                if self.heading is None and _holds_other_pictures(above, pictured):
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
            if above.tag != "body" and above not in heading_line and _is_foreign(above):
                return False
        return True

    @cached_property
    def _heading_line(self) -> set[HtmlElement]:
        return set(self.heading.iterancestors()) if self.heading is not None else set()


def _holds_other_pictures(node: HtmlElement, pictured: dict[HtmlElement, str]) -> bool:
    return any(not any(above in pictured for above in image.iterancestors()) for image in node.iter("img"))


def _tokens(node: HtmlElement) -> set[str]:
    """The words of a node's class and id, lower-case."""
    text = f"{node.get('class') or ''} {node.get('id') or ''}"
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", text)
    return {word.lower() for word in re.split(r"[^A-Za-z]+", text) if word}


def _is_foreign(node: HtmlElement) -> bool:
    if not isinstance(node.tag, str) or not (node.get("class") or node.get("id")):
        return False
    return any(_FOREIGN.match(word) for word in _tokens(node))


def _in_foreign_place(node: HtmlElement) -> bool:
    return any(
        above.tag in ("header", "footer", "nav", "aside") or _is_foreign(above) for above in node.iterancestors()
    )


def is_page(url: str) -> bool:
    """Whether an address may lead to a page: not a picture, a file or a button."""
    path = urlsplit(url).path
    return not (_IMAGE_END.search(path) or _SKIPPED_END.search(path))


def page_key(url: str) -> str:
    """What two addresses of the same page have in common."""
    parts = urlsplit(url)
    query = sorted((k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.match(k))
    path = re.sub(r"/(index\.(html?|php|aspx?))?$", "", unquote(parts.path)).removesuffix("/")
    path = re.sub(r";jsessionid=[^/?]*", "", path, flags=re.I)
    if path.endswith("index.php") and not query:
        path = path.removesuffix("index.php").removesuffix("/")
    host = (parts.hostname or "").removeprefix("www.")
    port = f":{parts.port}" if parts.port else ""
    return f"{host}{port}{path}?{urlencode(query)}"


def same_page(a: str, b: str) -> bool:
    """Whether two addresses lead to the same page."""
    return page_key(a) == page_key(b)


def without_tracking(url: str) -> str:
    """The address without parameters that only say where a visitor came from."""
    parts = urlsplit(url)
    if not parts.query:
        return url
    kept = [piece for piece in parts.query.split("&") if piece and not _TRACKING.match(piece.split("=")[0])]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "&".join(kept), ""))


def read_page(url: str, content_type: str, body: bytes, card_texts: Iterable[str] = ()) -> Page:
    """Read a page. card_texts: what the picture cards that led here said, as evidence of a product of that name."""
    document = Document(url, content_type, body)
    product = find_product(document, [normalise(text) for text in card_texts])
    robots = ", ".join(document.meta("robots", "emblem"))
    return Page(url, product, find_links(document), robots, len(body))


# --- Links -----------------------------------------------------------------------------------------------------------


def find_links(document: Document) -> list[Link]:
    """Where a crawl may go on from here, in the page's order, each page once."""
    other_languages = {
        page_key(url) for tag, url in document.alternates
        if document.language and tag != "x-default" and tag.split("-")[0] != document.language
    }  # fmt: skip
    cards = dict(document.cards)
    found: dict[str, Link] = {}

    def add(address: Any, text: str, card: bool = False, next_page: bool = False) -> None:
        url = without_tracking(document.absolute(address))
        if not url or not is_page(url) or page_key(url) in other_languages or same_page(url, document.url):
            return
        parts = urlsplit(url)
        if _ACTION.search(f"{parts.path}?{parts.query}"):
            return
        key, old = page_key(url), found.get(page_key(url))
        if old is None:
            found[key] = Link(url, text, card, next_page)
        else:
            found[key] = Link(old.url, old.text or text, old.card or card, old.next_page or next_page)

    for node in document.root.iter("link"):
        if "next" in (node.get("rel") or "").lower().split():
            add(node.get("href"), "", next_page=True)
    for card, target in cards.items():
        add(target, tidy(card.text_content())[:300] or _alt_text(card), card=True)
    for node in document.root.iter("a", "area", "option"):
        address = node.get("href") if node.tag != "option" else node.get("data-url")
        rel = (node.get("rel") or "").lower().split()
        if (
            not address
            or "nofollow" in rel
            or (node.get("hreflang") and node.get("hreflang").split("-")[0].lower() != document.language)
        ):
            continue
        text = tidy(node.text_content())[:300]
        paging = any(
            _PAGING_CLASS.search(above.get("class") or "") for above in (node, *list(node.iterancestors())[:4])
        )
        is_next = "next" in rel or bool(_NEXT_TEXT.match(text)) or (paging and bool(_PAGE_ADDRESS.search(address)))
        add(address, text, next_page=is_next or bool(_PAGE_ADDRESS.search(address)))
    for node in document.root.iter("button", "div", "section", "ul"):
        for name in ("data-next-url", "data-next-page-url", "data-next", "data-next-href"):
            value = node.get(name) or ""
            if value.startswith(("/", "http", "?")):
                add(value, "", next_page=True)
    for node in _schema_nodes(document):
        if "ItemList" in node.types:
            for item in node.each("itemListElement"):
                address = item if isinstance(item, str) else item.text("url") or item.text("@id")
                if not address and isinstance(item, _Node):
                    inner = next((v for v in item.each("item")), "")
                    address = inner if isinstance(inner, str) else inner.text("url") or inner.text("@id")
                if address:
                    add(address, "", card=False)
    return list(found.values())


def _alt_text(card: HtmlElement) -> str:
    return tidy(next((image.get("alt") for image in card.iter("img") if image.get("alt")), ""))


# --- Structured data -------------------------------------------------------------------------------------------------


class _Node:
    """A schema.org thing in whichever syntax: short type names, lists of strings and nodes by property."""

    def __init__(self, types: set[str], values: dict[str, list[Any]]) -> None:
        self.types, self.values = types, values

    def each(self, *names: str) -> Iterator[Any]:
        for name in names:
            yield from self.values.get(name, [])

    def text(self, *names: str) -> str:
        for value in self.each(*names):
            if isinstance(value, _Node):
                value = value.text("name", "@value", "url", "@id")
            if isinstance(value, str) and tidy(value):
                return tidy(value)
        return ""


_PRODUCT_TYPES = {"Product", "ProductGroup", "IndividualProduct", "ProductModel"}
_ELSEWHERE = {
    "isRelatedTo", "isSimilarTo", "isAccessoryOrSparePartFor", "isConsumableFor", "itemListElement", "itemReviewed",
    "itemOffered", "isVariantOf", "hasVariant", "mentions", "relatedLink", "containsPlace", "offers", "hasPart",
}  # fmt: skip
_SHORT = re.compile(r"^https?://(www\.)?schema\.org/|^schema:|^http://data-vocabulary\.org/|^product:")


def _schema_nodes(document: Document) -> list[_Node]:
    """All top-level schema.org things of the page, read once."""
    cached = getattr(document, "_nodes", None)
    if cached is None:
        cached = [*_json_ld(document), *_microdata(document), *_rdfa(document)]
        document._nodes = cached  # type: ignore[attr-defined]
    return cached


def _json_ld(document: Document) -> list[_Node]:
    loaded = []
    for script in document.root.iter("script"):
        if "ld+json" in (script.get("type") or "").lower():
            loaded.append(_lenient_json(script.text or ""))
    return _nodes_of(loaded)


def _lenient_json(text: str) -> Any:
    """JSON as shops write it: in comments or CDATA, with raw line breaks, or with commas too many."""
    text = re.sub(r"^\s*(//)?\s*(<!--|<!\[CDATA\[)|(//)?\s*(-->|\]\]>)\s*;?\s*$", "", text.strip()).strip().rstrip(";")
    for attempt in (text, re.sub(r",\s*([}\]])", r"\1", text)):
        try:
            return json.loads(attempt, strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _microdata(document: Document) -> list[_Node]:
    if "itemscope" not in document.text:
        return []
    from extruct.w3cmicrodata import MicrodataExtractor

    try:
        items = MicrodataExtractor(nested=True).extract_items(document.root, base_url=document.base)
    except Exception:  # the page's mistake, in a syntax that it may not need
        return []
    return [node for node in (_microdata_node(item) for item in items) if isinstance(node, _Node)]


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
    return _Node({_SHORT.sub("", name) for name in types}, values)


def _rdfa(document: Document) -> list[_Node]:
    if not re.search(r"typeof\s*=\s*[\"'][^\"']*Product", document.text):
        return []
    from extruct.rdfa import RDFaExtractor

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


def _nodes_of(loaded: Any) -> list[_Node]:
    """Nodes of JSON-LD, as written or expanded: @graph opened, @id references followed."""
    by_id: dict[str, dict[str, Any]] = {}

    def index(value: Any, depth: int = 0) -> None:
        if depth > 40:
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
        if id(value) in path or len(path) > 20:
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
        return _Node({_SHORT.sub("", t) for t in types}, values)

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
    return [node for node in (convert(value, ()) for value in tops(loaded)) if isinstance(node, _Node)]


def _products_of(nodes: list[_Node]) -> list[_Node]:
    """The products that a page declares about itself; not those inside lists, offers, variants or recommendations."""
    found: list[_Node] = []

    def walk(node: _Node, depth: int) -> None:
        if node.types & _PRODUCT_TYPES:
            found.append(node)
            return
        for name, values in node.values.items():
            if name not in _ELSEWHERE and depth < 8:
                for value in values:
                    if isinstance(value, _Node):
                        walk(value, depth + 1)

    for node in nodes:
        walk(node, 0)
    return found


# --- Is it a product? ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Structure:
    """What the page's own structure says, without any metadata."""

    cards: int
    priced_cards: int
    own_price: bool
    own_buy: bool
    own_pictures: int
    paging: bool

    @property
    def lists(self) -> bool:
        """Whether the page looks like a list of products rather than one."""
        if self.own_buy and self.own_pictures:
            return False
        return (
            self.cards >= 2 and not self.own_price and (self.paging or self.own_pictures == 0 or self.priced_cards >= 4)
        )


def structure_of(document: Document) -> Structure:
    """Look at a page's structure."""
    cards = document.cards
    priced = sum(bool(_PRICE.search(card.text_content())) for card, _ in cards)
    paging = any(
        _PAGING_CLASS.search(node.get("class") or "") and any(True for _ in node.iter("a"))
        for node in document.root.iter("div", "ul", "nav", "ol", "section")
    ) or any("next" in (node.get("rel") or "").split() for node in document.root.iter("link", "a"))
    return Structure(
        cards=len({page_key(target) for _, target in cards}),
        priced_cards=priced,
        own_price=_own_price(document),
        own_buy=_own_buy(document),
        own_pictures=len(gallery_pictures(document)),
        paging=paging,
    )


def _own_price(document: Document) -> bool:
    """Whether a price stands near the page's heading, outside of every card."""
    if document.heading is None:
        return False
    for step, above in enumerate(document.heading.iterancestors()):
        if above.tag in ("body", "html") or step > 7:
            break
        for node in above.iter():
            if not isinstance(node.tag, str) or node.tag in ("script", "style", "option", "label"):
                continue
            text = node.text or ""
            priced = node.get("itemprop") == "price" or (text and _PRICE.search(text))
            priced = priced or ("price" in _tokens(node) and re.search(r"\d", node.text_content()[:60] or ""))
            if priced and document.is_own(node) and not _in_filter(node):
                return True
    return False


def _in_filter(node: HtmlElement) -> bool:
    return any(
        above.tag in ("a", "label", "fieldset", "select")
        or _tokens(above) & {"filter", "filters", "facet", "facets", "cart"}
        for above in (node, *node.iterancestors())
    )


def _own_buy(document: Document) -> bool:
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


def find_product(document: Document, card_texts: list[str]) -> Product | None:
    """The one product that the page is about, or None."""
    nodes = _schema_nodes(document)
    structure = structure_of(document)
    node = _main_product(document, _products_of(nodes), structure)
    if node is None and _declares_list(nodes):
        return None
    if node is None and not _is_product_by_page(document, structure, card_texts):
        return None
    name = (node.text("name") if node else "") or document.name or _og_title(document) or _title_name(document)
    if not name:
        return None
    product = Product(
        url=document.url,
        name=name,
        colour=_colour(document, node, name),
        category=_category(document, node, nodes),
        language=document.language,
        identities=_identities(document, node),
    )
    product.pictures = find_pictures(document, node)
    return product


def _declares_list(nodes: list[_Node]) -> bool:
    """Whether the metadata says that the page is a list, and no product of its own."""
    for node in nodes:
        if node.types & {"CollectionPage", "OfferCatalog", "SearchResultsPage"}:
            return True
        if "ItemList" in node.types and sum(1 for _ in node.each("itemListElement")) >= 1:
            return True
    return False


def _main_product(document: Document, found: list[_Node], structure: Structure) -> _Node | None:
    named = [node for node in found if node.text("name")]
    if not named:
        return None
    heading = normalise(document.name)
    here = {page_key(document.url), page_key(document.canonical or document.url)}

    def at_this_page(node: _Node) -> bool | None:
        address = document.absolute(node.text("url"))
        if not address:
            return None
        if urlsplit(address).path.strip("/") == "" and urlsplit(document.url).path.strip("/"):
            return None
        return page_key(address) in here or urlsplit(address).path == urlsplit(document.url).path

    def has_heading(node: _Node) -> bool:
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
    if structure.lists and not (structure.own_buy or structure.own_price):
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
    return _Node(best.types, merged)


def _og_title(document: Document) -> str:
    return tidy(next(iter(document.meta("og:title")), ""))


def _title_name(document: Document) -> str:
    return tidy(re.split(r"\s[|–—·»-]\s", document.title)[0])


def _is_product_by_page(document: Document, structure: Structure, card_texts: list[str]) -> bool:
    """Judge by OpenGraph and the page's structure: points for what product pages have, against what listings have."""
    og_type = next(iter(document.meta("og:type")), "").lower()
    has_picture = structure.own_pictures > 0 or bool(document.meta("og:image"))
    name = normalise(document.name or _og_title(document))
    if not name or not has_picture or structure.lists:
        return False
    said = any(name in text for text in card_texts if text)
    points = 2 * structure.own_price + 2.5 * structure.own_buy + 2 * said
    points += 2 * bool(document.meta("product:price:amount", "og:price:amount", "product:retailer_item_id"))
    points += 3 * (og_type in ("product", "og:product", "product.item", "product.group"))
    points += 0.5 * (bool(document.meta("og:image")) and normalise(_og_title(document)) == name)
    if document.heading is not None:
        line = [above for above in document.heading.iterancestors() if above.tag != "html"]
        points += any(_PRODUCT_WORD.match(word) for above in line for word in _tokens(above))
    points += structure.own_pictures > 0 and any(_in_gallery(node) for node, _ in gallery_pictures(document))
    points -= 2 * structure.paging
    points -= 1.5 * (structure.cards >= 4 and not structure.own_buy)
    points -= 3 * (og_type in ("article", "blog", "profile"))
    points -= 2.5 * bool(_EDITORIAL.search(urlsplit(document.url).path))
    return points >= 3


def _identities(document: Document, node: _Node | None) -> list[str]:
    found = [f"page {page_key(document.url)}"]
    if document.canonical:
        same_depth = (
            len(urlsplit(document.canonical).path.strip("/")) > 0 or len(urlsplit(document.url).path.strip("/")) == 0
        )
        if same_depth:
            found.append(f"page {page_key(document.canonical)}")
    found += [f"page {page_key(url)}" for _, url in document.alternates]
    if node is not None:
        for name in (
            "gtin13",
            "gtin",
            "gtin12",
            "gtin14",
            "gtin8",
            "sku",
            "productID",
            "productGroupID",
            "inProductGroupWithID",
        ):
            value = node.text(name)
            if value:
                found.append(f"number {name.rstrip('0123456789')} {normalise(value)}")
                break
    return list(dict.fromkeys(found))


def _colour(document: Document, node: _Node | None, name: str) -> str | None:
    told = []
    if node is not None:
        told = [node.text("color", "colour")]
        told += [variant.text("color") for variant in node.each("hasVariant") if isinstance(variant, _Node)][:1]
    told += document.meta("product:color", "og:color")
    for term in document.root.iter("dt", "th", "td", "label", "strong", "b", "span", "li"):
        words = tidy(term.text_content())[:60]
        if _COLOUR_LABEL.match(words) and not any(v for v in told):
            rest = _COLOUR_LABEL.sub("", words)
            after = term.getnext()
            told.append(rest or (tidy(after.text_content())[:60] if after is not None else ""))
    for text in (*told, name):
        if text and colour_in(text):
            return colour_in(text)
    return next((text.lower() for text in told if text and len(text) < 40), None)


def _category(document: Document, node: _Node | None, nodes: list[_Node]) -> str | None:
    told = node.text("category") if node is not None else ""
    told = told or next(iter(document.meta("product:category", "product:product_type")), "")
    if not told:
        for crumb in nodes:
            if "BreadcrumbList" in crumb.types:
                names = [
                    item.text("name") or item.text("item")
                    for item in crumb.each("itemListElement")
                    if isinstance(item, _Node)
                ]
                told = names[-2] if len(names) > 2 else names[0] if len(names) == 1 else ""
    if not told:
        for element in document.root.iter("nav", "ol", "ul", "div", "p"):
            if any("breadcrumb" in word for word in _tokens(element)):
                names = [tidy(a.text_content()) for a in element.iter("a")]
                told = names[-1] if len(names) > 1 else ""
                break
    return re.split(r"\s*(?:>|/|»|\|)\s*", told)[-1] or None if told else None


# --- Pictures --------------------------------------------------------------------------------------------------------

_LARGE_ATTRIBUTE = re.compile(r"zoom|large|full|orig|hi-?res|high|big|master|magnify|lightbox", re.I)
_SOURCE_ATTRIBUTE = re.compile(
    r"^(src|data-src|data-lazy(-src)?|data-original|data-echo|data-url|data-image|data-img|content)$", re.I
)
_FURNITURE_NAME = re.compile(
    r"(^|[/_.-])(spacer|blank|pixel|spinner|loader|loading|ajax-loader|sprite|favicon|placeholder|no-?image|"
    r"visa|mastercard|paypal|klarna|amex|facebook|twitter|instagram|pinterest|youtube|tiktok|whatsapp|trustpilot)([/_.-]|$)",
    re.I,
)


def find_pictures(document: Document, node: _Node | None) -> list[Picture]:
    """All pictures of the page's product, in its order, each once, the largest address of each first."""
    groups = _Groups()
    for url in _metadata_pictures(document, node):
        groups.add([(url, width_told(url))], trusted=True)
    for element, candidates in gallery_pictures(document):
        groups.add(candidates, trusted=_in_gallery(element))
    for candidates in _script_galleries(document):
        groups.add(candidates, trusted=True)
    shared = [
        document.absolute(url)
        for url in document.meta("og:image", "og:image:url", "og:image:secure_url", "twitter:image")
    ]
    for url in shared:
        if url and not _FURNITURE_NAME.search(urlsplit(url).path):
            groups.add([(url, min(width_told(url), UNMARKED - 1))], trusted=False)
    groups.enlarge(_addresses_in_scripts(document))
    return groups.pictures()


class _Groups:
    """Joins the addresses of one picture: those of one element, and those that share a picture_key."""

    def __init__(self) -> None:
        self.groups: list[dict[str, int]] = []
        self.trusted: list[bool] = []
        self.of_key: dict[str, int] = {}

    def add(self, candidates: list[tuple[str, int]], trusted: bool) -> None:
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
                self.groups[place][url] = width_told(url)

    def pictures(self) -> list[Picture]:
        return [
            Picture(sorted(group, key=lambda url: (-group[url], list(group).index(url))), trusted)
            for group, trusted in zip(self.groups, self.trusted, strict=True)
            if group
        ]


def _metadata_pictures(document: Document, node: _Node | None) -> list[str]:
    found: list[str] = []

    def take(value: Any, depth: int = 0) -> None:
        if isinstance(value, _Node) and depth < 4:
            address = next((v for v in value.each("contentUrl", "url", "@id", "src") if isinstance(v, str)), "")
            if address and not address.startswith(("#", "_:")):
                take(address)
            else:
                for inner in value.each("image"):
                    take(inner, depth + 1)
        elif isinstance(value, str):
            url = document.absolute(value)
            if url and not _SKIPPED_END.search(urlsplit(url).path) and not same_page(url, document.url):
                found.append(url)

    if node is not None:
        for value in node.each("image", "images", "photo", "associatedMedia"):
            take(value)
        for variant in node.each("hasVariant"):
            if isinstance(variant, _Node):
                for value in variant.each("image"):
                    take(value)
    return list(dict.fromkeys(found))


def gallery_pictures(document: Document) -> list[tuple[HtmlElement, list[tuple[str, int]]]]:
    """Pictures on the page that belong to what it is about: (element, its addresses with their widths)."""
    cached = getattr(document, "_gallery", None)
    if cached is None:
        cached = list(_gallery(document))
        document._gallery = cached  # type: ignore[attr-defined]
    return cached


def _gallery(document: Document) -> Iterator[tuple[HtmlElement, list[tuple[str, int]]]]:
    for image in [*document.root.iter("img"), *_hidden_images(document)]:
        if not _too_small(image) and document.is_own(image):
            candidates = _candidates(document, image)
            if candidates:
                yield image, candidates
    for anchor in document.root.iter("a"):
        if any(True for _ in anchor.iter("img")):
            continue
        url = document.absolute(anchor.get("href"))
        if url and _IMAGE_END.search(urlsplit(url).path) and _in_gallery(anchor) and document.is_own(anchor):
            yield anchor, [(url, ORIGINAL)]
    for element in document.root.iter("div", "li", "figure", "section", "span", "a", "button"):
        if any(True for _ in element.iter("img")) or not _in_gallery(element):
            continue
        candidates = _own_addresses(document, element)
        style = re.search(r"background(?:-image)?\s*:[^;]*url\(\s*['\"]?([^'\")]+)", element.get("style") or "")
        if style:
            url = document.absolute(style.group(1))
            candidates += [(url, width_told(url))] if url else []
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
            node.text = None
            node.append(inner)
            found += inner.iter("img")
    return found


def _candidates(document: Document, image: HtmlElement) -> list[tuple[str, int]]:
    """All addresses of the picture that an <img> shows, with widths: its own, its <picture>'s, the link's around it."""
    found = _own_addresses(document, image)
    scaled = any(width < UNMARKED for _, width in found)
    parent = image.getparent()
    if parent is not None and parent.tag == "picture":
        for source in parent.iter("source"):
            if "avif" not in (source.get("type") or "") or not found:
                found += _own_addresses(document, source)
    for above in list(image.iterancestors())[:4]:
        if above.tag == "a" or above.get("data-src") or above.get("data-zoom"):
            found += _own_addresses(document, above)
            url = document.absolute(above.get("href")) if above.tag == "a" else ""
            if url and (
                _IMAGE_END.search(urlsplit(url).path) or picture_key(url) == picture_key((found or [("", 0)])[0][0])
            ):
                found.append((url, ORIGINAL))
            if above.tag == "a":
                break
        if len(above.findall(".//img")) > 1:
            break
    source = document.absolute(image.get("src"))
    best: dict[str, int] = {}
    for url, width in found:
        if url == source and width == UNMARKED and scaled and image.get("srcset"):
            width = 500
        if not _FURNITURE_NAME.search(urlsplit(url).path):
            best[url] = max(width, best.get(url, 0))
    return list(best.items())


def _own_addresses(document: Document, node: HtmlElement) -> list[tuple[str, int]]:
    """Addresses of pictures in one element's attributes, whatever a shop system calls them."""
    found: list[tuple[str, int]] = []
    for name, value in node.attrib.items():
        name, value = str(name).lower(), str(value).strip()
        if not value or value.startswith("data:"):
            continue
        if "srcset" in name:
            for address, width in parse_srcset(value):
                url = document.absolute(address)
                if url and not address.startswith("data:"):
                    told = width_told(url)
                    found.append((url, width if width > 400 or told >= UNMARKED else max(width, told)))
        elif value[0] in "[{" and ("http" in value or _image_in(value)):
            for address in _strings(_lenient_json(value)):
                url = document.absolute(address)
                if url and _IMAGE_END.search(urlsplit(url).path):
                    found.append((url, width_told(url)))
        elif name == "href" and node.tag == "a":
            continue
        elif _IMAGE_END.search(urlsplit(value.split("?")[0]).path) if _is_address(value) else False:
            url = document.absolute(value)
            if url:
                found.append((url, ORIGINAL if _LARGE_ATTRIBUTE.search(name) else width_told(url)))
        elif _SOURCE_ATTRIBUTE.match(name) and node.tag in ("img", "source") and _is_address(value):
            url = document.absolute(value)
            if url and not _SKIPPED_END.search(urlsplit(url).path):
                found.append((url, width_told(url)))
        elif (
            _LARGE_ATTRIBUTE.search(name)
            and node.tag in ("img", "source", "a")
            and re.match(r"(https?:)?//|/[^/]", value)
        ):
            url = document.absolute(value)
            if url and not _SKIPPED_END.search(urlsplit(url).path):
                found.append((url, ORIGINAL))
    return found


def _is_address(value: str) -> bool:
    return len(value) < 2000 and not re.search(r"[\s<>{}]", value.strip())


def _image_in(value: str) -> bool:
    return bool(re.search(r"\.(jpe?g|png|webp)", value, re.I))


def _strings(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)) and depth < 6:
        for entry in value if isinstance(value, list) else value.values():
            yield from _strings(entry, depth + 1)


def _in_gallery(node: HtmlElement) -> bool:
    for step, above in enumerate((node, *node.iterancestors())):
        if step > 6 or above.tag in ("body", "main"):
            return False
        if _GALLERY.search(f"{above.get('class') or ''} {above.get('id') or ''}"):
            return True
    return False


def _too_small(image: HtmlElement) -> bool:
    """Whether the markup says that this is an icon."""
    sides = []
    for name in ("width", "height"):
        digits = re.match(r"\s*(\d+)\s*(px)?\s*$", image.get(name) or "")
        if digits:
            sides.append(int(digits.group(1)))
    if sides and max(sides) <= 32:
        return True
    return (image.get("src") or "").split("?")[0].lower().endswith(".svg")


def _script_galleries(document: Document) -> Iterator[list[tuple[str, int]]]:
    """Galleries that a page keeps as JSON for its scripts (Magento's, Shopify's and their like)."""
    for script in document.root.iter("script"):
        kind, text = (script.get("type") or "").lower(), script.text or ""
        if ("json" not in kind and "magento" not in kind) or "ld+json" in kind or not _image_in(text):
            continue
        yield from _gallery_entries(document, _lenient_json(text), "")


def _gallery_entries(document: Document, value: Any, name: str, depth: int = 0) -> Iterator[list[tuple[str, int]]]:
    if depth > 14:
        return
    in_gallery = bool(re.search(r"galler|^images?$|^media$|^photos?$|^pictures$", name, re.I))
    if isinstance(value, list):
        for entry in value:
            if isinstance(entry, str) and in_gallery and _image_in(entry):
                url = document.absolute(entry)
                if url:
                    yield [(url, width_told(url))]
            else:
                yield from _gallery_entries(document, entry, name, depth + 1)
    elif isinstance(value, dict):
        addresses = []
        for key, entry in value.items():
            if isinstance(entry, str) and re.match(
                r"^(full|zoom|large|original|src|url|img|image|thumb|medium|small)(_?(url|src|image))?$", key, re.I
            ):
                url = document.absolute(entry)
                if url and _IMAGE_END.search(urlsplit(url).path):
                    addresses.append((url, ORIGINAL if _LARGE_ATTRIBUTE.search(key) else width_told(url)))
        if addresses and (in_gallery or "full" in value):
            yield addresses
        for key, entry in value.items():
            if not re.search(r"relat|recommend|similar|upsell|cross|swatch", key, re.I):
                child = (
                    key
                    if re.search(r"galler|images?|media|photos?|pictures", key, re.I)
                    else ("" if key != "data" else name)
                )
                yield from _gallery_entries(document, entry, child, depth + 1)


def _addresses_in_scripts(document: Document) -> Iterator[str]:
    for script in document.root.iter("script"):
        text = script.text or ""
        if "ld+json" in (script.get("type") or "") or not _image_in(text) or len(text) > 500_000:
            continue
        for address in re.findall(
            r"[\"']((?:https?:)?\\?/\\?/?[^\"'\s<>]{4,400}?\.(?:jpe?g|png|webp)[^\"'\s<>]{0,200})[\"']", text, re.I
        ):
            url = document.absolute(address.replace("\\/", "/"))
            if url:
                yield url
