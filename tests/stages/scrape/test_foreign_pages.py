# ruff: noqa: E501
"""Pages as nobody means them: no exception, no more than linear time, and one bad page costs no other."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.errors import UserError
from stages.scrape.fetch import seconds_to_wait
from stages.scrape.image_urls import larger_guesses, parse_srcset, picture_key, width_in_url
from stages.scrape.page import read_page
from stages.scrape.page_worker import Answer as Read
from stages.scrape.reader import Reader
from stages.scrape.robots import robots_text
from stages.scrape.sitemap_file import read_sitemap
from stages.scrape.store import Fetched
from stages.scrape.structured_data import lenient_json
from stages.scrape.urls import is_action
from tests.shop_server import Answer, Shop, jpeg, page, picture, serving
from tests.stages.scrape.test_scrape import crawl, small_shop

URL = "https://shop.test/p/1"

# --- What hypothesis thinks of -------------------------------------------------------------------------------------

PIECES = [
    *[
        "<picture>",
        "<source srcset='a.jpg 1.2.3x, b.jpg 9w'>",
        "<img src=/a.jpg>",
        "</picture>",
        "<a href='//[bad'>",
        "</a>",
    ],
    *[
        "<script type=application/ld+json>",
        "</script>",
        '{"@type":"Product","name":"HUGO"',
        "[[{{",
        "}",
        ",]",
        "//",
        "/*",
    ],
    *[
        "<h1>",
        "</h1>",
        "$ 1 1 1",
        "<base href='http://[::1'>",
        "<meta http-equiv=refresh content='0;url=//[x'>",
        "<!--",
    ],
    *["<script id=__NEXT_DATA__ type=application/json>", '{"props":{"pageProps":{"product":{"name":1,"images":{}}}}}'],
    *[
        "<div itemscope itemtype='https://schema.org/Product'>",
        "<span itemprop=name>",
        "typeof='Product'",
        "<noscript>",
    ],
    *[
        "<link rel=alternate hreflang=de href='http://a:99999/'>",
        "style='background:url(",
        "\0",
        "\ud7ff",
        "&#x110000;",
    ],
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=40))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_page_raises(pieces: list[str]) -> None:
    read_page(URL, "text/html", " ".join(pieces).encode("utf-8", "surrogatepass"), ["HUGO"])


@given(
    st.binary(max_size=200), st.sampled_from(["", "text/html; charset=utf-16", "x/y; charset=idna", "a;charset=\xb2"])
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_bytes_raise(body: bytes, content_type: str) -> None:
    read_page(URL, content_type, body)
    read_sitemap(Fetched(URL, URL, 200, {}, body))


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_attribute_or_header_raises(text: str) -> None:
    for _, width in parse_srcset(text):
        assert 0 <= width < 1_000_000
    assert 0 <= seconds_to_wait(text) <= 60
    lenient_json(text)


@pytest.mark.parametrize("text", ["\xb2", "-1", "1e9", "9" * 400, "Wed, 99 Foo 2026", "nan", ""])
def test_a_retry_after_that_is_none_waits_a_bounded_time(text: str) -> None:
    assert 0 <= seconds_to_wait(text) <= 60


# --- Time -------------------------------------------------------------------------------------------------------------

LD = '<script type="application/ld+json">{}</script>'
LONG: dict[str, Callable[[int], Any]] = {
    "prices": lambda n: read_page(URL, "", f"<h1>a</h1><p>{'1 ' * n}</p>".encode()),
    "a srcset": lambda n: read_page(URL, "", f'<h1>a</h1><img srcset="{"a 1x 2 ( " * (n // 4)}">'.encode()),
    "spaces in JSON-LD": lambda n: read_page(URL, "", LD.format(" " * n + "{").encode()),
    "opened JSON-LD": lambda n: read_page(URL, "", LD.format("[" * n).encode()),
    "backgrounds": lambda n: read_page(URL, "", f'<div class=gallery style="{"background:" * (n // 10)}">'.encode()),
    "addresses": lambda n: [f(f"https://a.test/{'-1x' * n}.jpg") for f in (picture_key, width_in_url, larger_guesses)],
    "pictures": lambda n: read_page(URL, "", b"<h1>a</h1><div class=gallery>" + b"<img src=/a.jpg>" * (n // 8)),
    "a category": lambda n: read_page(
        URL,
        "",
        f'<h1>a</h1><meta property="product:category" content="a{" " * n}b"><meta property=og:type content=product>'.encode(),
    ),
    "a script's data": lambda n: read_page(URL, "", f"<script>window.__NUXT__={'{a:' * (n // 3)}</script>".encode()),
    "a script's quotes": lambda n: read_page(URL, "", b'<script>window.__NUXT__="' + b'\\"' * (n // 2) + b"</script>"),
    "a script's digits": lambda n: read_page(URL, "", f"<script>window.__NUXT__={'1' * n}</script>".encode()),
    "refs": lambda n: read_page(
        URL,
        "",
        LD.format(json.dumps([{"@id": f"{i}", "a": [{"@id": f"{i + 1}"}] * 9} for i in range(min(n, 40))])).encode(),
    ),
}


@pytest.mark.parametrize("kind", LONG)
def test_twice_as_much_takes_no_more_than_about_twice_as_long(kind: str) -> None:
    """By the processor's time of the best of three, and only where it can be measured at all."""

    def cost(n: int) -> float:
        costs = []
        for _ in range(3):
            started = time.process_time()
            LONG[kind](n)
            costs.append(time.process_time() - started)
        return min(costs)

    small, large = cost(8_000), cost(32_000)
    assert large < max(8 * small, 0.3), f"{small:.3f} s, four times as much: {large:.3f} s"


def test_a_page_over_its_time_costs_itself_alone() -> None:
    reader = Reader(seconds=0.3)
    shown = "".join(f"<div class=gallery><img src=/{n}.jpg></div>" for n in range(40_000))
    slow = Fetched(URL, URL, 200, {}, f"<h1>a</h1>{shown}".encode())

    async def work() -> Iterator[Read]:
        first = await reader.read(slow, [])
        return iter((first, await reader.read(Fetched(URL, URL, 200, {}, b"<h1>b</h1>"), [])))

    try:
        first, second = asyncio.run(work())
    finally:
        reader.close()
    assert first.error == "takes longer than 0.3 s to parse"
    assert second.page is not None


# --- What a crawl makes of it ----------------------------------------------------------------------------------------

BAD = {
    "a descriptor": '<img src="/i/0.jpg" srcset="/i/0.jpg 1.2.3x">',
    "a width": f'<img src="/i/0.jpg" srcset="/i/0.jpg {"9" * 400}w">',
    "an address": '<img src="/i/0.jpg"><a href="http://a:b/">x</a>',
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_attribute_costs_no_picture(kind: str, tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/p/0"] = page(
        f'<main class="product"><h1>Hugo 0</h1>{BAD[kind]}<p>$ 5.00</p><button>Add to cart</button></main>'
    )
    with serving(shop) as origin:
        assert len(crawl(origin, tmp_path)) == 3


def test_a_bad_header_costs_no_picture(tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/i/0.jpg"] = lambda before: (
        Answer("busy", status=503, headers={"Retry-After": "\xb2"}) if before < 1 else jpeg(picture(0))
    )
    with serving(shop) as origin:
        assert len(crawl(origin, tmp_path)) == 3


def test_lost_product_pages_fail_the_stage_and_are_named(tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/p/1"] = Answer("down", status=500)
    with (
        serving(shop) as origin,
        pytest.raises(UserError, match=r"1 of 3 product pages lost.*HTTP status 500, such as http.*/p/1"),
    ):
        crawl(origin, tmp_path, retries=0)


def test_a_shop_without_products_is_asked_again(tmp_path: Path) -> None:
    shop, full = Shop({"/": page("<h1>Under construction</h1>")}), small_shop()
    with serving(shop) as origin:
        with pytest.raises(UserError, match="no product found"):
            crawl(origin, tmp_path)
        shop.pages.update(full.pages)
        assert len(crawl(origin, tmp_path)) == 3


# --- robots.txt ------------------------------------------------------------------------------------------------------

RULES = "User-agent: *\nDisallow: /\n"
FORMS = {
    "BOM": b"\xef\xbb\xbf" + RULES.encode(),
    "utf-16": RULES.encode("utf-16"),
    "utf-16 without a BOM": RULES.encode("utf-16-le"),
    "in HTML": f"<html><body><pre>{RULES}</pre></body></html>".encode(),
    "too large": RULES.encode() + b"# more\n" * 80_000,
    "packed": gzip.compress(RULES.encode()),
    "no text": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_shop_that_forbids_all_is_not_crawled_whatever_the_form(form: str, tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/robots.txt"] = Answer(FORMS[form], "text/html")
    with serving(shop) as origin, pytest.raises(UserError, match="no product found"):
        crawl(origin, tmp_path)
    assert set(shop.asked) == {"/robots.txt"}


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_no_robots_txt_allows_all(status: int, tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/robots.txt"] = Answer(RULES, status=status)
    with serving(shop) as origin:
        assert len(crawl(origin, tmp_path)) == 3


def test_a_page_in_place_of_robots_txt_has_no_rules() -> None:
    assert "llow" not in robots_text(page("<h1>Our shop</h1>").body.encode())  # type: ignore[union-attr]


# --- Kinds of pages ----------------------------------------------------------------------------------------------------


def test_an_unclosed_source_holds_no_picture() -> None:
    body = (
        '<h1>HUGO tee</h1><p>$ 5</p><button>Add to cart</button><div class=gallery><picture><source srcset="/1-big.jpg 1200w">'
        '<source srcset="/1-mid.jpg 600w"><img src="/1-small.jpg"></picture></div>'
    )
    product = read_page(URL, "", body.encode()).product
    assert product is not None
    assert product.pictures[0].urls[0] == "https://shop.test/1-big.jpg"


def test_one_declared_product_outweighs_a_page_full_of_cards() -> None:
    cards = "".join(f'<div><a href="/p/{n}"><img src="/{n}.jpg">Shirt {n} $ {n}.00</a></div>' for n in range(2, 9))
    for head in (
        LD.format(json.dumps({"@type": "Product", "name": "HUGO tee", "image": "/1.jpg"})),
        '<meta property="og:type" content="product"><meta property="og:title" content="HUGO tee">'
        '<meta property="og:image" content="/1.jpg">',
    ):
        body = f"<html><head>{head}</head><body><h1>HUGO tee</h1>{cards}</body></html>"
        product = read_page(URL, "", body.encode()).product
        assert product is not None
        assert product.name == "HUGO tee"
    assert read_page(URL, "", f"<h1>HUGO tees</h1>{cards}".encode()).product is None


def next_page(data: Any) -> Answer:
    told = json.dumps({"props": {"pageProps": data}, "page": "/"})
    return page(f'<div id="__next"></div><script id="__NEXT_DATA__" type="application/json">{told}</script>')


def test_a_shop_drawn_by_script_is_read_where_its_data_lies_in_the_page(tmp_path: Path) -> None:
    shop = Shop({f"/i/{n}.jpg": jpeg(picture(n)) for n in range(4)})
    shop.pages["/"] = next_page({"products": [{"name": f"HUGO {n}", "url": f"/p/{n}"} for n in range(2)]})
    for n in range(2):
        images = [{"url": f"/i/{2 * n}.jpg"}, {"url": f"/i/{2 * n + 1}.jpg"}]
        more = [{"name": "HUGO other", "images": [{"url": "/i/0.jpg"}]}]
        shop.pages[f"/p/{n}"] = next_page({"product": {"name": f"HUGO {n}", "images": images}, "related": more})
    with serving(shop) as origin:
        rows = crawl(origin, tmp_path)
    assert [(r["product"], r["image_url"][-8:]) for r in rows] == [(f"HUGO {n // 2}", f"/i/{n}.jpg") for n in range(4)]


def test_a_shop_that_needs_a_browser_says_so(tmp_path: Path) -> None:
    shop = Shop({"/": page('<div id="root"></div><script src="/app.js"></script>')})
    with serving(shop) as origin, pytest.raises(UserError, match=r"scrape\.javascript"):
        crawl(origin, tmp_path)


ACTIONS = ["/cart", "/cart/add?id=1", "/p/x?add-to-cart=1", "/index.php?route=account/login", "/p/x?share=facebook"]
PRODUCTS = [
    "/p/print-shirt",
    "/p/gift-card-share",
    "/products/compare-and-save",
    "/index.php?route=product/product&id=1",
]


def test_buttons_are_told_by_whole_parts_of_an_address() -> None:
    assert all(is_action(f"https://s.test{address}") for address in ACTIONS)
    assert not any(is_action(f"https://s.test{address}") for address in PRODUCTS)


def test_a_sitemap_may_have_bare_ampersands() -> None:
    body = b"<urlset><url><loc>https://s.test/?a=1&b=2&amp;c=3</loc></url></urlset>"
    assert read_sitemap(Fetched(URL, URL, 200, {}, body)).pages == [("https://s.test/?a=1&b=2&c=3", [], [])]


def test_copies_in_many_languages_are_not_all_fetched(tmp_path: Path) -> None:
    languages = ["en", "bg", "cs", "da", "de", "el", "es", "fi"]
    shop = Shop({f"/i/{n}.jpg": jpeg(picture(n)) for n in range(4)})
    for n in range(4):
        head = "".join(f'<link rel="alternate" hreflang="{at}" href="/{at}/p/{n}">' for at in languages)
        for at in languages:
            body = f'<main class="product"><h1>HUGO {n}</h1><img src="/i/{n}.jpg"><p>$ 5</p><button>Add to cart</button></main>'
            shop.pages[f"/{at}/p/{n}"] = page(body, head, at)
    named = "".join(f"<url><loc>ORIGIN/{at}/p/{n}</loc></url>" for n in range(4) for at in reversed(languages))
    shop.pages["/sitemap.xml"] = Answer(f"<urlset>{named}</urlset>", "application/xml")
    shop.pages["/robots.txt"] = Answer("Sitemap: ORIGIN/sitemap.xml", "text/plain")
    shop.pages["/"] = page("<h1>Shop</h1>")
    with serving(shop) as origin:
        rows = crawl(origin, tmp_path)
    assert len(rows) == 4
    assert all("/en/" in row["page_url"] for row in rows)
    assert sum("/p/" in path for path in shop.asked) <= 8


def test_every_byte_that_is_fetched_counts(tmp_path: Path) -> None:
    shop = small_shop(20)
    shop.pages["/big"] = Answer(b"x" * 1_200_000, "application/octet-stream")
    shop.pages["/"] = page('<a href="/big">b</a>' + "".join(f'<a href="/p/{n}">{n}</a>' for n in range(20)))
    with serving(shop) as origin, pytest.raises(UserError, match=r"scrape\.max_megabytes"):
        crawl(origin, tmp_path, max_megabytes=1)
    assert not [path for path in shop.asked if path.startswith("/i/")]
