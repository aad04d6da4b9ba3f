"""What an address says before anything is fetched: which page it names, and whether it leads to one at all."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from urllib.parse import parse_qsl, unquote, urlencode, urljoin, urlsplit, urlunsplit

from w3lib.url import safe_url_string

IMAGE_END = re.compile(r"\.(jpe?g|png|webp|gif|avif|tiff?|bmp|jfif|jpe)$", re.I)
SKIPPED_END = re.compile(
    r"\.(pdf|zip|docx?|xlsx?|mp4|webm|mov|mp3|css|js|json|rss|atom|woff2?|ico|svg|exe|gz|txt|csv|ics)$", re.I
)
"""Ends of paths that lead to files which are neither pages nor pictures that are taken."""
_ACTION_SEGMENTS = (
    "cart basket addtocart checkout warenkorb panier login logout signin signup register account myaccount konto "
    "wishlist merkzettel compare comparison productcompare shoppingcart shoppingbag orderstatus password "
    "forgotpassword newsletter unsubscribe writereview share print rss feed wpjson wpadmin wplogin cdncgi"
)
"""Parts of a path that are buttons, not pages: what is asked for there changes a cart, an account or a list. Without
hyphens, underscores and the end (".php"). A whole part alone counts: /p/print-shirt is a product."""
_ACTION_PAIRS = frozenset({("bag", "add"), ("review", "add"), ("reviews", "add"), ("reviews", "new")})
"""Two parts of a path that together are a button."""
_ACTION_KEYS = (
    "addtocart addtowishlist addtocompare removeitem print printable share replytocom logout unsubscribe "
    "addtobasket removefromcart undoitem"
)
"""Names of parameters that are buttons, without hyphens and underscores."""
_ROUTE_KEYS = frozenset({"route", "main_page", "fc", "controller", "action", "do"})
"""Names of parameters whose value says which page is shown (OpenCart, Zen Cart, PrestaShop), as paths do else."""
_TRACKING = re.compile(
    r"^(utm_\w+|gclid|fbclid|msclkid|mc_[ce]id|_ga|_gl|ref_?|sid|phpsessid|sessionid|jsessionid|oscsid|zenid|srsltid|"
    r"pr_\w+|_pos|_sid|_ss|_psq|_fid|_v|tracking|campaign)$",
    re.I,
)
"""Names of parameters that say who comes from where, not what is shown: of advertisers, sessions and Shopify."""
REMEMBERED = 20_000
"""Addresses whose parts are remembered: cards, links and galleries ask for those of one page again and again."""
LONGEST_URL, MOST_SEGMENTS, MOST_REPEATS = 1500, 16, 3
"""Characters, parts of a path, and how often one part may come again in an address that a shop means. By hand."""


@lru_cache(REMEMBERED)
def clean_url(url: str, base: str = "") -> str:
    """An absolute address, percent-encoded, without fragment, user name and control characters; '' for no address."""
    text = "".join(c for c in url if ord(c) > 31).strip()
    try:
        parts = urlsplit(urljoin(base, text))
        if parts.scheme not in ("http", "https"):
            return urlunsplit(parts)
        if not parts.hostname:
            return ""
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        default = parts.port in (None, 443 if parts.scheme == "https" else 80)
        netloc = host if default else f"{host}:{parts.port}"
        return str(safe_url_string(urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))))
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def port_of(url: str) -> int:
    """The port of an address, its scheme's own where none is named."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def is_page(url: str) -> bool:
    """Whether an address may lead to a page: not a picture, a file or a button."""
    path = urlsplit(url).path
    return not (IMAGE_END.search(path) or SKIPPED_END.search(path))


def is_action(url: str) -> bool:
    """Whether an address is a button: by whole parts of its path, names of its parameters, and values of routes."""
    parts = urlsplit(url)
    routes = [unquote(parts.path)]
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name.lower() in _ROUTE_KEYS:
            routes.append(value)
        elif _plain(name) in _ACTION_KEYS.split():
            return True
    for route in routes:
        segments = [_plain(re.sub(r"\.(html?|php|aspx?)$", "", s)) for s in route.split("/") if s]
        if set(_ACTION_SEGMENTS.split()).intersection(segments) or _ACTION_PAIRS.intersection(pairwise(segments)):
            return True
    return False


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


@lru_cache(REMEMBERED)
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


def without_language(url: str) -> str:
    """What the addresses of a page's copies for other languages have in common, where they differ in nothing else."""
    key = page_key(url)
    return re.sub(r"/[a-z]{2}([-_][a-z]{2})?(?=/)", "", key, count=1, flags=re.I)


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


def url_pattern(url: str) -> str:
    """What addresses made by one template have in common: no numbers, no last part, only the names of parameters."""
    parts = urlsplit(url)
    segments = [re.sub(r"\d+", "#", segment) for segment in unquote(parts.path).strip("/").split("/")]
    segments[-1] = "*"
    query = sorted(
        f"{name}={value}" if name.lower() in ("route", "main_page", "fc", "controller", "action") else name
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return f"{parts.hostname}/{'/'.join(segments)}?{'&'.join(query)}"


def is_repetitive(url: str) -> bool:
    """Whether an address repeats itself, as relative links of a broken template make it."""
    segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    return (
        len(url) > LONGEST_URL
        or len(segments) > MOST_SEGMENTS
        or any(count > MOST_REPEATS for count in Counter(segments).values())
    )
