"""One polite, guarded, remembered fetch: all that the crawl takes from the network comes through `Fetcher.fetch`.

Scrapy is the downloader (connections, compression, throttling, browser pages); the rules hold on every hop:
- guard: http(s) only, hosts allowed by name, and the address that the name resolves to is public;
- robots: robots.txt with its Crawl-delay for pages and pictures, X-Robots-Tag noai and noimageai on what came back;
- patience: transient failures are tried again with growing pauses, Retry-After is honoured, sizes and times are
  bounded;
- memory: what was fetched is kept in a store, so that a killed crawl fetches nothing twice.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadCancelledError, DownloadTimeoutError, IgnoreRequest
from scrapy.resolver import dnscache

from stages.common.errors import UserError
from stages.common.params import Scrape
from stages.scrape.downloader import HOSTS_AT_ONCE, PoliteThrottle
from stages.scrape.guard import Guard, is_public
from stages.scrape.reader import Reader
from stages.scrape.robots import ROBOTS_BYTES, Robots, refuses_ai
from stages.scrape.shop import STOREFRONT_ORIGIN, Shop
from stages.scrape.store import Fetched, Kind, Store
from stages.scrape.urls import clean_url, origin_of

PAGE_BYTES = 10 * 2**20
"""Largest page or sitemap, packed or unpacked."""
MOST_REDIRECTS = 6
"""One more than the five that RFC 9309 (2.3.1.2) asks for on the way to a robots.txt."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""HTTP statuses that may pass: Scrapy's RETRY_HTTP_CODES, 425 (Too Early), Cloudflare's for an origin in trouble."""
LONGEST_PAUSE = 60.0
"""Seconds. Retry-After is honoured up to here; chosen by hand, so that no server can hold a crawl for hours."""
ACCEPT = {
    "picture": "image/png,image/jpeg,image/webp,image/*;q=0.8,*/*;q=0.5",
    "page": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}
KEPT_HEADERS = ("content-type", "x-robots-tag")


class Fetcher:
    """Fetches addresses of a shop by the rules of this module."""

    def __init__(
        self, crawler: Crawler, params: Scrape, shop: Shop, guard: Guard, store: Store, reader: Reader
    ) -> None:
        self.engine, self.throttle = crawler.engine, crawler.get_extension(PoliteThrottle)
        self.params, self.shop, self.guard, self.store = params, shop, guard, store
        self.robots = Robots(self.fetch, reader.robots_text, self.hold, params.user_agent)
        self.bytes, self.counted = 0, set[str]()
        """What came from the network for this crawl, and the addresses that are counted in it."""
        self.limit = asyncio.Semaphore(params.concurrency * HOSTS_AT_ONCE)

    async def fetch(self, url: str, kind: Kind) -> Fetched:
        """The body behind `url`, or why there is none. Never raises for what a server does."""
        known = self.store.get(url)
        if known is None:
            try:
                known = await self._follow(url, kind)
            except UserError:
                raise
            except Exception as error:  # whatever else a header or an address can be
                known = Fetched(url, url, status=0, error=f"an answer that cannot be read ({type(error).__name__})")
            if not (known.error and (known.status is None or known.status in TRANSIENT)):
                self.store.put(known)
        if url not in self.counted:
            self.counted.add(url)
            self.bytes += known.size
        return known

    @property
    def is_over_budget(self) -> bool:
        """Whether more came than scrape.max_megabytes, of whatever kind."""
        return self.bytes >= self.params.max_megabytes * 2**20

    def hold(self, origin: str, seconds: float) -> None:
        """Ask `origin` no more often than every so many seconds."""
        if self.throttle:
            self.throttle.hold(self.engine, urlsplit(self.shop.real(origin)).hostname or "", seconds)

    async def _follow(self, url: str, kind: Kind) -> Fetched:
        here, seen, size = url, {url}, 0
        for _ in range(MOST_REDIRECTS + 1):
            real = self.shop.real(here)
            refused = await self.guard.refusal(real)
            if refused:
                return Fetched(url, here, error=refused)
            if kind != "robots" and not await self.robots.allows(here):
                reason = self.robots.unreachable.get(origin_of(here))
                if reason:
                    return Fetched(url, here, robots="disallowed", error=f"robots.txt cannot be had ({reason})")
                return Fetched(url, here, robots="disallowed", error="forbidden by robots.txt")
            async with self.limit:
                answer = await self._patiently(url, here, real, kind)
            size += answer.size
            answer = replace(answer, size=size)
            target = answer.headers.get("location", "")
            if answer.error or not (answer.status and 300 <= answer.status < 400 and target):
                return self._judge(answer, kind)
            here = self.shop.public(clean_url(target, self.shop.real(here)))
            if here in seen:
                return Fetched(url, here, status=answer.status, error="redirects in a circle", size=size)
            seen.add(here)
        return Fetched(url, here, status=answer.status, error=f"more than {MOST_REDIRECTS} redirects", size=size)

    def _judge(self, answer: Fetched, kind: Kind) -> Fetched:
        headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
        body, robots, error = answer.body, answer.robots, answer.error
        if error is None and answer.status != 200:
            error, body = f"HTTP status {answer.status}", b""
        if error is None and kind == "picture" and refuses_ai(headers.get("x-robots-tag", ""), self.params.user_agent):
            error, body, robots = "X-Robots-Tag refuses use for AI", b"", "noai"
        if self.shop.served_at and kind != "picture":
            body = body.replace(self.shop.served_at.encode(), STOREFRONT_ORIGIN.encode())
        return Fetched(answer.url, answer.final_url, answer.status, headers, body, robots, error, answer.size)

    async def _patiently(self, url: str, here: str, real: str, kind: Kind) -> Fetched:
        """One hop, tried again where it failed in a way that may pass."""
        size = 0
        for attempt in range(self.params.retries + 1):
            answer, pause = await self._once(url, here, real, kind)
            size += answer.size
            transient = pause is not None
            if not transient or attempt == self.params.retries:
                break
            await asyncio.sleep(max(pause or 0.0, min(0.25 * 2**attempt, 8.0)))
        return replace(answer, size=size)

    async def _once(self, url: str, here: str, real: str, kind: Kind) -> tuple[Fetched, float | None]:
        """One request. The second value is None, or the least number of seconds after which it may be tried again."""
        largest = {"picture": self.params.max_image_megabytes * 2**20, "robots": ROBOTS_BYTES}.get(kind, PAGE_BYTES)
        meta: dict[str, Any] = {
            "download_maxsize": largest,
            "download_timeout": self.params.timeout,
            "dont_redirect": True,
        }
        if real != here or not is_public(dnscache[urlsplit(real).hostname or ""]):
            meta["proxy"] = None
        if kind == "page" and self.params.javascript:
            meta["playwright"] = True
        headers = {"Accept": ACCEPT.get(kind, "*/*")}
        request = Request(real, headers=headers, meta=meta, dont_filter=True)
        try:
            response = await self.engine.download_async(request)
        except DownloadTimeoutError:
            return Fetched(url, here, error=f"took longer than {self.params.timeout:g} s"), 0.0
        except (DownloadCancelledError, IgnoreRequest):
            said = f"{largest // 2**20} MB" if largest >= 2**20 else f"{largest // 2**10} KB"
            return Fetched(url, here, status=0, error=f"larger than {said}", size=largest), None
        except UserError:
            raise
        except Exception as error:  # whatever else a connection can die of
            return Fetched(url, here, error=f"connection failed ({type(error).__name__})"), 0.0
        names = {name.decode("latin-1").lower(): name for name in response.headers}
        kept = {
            low: ", ".join(value.decode("latin-1") for value in response.headers.getlist(name))
            for low, name in names.items()
            if low in (*KEPT_HEADERS, "location", "retry-after")
        }
        bad = f"HTTP status {response.status}" if response.status >= 400 else None
        answer = Fetched(url, here, response.status, kept, bytes(response.body), error=bad, size=len(response.body))
        if response.status not in TRANSIENT:
            return answer, None
        return answer, seconds_to_wait(kept.get("retry-after", ""))


def seconds_to_wait(retry_after: str) -> float:
    """What a Retry-After asks for, in seconds or as a date (RFC 9110, 10.2.3); 0 for what is neither."""
    text = retry_after.strip()
    if re.fullmatch("[0-9]+", text):
        return LONGEST_PAUSE if len(text) > 3 else min(float(text), LONGEST_PAUSE)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError, TypeError):
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_PAUSE)
