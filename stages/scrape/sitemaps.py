"""Which pages and pictures a shop's sitemaps name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from stages.scrape.fetch import Fetcher
from stages.scrape.reader import Reader
from stages.scrape.sitemap_file import Sitemap
from stages.scrape.urls import clean_url, page_key

MOST_SITEMAPS = 500
"""Sitemaps that are read of one shop; chosen by hand: a sitemap may hold 50,000 addresses, and an index as many."""
SIDE_BY_SIDE = 8
"""Sitemaps that are fetched at once: each may have 10 MB, and is held in memory until it is read. By hand."""
NAMED_PER_PAGE = 20
"""Addresses of sitemaps that are kept for each page that may be visited: a shop's copies in twenty languages."""


@dataclass
class Named:
    """What all sitemaps of a shop name."""

    pages: list[str]
    """One address of a page's language variants."""
    pictures: dict[str, list[str]]
    """Addresses of the pictures of a page, by its page_key."""
    notes: list[str]
    """Which sitemaps could not be read, and why."""


async def read_sitemaps(fetcher: Fetcher, reader: Reader, sitemaps: list[str]) -> Named:
    """Read sitemaps and the sitemaps that they name, until there are enough addresses for scrape.max_pages."""
    waiting, seen = list(sitemaps), set[str]()
    gathered = _Gathered(Named([], {}, []), NAMED_PER_PAGE * fetcher.params.max_pages)
    while waiting and len(seen) < MOST_SITEMAPS and not fetcher.is_over_budget and not gathered.is_full:
        batch = [url for url in dict.fromkeys(waiting) if url not in seen][
            : min(SIDE_BY_SIDE, MOST_SITEMAPS - len(seen))
        ]
        seen.update(batch)
        waiting = [url for url in dict.fromkeys(waiting) if url not in seen]
        for answer in await asyncio.gather(*(fetcher.fetch(url, "sitemap") for url in batch)):
            error, sitemap = answer.error, None
            if not error:
                read = await reader.read_sitemap(answer)
                error, sitemap = read.error, read.sitemap
            if sitemap is None:
                gathered.named.notes.append(f"sitemap {answer.url}: {error}")
            else:
                waiting += [clean_url(url, answer.final_url) for url in sitemap.sitemaps[:MOST_SITEMAPS]]
                gathered.add(sitemap, answer.final_url)
    if gathered.is_full:
        gathered.named.notes.append(f"sitemaps name more than {gathered.most} pages, the rest is left out")
    elif any(url not in seen for url in waiting) and not fetcher.is_over_budget:
        gathered.named.notes.append(f"more than {MOST_SITEMAPS} sitemaps, the rest is left out")
    gathered.named.pages = list(gathered.pages.values())
    return gathered.named


class _Gathered:
    """Pages and pictures of the sitemaps so far, a page's variants left out."""

    def __init__(self, named: Named, most: int) -> None:
        self.named, self.most = named, most
        self.pages: dict[str, str] = {}
        self.variants: set[str] = set()

    @property
    def is_full(self) -> bool:
        return len(self.pages) >= self.most

    def add(self, sitemap: Sitemap, base: str) -> None:
        for address, others, pictures in sitemap.pages:
            if self.is_full:
                return
            url = clean_url(address, base)
            key = page_key(url)
            if url and key not in self.variants:
                self.pages.setdefault(key, url)
            self.variants.update({page_key(clean_url(other, base)) for other in others} - {key})
            if pictures:
                self.named.pictures[key] = [clean_url(picture, base) for picture in pictures]
