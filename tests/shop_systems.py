# ruff: noqa: E501
"""Shops as common shop systems draw them. Each function returns the shop and, for each product's name, its pictures."""

from __future__ import annotations

import hashlib
import json

from tests.shop_server import Answer, Shop, jpeg, page, picture, thumbnail

Wanted = dict[str, set[str]]
_NAMES = ("Sweater", "T-Shirt", "Socks", "Cap")


def _name(number: int) -> str:
    return f"{'HUGO' if number % 2 == 0 else 'VELQ'} {_NAMES[number % 4]} {number}"


def woocommerce_like(products: int = 14) -> tuple[Shop, Wanted]:
    """JSON-LD with the first picture only, a data-large_image gallery, JSON-LD on listings too, ?add-to-cart links."""
    shop, wanted = Shop(), Wanted()
    shop.pages["/robots.txt"] = Answer("User-agent: *\nDisallow: /cart/\nDisallow: /*?add-to-cart=\n", "text/plain")

    def card(number: int) -> str:
        return (
            f'<li class="product type-product"><a href="/product/item-{number}/" class="woocommerce-LoopProduct-link">'
            f'<img src="/up/{number}-0-300x400.jpg" class="attachment-woocommerce_thumbnail" width="300">'
            f'<h2 class="woocommerce-loop-product__title">{_name(number)}</h2><span class="price">£20.00</span></a>'
            f'<a href="?add-to-cart={number}" class="button add_to_cart_button" rel="nofollow">Add to cart</a></li>'
        )

    for number in range(products):
        gallery, name = "", _name(number)
        for place in range(1 + number % 3):
            full = picture(1000 + number * 10 + place, 600, 800)
            for width in (100, 300, 600):
                suffix = "" if width == 600 else f"-{width}x{width * 4 // 3}"
                shop.pages[f"/up/{number}-{place}{suffix}.jpg"] = jpeg(full if width == 600 else thumbnail(full, width))
            gallery += (
                f'<div data-thumb="/up/{number}-{place}-100x133.jpg" class="woocommerce-product-gallery__image">'
                f'<a href="/up/{number}-{place}.jpg"><img src="/up/{number}-{place}-300x400.jpg" '
                f'data-src="/up/{number}-{place}.jpg" data-large_image="/up/{number}-{place}.jpg" data-large_image_width="600" '
                f'srcset="/up/{number}-{place}-300x400.jpg 300w, /up/{number}-{place}.jpg 600w"></a></div>'
            )
            wanted.setdefault(name, set()).add(f"/up/{number}-{place}.jpg")
        node = {
            "@context": "https://schema.org/",
            "@graph": [
                {"@type": "BreadcrumbList", "itemListElement": []},
                {
                    "@type": "Product",
                    "@id": f"ORIGIN/product/item-{number}/#product",
                    "name": name,
                    "url": f"ORIGIN/product/item-{number}/",
                    "image": f"ORIGIN/up/{number}-0.jpg",
                    "sku": number,
                    "offers": [{"@type": "Offer", "price": "20.00", "url": f"ORIGIN/product/item-{number}/"}],
                },
            ],
        }
        related = "".join(card((number + step) % products) for step in (1, 2, 3))
        shop.pages[f"/product/item-{number}/"] = page(
            f'<header><a href="/"><img src="/logo.png"></a><a href="/cart/">Cart £0.00</a></header><div id="primary"><main>'
            f'<div class="product type-product"><div class="woocommerce-product-gallery images">{gallery}</div>'
            f'<div class="summary"><h1 class="product_title">{name}</h1><p class="price">£20.00</p>'
            f'<form class="cart" method="post"><input name="quantity"><button name="add-to-cart">Add to cart</button></form></div>'
            f'<section class="related products"><h2>Related products</h2><ul class="products">{related}</ul></section></div>'
            f"</main></div>",
            f'<script type="application/ld+json">{json.dumps(node)}</script>',
        )
    per_page = 6
    last = (products - 1) // per_page + 1
    for number in range(1, last + 1):
        shown = range((number - 1) * per_page, min(number * per_page, products))
        nodes = [
            {"@type": "Product", "name": _name(n), "url": f"ORIGIN/product/item-{n}/", "image": f"ORIGIN/up/{n}-0.jpg"}
            for n in shown
        ]
        following = f'<a class="next page-numbers" href="/shop/page/{number + 1}/">→</a>' if number < last else ""
        address = "/shop/" if number == 1 else f"/shop/page/{number}/"
        shop.pages[address] = page(
            f'<main><h1 class="page-title">Shop</h1><form><select class="orderby"></select></form><ul class="products">'
            f'{"".join(card(n) for n in shown)}</ul><nav class="woocommerce-pagination">{following}</nav></main>',
            f'<meta property="og:type" content="product"><script type="application/ld+json">{json.dumps(nodes)}</script>',
        )
    shop.pages["/blog/hugo-spring/"] = page(
        '<article><h1>HUGO spring</h1><img src="/up/0-0.jpg"><p>Our new season, from £20.00.</p></article>',
        '<meta property="og:type" content="article">',
    )
    shop.pages["/logo.png"] = Answer(picture(1, 90, 30, "PNG"), "image/png")
    shop.pages["/"] = page('<h1>Welcome</h1><a href="/shop/">Shop</a> <a href="/blog/hugo-spring/">Blog</a>')
    return shop, wanted


def oscar_like(products: int = 13) -> tuple[Shop, Wanted]:
    """No structured data; scaled pictures named by hashes, in two sizes on the same page; listings with buy buttons."""
    shop, wanted = Shop(), Wanted()

    def address(number: int, place: int, size: str) -> str:
        digest = hashlib.md5(f"{number}/{place}/{size}".encode()).hexdigest()
        return f"/media/cache/{digest[:2]}/{digest[2:4]}/{digest}.jpg"

    def pod(number: int) -> str:
        return (
            f'<li class="col"><article class="product_pod"><div class="image_container"><a href="/catalogue/item_{number}/">'
            f'<img src="{address(number, 0, "list")}" class="thumbnail"></a></div><h3><a href="/catalogue/item_{number}/">'
            f'{_name(number)}</a></h3><div class="product_price"><p class="price_color">£9.99</p>'
            f'<form action="/basket/add/{number}/" method="post"><button type="submit">Add to basket</button></form>'
            f"</div></article></li>"
        )

    for number in range(products):
        slides = thumbs = ""
        count = 1 + number % 3
        for place in range(count):
            full = picture(5000 + number * 10 + place, 700, 900)
            for size, width in (("main", 440), ("thumb", 65), ("list", 120)):
                shop.pages[address(number, place, size)] = jpeg(thumbnail(full, width))
            slides += f'<div class="carousel-item"><img src="{address(number, place, "main")}"></div>'
            thumbs += f'<li data-target="#g"><img src="{address(number, place, "thumb")}" class="img-thumbnail"></li>'
            wanted.setdefault(_name(number), set()).add(address(number, place, "main"))
        gallery = f'<div id="product_gallery" class="carousel"><div class="carousel-inner">{slides}</div>'
        gallery += f"<ol class='carousel-indicators'>{thumbs if count > 1 else ''}</ol></div>"
        recent = "".join(pod((number + step) % products) for step in (2, 5))
        shop.pages[f"/catalogue/item_{number}/"] = page(
            f'<div class="basket-mini">Basket total: £0.00</div><article class="product_page"><div class="row">'
            f'<div class="col-sm-6">{gallery}</div><div class="col-sm-6 product_main"><h1>{_name(number)}</h1>'
            f'<p class="price_color">£9.99</p></div></div><div class="sub-header"><h2>Products you recently viewed</h2>'
            f"</div><ul>{recent}</ul></article>"
        )
    per_page = 5
    last = (products - 1) // per_page + 1
    for number in range(1, last + 1):
        shown = range((number - 1) * per_page, min(number * per_page, products))
        pager = f'<li class="next"><a href="?page={number + 1}">next</a></li>' if number < last else ""
        listing = page(
            f'<div class="basket-mini">Basket total: £0.00</div><h1>All products</h1><form method="get"><strong>{products}</strong>'
            f' results</form><section><ol class="row">{"".join(pod(n) for n in shown)}</ol><ul class="pager">{pager}</ul></section>'
        )
        shop.pages["/catalogue/" if number == 1 else f"/catalogue/?page={number}"] = listing
    # A category with one product must not be taken for it.
    shop.pages["/catalogue/category/rare/"] = page(f"<h1>Rare</h1><p>1 result</p><ol>{pod(3)}</ol>")
    shop.pages["/"] = page('<h1>Welcome</h1><a href="/catalogue/">All</a><a href="/catalogue/category/rare/">Rare</a>')
    return shop, wanted


def shopify_like(products: int = 9) -> tuple[Shop, Wanted]:
    """Scaled addresses by query and suffix, products under several collections, a JSON gallery, ProductGroup markup."""
    shop, wanted = Shop(), Wanted()
    for number in range(products):
        name, media = f"{_name(number)} – Black", []
        slides = ""
        for place in range(1 + number % 4):
            full = picture(8000 + number * 10 + place, 640, 640)
            file = f"/cdn/shop/files/{number}_{place}.jpg"
            shop.pages[f"{file}?v=17"] = jpeg(full)
            for width in (180, 360):
                shop.pages[f"{file}?v=17&width={width}"] = jpeg(thumbnail(full, width))
            if place < 2:
                slides += (
                    f'<div class="product__media"><img src="{file}?v=17&width=360" '
                    f'srcset="{file}?v=17&width=180 180w, {file}?v=17&width=360 360w" alt=""></div>'
                )
            media.append({"media_type": "image", "src": f"{file}?v=17", "width": 640})
            wanted.setdefault(name, set()).add(f"{file}?v=17")
        group = {
            "@context": "http://schema.org/",
            "@type": "ProductGroup",
            "@id": f"/products/p{number}#product",
            "name": name,
            "url": f"ORIGIN/products/p{number}",
            "productGroupID": str(number),
            "hasVariant": [
                {
                    "@type": "Product",
                    "name": f"{name} / {size}",
                    "sku": f"{number}{size}",
                    "image": f"ORIGIN/cdn/shop/files/{number}_0.jpg?v=17&width=360",
                }
                for size in "SML"
            ],
        }
        head = (
            f'<link rel="canonical" href="ORIGIN/products/p{number}"><meta property="og:type" content="product">'
            f'<meta property="og:image" content="ORIGIN/cdn/shop/files/{number}_0.jpg?v=17">'
            f'<script type="application/ld+json">{json.dumps(group)}</script>'
        )
        body = (
            f'<main><section class="product"><div class="product__media-gallery">{slides}</div><div class="product__info">'
            f'<h1>{name}</h1><span class="price-item">$30.00 USD</span><form action="/cart/add"><button name="add">Add to cart'
            f"</button></form></div></section></main>"
            f'<script type="application/json" data-product-json>{json.dumps({"title": name, "media": media})}</script>'
        )
        for address in (f"/products/p{number}", f"/collections/all/products/p{number}"):
            shop.pages[address] = page(body, head)
    cards = "".join(
        f'<li class="grid__item"><div class="card"><a href="/collections/all/products/p{n}"><img '
        f'src="/cdn/shop/files/{n}_0.jpg?v=17&width=180"></a><h3><a href="/collections/all/products/p{n}">{_name(n)}</a></h3>'
        f'<span class="price">$30.00</span></div></li>'
        for n in range(products)
    )
    shop.pages["/collections/all"] = page(f'<main><h1>All</h1><ul class="product-grid">{cards}</ul></main>')
    featured = '<a href="/products/p0"><img src="/cdn/shop/files/0_0.jpg?v=17&width=180">HUGO</a>'
    shop.pages["/"] = page(f'<h1>Welcome</h1>{featured}<a href="/collections/all">All</a>')
    return shop, wanted


def opencart_like(products: int = 11) -> tuple[Shop, Wanted]:
    """Addresses that are all parameters, no markup, resized copies beside an original that no page names."""
    shop, wanted = Shop(), Wanted()
    root = "/index.php?route=product"

    def card(number: int) -> str:
        address = f"{root}/product&amp;path=20&amp;product_id={number}"
        return (
            f'<div class="product-layout"><div class="product-thumb"><div class="image"><a href="{address}"><img '
            f'src="/image/cache/catalog/p{number}_0-250x250.jpg" alt="{_name(number)}"></a></div><div class="caption"><h4>'
            f'<a href="{address}">{_name(number)}</a></h4><p class="price">$122.00</p></div><div class="button-group">'
            f"<button onclick=\"cart.add('{number}')\">Add to Cart</button></div></div></div>"
        )

    top = '<nav id="top"><a href="/index.php?route=checkout/cart">Shopping Cart</a></nav><header><button>0 item(s) - $0.00</button></header>'
    for number in range(products):
        thumbs = ""
        for place in range(1 + number % 3):
            full = picture(20_000 + number * 10 + place, 800, 800)
            shop.pages[f"/image/catalog/p{number}_{place}.jpg"] = jpeg(full)
            for width in (74, 228, 250, 500):
                shop.pages[f"/image/cache/catalog/p{number}_{place}-{width}x{width}.jpg"] = jpeg(thumbnail(full, width))
            small = 228 if place == 0 else 74
            thumbs += (
                f'<li><a class="thumbnail" href="/image/cache/catalog/p{number}_{place}-500x500.jpg" title="x">'
                f'<img src="/image/cache/catalog/p{number}_{place}-{small}x{small}.jpg"></a></li>'
            )
            wanted.setdefault(_name(number), set()).add(f"/image/catalog/p{number}_{place}.jpg")
        related = "".join(card((number + step) % products) for step in (1, 4))
        body = page(
            f'{top}<div id="product-product" class="container"><ul class="breadcrumb"><li><a href="/">Home</a></li></ul>'
            f'<div class="row"><div id="content"><div class="row"><div class="col-sm-8"><ul class="thumbnails">{thumbs}</ul></div>'
            f'<div class="col-sm-4"><h1>{_name(number)}</h1><ul class="list-unstyled"><li>Brand: <a href="/brand">X</a></li></ul>'
            f'<ul><li><h2>$122.00</h2></li></ul><div id="product"><input name="quantity" value="1"><button id="button-cart">'
            f'Add to Cart</button></div></div></div><h3>Related Products</h3><div class="row">{related}</div></div></div></div>'
        )
        for address in (f"{root}/product&path=20&product_id={number}", f"{root}/product&product_id={number}"):
            shop.pages[address] = body
    per_page = 6
    for number in (1, 2):
        cards = "".join(card(n) for n in range((number - 1) * per_page, min(number * per_page, products)))
        pages = f'<ul class="pagination"><li><a href="{root}/category&amp;path=20&amp;page={3 - number}">{3 - number}</a></li></ul>'
        listing = page(
            f'{top}<div id="content"><h2>Desktops</h2><div class="row"><div class="col-sm-2"><img src="/image/catalog/banner.jpg" '
            f'alt="Desktops"></div><p>All from $99.00!</p></div><select id="input-sort"></select>{cards}{pages}</div>'
        )
        shop.pages[f"{root}/category&path=20" + ("&page=2" if number == 2 else "")] = listing
        if number == 1:
            shop.pages[f"{root}/category&path=20&page=1"] = listing
    shop.pages["/image/catalog/banner.jpg"] = jpeg(picture(77, 800, 200))
    slides = '<div class="swiper"><a href="/index.php?route=product/product&amp;product_id=3"><img src="/image/catalog/banner.jpg"></a></div>'
    shop.pages["/"] = page(f'{top}{slides}<a href="{root}/category&amp;path=20">Desktops</a>')
    return shop, wanted


def hand_made(products: int = 10) -> tuple[Shop, Wanted]:
    """A small German shop in tables, no classes, no h1: thumbnails link to the large pictures in another folder."""
    shop, wanted = Shop(), Wanted()
    menu = "".join(f'<td><a href="/{name}.html">{name}</a></td>' for name in ("pullover", "socken", "kontakt"))
    menu = (
        f'<table><tr><td><a href="/"><img src="/bilder/kopf.gif" width="700" height="90"></a></td>{menu}</tr></table>'
    )
    for number in range(products):
        gallery = ""
        for place in range(2 + number % 2):
            full = picture(30_000 + number * 10 + place, 500, 700)
            shop.pages[f"/bilder/gross/{number}-{place}.jpg"] = jpeg(full)
            shop.pages[f"/bilder/klein/{number}-{place}.jpg"] = jpeg(thumbnail(full, 90))
            gallery += f'<a href="/bilder/gross/{number}-{place}.jpg" target="_blank"><img src="/bilder/klein/{number}-{place}.jpg"></a>'
            wanted.setdefault(_name(number), set()).add(f"/bilder/gross/{number}-{place}.jpg")
        shop.pages[f"/artikel/{number}.html"] = page(
            f'{menu}<table><tr><td>{gallery}</td><td><h2>{_name(number)}</h2><p>Preis: 19,90 €</p><form action="/warenkorb.php" '
            f'method="post"><input type="hidden" name="id" value="{number}"><input type="submit" value="In den Warenkorb"></form></td></tr></table>',
            f"<title>{_name(number)} - Textilhaus</title>",
            "de",
        )
    for name, members in (("pullover", range(products // 2)), ("socken", range(products // 2, products))):
        rows = "".join(
            f'<tr><td><a href="/artikel/{n}.html"><img src="/bilder/klein/{n}-0.jpg"></a></td><td><a href="/artikel/{n}.html">'
            f'{_name(n)}</a></td><td>19,90 €</td><td><form action="/warenkorb.php" method="post"><input type="submit" '
            f'value="In den Warenkorb"></form></td></tr>'
            for n in members
        )
        shop.pages[f"/{name}.html"] = page(
            f"{menu}<h2>{name}</h2><table>{rows}</table>", f"<title>{name}</title>", "de"
        )
    shop.pages["/kontakt.html"] = page(
        f'{menu}<h2>Kontakt</h2><img src="/bilder/laden.jpg"><p>Versand ab 4,90 €</p>', "", "de"
    )
    shop.pages["/bilder/laden.jpg"] = jpeg(picture(9, 300, 200))
    shop.pages["/bilder/kopf.gif"] = Answer(picture(10, 700, 90, "GIF"), "image/gif")
    shop.pages["/"] = page(f"{menu}<h2>Willkommen</h2>", "", "de")
    return shop, wanted
