"""A storefront that does everything wrong that a storefront can do, on purpose and by accident."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from functools import lru_cache

from tests.shop_server import Answer, Shop, jpeg, page, picture

GOOD = 12
"""Pictures that a good crawl brings home."""


@lru_cache
def huge_png(width: int = 10_000, height: int = 10_000) -> bytes:
    """A PNG of 100 megapixels in about 100 KB: black, one bit a pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@lru_cache
def gzip_bomb(megabytes: int = 100) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=9) as file:
        for _ in range(megabytes):
            file.write(bytes(2**20))
    return buffer.getvalue()


def product_page(name: str, pictures: list[str], more: str = "") -> Answer:
    images = "".join(f'<img src="{address}">' for address in pictures)
    head = f'<meta property="og:type" content="product"><meta property="og:title" content="{name}">{more}'
    body = f'<div class="product"><h1>{name}</h1><div class="gallery">{images}</div><p class="price">$ 20.00</p></div>'
    return page(body, head)


def hostile_shop(other_port: int) -> Shop:
    """The shop; other_port is a service on this machine that must never be asked."""
    shop = Shop()
    pages = shop.pages
    pages["/robots.txt"] = Answer(
        "User-agent: *\nDisallow: /secret/\nDisallow: /images/secret\nSitemap: ORIGIN/sitemap.xml\n", "text/plain"
    )
    pages["/sitemap.xml"] = Answer(
        "<sitemapindex><sitemap><loc>ORIGIN/sitemap.xml</loc></sitemap><sitemap><loc>ORIGIN/bomb.xml.gz</loc></sitemap>"
        "<sitemap><loc>file:///etc/passwd</loc></sitemap></sitemapindex>",
        "application/xml",
    )
    pages["/bomb.xml.gz"] = Answer(gzip_bomb(), "application/gzip")
    pages["/bomb.html"] = Answer(gzip_bomb(), "text/html", headers={"Content-Encoding": "gzip"})
    for number in range(GOOD):
        pages[f"/images/good-{number}.jpg"] = jpeg(picture(number))

    trouble = {
        "/loop/a.jpg": Answer(status=302, headers={"Location": "/loop/b.jpg"}),
        "/loop/b.jpg": Answer(status=302, headers={"Location": "/loop/a.jpg"}),
        "/to-file.jpg": Answer(status=302, headers={"Location": "file:///etc/passwd"}),
        "/to-data.jpg": Answer(status=302, headers={"Location": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}),
        "/to-private.jpg": Answer(status=302, headers={"Location": f"http://127.0.0.1:{other_port}/inside.jpg"}),
        "/to-localhost.jpg": Answer(status=302, headers={"Location": f"http://localhost:{other_port}/inside.jpg"}),
        "/to-decimal.jpg": Answer(status=302, headers={"Location": f"http://2130706433:{other_port}/inside.jpg"}),
        "/to-metadata.jpg": Answer(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data"}),
        "/to-secret.jpg": Answer(status=302, headers={"Location": "/images/secret-1.jpg"}),
        "/html.jpg": Answer("<!doctype html><html><body>Not found, sorry</body></html>", "image/jpeg"),
        "/bomb.jpg": Answer(gzip_bomb(), "image/jpeg", headers={"Content-Encoding": "gzip"}),
        "/gone.jpg": Answer("gone", status=404),
        "/drip.jpg": Answer(picture(900), "image/jpeg", drip=0.2),
        "/short.jpg": Answer(picture(901)[:500], "image/jpeg", claimed_length=90_000),
        "/empty.jpg": Answer(b"", "image/jpeg"),
        "/noai.jpg": Answer(picture(902), "image/jpeg", headers={"X-Robots-Tag": "noai, noimageai"}),
    }
    pages.update(trouble)
    pages["/huge.png"] = Answer(huge_png(), "image/png")
    pages["/truncated.jpg"] = jpeg(picture(903)[:2000])
    pages["/images/secret-1.jpg"] = jpeg(picture(904))
    pages["/..%2f..%2f..%2fescape.jpg"] = jpeg(picture(905))
    pages["/images/%2e%2e/%2e%2e/%00nul.jpg"] = jpeg(picture(906))

    good = [f"/images/good-{number}.jpg" for number in range(GOOD)]
    flaky = good[0]
    pages[flaky] = lambda before: Answer("busy", status=503) if before < 2 else jpeg(picture(0))
    pages["/p/hugo-good"] = product_page("HUGO  Good\u00a0Sweater", good[:6])
    pages["/p/hugo-trouble"] = product_page("Hugo Trouble", [*trouble, "/huge.png", "/truncated.jpg", good[6]])
    pages["/p/hugo-names"] = product_page(
        "HUGO ../../../../tmp/evil\x00name",
        ["/..%2f..%2f..%2fescape.jpg", "/images/%2e%2e/%2e%2e/%00nul.jpg", "file:///etc/passwd", good[7], good[8]],
        '<meta property="og:image" content="file:///etc/hostname">',
    )
    pages["/p/hugo-flaky"] = lambda before: (
        Answer("oops", status=500) if before < 1 else product_page("HUGO Flaky", [good[9], good[10]])
    )
    pages["/p/hugo-noai"] = product_page("HUGO Noai", ["/images/never.jpg"], '<meta name="robots" content="noai">')
    pages["/secret/hugo-hidden"] = product_page("HUGO Hidden", [good[11]])
    pages["/p/hugo-last"] = product_page("HUGO Last", [good[11]])
    links = [
        *[path for path in pages if path.startswith("/p/")],
        "/secret/hugo-hidden",
        "/bomb.html",
        "/calendar/2026/1",
    ]
    links += [
        "/loop/a.jpg",
        "/redirect-to-inside",
        "javascript:alert(1)",
        "mailto:a@b.c",
        "//[bad",
        "/p/a/../../p/hugo-last",
    ]
    pages["/redirect-to-inside"] = Answer(status=301, headers={"Location": f"http://127.0.0.1:{other_port}/"})
    pages["/"] = page("<h1>Shop</h1>" + "".join(f'<a href="{link}">x</a> ' for link in links))
    shop.fallback = _calendar
    return shop


def _calendar(path: str) -> Answer | None:
    """Every month links to the next ten, for ever."""
    if not path.startswith("/calendar/"):
        return None
    year, month = (int(part) for part in path.split("/")[2:4])
    following = [(year + (month + step) // 12, (month + step) % 12 + 1) for step in range(10)]
    return page("<h1>Events</h1>" + "".join(f'<a href="/calendar/{y}/{m}">next</a>' for y, m in following))
