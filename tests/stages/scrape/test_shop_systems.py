# ruff: noqa: E501
"""Shops in the markup of real themes, 52 products each: what is found, at what size, and what is wrongly taken.

Bars: 0.98 of the products, of the full-size pictures, and of right ones among those taken. All seven reach 1.0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from stages.scrape.image_urls import is_scaled, larger_guesses, unproxied
from stages.scrape.look import look_at
from stages.scrape.manifest import THUMBNAIL
from stages.scrape.page import read_page
from tests.hostile_pages import hostile_pages, measured
from tests.hostile_shop import huge_png
from tests.shop_server import Answer, Shop, jpeg, page, picture, serving, thumbnail
from tests.stages.scrape.test_scrape import crawl
from tests.theme_shops import (
    easy_thumbnails,
    lazy_woocommerce,
    microdata_magento,
    next_only,
    nuxt2_only,
    nuxt3_only,
    shopify_sections,
)

BAR = 0.98
SYSTEMS = [lazy_woocommerce, microdata_magento, easy_thumbnails, shopify_sections, next_only, nuxt3_only, nuxt2_only]


@pytest.mark.parametrize("system", SYSTEMS)
def test_products_and_pictures_of_a_shop_system(system: Any, tmp_path: Path) -> None:
    shop, wanted = system()
    with serving(shop) as origin:
        rows = crawl(origin, tmp_path, name_contains="", max_failed_share=1.0)
    asked = {(name, address) for name, addresses in wanted.items() for address in addresses}
    taken = {(row["product"], row["image_url"].removeprefix(origin)) for row in rows if not row["drop_reason"]}
    assert len({row["product"] for row in rows} & set(wanted)) >= BAR * len(wanted)
    assert len(taken & asked) >= BAR * len(asked), sorted(asked - taken)[:3]
    assert len(taken & asked) >= BAR * len(taken), sorted(taken - asked)[:3]


def shop_of_thumbnails(with_full: bool) -> Shop:
    """Two products: one with a picture of 65 x 87 alone, and one with a full one or no more either."""
    shop = Shop({"/": page('<a href="/p/0">a</a><a href="/p/1">b</a>')})
    for n in range(2):
        body = f'<h1>HUGO {n}</h1><div class="gallery"><img src="/media/cache/ab/cd/{n}.jpg"></div><p>$ 5</p><button>Add to cart</button>'
        shop.pages[f"/p/{n}"] = page(f'<main class="product">{body}</main>')
        shop.pages[f"/media/cache/ab/cd/{n}.jpg"] = jpeg(thumbnail(picture(n), 65))
    if with_full:
        shop.pages["/media/cache/ab/cd/1.jpg"] = jpeg(picture(1, 600, 800))
    return shop


def test_a_picture_of_which_there_is_only_a_thumbnail_is_never_used(tmp_path: Path, capsys: Any) -> None:
    with serving(shop_of_thumbnails(with_full=True)) as origin:
        rows = crawl(origin, tmp_path)
    assert [(row["thumbnail"], row["drop_reason"], row["width"]) for row in rows] == [
        (True, THUMBNAIL, 65),
        (False, None, 600),
    ]
    assert all(row["sha256"] for row in rows)
    assert "1 products have no full-size picture" in capsys.readouterr().out


def test_a_shop_of_thumbnails_alone_is_an_error(tmp_path: Path) -> None:
    with serving(shop_of_thumbnails(with_full=False)) as origin, pytest.raises(UserError, match="2 pictures are thumb"):
        crawl(origin, tmp_path)


ORIGINALS = {
    "/up/a-300x300.jpg": "/up/a.jpg",
    "/cdn/a_100x.jpg?v=3": "/cdn/a.jpg?v=3",
    "/cdn/a.jpg?v=3&width=360": "/cdn/a.jpg?v=3",
    f"/media/catalog/product/cache/{'0' * 32}/a/b/a.jpg": "/media/catalog/product/a/b/a.jpg",
    "/media/a.jpg.200x200_q85_crop.jpg": "/media/a.jpg",
    "/_next/image?url=%2Fi%2Fa.jpg&w=384&q=75": "/i/a.jpg",
    "/_ipx/w_200&f_webp/i/a.jpg": "/i/a.jpg",
    "/cdn-cgi/image/width=80,quality=75/i/a.jpg": "/i/a.jpg",
}


@pytest.mark.parametrize("scaled", ORIGINALS)
def test_where_shop_systems_keep_the_original(scaled: str) -> None:
    url = f"https://s.test{scaled}"
    assert is_scaled(url)
    assert f"https://s.test{ORIGINALS[scaled]}" in larger_guesses(url)
    assert not is_scaled(f"https://s.test{ORIGINALS[scaled]}")


def test_a_scalers_address_may_be_damaged() -> None:
    for url in ("https://s.test/_next/image?url=//[x&w=1", "https://s.test/_next/image", "https://s.test/_ipx/w_1/"):
        assert unproxied(url).startswith("https://s.test/")


def test_a_pictures_header_is_read_without_its_pixels() -> None:
    """1.6 gigapixels in 190 KB, which Pillow would decode to look for EXIF: that takes seconds, this is instant."""
    look = look_at(huge_png(40_000, 40_000))
    assert look.header is not None
    assert (look.width, look.header.height) == (40_000, 40_000)


TREES = {
    "a table holds no div": '<table><div class="gallery"><img src="/1.jpg"></div><tr><td>x</table>',
    "custom elements": '<media-gallery><slide-part/><img src="/1.jpg"></media-gallery>',
    "an unclosed source": '<div class=gallery><picture><source srcset="/1.jpg 900w"><img src="/1-90x90.jpg"></picture></div>',
    "a source below another": '<picture class=gallery><source srcset="/1.jpg 9w"><source srcset="/1.jpg 8w"><img src="/1.jpg"></picture>',
    "a paragraph around a gallery": '<p><div class="gallery"><img src="/1.jpg"></div></p>',
}


@pytest.mark.parametrize("kind", TREES)
def test_markup_is_read_as_html_5_says(kind: str) -> None:
    body = f"<main class=product><h1>HUGO tee</h1>{TREES[kind]}<p>$ 5</p><button>Add to cart</button></main>"
    product = read_page("https://s.test/p", "", body.encode()).product
    assert product is not None
    assert product.pictures[0].urls[0] == "https://s.test/1.jpg"


def test_a_sitemap_that_cannot_be_read_in_time_costs_itself_alone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("stages.scrape.reader.Reader.__init__.__defaults__", (0.5,))
    shop = shop_of_thumbnails(with_full=True)
    shop.pages["/robots.txt"] = Answer("User-agent: *\nSitemap: ORIGIN/s.xml\n", "text/plain")
    attributes = " ".join(f"a{n}='1'" for n in range(300_000))
    shop.pages["/s.xml"] = Answer(f"<urlset><url {attributes}/></urlset>" + "<a>" * 1_000_000, "application/xml")
    with serving(shop) as origin:
        assert len(crawl(origin, tmp_path)) == 2


def test_hostile_pages_and_pictures_cost_themselves_alone_and_little_memory(tmp_path: Path) -> None:
    """One page of each kind; 200 pages and 1,000 pictures: `python -m tests.hostile_pages 200 1000`."""
    cost = measured(hostile_pages(28, 40, good=12), tmp_path)
    assert len({row["product"] for row in cost.rows if row["sha256"] and "/i/" in row["image_url"]}) == 12, cost.said
    assert cost.megabytes < 600
