"""The crawl: from start pages and sitemaps to all products of a shop, and from products to their pictures' bytes.

It goes breadth first, in waves: the pages of a wave are fetched side by side, then read in order, and the next wave is
made of their links. So which pages are visited within the budgets does not depend on how fast a server answers, and a
crawl that was killed ends like one that was not.

Spider traps are left by their yield: addresses of one pattern (an endless calendar's, a filter's combinations) are
followed only as long as that pattern has ever led to a new product.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from urllib.parse import urlsplit

from scrapy.crawler import Crawler

from stages.common.params import Scrape
from stages.scrape.downloader import run_in_scrapy, scrapy_settings
from stages.scrape.downloads import OVER_BUDGET, Taken, take_pictures
from stages.scrape.fetch import Fetcher
from stages.scrape.guard import guard_of
from stages.scrape.image_urls import picture_key
from stages.scrape.page import Page
from stages.scrape.products import Picture, Product, is_named, merge_products, picture_set
from stages.scrape.reader import Reader
from stages.scrape.robots import refuses_ai
from stages.scrape.shop import Shop
from stages.scrape.sitemaps import read_sitemaps
from stages.scrape.store import Fetched, Store
from stages.scrape.text import normalise
from stages.scrape.urls import clean_url, is_repetitive, page_key, url_pattern, without_language

UNPRODUCTIVE_PAGES = 40
"""Pages of one URL pattern that are visited while none has led to a new product.

By hand: more than a menu has entries, so that all categories are seen, and few enough to leave a calendar soon.
"""

GONE = frozenset({"HTTP status 404", "HTTP status 410"})
"""What a shop says of a product that it no longer has."""


LINKS_PER_PAGE = 20
"""Addresses that are remembered for each page that may be visited: traps name millions. By hand."""
MOST_TEXTS = 5
"""Texts of cards that are kept for one page: listings repeat each other."""


@dataclass(slots=True)
class Visit:
    """A page to be visited, and who led there."""

    url: str
    parent: Visit | None = None
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
    lost: dict[str, str]
    """Addresses of the pages that could not be read, each with the reason."""
    lost_products: list[str]
    """Those of them that were products', as their addresses say."""
    notes: list[str]
    drawn_by_script: int
    """Pages that are empty until their script has run."""

    @property
    def failures(self) -> Counter[str]:
        """How many pages were lost for each reason."""
        return Counter(self.lost.values())


def crawl_shop(params: Scrape, shop: Shop, store: Store) -> tuple[Crawled, list[Taken]]:
    """Find the shop's products, and fetch the pictures of those whose name is asked for."""
    guard = guard_of(params, shop)

    async def work(crawler: Crawler) -> tuple[Crawled, list[Taken]]:
        reader = Reader()
        fetcher = Fetcher(crawler, params, shop, guard, store, reader)
        reader.start()
        try:
            crawled = await Crawl(fetcher, reader).find_products()
            named = [p for p in crawled.products if is_named(p, params.name_contains)]
            taken = await take_pictures(fetcher, [p for p in named if p.url not in crawled.refusing])
        finally:
            reader.close()
        left = sum(item.fetched.error == OVER_BUDGET for item in taken)
        if left:
            crawled.notes.append(f"stopped at scrape.max_megabytes with {left} pictures not fetched")
        return crawled, taken

    return run_in_scrapy(scrapy_settings(params, guard), work)


class Crawl:
    """One crawl of one shop."""

    def __init__(self, fetcher: Fetcher, reader: Reader) -> None:
        self.params, self.fetcher, self.reader = fetcher.params, fetcher, reader
        self.reached: set[str] = set()
        """page_keys of all pages that were visited or wait for it."""
        self.card_texts: dict[str, list[str]] = defaultdict(list)
        """What picture cards say, by the page_key of the page that they lead to."""
        self.products_of_pattern: Counter[str] = Counter()
        self.queued_of_pattern: Counter[str] = Counter()
        self.known: dict[str, Product] = {}
        """Products by the page_key of their page."""
        self.contents: set[tuple[str, frozenset[str]]] = set()
        """Names and pictures of the products that are known."""
        self.without_product: dict[str, str] = {}
        """Pages without a product: addresses by page_key."""
        self.refusing: set[str] = set()
        self.sitemap_pictures: dict[str, list[str]] = {}
        self.lost: dict[str, str] = {}
        """Why pages could not be read, by their addresses."""
        self.notes: list[str] = []
        self.pages = self.drawn_by_script = self.forgotten = 0
        self.language = ""
        self.reading = asyncio.Lock()
        self.copies: set[str] = set()
        """page_keys of other languages' copies of pages that were visited."""

    async def find_products(self) -> Crawled:
        """Visit the shop's pages; returns its products, in the order in which they were found, each once."""
        waiting = await self._first_visits()
        while waiting:
            wave, waiting = self._choose(waiting)
            if not wave:
                break
            waiting += await self._visit_wave(wave)
            if self.pages >= self.params.max_pages or self.fetcher.is_over_budget:
                left = sum(1 for visit in waiting if self._may_go(visit))
                if left:
                    bound = "max_megabytes" if self.pages < self.params.max_pages else "max_pages"
                    self.notes.append(
                        f"stopped after {self.pages} pages with {left} links not followed (scrape.{bound})"
                    )
                break
        await self._look_again()
        if self.forgotten:
            self.notes.append(f"{self.forgotten} links were one too many for scrape.max_pages, and not followed")
        products = merge_products(self.known.values(), self.language)
        return Crawled(
            products, self.refusing, self.pages, self.lost, self._lost_products(), self.notes, self.drawn_by_script
        )

    def _lost_products(self) -> list[str]:
        """The lost pages whose addresses are made like those of products. One that is gone is lost to nobody."""
        patterns = {url_pattern(product.url) for product in self.known.values()}
        return [url for url, reason in self.lost.items() if reason not in GONE and url_pattern(url) in patterns]

    async def _first_visits(self) -> list[Visit]:
        """Start pages, and what sitemaps name: robots.txt names those of the whole shop, so it is asked at its root."""
        shop = self.fetcher.shop
        sitemaps = list(shop.sitemaps)
        for start in shop.starts:
            rules = await self.fetcher.robots.of(start) if urlsplit(start).path in ("", "/") else None
            if rules is not None:
                sitemaps += [shop.public(clean_url(url, start)) for url in rules.sitemaps]
        named = await read_sitemaps(self.fetcher, self.reader, sitemaps)
        self.sitemap_pictures = named.pictures
        self.notes += named.notes
        return [visit for visit in map(Visit, [*shop.starts, *named.pages]) if self._is_new(visit)]

    def _is_new(self, visit: Visit) -> bool:
        key = page_key(visit.url)
        if key in self.reached or self.fetcher.guard.refusal_of_name(self.fetcher.shop.real(visit.url)):
            return False
        if len(self.reached) >= LINKS_PER_PAGE * self.params.max_pages:
            self.forgotten += 1
            return False
        self.reached.add(key)
        return True

    def _may_go(self, visit: Visit) -> bool:
        """Whether the address is of a pattern that has led to a product, or may still."""
        kind = url_pattern(visit.url)
        return bool(self.products_of_pattern[kind]) or self.queued_of_pattern[kind] < UNPRODUCTIVE_PAGES

    def _choose(self, waiting: list[Visit]) -> tuple[list[Visit], list[Visit]]:
        """The next wave, the most promising first, within the budget; and what waits for its pattern to be proven.

        Of addresses that differ in their language alone, one is asked first: its hreflang says whether others are
        copies.
        """
        wave: list[Visit] = []
        later: list[Visit] = []
        asked: set[str] = set()
        for visit in sorted(waiting, key=lambda v: (not v.promising, not self.products_of_pattern[url_pattern(v.url)])):
            key, page = page_key(visit.url), without_language(visit.url)
            if key in self.copies and visit.url not in self.fetcher.shop.starts:
                continue
            if self._may_go(visit) and self.pages + len(wave) < self.params.max_pages and page not in asked:
                asked.add(page)
                self.queued_of_pattern[url_pattern(visit.url)] += 1
                wave.append(visit)
            else:
                later.append(visit)
        return wave, later

    async def _visit_wave(self, wave: list[Visit]) -> list[Visit]:
        """Fetch the pages of a wave side by side, learn from them in order; returns the visits that they lead to."""
        pages = await asyncio.gather(*(self._visit(visit) for visit in wave))
        for visit, page in zip(wave, pages, strict=True):
            self.pages += 1
            if page is not None:
                self.drawn_by_script += page.drawn_by_script
                self._leave_copies(visit, page)
            if page is not None and page.product is not None and self._learn(page):
                self._credit(visit)
        found = []
        for visit, page in zip(wave, pages, strict=True):
            visit.depth = 0 if visit.parent is None else 1 if visit.parent.productive else visit.parent.depth + 1
            if page is not None and visit.depth < self.params.max_depth:
                found += self._follow(visit, page)
        return found

    async def _visit(self, visit: Visit) -> Page | None:
        """The page, read; None where it could not be had or is none."""
        if self._may_not_be_a_page(await self.fetcher.fetch(visit.url, "page")):
            return None
        async with self.reading:  # a wave's pages wait on disk: each of thousands may have 10 MB
            answer = self.fetcher.store.get(visit.url)
            if answer is None:
                self.lost[visit.url] = "no longer on disk"
                return None
            read = await self.reader.read(answer, self.card_texts[page_key(visit.url)])
        if read.page is None:
            self.lost[visit.url] = read.error
        elif read.page.product is None:
            self.without_product[page_key(visit.url)] = visit.url
        return read.page

    def _may_not_be_a_page(self, answer: Fetched) -> bool:
        """Whether nothing came that may be read, which is noted unless it was forbidden."""
        if answer.error:
            if answer.error != "forbidden by robots.txt":
                self.lost[answer.url] = answer.error
            return True
        return "html" not in answer.content_type and answer.body.lstrip()[:1] != b"<"

    def _leave_copies(self, visit: Visit, page: Page) -> None:
        """Note which other languages' copies need no visit: all but the one in the shop's language, if there is one.

        That is the language of the first start page, so the same copy represents a product wherever it was met first.
        """
        if [visit.url] == self.fetcher.shop.starts[:1]:
            self.language = page.language
        kept = {page_key(url) for tag, url in page.copies if tag.split("-")[0] == self.language}
        self.copies.update({page_key(url) for tag, url in page.copies if tag != "x-default"} - kept)

    def _learn(self, page: Page) -> bool:
        """Keep a product. Whether it is one that no page before has shown."""
        assert page.product is not None
        product = page.product
        for url in self.sitemap_pictures.get(page_key(product.url), []):
            if url and picture_key(url) not in {picture_key(u) for picture in product.pictures for u in picture.urls}:
                product.pictures.append(Picture([url], trusted=True))
        if refuses_ai(page.robots, self.params.user_agent):
            self.refusing.add(product.url)
        key = page_key(product.url)
        if key in self.known:
            return False
        content = (normalise(product.name), frozenset(picture_set(product)))
        fresh = content not in self.contents
        self.contents.add(content)
        self.known[key] = product
        return fresh

    def _credit(self, visit: Visit) -> None:
        """Note that a page, and so the one that led to it, was worth a visit."""
        self.products_of_pattern[url_pattern(visit.url)] += 1
        visit.productive = True
        if visit.parent is not None:
            visit.parent.productive = True
            self.products_of_pattern[url_pattern(visit.parent.url)] += 1

    def _follow(self, visit: Visit, page: Page) -> list[Visit]:
        found = []
        for link in page.links:
            following = Visit(link.url, visit, promising=link.card or link.next_page)
            if not is_repetitive(link.url) and self._is_new(following):
                found.append(following)
            key = page_key(link.url)
            if link.card and link.text and key in self.reached and len(self.card_texts[key]) < MOST_TEXTS:
                self.card_texts[key].append(link.text)
        return found

    async def _look_again(self) -> None:
        """Judge anew the pages without a product whose picture cards were only seen after them."""
        for key, url in self.without_product.items():
            texts = self.card_texts.get(key)
            answer = self.fetcher.store.get(url) if texts else None
            if answer is not None and texts:
                page = (await self.reader.read(answer, texts)).page
                if page is not None and page.product is not None:
                    self._learn(page)
