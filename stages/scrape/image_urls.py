"""What the address of a picture says: its width, which other addresses show the same one, and where the original is.

Shop systems scale pictures down and say so in the address: "-300x400", "?width=360", "/thumb/", "_large".
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit, urlunsplit

_SIZE_END = re.compile(
    r"([-_@.](?:(\d{2,4})x(\d{0,4})|x(\d{2,4})|(\d{3,4})w)(?:_?crop(?:_\w+)?)?(?:@\d(?:\.\d)?x)?)(?=\.\w+$|$)", re.I
)
_SIZE_WORD_END = re.compile(
    r"([-_.](?:(pico|icon|thumb(?:nail)?s?|mini|tiny|xs|small|sm|compact|medium|med|md|large|lg|grande|big|xl|"
    r"zoom|full|original|orig|master|hires)|(?:(\d{2,4})px)))(?=\.\w+$|$)",
    re.I,
)
_SIZE_FOLDER = re.compile(
    r"/(thumb(?:nail)?s?|mini|tiny|xs|small|sm|medium|med|md|large|lg|big|xl|zoom|full|original|originals|master|hires|"
    r"(?:s|w|h|c|q|size|width)[-_]?\d{2,4}|\d{2,4}x\d{0,4}|\d{2,4}[wp]x?|"
    r"(?:small|medium|large|home|cart|category|thickbox|product_listing)_default)(?=/)",
    re.I,
)
_SIZE_CACHE = re.compile(
    r"/(?:cache|resized?|resolve)/(?:[0-9a-f]{16,64}|\d{2,4}x\d{2,4}|[\w]*(?:thumb|small|medium|large)\w*)(?=/)", re.I
)
_SIZE_PREFIX = re.compile(r"(?<=/)(thumb(?:nail)?|small|medium|large|big|tn|th|mini)[-_](?=[^/]+$)", re.I)
_SIZE_QUERY = re.compile(
    r"^(w|wid|width|sw|imwidth|h|hei|height|sh|imheight|size|s|resize|fit|crop|quality|q|qlt|dpr|scale|format|fm|fmt|auto|"
    r"sm|sfrm|bgcolor|bg|op_sharpen|strip|optimi[sz]e|v|ver|version|t|ts|timestamp|mode|im|impolicy|imdensity|ixlib|cs)$",
    re.I,
)
_VERSION = re.compile(r"^(v|ver|version|t|ts|timestamp)$", re.I)
_WORD_WIDTH = {
    word: width
    for width, words in {
        16: "pico",
        32: "icon",
        60: "xs tiny",
        80: "mini",
        98: "small_default",
        100: "thumb thumbs thumbnail thumbnails tn th",
        125: "cart_default",
        160: "small sm compact",
        220: "product_listing_default",
        250: "home_default",
        300: "category_default",
        400: "medium med md",
        452: "medium_default",
        800: "large_default",
        900: "large lg grande",
        1000: "big",
        1100: "thickbox_default",
        1200: "xl",
    }.items()
    for word in words.split()
}
"""Pixels, about, that shop systems mean by these words (WordPress, Shopify, PrestaShop's *_default)."""
_EASY_THUMBNAIL = re.compile(r"(?<=\.)(jpe?g|png|webp|gif)\.\d{1,4}x\d{1,4}_[\w.,-]*$", re.I)
"""easy-thumbnails' "name.jpg.200x200_q85.jpg", whose original is "name.jpg"."""
_HASHED_CACHE = re.compile(r"/cache/(?:[0-9a-f]{2}/[0-9a-f]{2}/)?[0-9a-f]{16,64}[/.]", re.I)
"""Magento's and sorl's scaled copies; sorl's address tells nothing of the original's."""
_PROXY = re.compile(r"/(?:_ipx/[^/]*|cdn-cgi/image/[^/]*)(?=/)", re.I)
"""What Nuxt and Cloudflare put in front of the original's path when they scale it."""
_WIDTH_QUERY = re.compile(r"^(w|wid|width|sw|imwidth|size|s|resize)$", re.I)
MOST_GUESSES = 5
"""Addresses to ask for a larger copy of one picture before it is taken as it is: politeness, chosen by hand."""
MOST_CANDIDATES = 200
"""Addresses of one srcset that are read; real ones have up to thirty. By hand."""
_SRCSET_GAP, _SRCSET_ADDRESS = re.compile(r"[\s,]*"), re.compile(r"\S*")
_SRCSET_DESCRIPTOR = re.compile(r"(?:[^,(]|\([^)]*\)?)*")
_SIZE_WORD = re.compile(r"(\d+|\d*\.\d+)([wx])", re.A)
Candidates = list[tuple[str, int]]
"""Addresses of one picture, each with the width in pixels that it is said to have."""
UNMARKED, ORIGINAL = 100_000, 1_000_000
"""Stand-ins for widths that no address names: of one without a mark of its size, and of one said to be full."""


def unproxied(url: str) -> str:
    """The original's address where `url` asks Next.js, Nuxt or Cloudflare to scale it; else `url` itself."""
    parts = urlsplit(url)
    if parts.path.endswith("/_next/image"):
        inner = next((value for name, value in parse_qsl(parts.query) if name == "url"), "")
    elif _PROXY.search(parts.path):
        inner = _PROXY.split(parts.path, maxsplit=1)[1]
        inner = inner[1:] if re.match(r"/https?:/", inner) else inner
    else:
        return url
    try:
        found = urlsplit(urljoin(url, inner))
    except ValueError:
        return url
    return urlunsplit(found) if found.scheme in ("http", "https") and found.hostname else url


def is_scaled(url: str) -> bool:
    """Whether an address says that a shop system has made a smaller copy of a picture."""
    if unproxied(url) != url or width_in_url(url) < UNMARKED:
        return True
    path = urlsplit(url).path
    return bool(_EASY_THUMBNAIL.search(path) or _HASHED_CACHE.search(path))


def picture_key(url: str) -> str:
    """What the addresses of one picture at several sizes have in common."""
    parts = urlsplit(unproxied(url))
    path = _EASY_THUMBNAIL.sub(r"\1", unquote(parts.path))
    path = _SIZE_CACHE.sub("", path)
    path = _SIZE_FOLDER.sub("", path)
    path = _SIZE_PREFIX.sub("", path)
    for _ in range(2):
        path = _SIZE_WORD_END.sub("", _SIZE_END.sub("", path))
    query = sorted((k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _SIZE_QUERY.match(k))
    stem = re.sub(r"\.(jpe?g|png|webp|avif)$", "", path, flags=re.I)
    return f"{(parts.hostname or '').removeprefix('www.')}{stem}?{urlencode(query)}"


def width_in_url(url: str) -> int:
    """The picture's width in pixels as its address names it; UNMARKED or ORIGINAL where it does not."""
    parts = urlsplit(url)
    for name, value in parse_qsl(parts.query):
        if _WIDTH_QUERY.match(name) and re.match(r"\d{2,4}\b", value):
            return int(re.match(r"\d+", value).group())  # type: ignore[union-attr]
    path = unquote(parts.path)
    easy = re.search(r"\.(\d{1,4})x\d{1,4}_[\w.,-]*$", path)
    if easy and _EASY_THUMBNAIL.search(path):
        return int(easy.group(1))
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
    """Addresses at which shop systems keep the original of a picture whose address says that it is scaled down."""
    if not is_scaled(url):
        return []
    if unproxied(url) != url:
        return [unproxied(url)]
    parts = urlsplit(url)
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _SIZE_QUERY.match(k)])
    if _EASY_THUMBNAIL.search(parts.path):
        return [urlunsplit((parts.scheme, parts.netloc, _EASY_THUMBNAIL.sub(r"\1", parts.path), "", ""))]
    paths = [_SIZE_WORD_END.sub("", _SIZE_END.sub("", parts.path))]
    for size_folder in (_SIZE_CACHE, _SIZE_FOLDER, _SIZE_PREFIX):
        paths.append(size_folder.sub("", paths[-1]))
    if re.search(r"(?<=[-_./])(thumb(nail)?s?|small|medium)(?=[-_./])", parts.path, re.I):
        for better in ("large", "original"):
            paths.append(re.sub(r"(?<=[-_./])(thumb(nail)?|small|medium)(?=s?[-_./])", better, parts.path, flags=re.I))
    paths.append(re.sub(r"/cache(?=/)", "", paths[0]))
    paths.append(parts.path)
    versioned = urlencode(
        [
            (k, v)
            for k, v in parse_qsl(parts.query, keep_blank_values=True)
            if _VERSION.match(k) or not _SIZE_QUERY.match(k)
        ]
    )
    queries = dict.fromkeys((versioned, query))  # a version's own address first: what a shop links to is surely there
    guesses = [urlunsplit((parts.scheme, parts.netloc, path, q, "")) for path in dict.fromkeys(paths) for q in queries]
    return [guess for guess in dict.fromkeys(guesses) if guess != url][:MOST_GUESSES]


def parse_srcset(text: str) -> Candidates:
    """The addresses of a srcset with their width in pixels (densities count as hundreds).

    By the HTML standard's steps (4.8.4.3.10), in one pass; but what has a descriptor that is none is kept, at 1x.
    """
    found: Candidates = []
    at = 0
    while len(found) < MOST_CANDIDATES:
        start = _SRCSET_GAP.match(text, at).end()  # type: ignore[union-attr]
        if start == len(text):
            break
        at = _SRCSET_ADDRESS.match(text, start).end()  # type: ignore[union-attr]
        url, descriptor = text[start:at], ""
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            end = _SRCSET_DESCRIPTOR.match(text, at).end()  # type: ignore[union-attr]
            descriptor, at = text[at:end], end
        found.append((url, _described_width(descriptor)))
    return found


def _described_width(descriptor: str) -> int:
    """What "300w", "2x" or "300w 400h" says; 1x where it says nothing."""
    for word in descriptor.split():
        size = _SIZE_WORD.fullmatch(word)
        if size:
            return int(min(float(size.group(1)) * (1 if size.group(2) == "w" else 100), UNMARKED - 1))
    return 100
