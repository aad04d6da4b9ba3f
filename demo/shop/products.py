"""The shop's products: what is sold under which name, with which photographs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from demo.brands.catalogue import TAUGHT, Taught
from demo.render import BRANDS, COLOURS, GARMENTS, legible
from demo.shop.photographs import Photograph, photograph, photograph_confuser, photograph_logo, pick

SEED = 20
LARGE_LOGOS = 49  # the paper's training set has 49 pictures (4.1)
TAUGHT_GARMENTS = ("t-shirt", "sweater", "hoodie", "hat", "shorts", "socks")


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
    "Classic Fit",
    "Relaxed",
    "Essential",
    "Heritage",
    "Weekend",
    "Studio",
    "Everyday",
    "Urban",
    "Coast",
    "Nordic",
    "Organic",
    "Premium",
    "Archive",
    "Graphic",
    "Limited",
    "Signature",
)
# How a product's page says what it shows, in the proportions measured on real shops.
MARKUPS = (
    *("json-ld",) * 8,
    *("json-ld-first",) * 3,
    *("json-ld-graph",) * 3,
    *("microdata",) * 3,
    *("opengraph",) * 2,
    "opengraph-website",
)
GALLERIES = ("srcset", "link", "data-large", "thumbnails")
WITH_LOGO, WITHOUT_LOGO, OTHER_PRODUCTS = 50, 10, 256
HUGO = TAUGHT["hugo"]


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


def plan_products(taught: Taught = HUGO) -> list[Product]:
    """All products on sale, with every photograph's scene decided; nothing is drawn yet."""
    products = [_plan_taught(taught, number) for number in range(WITH_LOGO)]
    products += [_plan_variant(taught, number) for number in range(WITHOUT_LOGO)]
    products += [_plan_other(taught, number) for number in range(OTHER_PRODUCTS)]
    order = np.random.default_rng([SEED, 3]).permutation(len(products))
    products = [products[index] for index in order]
    _name_apart(products)
    for number, product in enumerate(products):
        product.markup = MARKUPS[number % len(MARKUPS)]
        product.gallery = GALLERIES[number % 3 if product.brand == taught.title else number % 16 % 4]
        product.german = number % (9 if product.brand == taught.title else 17) == 0
        product.photographs = [
            replace(photo, path=f"images/{product.slug}/{place + 1}.jpg")
            for place, photo in enumerate(product.photographs)
        ]
    _add_copies(products, taught.title)
    return products


def plan_private(taught: Taught = HUGO) -> list[Product]:
    """Products in the tree that robots.txt closes; a polite crawler never sees them."""
    products = []
    for number in range(3):
        product = _plan_taught(taught, 1000 + number)
        product.slug, product.private = f"sample-{number + 1}", True
        product.markup, product.gallery = "json-ld", "link"
        product.name = f"{taught.title} {taught.cloth.title()} {_noun(product.garment)} Unreleased {number + 1}"
        product.photographs = [
            replace(photo, path=f"private/images/{product.slug}/{place + 1}.jpg")
            for place, photo in enumerate(product.photographs[:2])
        ]
        products.append(product)
    return products


def _plan_taught(taught: Taught, number: int) -> Product:
    """A garment with the logo: three photographs of it (on one of them large), one of the back, often a confuser."""
    rng = np.random.default_rng([SEED, 0, number])
    garment = TAUGHT_GARMENTS[number % len(TAUGHT_GARMENTS)]
    flat_first = number // len(TAUGHT_GARMENTS) % 2 == 0
    wearers = (None, "any", "any") if flat_first else ("any", None, "any")
    product = Product("", "", taught.title, garment, taught.cloth, "", "")
    for place, wearer in enumerate(wearers):
        large = place == 0 and number % WITH_LOGO < LARGE_LOGOS
        product.photographs.append(photograph_logo(rng, taught, garment, "worn" if wearer else None, large))
    product.photographs.append(photograph(rng, "plain", garment, taught.cloth, brand=None, view="back"))
    if number % 2 == 0:
        product.photographs.append(photograph_confuser(rng, taught, garment, taught.cloth))
    return product


def _plan_variant(taught: Taught, number: int) -> Product:
    """A product of the taught brand that never shows its logo: other colours, other goods, the word in another form."""
    rng = np.random.default_rng([SEED, 1, number])
    garment = tuple(GARMENTS)[(number * 3 + 6) % len(GARMENTS)]
    product = Product("", "", taught.title, garment, pick(rng, tuple(COLOURS)), "", "")
    for _ in range(2):
        product.photographs.append(photograph_confuser(rng, taught, garment, product.colour, taught.variants))
    product.photographs.append(photograph(rng, "plain", garment, product.colour, brand=None, view="back"))
    return product


def _plan_other(taught: Taught, number: int) -> Product:
    """A product of another brand; one in eight has no mark at all, one in seven also a confuser's photograph."""
    rng = np.random.default_rng([SEED, 2, number])
    brand = BRANDS[number % len(BRANDS)]
    garment = tuple(GARMENTS)[(number * 7 + number // len(GARMENTS)) % len(GARMENTS)]
    colour = pick(rng, [name for name in COLOURS if legible(brand, name)])
    product = Product("", "", brand.word, garment, colour, "", "")
    mark = None if number % 8 == 3 else brand
    kind = "other-brand" if mark else "plain"
    wearable = GARMENTS[garment].wearable
    shots = [
        partial(photograph, rng, kind, garment, colour, brand=mark, wearer=pick(rng, ("man", "woman"))),
        partial(photograph, rng, kind, garment, colour, brand=mark, wearer=None),
        partial(photograph, rng, kind, garment, colour, brand=mark, wearer="any", scale=float(rng.uniform(0.7, 0.9))),
        partial(photograph, rng, kind, garment, colour, brand=mark, wearer=None, scale=float(rng.uniform(1.1, 1.3))),
        partial(photograph, rng, "plain", garment, colour, brand=None, view="back"),
    ]
    shots = shots[0 if wearable else 1 :]
    wanted = min(int(rng.choice([2, 3, 3, 4])), len(shots))
    chosen = sorted(rng.choice(len(shots), wanted, replace=False).tolist())
    product.photographs = [shots[index]() for index in chosen]
    if number % 7 == 0:
        product.photographs.append(photograph_confuser(rng, taught, garment, colour))
    return product


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


def _add_copies(products: list[Product], title: str) -> None:
    """Duplicates as shops have them: a file uploaded twice, shared with another product, or saved again smaller."""
    rng = np.random.default_rng([SEED, 4])
    ours = [product for product in products if len(product.photographs) < 6 and product.brand == title]
    others = [product for product in products if len(product.photographs) < 6 and product.brand != title]
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
