"""The crawl: from start pages and sitemaps to all products of a shop, and from products to their pictures' bytes.

It goes breadth first, in waves: the pages of a wave are fetched side by side, then read in order, and the next wave is
made of their links. So which pages are visited within the budgets does not depend on how fast a server answers, and a
crawl that was killed ends like one that was not.

Traps are left by their yield: addresses of one shape (an endless calendar's, a filter's combinations) are followed
only as long as that shape has ever led to a new product.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import shutil
import zlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import lxml.etree  # type: ignore[import-untyped]
from scrapy import Spider
from scrapy.crawler import AsyncCrawlerRunner
from scrapy.utils.reactor import install_reactor

from stages.common.params import Scrape
from stages.scrape.fetch import PAGE_BYTES, Fetched, Fetcher, clean_url, origin_of
from stages.scrape.products import (
    Page,
    Picture,
    Product,
    find_product,
    larger_guesses,
    normalise,
    page_key,
    picture_key,
    read_page,
)

STERILE_PAGES = 40
"""Pages of one shape that are visited while none has led to a new product."""
SHARED_BY = 5
SHARED_SHARE = 0.2
"""A picture outside of galleries and metadata that so many products show, and this share of all, is the shop's own."""
MOST_SITEMAPS = 500
SMALLER_COPY = "smaller copy of"
MOST_MEGAPIXELS = 40.0
"""Above this, pictures are not looked at during the crawl; their bytes are kept all the same."""


@dataclass
class Visit:
    """A page to be visited, and who led there."""

    url: str
    parent: Visit | None = None
    texts: list[str] = field(default_factory=list)
    promising: bool = False
    depth: int = 0
    productive: bool = False
    """Whether it is, or has led to, a product that was not known before."""


@dataclass
class Crawled:
    """What a crawl found."""

    products: list[Product]
    refusing: set[str]
    """Addresses of product pages whose robots tag refuses use for AI."""
    pages: int
    failures: Counter[str]
    notes: list[str]


@dataclass(frozen=True)
class Taken:
    """A picture of a product and what came of fetching it."""

    product: Product
    picture: Picture
    fetched: Fetched


# --- Running inside Scrapy -------------------------------------------------------------------------------------------


class _Spider(Spider):  # type: ignore[misc]
    name = "emblem"

    def __init__(self, work: Callable[[Any], Awaitable[None]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.work = work
        self.failure: BaseException | None = None

    async def start(self) -> Any:
        try:
            await self.work(self.crawler)
        except BaseException as error:
            self.failure = error
        nothing: tuple[Any, ...] = ()
        for item in nothing:
            yield item


def run_in_scrapy(settings: dict[str, Any], work: Callable[[Any], Awaitable[None]]) -> None:
    """Run `work(crawler)` while Scrapy's engine is up. May be called again and again in one process."""
    install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
    from scrapy.resolver import CachingThreadedResolver, dnscache
    from twisted.internet import reactor

    loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop  # type: ignore[attr-defined]
    if not reactor.running:  # type: ignore[attr-defined]
        reactor.startRunning(installSignalHandlers=False)  # type: ignore[attr-defined]
        CachingThreadedResolver(reactor, 10_000, 30.0).install_on_reactor()  # type: ignore[arg-type]
    dnscache.clear()

    async def crawl() -> None:
        runner = AsyncCrawlerRunner(settings)
        crawler = runner.create_crawler(_Spider)
        await runner.crawl(crawler, work=work)
        failure = getattr(crawler.spider, "failure", None)
        if failure is not None:
            raise failure

    loop.run_until_complete(crawl())


def scrapy_settings(params: Scrape, loopback_only: bool) -> dict[str, Any]:
    """Scrapy's settings for a crawl by `params`. What `Fetcher` decides itself is switched off."""
    settings: dict[str, Any] = {
        "USER_AGENT": params.user_agent,
        "CONCURRENT_REQUESTS": params.concurrency * 4,
        "CONCURRENT_REQUESTS_PER_DOMAIN": params.concurrency,
        "DOWNLOAD_DELAY": params.delay,
        "DOWNLOAD_DELAY_JITTER": 0.0,
        "DOWNLOAD_TIMEOUT": params.timeout,
        "DOWNLOAD_WARNSIZE": 0,
        "EXTENSIONS": {"stages.scrape.fetch.PoliteThrottle": 0},
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": params.delay if loopback_only else max(params.delay, 0.25),
        "AUTOTHROTTLE_MAX_DELAY": max(30.0, params.delay),
        "AUTOTHROTTLE_TARGET_CONCURRENCY": float(params.concurrency),
        "DOWNLOAD_HANDLERS": {"file": None, "data": None, "ftp": None, "s3": None},
        "ROBOTSTXT_OBEY": False,
        "REDIRECT_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "RETRY_ENABLED": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "LOG_ENABLED": False,
    }
    if params.javascript:
        handler = "scrapy_playwright.handler.ScrapyPlaywrightDownloadHandler"
        settings["DOWNLOAD_HANDLERS"] |= {"http": handler, "https": handler}
        settings["PLAYWRIGHT_PROCESS_REQUEST_HEADERS"] = None  # the browser's own, but for the user agent
        installed = shutil.which("chromium") or shutil.which("google-chrome")
        if installed:  # the system's browser spares the download of playwright's own
            settings["PLAYWRIGHT_LAUNCH_OPTIONS"] = {"executable_path": installed}
        settings["PLAYWRIGHT_CONTEXTS"] = {"default": {"user_agent": params.user_agent}}
    return settings


# --- Pages -----------------------------------------------------------------------------------------------------------


class Crawl:
    """One crawl of one shop."""

    def __init__(self, params: Scrape, fetcher: Fetcher, starts: list[str], sitemaps: list[str]) -> None:
        self.params, self.fetcher, self.starts, self.sitemaps = params, fetcher, starts, sitemaps
        self.reached: dict[str, Visit] = {}
        self.card_texts: dict[str, list[str]] = defaultdict(list)
        self.visited_of_shape: Counter[str] = Counter()
        self.products_of_shape: Counter[str] = Counter()
        self.queued_of_shape: Counter[str] = Counter()
        self.known: dict[str, Product] = {}
        self.contents: set[tuple[str, frozenset[str]]] = set()
        self.fruitless: dict[str, Fetched] = {}
        self.refusing: set[str] = set()
        self.sitemap_pictures: dict[str, list[str]] = {}
        self.failures: Counter[str] = Counter()
        self.notes: list[str] = []
        self.pages = self.bytes = 0

    async def find_products(self) -> Crawled:
        """Visit the shop's pages; returns its products, in the order in which they were found, each once."""
        waiting = await self._first_visits()
        while waiting:
            wave, waiting = self._choose(waiting)
            if not wave:
                break
            waiting += await self._visit_wave(wave)
            if self.pages >= self.params.max_pages or self.bytes >= self.params.max_megabytes * 2**20:
                left = sum(1 for visit in waiting if self._may_go(visit))
                if left:
                    self.notes.append(
                        f"stopped after {self.pages} pages with {left} links not followed (scrape.max_pages)"
                    )
                break
        self._look_again()
        return Crawled(merge_products(self.known.values()), self.refusing, self.pages, self.failures, self.notes)

    async def _first_visits(self) -> list[Visit]:
        sitemaps = list(self.sitemaps)
        for start in self.starts:
            rules = await self.fetcher.robots.of(start) if urlsplit(start).path in ("", "/") else None
            if rules is not None:
                sitemaps += [self.fetcher._to_public(clean_url(url, start)) for url in rules.sitemaps]
        visits = [Visit(url) for url in self.starts]
        visits += [Visit(url) for url in await self._read_sitemaps(sitemaps)]
        return [visit for visit in visits if self._is_new(visit)]

    async def _read_sitemaps(self, sitemaps: list[str]) -> list[str]:
        """Page addresses of sitemaps and of the sitemaps that they name; one address of a page's language variants."""
        seen: set[str] = set()
        pages: dict[str, str] = {}
        variants: set[str] = set()
        while sitemaps and len(seen) < MOST_SITEMAPS:
            batch = [url for url in dict.fromkeys(sitemaps) if url not in seen][: MOST_SITEMAPS - len(seen)]
            seen.update(batch)
            sitemaps = []
            for answer in await asyncio.gather(*(self.fetcher.fetch(url, "sitemap") for url in batch)):
                if answer.error:
                    self.notes.append(f"sitemap {answer.url}: {answer.error}")
                    continue
                found = read_sitemap(answer)
                sitemaps += [clean_url(url, answer.final_url) for url in found.sitemaps]
                for address, others, pictures in found.pages:
                    url = clean_url(address, answer.final_url)
                    key = page_key(url)
                    if url and key not in variants:
                        pages.setdefault(key, url)
                    variants.update(k for k in (page_key(clean_url(o, answer.final_url)) for o in others) if k != key)
                    if pictures:
                        self.sitemap_pictures[key] = [clean_url(p, answer.final_url) for p in pictures]
        return list(pages.values())

    def _is_new(self, visit: Visit) -> bool:
        key = page_key(visit.url)
        if key in self.reached or self.fetcher.guard.refusal_of_name(self.fetcher._to_real(visit.url)):
            return False
        self.reached[key] = visit
        return True

    def _may_go(self, visit: Visit) -> bool:
        kind = shape(visit.url)
        return bool(self.products_of_shape[kind]) or self.queued_of_shape[kind] < STERILE_PAGES

    def _choose(self, waiting: list[Visit]) -> tuple[list[Visit], list[Visit]]:
        """The next wave, the most promising first, within the budget; and what waits for its shape to bear fruit."""
        wave: list[Visit] = []
        later: list[Visit] = []
        for visit in sorted(waiting, key=lambda v: (not v.promising, not self.products_of_shape[shape(v.url)])):
            if self._may_go(visit) and self.pages + len(wave) < self.params.max_pages:
                self.queued_of_shape[shape(visit.url)] += 1
                wave.append(visit)
            else:
                later.append(visit)
        return wave, later

    async def _visit_wave(self, wave: list[Visit]) -> list[Visit]:
        pages = await asyncio.gather(*(self._visit(visit) for visit in wave))
        for visit, page in zip(wave, pages, strict=True):
            self.pages += 1
            self.visited_of_shape[shape(visit.url)] += 1
            if page is not None:
                self.bytes += page.size
                if page.product is not None and self._learn(page):
                    self._credit(visit)
        found = []
        for visit, page in zip(wave, pages, strict=True):
            visit.depth = 0 if visit.parent is None else 1 if visit.parent.productive else visit.parent.depth + 1
            if page is not None and visit.depth < self.params.max_depth:
                found += self._follow(visit, page)
        return found

    async def _visit(self, visit: Visit) -> Page | None:
        answer = await self.fetcher.fetch(visit.url, "page")
        if answer.error:
            if answer.error != "forbidden by robots.txt":
                self.failures[answer.error] += 1
            return None
        if "html" not in answer.content_type and answer.body.lstrip()[:1] != b"<":
            return None
        page = read_page(
            answer.final_url, answer.headers.get("content-type", ""), answer.body, self.card_texts[page_key(visit.url)]
        )
        page.refuses_ai = ", ".join(filter(None, [page.refuses_ai, answer.headers.get("x-robots-tag", "")]))
        if page.product is None:
            self.fruitless[page_key(visit.url)] = Fetched(visit.url, answer.final_url, answer.status, answer.headers)
        await asyncio.sleep(0)
        return page

    def _learn(self, page: Page) -> bool:
        """Keep a product. Whether it is one that no page before has shown."""
        assert page.product is not None
        from stages.scrape.fetch import refuses_ai

        product = page.product
        for url in self.sitemap_pictures.get(page_key(product.url), []):
            if url and picture_key(url) not in {picture_key(u) for picture in product.pictures for u in picture.urls}:
                product.pictures.append(Picture([url], trusted=True))
        if refuses_ai(page.refuses_ai, self.params.user_agent):
            self.refusing.add(product.url)
        key = page_key(product.url)
        if key in self.known:
            return False
        content = (normalise(product.name), frozenset(_picture_set(product)))
        fresh = content not in self.contents
        self.contents.add(content)
        self.known[key] = product
        return fresh

    def _credit(self, visit: Visit) -> None:
        self.products_of_shape[shape(visit.url)] += 1
        visit.productive = True
        if visit.parent is not None:
            visit.parent.productive = True
            self.products_of_shape[shape(visit.parent.url)] += 1

    def _follow(self, visit: Visit, page: Page) -> list[Visit]:
        found = []
        for link in page.links:
            if link.card and link.text:
                self.card_texts[page_key(link.url)].append(link.text)
            following = Visit(link.url, visit, promising=link.card or link.next_page)
            if not _circles(link.url) and self._is_new(following):
                found.append(following)
        return found

    def _look_again(self) -> None:
        """Judge anew the pages without a product whose picture cards were only seen after them."""
        from stages.scrape.products import Document

        for key, answer in self.fruitless.items():
            texts = self.card_texts.get(key)
            stored = self.fetcher.store.get(answer.url) if texts else None
            if stored is not None and texts:
                document = Document(stored.final_url, stored.headers.get("content-type", ""), stored.body)
                product = find_product(document, [normalise(text) for text in texts])
                if product is not None:
                    robots = ", ".join([*document.meta("robots", "emblem"), stored.headers.get("x-robots-tag", "")])
                    self._learn(Page(stored.final_url, product, [], robots))


def shape(url: str) -> str:
    """What addresses made by one template have in common: no numbers, no last part, only the names of parameters."""
    parts = urlsplit(url)
    segments = [re.sub(r"\d+", "#", segment) for segment in unquote(parts.path).strip("/").split("/")]
    segments[-1] = "*"
    query = sorted(
        f"{name}={value}" if name.lower() in ("route", "main_page", "fc", "controller", "action") else name
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return f"{parts.hostname}/{'/'.join(segments)}?{'&'.join(query)}"


def _circles(url: str) -> bool:
    """Whether an address repeats itself, as relative links of a broken template make it."""
    segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    return len(url) > 1500 or len(segments) > 16 or any(count > 3 for count in Counter(segments).values())


# --- Sitemaps --------------------------------------------------------------------------------------------------------


@dataclass
class Sitemap:
    """What a sitemap names."""

    sitemaps: list[str] = field(default_factory=list)
    pages: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    """(address, addresses of its language variants, pictures)."""


def read_sitemap(answer: Fetched) -> Sitemap:
    """Read a sitemap or a sitemap index, packed or not; text sitemaps have an address a line."""
    body, found = answer.body, Sitemap()
    if body[:2] == b"\x1f\x8b":
        try:
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(5 * PAGE_BYTES)
        except (OSError, EOFError, zlib.error):
            return found
    if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = body.decode("utf-8", "replace").splitlines()
        found.pages = [(line.strip(), [], []) for line in lines if line.strip().startswith("http")]
        return found
    parser = lxml.etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = lxml.etree.fromstring(body, parser)
    except (lxml.etree.XMLSyntaxError, ValueError):
        return found
    for entry in root if root is not None else []:
        if not isinstance(entry.tag, str):
            continue
        kind = lxml.etree.QName(entry).localname
        address, others, pictures = "", [], []
        for child in entry.iter():
            if not isinstance(child.tag, str) or child is entry:
                continue
            name = lxml.etree.QName(child)
            if name.localname == "loc" and "image" in (name.namespace or ""):
                pictures.append((child.text or "").strip())
            elif name.localname == "loc" and not address:
                address = (child.text or "").strip()
            elif name.localname == "link" and child.get("href"):
                others.append(child.get("href") or "")
        if kind == "sitemap":
            found.sitemaps.append(address)
        elif kind == "url" and address:
            found.pages.append((address, others, pictures))
    return found


# --- Products --------------------------------------------------------------------------------------------------------


def _picture_set(product: Product) -> set[str]:
    return {picture_key(picture.urls[0]) for picture in product.pictures if picture.trusted}


def _agree(a: Product, b: Product) -> bool:
    """Whether pages that share an identity are one product: other languages, the same name, or the same pictures."""
    if a.language != b.language:
        return True
    pictures = _picture_set(a) == _picture_set(b) or not (_picture_set(a) and _picture_set(b))
    return pictures or normalise(a.name) == normalise(b.name)


def merge_products(found: Iterable[Product]) -> list[Product]:
    """One product for all the pages that show it: language variants, several categories, parameters.

    Colourways stay apart: they differ in name or pictures in one language. The page found first represents the product.
    """
    groups: list[list[Product]] = []
    of_identity: dict[str, list[int]] = defaultdict(list)
    for product in found:
        pictures = sorted(_picture_set(product))
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
    main_language = languages.most_common(1)[0][0] if languages else ""
    return _without_furniture([_joined(group, main_language) for group in groups])


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
    joined = Product(first.url, first.name, colour, category, first.language, first.identities, pictures)
    joined.identities = [*names]
    return joined


def _without_furniture(products: list[Product]) -> list[Product]:
    """Take out what so many products show that it is none of theirs (payment logos, size charts, sharing pictures)."""
    shown = Counter(key for p in products for key in {picture_key(picture.urls[0]) for picture in p.pictures})
    for product in products:
        product.pictures = [
            picture for picture in product.pictures
            if picture.trusted
            or shown[picture_key(picture.urls[0])] < max(SHARED_BY, SHARED_SHARE * len(products))
        ]  # fmt: skip
    return products


def is_named(product: Product, name_contains: str) -> bool:
    """Whether the product's name, in any of its languages, contains the text, case and spaces normalised."""
    return any(normalise(name_contains) in normalise(name) for name in (product.name, *product.identities))


# --- Pictures --------------------------------------------------------------------------------------------------------


class _Guesses:
    """Larger addresses that pages do not name are only asked for as long as the shop answers them."""

    PATIENCE = 4

    def __init__(self) -> None:
        self.won: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.content: dict[str, str] = {}

    def of(self, picture: Picture) -> list[str]:
        if self.lost[self.kind(picture)] >= self.PATIENCE and not self.won[self.kind(picture)]:
            return []
        return [url for url in larger_guesses(picture.urls[0]) if url not in picture.urls]

    @staticmethod
    def kind(picture: Picture) -> str:
        return origin_of(picture.urls[0])


async def take_pictures(
    crawl: Crawl, products: list[Product], width_of: Callable[[bytes], int], budget: int
) -> list[Taken]:  # fmt: skip
    """Fetch all pictures of the products at their largest, in order, until `budget` bytes are spent.

    width_of: the width of a picture's bytes in pixels, 0 where they are none.
    """
    wanted = [(product, picture) for product in products for picture in product.pictures]
    guesses, taken, spent = _Guesses(), [], 0
    block = max(8, crawl.params.concurrency * 2)
    for first in range(0, len(wanted), block):
        part = wanted[first : first + block]
        if spent > budget:
            reason = "over scrape.max_megabytes"
            taken += [Taken(p, q, Fetched(q.urls[0], q.urls[0], error=reason)) for p, q in wanted[first:]]
            crawl.notes.append(f"stopped at scrape.max_megabytes with {len(wanted) - first} pictures not fetched")
            break
        asked = [guesses.of(picture) for _, picture in part]
        answers = await asyncio.gather(
            *(_take(crawl.fetcher, q, g, width_of) for (_, q), g in zip(part, asked, strict=True))
        )
        for (product, picture), guessed, answer in zip(part, asked, answers, strict=True):
            if guessed:
                (guesses.won if answer.url in guessed else guesses.lost)[guesses.kind(picture)] += 1
            spent += len(answer.body)
            taken.append(Taken(product, picture, answer))
    return _without_smaller_copies(taken, width_of)


SMALLER = 0.65
"""Share of another picture's width below which a picture of the same product may be its thumbnail."""


def _without_smaller_copies(taken: list[Taken], width_of: Callable[[bytes], int]) -> list[Taken]:
    """Mark thumbnails that no address gave away: shop systems that name scaled pictures by hashes show both sizes."""
    of_product: dict[str, list[tuple[int, Taken]]] = defaultdict(list)
    for item in taken:
        if not item.fetched.error:
            of_product[item.product.url].append((width_of(item.fetched.body), item))
    copies: dict[int, str] = {}
    for members in of_product.values():
        widest = max(width for width, _ in members)
        if not any(0 < width < SMALLER * widest for width, _ in members):
            continue
        looks = [(width, item, _look(item.fetched.body)) for width, item in members]
        for width, item, look in looks:
            for other_width, other, other_look in looks:
                if 0 < width < SMALLER * other_width and _alike(look, other_look):
                    copies[id(item)] = other.fetched.url
                    break
    return [
        Taken(item.product, item.picture, replace(item.fetched, body=b"", error=f"{SMALLER_COPY} {copies[id(item)]}"))
        if id(item) in copies
        else item
        for item in taken
    ]


async def _take(fetcher: Fetcher, picture: Picture, guesses: list[str], width_of: Callable[[bytes], int]) -> Fetched:
    """The picture's bytes from the best of its addresses that gives any."""
    plain = await _first_good(fetcher, picture.urls, width_of)
    for guess in guesses if not plain.error else []:
        answer = await fetcher.fetch(guess, "picture")
        if not answer.error and _is_larger_copy(answer.body, plain.body, width_of):
            return answer
    return plain


async def _first_good(fetcher: Fetcher, urls: list[str], width_of: Callable[[bytes], int]) -> Fetched:
    answers = []
    for url in urls:
        answer = await fetcher.fetch(url, "picture")
        if not answer.error and width_of(answer.body):
            return answer
        answers.append(answer)
        if answer.robots != "allowed":
            break
    return answers[0]


def _is_larger_copy(large: bytes, small: bytes, width_of: Callable[[bytes], int]) -> bool:
    """Whether a guessed address gave the same picture, only larger: a shop may answer anything with a placeholder."""
    return width_of(large) > width_of(small) and _alike(_look(large), _look(small))


def _look(content: bytes) -> bytes | None:
    """What a picture looks like at 8 x 8 pixels, grey; None where it cannot be told."""
    from stages.common.images import UnreadableImage, decode

    try:
        return decode(content, MOST_MEGAPIXELS).convert("L").resize((8, 8)).tobytes()
    except UnreadableImage:
        return None


def _alike(a: bytes | None, b: bytes | None) -> bool:
    return a is not None and b is not None and sum(abs(p - q) for p, q in zip(a, b, strict=True)) / len(a) < 12
