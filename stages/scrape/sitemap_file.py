"""What one sitemap names, in whatever form it came: XML, packed or not, in UTF-16, or an address a line."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from dataclasses import dataclass, field

import lxml.etree  # type: ignore[import-untyped]
from w3lib.encoding import read_bom

from stages.scrape.store import Fetched

SITEMAP_BYTES = 50 * 2**20
"""Largest sitemap, unpacked, by https://www.sitemaps.org/protocol.html."""
_BARE_AMPERSAND = re.compile(rb"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)")
"""One that begins no entity of XML: lxml leaves it out with the word behind it, and so changes the address."""


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
