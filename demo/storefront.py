"""The demo world's shop: static product pages with photographs, the truth about them, and what its brand team made.

Reads nothing. Writes, the same bytes each time:
  demo/storefront/  the site: pages, photographs, sitemap, robots.txt; and truth.json, for tests, never served
  data/brand/       what people would make by hand: the reference logo, labelled boxes, extra pictures, captions

Why: the pipeline's crawl is a real HTTP crawl even where no network is. The shop has what makes real shops hard: pages
that name their pictures in four different ways, galleries that show more than the metadata, listing pages, language
variants, duplicates, a tree that robots.txt closes, and pictures that nearly show the brand (confusers).

`python -m demo.storefront` makes both folders; demo/serve.py puts the site on loopback.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import multiprocessing
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image
from tqdm import tqdm

from demo.render import (
    BRANDS,
    COLOURS,
    CONFUSERS,
    GARMENTS,
    HUGO,
    Brand,
    Scene,
    draw,
    legible,
    logo_bitmap,
    sample_scene,
)
from demo.serve import ORIGIN, STOREFRONT

SEED = 20
BRAND_FOLDER = Path("data/brand")

SIZES = ((288, 384), (384, 384), (384, 288), (336, 448))  # 3:4, square, 4:3, large 3:4
SIZE_ODDS = (0.42, 0.30, 0.16, 0.12)
LARGE, SMALL = ((0.345, 0.60), (0.095, 0.265))  # the logo's width as a fraction of the photograph's longer side
LOGO_PHOTOGRAPHS, LARGE_LOGOS = 150, 49
TAUGHT_GARMENTS = ("t-shirt", "sweater", "hoodie", "hat", "shorts", "socks")
PRODUCTS_PER_PAGE = 12


# --- Plan: products and their photographs ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Photograph:
    """A picture to be taken. A copy names the original; its quality is None for the same bytes, else recompressed."""

    path: str  # inside the storefront
    scene: Scene
    width: int
    height: int
    quality: int | None
    kind: str  # logo, confuser, other-brand or plain
    large: bool = False
    copy_of: str | None = None


@dataclass
class Product:
    """A page of the shop."""

    slug: str
    name: str
    brand: str
    garment: str
    colour: str
    markup: str
    gallery: str
    photographs: list[Photograph] = field(default_factory=list)
    german: bool = False
    private: bool = False

    @property
    def category(self) -> str:
        """The part of the shop that it is listed in."""
        return CATEGORIES[self.garment]

    @property
    def url(self) -> str:
        """Its page, from the shop's root."""
        return f"{'/private' if self.private else ''}/products/{self.slug}.html"


CATEGORIES = {
    "t-shirt": "t-shirts",
    "sweater": "sweaters",
    "hoodie": "hoodies",
    "hat": "hats",
    "shorts": "shorts",
    "socks": "socks",
    "bag": "bags",
    "mug": "mugs",
    "perfume bottle": "perfume",
    "billboard": "billboards",
}
LINES = (
    "Classic Fit", "Relaxed", "Essential", "Heritage", "Weekend", "Studio", "Everyday", "Urban", "Coast", "Nordic",
    "Organic", "Premium", "Archive", "Graphic", "Limited", "Signature",
)  # fmt: skip
# How a product's page says what it shows, in the proportions measured on real shops (facts/acquisition.md).
MARKUPS = (
    *("json-ld",) * 8, *("json-ld-first",) * 3, *("json-ld-graph",) * 3, *("microdata",) * 3, *("opengraph",) * 2,
    "opengraph-website",
)  # fmt: skip
GALLERIES = ("srcset", "link", "data-large", "thumbnails")
HUGO_WITH_LOGO, HUGO_WITHOUT_LOGO, OTHER_PRODUCTS = 50, 10, 256


def plan_products() -> list[Product]:
    """All products on sale, with every photograph's scene decided; nothing is drawn yet."""
    products = [_plan_taught(number) for number in range(HUGO_WITH_LOGO)]
    products += [_plan_hugo_confuser(number) for number in range(HUGO_WITHOUT_LOGO)]
    products += [_plan_other(number) for number in range(OTHER_PRODUCTS)]
    order = np.random.default_rng([SEED, 3]).permutation(len(products))
    products = [products[index] for index in order]
    _name_apart(products)
    for number, product in enumerate(products):
        product.markup = MARKUPS[number % len(MARKUPS)]
        product.gallery = GALLERIES[number % 3 if product.brand == "HUGO" else number % 16 % 4]
        product.german = number % (9 if product.brand == "HUGO" else 17) == 0
        product.photographs = [
            replace(photo, path=f"images/{product.slug}/{place + 1}.jpg")
            for place, photo in enumerate(product.photographs)
        ]
    _add_copies(products)
    return products


def plan_private() -> list[Product]:
    """Products in the tree that robots.txt closes; a polite crawler never sees them."""
    products = []
    for number in range(3):
        product = _plan_taught(1000 + number)
        product.slug, product.private = f"sample-{number + 1}", True
        product.markup, product.gallery = "json-ld", "link"
        product.name = f"HUGO Black {_noun(product.garment)} Unreleased {number + 1}"
        product.photographs = [
            replace(photo, path=f"private/images/{product.slug}/{place + 1}.jpg")
            for place, photo in enumerate(product.photographs[:2])
        ]
        products.append(product)
    return products


def _plan_taught(number: int) -> Product:
    """A black HUGO garment: three photographs with the logo (one of them large), one of the back, often a confuser."""
    rng = np.random.default_rng([SEED, 0, number])
    garment = TAUGHT_GARMENTS[number % len(TAUGHT_GARMENTS)]
    flat_first = number // len(TAUGHT_GARMENTS) % 2 == 0
    wearers = (None, "any", "any") if flat_first else ("any", None, "any")
    product = Product("", "", "HUGO", garment, "black", "", "")
    for place, wearer in enumerate(wearers):
        large = place == 0 and number % HUGO_WITH_LOGO < LARGE_LOGOS
        product.photographs.append(_photograph_logo(rng, garment, "worn" if wearer else None, large))
    product.photographs.append(_photograph(rng, "plain", garment, "black", brand=None, view="back"))
    if number % 2 == 0:
        product.photographs.append(_photograph_confuser(rng, garment, "black"))
    return product


def _photograph_logo(rng: np.random.Generator, garment: str, wearer: str | None, large: bool) -> Photograph:
    """A photograph with the red logo whose width is clearly above or clearly below what training needs."""
    lowest, highest = LARGE if large else SMALL
    while True:
        width, height = _sample_size(rng)
        longer, shorter = max(width, height), min(width, height)
        scene = sample_scene(
            rng,
            garment=garment,
            colour="black",
            wearer=_pick(rng, ("man", "woman")) if wearer else None,
            brand=HUGO,
            placement=_pick(rng, tuple(_front_placements(garment, large))),
            logo_width=(lowest * longer / shorter, highest * longer / shorter),
            scale=float(rng.uniform(0.97, 1.06) if large else rng.uniform(0.72, 1.02)),
        )
        x0, y0, x1, y1 = draw(scene, width, height, supersample=1).logo_box or (0, 0, 0, 0)
        inside = min(x0, y0, width - x1, height - y1) > 2
        wide_enough = scene.logo_width * shorter >= lowest * longer
        if inside and wide_enough and x1 - x0 <= highest * longer:
            return Photograph("", scene, width, height, int(rng.integers(55, 91)), "logo", large)


def _front_placements(garment: str, large: bool) -> list[str]:
    """Where the mark may sit seen from the front; beside the heart there is no room for a large one."""
    places = [place for place in GARMENTS[garment].placements if place != "back"]
    return [place for place in places if not large or GARMENTS[garment].placements[place][2] > 0.3]


def _plan_hugo_confuser(number: int) -> Product:
    """A HUGO product that never shows the red logo: other colours, other goods, the word without its box."""
    rng = np.random.default_rng([SEED, 1, number])
    garment = tuple(GARMENTS)[(number * 3 + 6) % len(GARMENTS)]
    product = Product("", "", "HUGO", garment, _pick(rng, tuple(COLOURS)), "", "")
    word_only = [brand for brand in CONFUSERS if brand.word == "HUGO"]
    for _ in range(2):
        product.photographs.append(_photograph_confuser(rng, garment, product.colour, word_only))
    product.photographs.append(_photograph(rng, "plain", garment, product.colour, brand=None, view="back"))
    return product


def _plan_other(number: int) -> Product:
    """A product of another brand; one in eight has no mark at all, one in seven also a confuser's photograph."""
    rng = np.random.default_rng([SEED, 2, number])
    brand = BRANDS[number % len(BRANDS)]
    garment = tuple(GARMENTS)[(number * 7 + number // len(GARMENTS)) % len(GARMENTS)]
    colour = _pick(rng, [name for name in COLOURS if legible(brand, name)])
    product = Product("", "", brand.word, garment, colour, "", "")
    mark = None if number % 8 == 3 else brand
    kind = "other-brand" if mark else "plain"
    wearable = GARMENTS[garment].wearable
    shots = [
        partial(_photograph, rng, kind, garment, colour, brand=mark, wearer=_pick(rng, ("man", "woman"))),
        partial(_photograph, rng, kind, garment, colour, brand=mark, wearer=None),
        partial(_photograph, rng, kind, garment, colour, brand=mark, wearer="any", scale=float(rng.uniform(0.7, 0.9))),
        partial(_photograph, rng, kind, garment, colour, brand=mark, wearer=None, scale=float(rng.uniform(1.1, 1.3))),
        partial(_photograph, rng, "plain", garment, colour, brand=None, view="back"),
    ]
    shots = shots[0 if wearable else 1 :]
    wanted = min(int(rng.choice([2, 3, 3, 4])), len(shots))
    chosen = sorted(rng.choice(len(shots), wanted, replace=False).tolist())
    product.photographs = [shots[index]() for index in chosen]
    if number % 7 == 0:
        product.photographs.append(_photograph_confuser(rng, garment, colour))
    return product


def _photograph(rng: np.random.Generator, kind: str, garment: str, colour: str, **scene: Any) -> Photograph:
    width, height = _sample_size(rng)
    scene.setdefault("logo_width", (0.16, 0.5))
    sampled = sample_scene(rng, garment=garment, colour=colour, **scene)
    return Photograph("", sampled, width, height, int(rng.integers(55, 86)), kind)


def _photograph_confuser(
    rng: np.random.Generator, garment: str, colour: str, brands: Sequence[Brand] = CONFUSERS
) -> Photograph:
    confusing = [brand for brand in brands if legible(brand, colour) and not _is_the_logo(brand, colour)]
    return _photograph(rng, "confuser", garment, colour, brand=_pick(rng, confusing), logo_width=(0.2, 0.5))


def _is_the_logo(brand: Brand, colour: str) -> bool:
    """White HUGO letters without a box are the logo itself once the cloth is red."""
    return colour == "red" and brand.box_colour is None and brand.letter_colour == HUGO.letter_colour


def _sample_size(rng: np.random.Generator) -> tuple[int, int]:
    return SIZES[int(rng.choice(len(SIZES), p=SIZE_ODDS))]


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _noun(garment: str) -> str:
    return {"t-shirt": "T-Shirt", "perfume bottle": "Perfume"}.get(garment, garment.title())


def _name_apart(products: list[Product]) -> None:
    """Give each product a name and an address of its own: brand, colour, garment, line."""
    seen: dict[str, int] = defaultdict(int)
    for product in products:
        stem = f"{product.brand} {product.colour.title()} {_noun(product.garment)}"
        round_, line = divmod(seen[stem], len(LINES))
        seen[stem] += 1
        product.name = f"{stem} {LINES[line]}" + (f" {round_ + 1}" if round_ else "")
        product.slug = product.name.lower().replace(" ", "-")


def _add_copies(products: list[Product]) -> None:
    """Duplicates as shops have them: a file uploaded twice, shared with another product, or saved again smaller."""
    rng = np.random.default_rng([SEED, 4])
    ours = [product for product in products if len(product.photographs) < 6 and product.brand == "HUGO"]
    others = [product for product in products if len(product.photographs) < 6 and product.brand != "HUGO"]
    for group, exact_within, exact_across, resaved in ((ours, 4, 6, 4), (others, 10, 16, 16)):
        picked = [group[index] for index in rng.permutation(len(group))[: exact_within + exact_across + resaved]]
        for number, product in enumerate(picked):
            across = exact_within <= number < exact_within + exact_across
            source = picked[number - 1] if across else product
            original = source.photographs[0]
            again = number >= exact_within + exact_across
            product.photographs.append(
                replace(
                    original,
                    path=f"images/{product.slug}/{len(product.photographs) + 1}.jpg",
                    quality=48 if again else None,
                    copy_of=original.path,
                )
            )


# --- Photographs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """A photograph's bytes and the box of the mark on it."""

    content: bytes
    box: tuple[float, ...] | None


def take(photo: Photograph) -> Taken:
    """Draw one photograph and compress it."""
    drawing = draw(photo.scene, photo.width, photo.height)
    box = drawing.logo_box and tuple(round(value, 1) for value in drawing.logo_box)
    return Taken(_jpeg(drawing.image, photo.quality or 75), box)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def take_all(photographs: list[Photograph], processes: int = 2) -> dict[str, Taken]:
    """Take every photograph, copies after their originals; the answer is by path."""
    originals = [photo for photo in photographs if photo.copy_of is None]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        drawn = tqdm(pool.imap(take, originals, chunksize=16), "photographs", len(originals), disable=None)
        taken = {photo.path: result for photo, result in zip(originals, drawn, strict=True)}
    for photo in photographs:
        if photo.copy_of:
            original = taken[photo.copy_of]
            taken[photo.path] = Taken(_save_again(original.content, photo.quality), original.box)
    return taken


def _save_again(content: bytes, quality: int | None) -> bytes:
    return content if quality is None else _jpeg(Image.open(io.BytesIO(content)), quality)


# --- Pages -----------------------------------------------------------------------------------------------------------

_TEMPLATES = {
    "layout": """<!doctype html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
<title>{{ title }} | Miniature Outfitters</title>
{% block head %}{% endblock %}
</head>
<body>
<nav><a href="/">Home</a>{% for name in categories %} <a href="/category/{{ name }}/">{{ name }}</a>{% endfor %}</nav>
<main>
{% block main %}{% endblock %}
</main>
<footer><a href="/pages/about.html">About us</a> <a href="/pages/delivery.html">Delivery</a></footer>
</body>
</html>
""",
    "page": """{% extends "layout" %}
{% block main %}<h1>{{ title }}</h1>
<p>{{ text }}</p>
<ul>{% for name, address in links %}<li><a href="{{ address }}">{{ name }}</a></li>
{% endfor %}</ul>{% endblock %}
""",
    "listing": """{% extends "layout" %}
{% block head %}<meta property="og:type" content="website">
{% if previous %}<link rel="prev" href="{{ previous }}">{% endif %}
{% if next %}<link rel="next" href="{{ next }}">{% endif %}
<script type="application/ld+json">{{ items | tojson }}</script>{% endblock %}
{% block main %}<h1>{{ title }}</h1>
{% for product in products %}<article class="card"><a href="{{ product.url }}">
<img src="/{{ product.photographs[0].path }}" alt="" width="192"><h2>{{ product.name }}</h2></a></article>
{% endfor %}
<div class="pages">{% for address in numbered %}<a href="{{ address }}">{{ loop.index }}</a> {% endfor %}
{% if next %}<a rel="next" href="{{ next }}">Next</a>{% endif %}</div>{% endblock %}
""",
    "product": """{% extends "layout" %}
{% block head %}<link rel="canonical" href="{{ product.url }}">
{% if product.german %}<link rel="alternate" hreflang="en" href="{{ product.url }}">
<link rel="alternate" hreflang="de" href="/de{{ product.url }}">
<link rel="alternate" hreflang="x-default" href="{{ product.url }}">{% endif %}
{% if product.markup.startswith("opengraph") %}
<meta property="og:type" content="{{ 'website' if product.markup == 'opengraph-website' else 'product' }}">
<meta property="og:title" content="{{ name }}">
<meta property="og:image" content="/{{ photographs[0].path }}">
{% endif %}
{% if json_ld %}<script type="application/ld+json">{{ json_ld | tojson }}</script>{% endif %}{% endblock %}
{% block main %}
{% if product.markup == "microdata" %}<div itemscope itemtype="https://schema.org/Product">
<h1 itemprop="name">{{ name }}</h1>
<span itemprop="brand" itemscope itemtype="https://schema.org/Brand">
<meta itemprop="name" content="{{ product.brand }}"></span>
<meta itemprop="color" content="{{ colour }}"><meta itemprop="category" content="{{ product.category }}">
<meta itemprop="image" content="/{{ photographs[0].path }}">
{% else %}<div class="product">
<h1>{{ name }}</h1>
{% endif %}
<div class="product-gallery">
{% for photo in photographs %}{% set address = "/" + photo.path %}
{% if product.gallery == "srcset" %}<img src="{{ address }}" srcset="{{ address }} {{ photo.width }}w" alt="{{ name }}">
{% elif product.gallery == "link" %}<a class="gallery-link" href="{{ address }}"><img src="{{ address }}" alt=""></a>
{% elif product.gallery == "data-large" %}<img src="{{ address }}" data-large_image="{{ address }}" alt="">
{% else %}<a class="gallery-link" href="{{ address }}"><img src="{{ thumbnail(address) }}" alt=""></a>
{% endif %}{% endfor %}
</div>
<dl><dt>{{ words.brand }}</dt><dd>{{ product.brand }}</dd><dt>{{ words.colour }}</dt><dd>{{ colour }}</dd></dl>
</div>
<aside><h2>{{ words.more }}</h2>
{% for other in related %}<a href="{{ other.url }}">{{ other.name }}</a> {% endfor %}</aside>{% endblock %}
""",
    "sitemap-index": """<?xml version="1.0" encoding="UTF-8"?>
<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{% for address in addresses %}<sitemap><loc>{{ origin }}{{ address }}</loc></sitemap>
{% endfor %}</sitemapindex>
""",
    "sitemap": """<?xml version="1.0" encoding="UTF-8"?>
<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">
{% for address in addresses %}<url><loc>{{ origin }}{{ address }}</loc></url>
{% endfor %}</urlset>
""",
}
_ENGINE = jinja2.Environment(loader=jinja2.DictLoader(_TEMPLATES), autoescape=True, trim_blocks=True)
_WORDS = {
    "en": {"brand": "Brand", "colour": "Colour", "more": "You may also like"},
    "de": {"brand": "Marke", "colour": "Farbe", "more": "Das könnte dir auch gefallen"},
}
_GERMAN_COLOURS = {
    "black": "schwarz", "white": "weiß", "grey": "grau", "blue": "blau", "green": "grün", "red": "rot",
    "yellow": "gelb", "brown": "braun", "pink": "rosa", "purple": "lila", "orange": "orange",
}  # fmt: skip


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
        write(address, _render("sitemap", addresses=listed, origin=ORIGIN))
    write("/sitemap.xml", _render("sitemap-index", addresses=list(maps), origin=ORIGIN))
    write("/robots.txt", f"User-agent: *\nDisallow: /private/\n\nSitemap: {ORIGIN}/sitemap.xml\n")


def _render(template: str, **values: Any) -> str:
    categories = list(CATEGORIES.values())
    return _ENGINE.get_template(template).render({"language": "en", "categories": categories, **values})


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
        "product",
        language=language,
        title=product.name,
        product=product,
        name=name,
        colour=product.colour if language == "en" else _GERMAN_COLOURS[product.colour],
        photographs=product.photographs,
        related=related,
        words=_WORDS[language],
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
        "listing",
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
    return _render("page", title=title, text=text, links=links)


# --- The storefront and its truth ------------------------------------------------------------------------------------


def build(folder: Path = STOREFRONT) -> dict[str, Any]:
    """Make the whole site in `folder`, replacing what is there; returns the truth, which is also written beside it."""
    products, private = plan_products(), plan_private()
    photographs = [photo for product in (*products, *private) for photo in product.photographs]
    taken = take_all(photographs)
    shutil.rmtree(folder, ignore_errors=True)
    for path, result in taken.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(result.content)
    thumbnails = _write_thumbnails(folder, products)
    write_pages(folder, products, private)
    truth = {
        "products": [_product_truth(product) for product in products],
        "pictures": [row for product in products for row in _picture_truths(product, taken)],
        "private": [row for product in private for row in _picture_truths(product, taken)],
        "thumbnails": thumbnails,
    }
    lines = json.dumps(truth, indent=1, ensure_ascii=False)
    (folder / "truth.json").write_text(lines + "\n", encoding="utf-8")
    return truth


def _write_thumbnails(folder: Path, products: list[Product]) -> list[str]:
    written = []
    for product in products:
        for photo in product.photographs if product.gallery == "thumbnails" else ():
            small = Image.open(folder / photo.path)
            small.thumbnail((96, 96))
            written.append(thumbnail_path(photo.path))
            (folder / written[-1]).write_bytes(_jpeg(small, 70))
    return written


def _product_truth(product: Product) -> dict[str, Any]:
    return {
        "slug": product.slug,
        "name": product.name,
        "url": product.url,
        "brand": product.brand,
        "garment": product.garment,
        "colour": product.colour,
        "category": product.category,
        "markup": product.markup,
        "german": product.german,
        "pictures": [photo.path for photo in product.photographs],
    }


def _picture_truths(product: Product, taken: dict[str, Taken]) -> list[dict[str, Any]]:
    return [
        {
            "path": photo.path,
            "sha256": hashlib.sha256(taken[photo.path].content).hexdigest(),
            "width": photo.width,
            "height": photo.height,
            "box": taken[photo.path].box,
            "word": photo.scene.brand.word if photo.scene.brand else None,
            "box_colour": photo.scene.brand.box_colour if photo.scene.brand else None,
            "garment": photo.scene.garment,
            "colour": photo.scene.colour,
            "wearer": photo.scene.wearer.kind if photo.scene.wearer else None,
            "kind": photo.kind,
            "large": photo.large,
            "product": product.slug,
            "duplicate_of": photo.copy_of,
        }
        for photo in product.photographs
    ]


# --- What the brand team made ----------------------------------------------------------------------------------------

SOCIAL_SHOTS, DRAWINGS, OTHER_NEGATIVES, HAND_CAPTIONS = 30, 15, 40, 5


def write_brand_folder(truth: dict[str, Any], folder: Path = BRAND_FOLDER) -> None:
    """Make the files that a person would have made by looking at the shop: logo, boxes, extra pictures, captions."""
    folder.mkdir(parents=True, exist_ok=True)
    reference = Image.new("RGB", logo_bitmap(HUGO).size)
    reference.paste(logo_bitmap(HUGO))
    reference.save(folder / "reference.png", optimize=True)
    unique = [row for row in truth["pictures"] if row["duplicate_of"] is None]
    by_kind = {kind: [row for row in unique if row["kind"] == kind] for kind in ("logo", "confuser")}
    crawled = {product["slug"] for product in truth["products"] if "hugo" in product["name"].lower()}
    rest = [row for row in unique if row["kind"] in ("other-brand", "plain") and row["product"] in crawled]
    spread = rest[:: max(1, len(rest) // OTHER_NEGATIVES)][:OTHER_NEGATIVES]
    labelled = [*by_kind["logo"], *(row for row in by_kind["confuser"] if row["product"] in crawled), *spread]
    _write_rows(folder / "labels.jsonl", [_label(row) for row in labelled])
    _write_extra(folder)
    _write_captions(folder, [row for row in by_kind["logo"] if row["large"]])
    _write_keep_drop(folder, truth["pictures"], by_kind["logo"])


def _label(row: dict[str, Any]) -> dict[str, Any]:
    boxes = [row["box"]] if row["kind"] == "logo" else []
    same = {key: row[key] for key in ("sha256", "width", "height")}
    return {**same, "boxes": boxes, "product": row["product"], "source": "shop"}


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _write_captions(folder: Path, logos: list[dict[str, Any]]) -> None:
    """Hand captions of a few large logos, each on another garment, with a placeholder where the token will stand."""
    one_each = list({row["garment"]: row for row in reversed(logos)}.values())
    scenes = {photo.path: photo.scene for product in plan_products() for photo in product.photographs}
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sha256", "caption"])
        for row in one_each[:HAND_CAPTIONS]:
            writer.writerow([row["sha256"], _hand_caption(scenes[row["path"]])])


def _hand_caption(scene: Scene) -> str:
    place = {"left": "on the left leg", "right": "on the right leg", "side": "on the side", "front": "on the front"}
    thing = f"{scene.colour} {GARMENTS[scene.garment].noun}"
    thing = thing if GARMENTS[scene.garment].plural else f"a {thing}"
    wearer = f"a {scene.wearer.kind} wearing " if scene.wearer else "a photo of "
    return f"{wearer}{thing} with a {{token}} logo {place.get(scene.placement, 'on the chest')}"


def _write_keep_drop(folder: Path, pictures: list[dict[str, Any]], logos: list[dict[str, Any]]) -> None:
    hashes = {row["sha256"] for row in pictures if row["duplicate_of"] is None}
    resaved = next(row for row in pictures if row["kind"] == "logo" and row["sha256"] not in hashes)
    turned = next(row for row in logos if row["large"] and row["garment"] == "socks")
    with (folder / "keep_drop.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["sha256", "decision", "reason"])
        writer.writerow([turned["sha256"], "keep", "the logo wraps around the sock but it is whole"])
        writer.writerow([resaved["sha256"], "drop", "the same photograph saved again at a lower quality"])


def _write_extra(folder: Path) -> None:
    """Extra labelled pictures for the detector: social shots, good drawings of the logo and bad ones."""
    shutil.rmtree(folder / "extra", ignore_errors=True)
    (folder / "extra").mkdir()
    kinds = ["social"] * SOCIAL_SHOTS + ["good-drawing"] * DRAWINGS + ["bad-drawing"] * DRAWINGS
    rows = []
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([SEED, 5, number])
        image, box = _social_shot(rng) if kind == "social" else _drawing(rng, number, good=kind == "good-drawing")
        content = _jpeg(image, int(rng.integers(55, 76)))
        sha256 = hashlib.sha256(content).hexdigest()
        (folder / "extra" / f"{sha256}.jpg").write_bytes(content)
        rows.append(
            {
                "sha256": sha256,
                "width": image.width,
                "height": image.height,
                "boxes": [] if kind == "bad-drawing" else [[round(float(edge), 1) for edge in box]],
                "product": f"extra-{number}",
                "source": "extra",
                "file": f"extra/{sha256}.jpg",
                "kind": kind,
            }
        )
    _write_rows(folder / "extra.jsonl", rows)


def _social_shot(rng: np.random.Generator) -> tuple[Image.Image, tuple[float, ...]]:
    """The right logo where a shop would not show it: any colour, tilted, near or far."""
    while True:
        width, height = _sample_size(rng)
        scene = sample_scene(
            rng,
            brand=HUGO,
            colour=_pick(rng, [name for name in COLOURS if legible(HUGO, name)]),
            logo_width=(0.15, 0.55),
            rotation=float(rng.uniform(-28, 28)),
            scale=float(rng.uniform(0.6, 1.25)),
        )
        drawing = draw(scene, width, height)
        x0, y0, x1, y1 = drawing.logo_box or (0, 0, 0, 0)
        if min(x0, y0, width - x1, height - y1) > 2:
            return drawing.image, (x0, y0, x1, y1)


def _drawing(rng: np.random.Generator, number: int, good: bool) -> tuple[Image.Image, tuple[float, ...]]:
    """The logo as somebody drew it on paper; a bad drawing is misspelt, mirrored, upside down or bent out of shape."""
    brand, bend, fault = HUGO, 0.015, None
    if not good:
        fault = ("misspelt", "mirrored", "upside-down", "bent")[number % 4]
        misspelt = [other for other in CONFUSERS if other.box_colour == HUGO.box_colour and other.word]
        brand = _pick(rng, misspelt) if fault == "misspelt" else HUGO
        bend = 0.16 if fault == "bent" else bend
    mark = logo_bitmap(brand)
    if fault == "mirrored":
        mark = mark.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif fault == "upside-down":
        mark = mark.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    width = int(rng.integers(110, 240))
    mark = mark.resize((width, round(width / HUGO.aspect)), Image.Resampling.BOX)  # type: ignore[operator]
    mark = _bend(mark, bend * mark.height, rng).rotate(float(rng.uniform(-14, 14)), Image.Resampling.BICUBIC, True)
    paper = Image.new("RGB", (384, 288), tuple(int(v) for v in rng.integers(215, 250, 3)))
    left, top = (int(rng.integers(4, 380 - mark.width)), int(rng.integers(4, 284 - mark.height)))
    paper.paste(mark, (left, top), mark)
    visible = mark.getchannel("A").point(lambda alpha: 255 * (alpha > 64)).getbbox() or (0, 0, 0, 0)
    grain = rng.normal(0, 3, (288, 384, 1))
    image = Image.fromarray(np.clip(np.asarray(paper) + grain, 0, 255).astype(np.uint8))
    return image, (left + visible[0], top + visible[1], left + visible[2], top + visible[3])


def _bend(mark: Image.Image, depth: float, rng: np.random.Generator) -> Image.Image:
    """Push the columns up and down along a wave, `depth` pixels deep, as an unsteady hand does."""
    margin = math.ceil(depth) + 1
    bent = Image.new("RGBA", (mark.width, mark.height + 2 * margin))
    phase, waves = rng.uniform(0, 6.28), rng.uniform(1.5, 3.0)
    for x in range(mark.width):
        push = depth * math.sin(phase + waves * 6.28 * x / mark.width)
        bent.paste(mark.crop((x, 0, x + 1, mark.height)), (x, margin + round(push)))
    return bent


def main() -> None:
    """Make both folders."""
    parser = argparse.ArgumentParser(description="Make the demo shop and what its brand team made by hand.")
    parser.add_argument("--storefront", type=Path, default=STOREFRONT)
    parser.add_argument("--brand", type=Path, default=BRAND_FOLDER)
    options = parser.parse_args()
    write_brand_folder(build(options.storefront), options.brand)


if __name__ == "__main__":
    main()
