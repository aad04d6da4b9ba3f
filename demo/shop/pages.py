"""The shop's pages: products in four kinds of markup, listings, sitemap and robots.txt."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from demo.serve import ORIGIN
from demo.shop.products import CATEGORIES, Product

PRODUCTS_PER_PAGE = 12
TEMPLATES = Path(__file__).parent / "templates"


ENGINE = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
WORDS = {
    "en": {"brand": "Brand", "colour": "Colour", "more": "You may also like"},
    "de": {"brand": "Marke", "colour": "Farbe", "more": "Das könnte dir auch gefallen"},
}
GERMAN_COLOURS = {
    "black": "schwarz",
    "white": "weiß",
    "grey": "grau",
    "blue": "blau",
    "green": "grün",
    "red": "rot",
    "yellow": "gelb",
    "brown": "braun",
    "pink": "rosa",
    "purple": "lila",
    "orange": "orange",
}


def thumbnail_path(path: str) -> str:
    """Where the small version of a photograph lies."""
    return path.removesuffix(".jpg") + "-thumb.jpg"


def write_pages(folder: Path, products: list[Product], private: list[Product]) -> None:
    """All HTML, the sitemap and robots.txt."""
    write = partial(_write_text, folder)
    addresses = [product.url for product in products]
    for number, product in enumerate(products):
        related = [products[(number + step) % len(products)] for step in (1, 5, 11)]
        write(product.url, _product_page(product, related, "en"))
        if product.german:
            write(f"/de{product.url}", _product_page(product, related, "de"))
            addresses.append(f"/de{product.url}")
    for product in private:
        write(product.url, _product_page(product, [], "en"))
    pages = _write_listings(write, products) + _write_texts(write, products)
    write("/private/index.html", _page("Preview", "Not for the public.", [(p.name, p.url) for p in private]))
    maps = {"/sitemap-products.xml": addresses, "/sitemap-pages.xml": pages}
    for address, listed in maps.items():
        write(address, _render("sitemap.xml", addresses=listed, origin=ORIGIN))
    write("/sitemap.xml", _render("sitemap-index.xml", addresses=list(maps), origin=ORIGIN))
    write("/robots.txt", f"User-agent: *\nDisallow: /private/\n\nSitemap: {ORIGIN}/sitemap.xml\n")


def _render(template: str, **values: Any) -> str:
    categories = list(CATEGORIES.values())
    return ENGINE.get_template(template).render({"language": "en", "categories": categories, **values})


def _write_text(folder: Path, address: str, text: str) -> None:
    path = folder / address.lstrip("/")
    if address.endswith("/"):
        path /= "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _product_page(product: Product, related: list[Product], language: str) -> str:
    # Names on real pages carry stray spaces; one in four here does too.
    name = product.name if len(product.slug) % 4 else product.name.replace(" ", " \u00a0", 1) + "\n"
    return _render(
        "product.html",
        language=language,
        title=product.name,
        product=product,
        name=name,
        colour=product.colour if language == "en" else GERMAN_COLOURS[product.colour],
        photographs=product.photographs,
        related=related,
        words=WORDS[language],
        thumbnail=thumbnail_path,
        json_ld=_json_ld(product, name),
    )


def _json_ld(product: Product, name: str) -> dict[str, Any] | None:
    """The page's schema.org Product as JSON-LD, or None where the page uses another markup."""
    images: list[str] | str = [f"/{photo.path}" for photo in product.photographs]
    if product.markup == "json-ld-first":
        images = images[0]
    about = {
        "@type": "Product",
        "name": name,
        "image": images,
        "brand": {"@type": "Brand", "name": product.brand},
        "color": product.colour,
        "category": product.category,
        "url": product.url,
    }
    if product.markup == "json-ld-graph":
        return {"@context": "https://schema.org", "@graph": [{"@type": "WebSite", "url": "/"}, about]}
    return {"@context": "https://schema.org", **about} if product.markup.startswith("json-ld") else None


def _write_listings(write: Callable[[str, str], None], products: list[Product]) -> list[str]:
    """A listing for each category and each brand, split into pages; returns their addresses."""
    groups: dict[str, list[Product]] = defaultdict(list)
    for product in products:
        groups[f"/category/{product.category}/"].append(product)
        groups[f"/brand/{product.brand.lower()}/"].append(product)
    written = []
    for first, members in sorted(groups.items()):
        count = math.ceil(len(members) / PRODUCTS_PER_PAGE)
        numbered = [first] + [f"{first}page-{number}.html" for number in range(2, count + 1)]
        for number, address in enumerate(numbered):
            shown = members[number * PRODUCTS_PER_PAGE : (number + 1) * PRODUCTS_PER_PAGE]
            write(address, _listing_page(first.split("/")[2].title(), shown, numbered, number))
        written += numbered
    return written


def _listing_page(title: str, shown: list[Product], numbered: list[str], number: int) -> str:
    listed = [{"@type": "ListItem", "position": place + 1, "url": item.url} for place, item in enumerate(shown)]
    return _render(
        "listing.html",
        title=title,
        products=shown,
        numbered=numbered,
        previous=numbered[number - 1] if number else None,
        next=numbered[number + 1] if number + 1 < len(numbered) else None,
        items={"@context": "https://schema.org", "@type": "ItemList", "itemListElement": listed},
    )


def _write_texts(write: Callable[[str, str], None], products: list[Product]) -> list[str]:
    """The home page, the list of brands and two pages that sell nothing; returns their addresses."""
    brands = [(name, f"/brand/{name.lower()}/") for name in sorted({product.brand for product in products})]
    categories = [(name, f"/category/{name}/") for name in CATEGORIES.values()]
    about = "Everything in this shop is drawn by a program: the garments, the people, the brands."
    write("/", _page("Miniature Outfitters", about, [*categories, ("All brands", "/brand/")]))
    write("/brand/", _page("Brands", "All the brands that we sell.", brands))
    write("/pages/about.html", _page("About us", about, []))
    write("/pages/delivery.html", _page("Delivery", "We deliver to loopback only.", [("Brands", "/brand/")]))
    return ["/", "/brand/", "/pages/about.html", "/pages/delivery.html"]


def _page(title: str, text: str, links: list[tuple[str, str]]) -> str:
    return _render("page.html", title=title, text=text, links=links)
