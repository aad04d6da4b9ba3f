"""Which pages and pictures a shop's sitemaps name."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import zlib
from dataclasses import dataclass, field

import lxml.etree  # type: ignore[import-untyped]
from w3lib.encoding import read_bom

from stages.scrape.fetch import Fetcher
from stages.scrape.store import Fetched
from stages.scrape.urls import clean_url, page_key

MOST_SITEMAPS = 500
"""Sitemaps that are read of one shop; chosen by hand: a sitemap may hold 50,000 addresses, and an index as many."""
SITEMAP_BYTES = 50 * 2**20
"""Largest sitemap, unpacked, by https://www.sitemaps.org/protocol.html."""


_BARE_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)")
"""One that begins no entity of XML: lxml leaves it out with the word behind it, and so changes the address."""


@dataclass
class Named:
    """What all sitemaps of a shop name."""

    pages: list[str]
    """One address of a page's language variants."""
    pictures: dict[str, list[str]]
    """Addresses of the pictures of a page, by its page_key."""
    notes: list[str]
    """Which sitemaps could not be read, and why."""


async def read_sitemaps(fetcher: Fetcher, sitemaps: list[str]) -> Named:
    """Read sitemaps and the sitemaps that they name."""
    seen: set[str] = set()
    variants: set[str] = set()
    pages: dict[str, str] = {}
    named = Named([], {}, [])
    while sitemaps and len(seen) < MOST_SITEMAPS and not fetcher.is_over_budget:
        batch = [url for url in dict.fromkeys(sitemaps) if url not in seen][: MOST_SITEMAPS - len(seen)]
        seen.update(batch)
        sitemaps = []
        for answer in await asyncio.gather(*(fetcher.fetch(url, "sitemap") for url in batch)):
            if answer.error:
                named.notes.append(f"sitemap {answer.url}: {answer.error}")
                continue
            found = read_sitemap(answer)
            sitemaps += [clean_url(url, answer.final_url) for url in found.sitemaps]
            for address, others, pictures in found.pages:
                url = clean_url(address, answer.final_url)
                key = page_key(url)
                if url and key not in variants:
                    pages.setdefault(key, url)
                variants.update({page_key(clean_url(other, answer.final_url)) for other in others} - {key})
                if pictures:
                    named.pictures[key] = [clean_url(picture, answer.final_url) for picture in pictures]
    named.pages = list(pages.values())
    return named


@dataclass
class Sitemap:
    """What one sitemap names, as it writes it."""

    sitemaps: list[str] = field(default_factory=list)
    pages: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    """(address, addresses of its language variants, pictures)."""


def read_sitemap(answer: Fetched) -> Sitemap:
    """Read a sitemap or a sitemap index, packed or not; text sitemaps have an address a line."""
    body, found = answer.body, Sitemap()
    if body[:2] == b"\x1f\x8b":
        try:
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(SITEMAP_BYTES)
        except (OSError, EOFError, zlib.error):
            return found
    encoding, mark = read_bom(body)
    if encoding and mark and encoding.startswith(("utf-16", "utf-32")):  # in XML's own words it may be another one
        text = body[len(mark) :].decode(encoding, "replace")
        body = re.sub(r"^\s*<\?xml[^>]*>", "", text).encode("utf-8", "replace")
    if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        lines = body.decode("utf-8-sig", "replace").splitlines()
        found.pages = [(line.strip(), [], []) for line in lines if line.strip().startswith("http")]
        return found
    body = _BARE_AMPERSAND.sub(b"&amp;", body)
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
