# ruff: noqa: E501
"""Shops in the markup that real themes write, and shops drawn by script; as in shop_systems, with 52 products each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tests.shop_server import Answer, Shop, jpeg, page, picture, thumbnail
from tests.shop_systems import Wanted, _name


def _photo(shop: Shop, number: int, place: int, full: str, smaller: dict[str, int]) -> None:
    """A picture of 800 x 1000 at `full`, '' for nowhere, and its smaller copies by address and width."""
    content = picture(60_000 + number * 10 + place, 800, 1000)
    if full:
        shop.pages[full] = jpeg(content)
    for address, width in smaller.items():
        shop.pages[address] = jpeg(thumbnail(content, width))


FRAME = (
    '<header><a href="/"><img src="/logo.png" width="180" height="40"></a></header>{}<footer><img src="/pay/visa.png">'
    '<img src="/pay/paypal.png"><div class="reviews"><img class="avatar" src="/avatars/1.jpg" width=80></div></footer>'
)
BUY = '<p class="price">$ 25.00</p><form action="/cart/add"><input name="quantity"><button>Add to cart</button></form>'


def _listings(shop: Shop, cards: list[str]) -> None:
    pages = [cards[at : at + 12] for at in range(0, len(cards), 12)]
    for number, part in enumerate(pages):
        following = (
            f'<a rel="next" class="next" href="/shop?page={number + 1}">Next</a>' if number + 1 < len(pages) else ""
        )
        body = f'<main><h1>Shop</h1><ul class="products">{"".join(part)}</ul><div class="pagination">{following}</div></main>'
        shop.pages[f"/shop?page={number}" if number else "/shop"] = page(FRAME.format(body))
    shop.pages["/"] = page(FRAME.format('<h1>Welcome</h1><a href="/shop">Shop</a>'))
    for path in ("/logo.png", "/pay/visa.png", "/pay/paypal.png"):
        shop.pages[path] = Answer(picture(3, 120, 40, "PNG"), "image/png")
    shop.pages["/avatars/1.jpg"] = jpeg(picture(4, 250, 250))


def lazy_woocommerce(products: int = 52) -> tuple[Shop, Wanted]:
    """Unclosed sources, lazy loading with <noscript>, -300x400 copies, JSON-LD for every other product alone."""
    shop, wanted, cards = Shop(), Wanted(), []
    for n in range(products):
        cards.append(
            f'<li class="product"><a href="/product/{n}/"><img data-src="/up/{n}-0-300x375.jpg" src="data:image/gif;base64,R0"><h2>{_name(n)}</h2></a> $ 25.00</li>'
        )
    for n in range(products):
        gallery = ""
        for place in range(1 + n % 4):
            stem = f"/up/{n}-{place}"
            _photo(
                shop,
                n,
                place,
                f"{stem}.jpg",
                {f"{stem}-100x125.jpg": 100, f"{stem}-300x375.jpg": 300, f"{stem}-600x750.jpg": 600},
            )
            img = f'<img src="{stem}-300x375.jpg" class="wp-post-image">'
            if n % 3 == 0:  # as browsers read it, the sources hold nothing
                gallery += f'<figure><picture><source srcset="{stem}.jpg 800w"><source srcset="{stem}-600x750.jpg 600w">{img}</picture></figure>'
            elif n % 3 == 1:
                gallery += f'<figure><img src="data:image/gif;base64,R0" data-lazy-src="{stem}-300x375.jpg" data-lazy-srcset="{stem}-300x375.jpg 300w, {stem}.jpg 800w"><noscript>{img}</noscript></figure>'
            else:  # the full picture has no address in the page
                gallery += f"<figure>{img}</figure>"
            wanted.setdefault(_name(n), set()).add(f"{stem}.jpg")
        head = f'<script type="application/ld+json">{json.dumps({"@graph": [{"@type": "WebPage"}, {"@type": "Product", "name": _name(n), "image": f"/up/{n}-0.jpg"}]})}</script>'
        related = f'<section class="related products"><ul>{cards[(n + 1) % products]}{cards[(n + 5) % products]}</ul></section>'
        shop.pages[f"/product/{n}/"] = page(
            FRAME.format(
                f'<main class="product"><div class="woocommerce-product-gallery">{gallery}</div><h1>{_name(n)}</h1>{BUY}</main>{related}'
            ),
            head if n % 2 else "",
        )
    _listings(shop, cards)
    return shop, wanted


def microdata_magento(products: int = 52) -> tuple[Shop, Wanted]:
    """Magento's /cache/<hash>/ copies in the markup, the gallery's larger copies as JSON, microdata around all."""
    shop, wanted, cards = Shop(), Wanted(), []
    small, large = "a" * 32, "b" * 32
    root = "/media/catalog/product"
    for n in range(products):
        cards.append(
            f'<li class="product-item"><a href="/item-{n}.html"><img class="product-image-photo" src="{root}/cache/{small}/{n}-0.jpg"><strong>{_name(n)}</strong></a> $ 25.00</li>'
        )
    for n in range(products):
        data = []
        for place in range(1 + n % 3):
            tail = f"{n}-{place}.jpg"
            _photo(
                shop,
                n,
                place,
                f"{root}/{tail}",
                {f"{root}/cache/{small}/{tail}": 240, f"{root}/cache/{large}/{tail}": 600},
            )
            data.append({"thumb": f"{root}/cache/{small}/{tail}", "img": f"{root}/cache/{large}/{tail}"})
            wanted.setdefault(_name(n), set()).add(f"{root}/{tail}")
        gallery = json.dumps({"[data-gallery-role=gallery-placeholder]": {"mage/gallery/gallery": {"data": data}}})
        related = f'<div class="block related"><ol>{cards[(n + 3) % products]}{cards[(n + 9) % products]}</ol></div>'
        shop.pages[f"/item-{n}.html"] = page(
            FRAME.format(
                f'<main itemscope itemtype="http://schema.org/Product"><div class="product media"><img src="{data[0]["img"]}" class="gallery-placeholder__image">'
                f'<script type="text/x-magento-init">{gallery}</script></div><h1><span itemprop="name">{_name(n)}</span></h1>{BUY}</main>{related}'
            )
        )
    _listings(shop, cards)
    return shop, wanted


def easy_thumbnails(products: int = 52) -> tuple[Shop, Wanted]:
    """A Django shop: easy-thumbnails in the markup, og:type product, and the originals under the name in front."""
    shop, wanted, cards = Shop(), Wanted(), []
    for n in range(products):
        cards.append(
            f'<article class="card"><a href="/catalogue/{n}/"><img src="/media/{n}-0.jpg.120x150_q85_crop.jpg">{_name(n)}</a> £ 25.00</article>'
        )
    for n in range(products):
        shown = ""
        for place in range(1 + n % 2):
            stem = f"/media/{n}-{place}.jpg"
            _photo(shop, n, place, stem, {f"{stem}.120x150_q85_crop.jpg": 120, f"{stem}.65x81_q85.jpg": 65})
            shown += f'<div class="carousel-item"><img src="{stem}.{"120x150_q85_crop" if place == 0 else "65x81_q85"}.jpg"></div>'
            wanted.setdefault(_name(n), set()).add(stem)
        head = f'<meta property="og:type" content="product"><meta property="og:title" content="{_name(n)}">'
        shop.pages[f"/catalogue/{n}/"] = page(
            FRAME.format(
                f'<article class="product_page"><div class="carousel">{shown}</div><h1>{_name(n)}</h1>{BUY}</article><h2>Recently viewed</h2>{cards[(n + 7) % products]}'
            ),
            head,
        )
    _listings(shop, cards)
    return shop, wanted


def shopify_sections(products: int = 52) -> tuple[Shop, Wanted]:
    """Shopify's _300x suffix and width parameter, a JSON-LD Product of one picture, recommendations, an unclosed source."""
    shop, wanted, cards = Shop(), Wanted(), []
    for n in range(products):
        cards.append(
            f'<li class="grid__item"><a href="/products/{n}"><img src="/cdn/files/{n}_0_180x.jpg?v=1"></a><a href="/products/{n}">{_name(n)}</a> $ 25.00</li>'
        )
    for n in range(products):
        shown = ""
        for place in range(1 + n % 4):
            stem = f"/cdn/files/{n}_{place}"
            _photo(
                shop,
                n,
                place,
                f"{stem}.jpg?v=1",
                {f"{stem}_180x.jpg?v=1": 180, f"{stem}_300x.jpg?v=1": 300, f"{stem}.jpg?v=1&width=360": 360},
            )
            if n % 2:
                shown += f'<media-gallery><picture><source media="(min-width: 750px)" srcset="{stem}.jpg?v=1&width=360 360w, {stem}.jpg?v=1 800w"><img src="{stem}_300x.jpg?v=1" loading="lazy"></picture></media-gallery>'
            else:
                shown += f'<div class="product__media"><img data-src="{stem}_{{width}}x.jpg?v=1" data-widths="[180,300]" src="{stem}_300x.jpg?v=1"></div>'
            wanted.setdefault(_name(n), set()).add(f"{stem}.jpg?v=1")
        node = {
            "@type": "Product",
            "name": _name(n),
            "image": [f"ORIGIN/cdn/files/{n}_0_300x.jpg?v=1"],
            "offers": {"price": 25},
        }
        related = f'<section class="product-recommendations"><ul>{cards[(n + 2) % products]}{cards[(n + 4) % products]}</ul></section>'
        shop.pages[f"/products/{n}"] = page(
            FRAME.format(
                f'<main><div class="product__media-gallery">{shown}</div><h1>{_name(n)}</h1>{BUY}</main>{related}'
            ),
            f'<script type="application/ld+json">{json.dumps(node)}</script>',
        )
    _listings(shop, cards)
    return shop, wanted


def _drawn(
    shop: Shop, product: Callable[[int], dict[str, object]], wrap: Callable[[str, object], Answer], products: int
) -> Wanted:
    """Fill a shop that a script draws: its start page's data has the links, a page's data its product and others."""
    wanted = Wanted()
    for n in range(products):
        for place in range(1 + n % 3):
            _photo(shop, n, place, f"/i/{n}-{place}.jpg", {})
            wanted.setdefault(_name(n), set()).add(f"/i/{n}-{place}.jpg")
        others = [product((n + step) % products) for step in (1, 2)]
        shop.pages[f"/p/item-{n}"] = wrap(f"product-item-{n}", {"product": product(n), "related": others})
    shop.pages["/"] = wrap("home", {"items": [product(n) for n in range(products)]})
    return wanted


def _told(n: int) -> dict[str, object]:
    images = [{"url": f"/i/{n}-{place}.jpg", "alt": None} for place in range(1 + n % 3)]
    return {
        "name": _name(n),
        "slug": f"item-{n}",
        "url": f"/p/item-{n}",
        "price": 25.5,
        "images": images,
        "brand": {"name": "X", "logo": {"url": "/logo.png"}},
    }


def next_only(products: int = 52) -> tuple[Shop, Wanted]:
    """An empty root, and the data as Next.js writes it; pictures through its own scaler in every other product."""
    shop = Shop()

    def told(n: int) -> dict[str, object]:
        found = _told(n)
        if n % 2:
            found["images"] = [
                {"url": f"/_next/image?url=%2Fi%2F{n}-{place}.jpg&w=384&q=75"} for place in range(1 + n % 3)
            ]
        return found

    def wrap(name: str, data: object) -> Answer:
        script = json.dumps({"props": {"pageProps": data}, "page": "/", "buildId": "x"})
        return page(f'<div id="__next"></div><script id="__NEXT_DATA__" type="application/json">{script}</script>')

    wanted = _drawn(shop, told, wrap, products)
    for n in range(1, products, 2):
        for place in range(1 + n % 3):
            small = thumbnail(picture(60_000 + n * 10 + place, 800, 1000), 384)
            shop.pages[f"/_next/image?url=%2Fi%2F{n}-{place}.jpg&w=384&q=75"] = jpeg(small)
    return shop, wanted


def nuxt3_only(products: int = 52) -> tuple[Shop, Wanted]:
    """Nuxt 3's flat list, the product under a key that says nothing in every other page."""
    shop = Shop()

    def wrap(name: str, data: object) -> Answer:
        places: list[object] = []

        def place(value: object) -> int:
            at = len(places)
            places.append(None)
            if isinstance(value, dict):
                places[at] = {key: place(entry) for key, entry in value.items()}
            elif isinstance(value, list):
                places[at] = [place(entry) for entry in value]
            else:
                places[at] = value
            return at

        assert isinstance(data, dict)
        shown = (
            data
            if name.endswith(("0", "2", "4", "6", "8")) or name == "home"
            else {"$fx8Q": data["product"], "related": data["related"]}
        )
        places += [["ShallowReactive", 1], {"data": 2, "state": 3}, ["ShallowReactive", 4], ["Reactive", 5]]
        places += [None, {}]
        places[4] = {key: place(entry) for key, entry in shown.items()}
        script = f'<script type="application/json" id="__NUXT_DATA__" data-ssr="true">{json.dumps(places)}</script>'
        return page(
            f'<div id="__nuxt"></div>{script}<script>window.__NUXT__={{}};window.__NUXT__.config={{public:{{}}}}</script>'
        )

    return shop, _drawn(shop, _told, wrap, products)


def nuxt2_only(products: int = 52) -> tuple[Shop, Wanted]:
    """Nuxt 2's function that is called with what its names stand for."""
    shop = Shop()

    def wrap(name: str, data: object) -> Answer:
        written = json.dumps({"layout": "default", "data": [data]}).replace("/", "\\u002F")
        written = (
            re.sub(r'"(\w+)":', r"\1:", written).replace(" null", " b").replace(" 25.5", " c").replace('" X"', "a")
        )
        return page(
            f'<div id="__nuxt"></div><script>window.__NUXT__=(function(a,b,c){{return {written}}}("X",null,25.5));</script>'
        )

    return shop, _drawn(shop, _told, wrap, products)
