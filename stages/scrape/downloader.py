"""How Scrapy is set and run as the crawl's downloader."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from scrapy import Spider
from scrapy.core.engine import ExecutionEngine
from scrapy.crawler import AsyncCrawlerRunner, Crawler
from scrapy.downloadermiddlewares.httpcompression import HttpCompressionMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.extensions.throttle import AutoThrottle
from scrapy.resolver import CachingThreadedResolver, dnscache
from scrapy.utils.reactor import install_reactor
from twisted import internet

from stages.common.errors import UserError
from stages.common.params import Scrape
from stages.scrape.guard import Guard

T = TypeVar("T")
HOSTS_AT_ONCE = 4
"""Hosts that may be busy at the same time: a shop, and where it keeps its pictures. Chosen by hand."""
LEAST_START_DELAY = 0.25
"""Seconds between requests before a shop's latency is known, chosen by hand; none for what is on this machine."""
COMPRESSION_PLACE = 590
"""Where Scrapy's own decompression stands among its middlewares."""
MOST_DELAY = 30.0
"""Seconds to which AutoThrottle may slow down for a slow shop: half of Scrapy's own default, chosen by hand."""


class PoliteThrottle(AutoThrottle):  # type: ignore[misc]
    """Scrapy's AutoThrottle that never goes below a host's Crawl-delay."""

    least: dict[str, float]

    def _spider_opened(self, spider: Any) -> None:
        self.least = {}
        super()._spider_opened(spider)

    def hold(self, engine: ExecutionEngine, host: str, seconds: float) -> None:
        """Wait at least `seconds` between two requests to `host` from now on."""
        self.least[host] = seconds
        engine.downloader.per_slot_settings[host] = {"delay": max(seconds, engine.downloader._delay)}
        if host in engine.downloader.slots:
            engine.downloader.slots[host].delay = max(seconds, engine.downloader.slots[host].delay)

    def _adjust_delay(self, slot: Any, latency: float, response: Any) -> None:
        super()._adjust_delay(slot, latency, response)
        host = urlsplit(response.url).hostname or ""
        slot.delay = max(slot.delay, self.least.get(host, 0.0))


class LenientCompression(HttpCompressionMiddleware):  # type: ignore[misc]
    """Scrapy's decompression, which takes a body as it came where it is not packed as its Content-Encoding says."""

    def process_response(self, request: Any, response: Any, spider: Any = None) -> Any:
        """The response unpacked, or as it came."""
        packed = response.headers.getlist("Content-Encoding")
        try:
            return super().process_response(request, response)
        except IgnoreRequest:  # larger than it may be
            raise
        except Exception:  # gzip's, zlib's, brotli's and zstandard's own ones
            if packed:
                response.headers.pop("Content-Encoding", None)
            return response


class _Spider(Spider):  # type: ignore[misc]
    """Does its work while the engine is up, and hands Scrapy no requests itself."""

    name = "emblem"

    def __init__(self, work: Callable[[Crawler], Awaitable[Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.work = work
        self.result: Any = None
        self.failure: BaseException | None = None

    async def start(self) -> AsyncIterator[Any]:
        try:
            self.result = await self.work(self.crawler)
        except BaseException as error:
            self.failure = error
        return
        yield  # makes this the asynchronous generator that Scrapy asks for


def run_in_scrapy(settings: dict[str, Any], work: Callable[[Crawler], Awaitable[T]]) -> T:
    """What `work(crawler)` returns, run while Scrapy's engine is up. May be called again and again in one process."""
    install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
    reactor = internet.reactor  # an import of it at the top would install another one
    loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
    if not reactor.running:
        reactor.startRunning(installSignalHandlers=False)
        CachingThreadedResolver(reactor, cache_size=10_000, timeout=30.0).install_on_reactor()
    dnscache.clear()

    async def crawl() -> T:
        runner = AsyncCrawlerRunner(settings)
        crawler = runner.create_crawler(_Spider)
        await runner.crawl(crawler, work=work)
        if crawler.spider.failure is not None:
            raise crawler.spider.failure
        return cast(T, crawler.spider.result)

    return loop.run_until_complete(crawl())


def scrapy_settings(params: Scrape, guard: Guard) -> dict[str, Any]:
    """Scrapy's settings for a crawl by `params`. What `Fetcher` decides itself is switched off.

    Raises UserError where pages shall be drawn in a browser and the extra for it is not installed.
    """
    settings: dict[str, Any] = {
        "USER_AGENT": params.user_agent,
        "CONCURRENT_REQUESTS": params.concurrency * HOSTS_AT_ONCE,
        "CONCURRENT_REQUESTS_PER_DOMAIN": params.concurrency,
        "DOWNLOAD_DELAY": params.delay,
        "DOWNLOAD_DELAY_JITTER": 0.0,
        "DOWNLOAD_TIMEOUT": params.timeout,
        "DOWNLOAD_WARNSIZE": 0,
        "EXTENSIONS": {PoliteThrottle: 0},
        "AUTOTHROTTLE_ENABLED": True,
        "AUTOTHROTTLE_START_DELAY": max(params.delay, 0.0 if guard.only_private_homes else LEAST_START_DELAY),
        "AUTOTHROTTLE_MAX_DELAY": max(MOST_DELAY, params.delay),
        "AUTOTHROTTLE_TARGET_CONCURRENCY": float(params.concurrency),
        "DOWNLOADER_MIDDLEWARES": {HttpCompressionMiddleware: None, LenientCompression: COMPRESSION_PLACE},
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
        if importlib.util.find_spec("scrapy_playwright") is None:
            message = 'pip install "emblem[javascript]" && playwright install chromium'
            raise UserError(f"scrape.javascript = true needs an extra: {message}")
        handler = "scrapy_playwright.handler.ScrapyPlaywrightDownloadHandler"
        settings["DOWNLOAD_HANDLERS"] |= {"http": handler, "https": handler}
        settings["PLAYWRIGHT_PROCESS_REQUEST_HEADERS"] = None  # the browser's own, but for the user agent
        installed = shutil.which("chromium") or shutil.which("google-chrome")
        if installed:  # the system's browser spares the download of playwright's own
            settings["PLAYWRIGHT_LAUNCH_OPTIONS"] = {"executable_path": installed}
        settings["PLAYWRIGHT_CONTEXTS"] = {"default": {"user_agent": params.user_agent}}
        settings["PLAYWRIGHT_ABORT_REQUEST"] = browser_may_not(guard)
    return settings


def browser_may_not(guard: Guard) -> Callable[[Any], bool]:
    """What a page that is drawn in a browser may not load: pictures and films (not needed to draw it), other hosts."""
    return lambda request: (
        request.resource_type in ("image", "media", "font") or bool(guard.refusal_of_name(request.url))
    )
