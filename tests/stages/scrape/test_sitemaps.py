"""Sitemaps as shops write them."""

from __future__ import annotations

import gzip

import pytest

from stages.scrape.sitemap_file import read_sitemap
from stages.scrape.store import Fetched

PAGES = b"""<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
    xmlns:image="http://www.google.com/schemas/sitemap-image/1.1" xmlns:xhtml="http://www.w3.org/1999/xhtml">
    <url><loc> https://s.test/a </loc><image:image><image:loc>https://s.test/a.jpg</image:loc></image:image>
    <xhtml:link rel="alternate" hreflang="de" href="https://s.test/de/a"/></url><url><loc>https://s.test/b</loc></url></urlset>"""
INDEX = b"<sitemapindex><sitemap><loc>https://s.test/1.xml</loc></sitemap><sitemap><loc>/2.xml</loc></sitemap></sitemapindex>"
READ = [("https://s.test/a", ["https://s.test/de/a"], ["https://s.test/a.jpg"]), ("https://s.test/b", [], [])]


def fetched(body: bytes) -> Fetched:
    return Fetched("https://s.test/sitemap.xml", "https://s.test/sitemap.xml", 200, {}, body)


FORMS = {"plain": PAGES, "gzip": gzip.compress(PAGES, mtime=0), "utf-16": PAGES.decode().encode("utf-16")}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
def test_pages_with_their_pictures_and_language_variants(body: bytes) -> None:
    assert read_sitemap(fetched(body)).pages == READ


def test_an_index_names_sitemaps() -> None:
    assert read_sitemap(fetched(INDEX)).sitemaps == ["https://s.test/1.xml", "/2.xml"]


def test_a_text_sitemap_has_an_address_a_line() -> None:
    body = b"\xef\xbb\xbfhttps://s.test/a\r\n\r\nhttps://s.test/b\n"
    assert [page[0] for page in read_sitemap(fetched(body)).pages] == ["https://s.test/a", "https://s.test/b"]


BROKEN = {
    "empty": b"",
    "cut tag": b"<",
    "cut gzip": gzip.compress(PAGES, mtime=0)[:40],
    "no gzip": b"\x1f\x8b\x08nothing",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_names_nothing(body: bytes) -> None:
    found = read_sitemap(fetched(body))
    assert not found.pages
    assert not found.sitemaps
