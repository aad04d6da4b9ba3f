"""Where a crawl begins: start pages and sitemaps of a shop on the web, or of a folder that is served on loopback."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from stages.common.errors import UserError
from stages.common.params import Scrape

STOREFRONT_ORIGIN = "http://storefront.invalid"
"""What a storefront's addresses begin with in the manifest: its real origin has a port that every crawl draws anew."""


@dataclass(frozen=True)
class Shop:
    """A shop's start pages and sitemaps, as absolute addresses."""

    starts: list[str]
    sitemaps: list[str]
    served_at: str = ""
    """The origin that really serves a storefront; '' for a shop on the web."""

    def real(self, url: str) -> str:
        """The address to connect to for an address of the shop."""
        return _moved(url, STOREFRONT_ORIGIN, self.served_at) if self.served_at else url

    def public(self, url: str) -> str:
        """The address of the shop for an address that was connected to."""
        return _moved(url, self.served_at, STOREFRONT_ORIGIN) if self.served_at else url


def _moved(url: str, old: str, new: str) -> str:
    return new + url[len(old) :] if url == old or url.startswith((f"{old}/", f"{old}?")) else url


def shop_on_the_web(params: Scrape) -> Shop:
    """The shop of scrape.start_urls and scrape.sitemap_urls. Raises UserError where there is no http(s) address."""
    addresses = [*params.start_urls, *params.sitemap_urls]
    for url in addresses:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise UserError(f"scrape.start_urls: {url!r} is no http(s) address (only a storefront's may be relative)")
    if not addresses:
        raise UserError("scrape.start_urls and scrape.sitemap_urls are both empty: name a page to start from")
    return Shop(list(params.start_urls), list(params.sitemap_urls))


def storefront(params: Scrape, served_at: str) -> Shop:
    """The shop of the folder scrape.storefront, which is served at the origin `served_at`."""
    starts = [urljoin(f"{STOREFRONT_ORIGIN}/", url) for url in params.start_urls]
    return Shop(starts, [urljoin(f"{STOREFRONT_ORIGIN}/", url) for url in params.sitemap_urls], served_at)
