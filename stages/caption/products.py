"""What is known of a picture's product: the garment, its colour, who wears it and where the logo sits.

Words are looked up in the product's name and category, in the languages of the shops that were read (English, German,
French, Spanish, Italian). What no word tells stays unknown: a caption that guesses teaches the guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stages.common.tables import Row


@dataclass(frozen=True)
class Known:
    """What the product's data and the logo's box tell; None where they tell nothing."""

    garment: str | None
    colour: str | None
    wearer: str | None
    position: str | None


# noun in captions -> what names and categories call it; the first hit counts, the longest words are tried first
GARMENTS: dict[str, tuple[str, ...]] = {
    "t-shirt": ("t-shirt", "t shirt", "tshirt", "tee", "tees", "camiseta"),
    "polo shirt": ("polo shirt", "polo", "poloshirt"),
    "sweatshirt": ("sweatshirt", "sweat shirt", "sweat", "crewneck"),
    "hoodie": ("hoodie", "hoody", "hooded sweatshirt", "kapuzenpullover", "kapuzensweatshirt"),
    "sweater": ("sweater", "pullover", "jumper", "knitwear", "pulli", "pull", "jersey sweater"),
    "cardigan": ("cardigan", "strickjacke"),
    "tank top": ("tank top", "tank", "vest top"),
    "shirt": ("shirt", "hemd", "chemise", "blouse", "bluse", "camisa", "camicia"),
    "jacket": ("jacket", "jacke", "blouson", "bomber", "windbreaker", "gilet", "blazer", "veste", "chaqueta", "giacca"),
    "coat": ("coat", "parka", "mantel", "manteau", "trench coat"),
    "dress": ("dress", "kleid", "robe", "vestido"),
    "skirt": ("skirt", "rock", "jupe", "falda"),
    "swim shorts": ("swim shorts", "swim trunks", "badeshorts", "badehose"),
    "shorts": ("shorts", "short", "bermuda", "bermudas"),
    "jeans": ("jeans",),
    "trousers": ("trousers", "pants", "chinos", "joggers", "jogging bottoms", "sweatpants", "hose", "leggings"),
    "boxer briefs": ("boxer briefs", "boxers", "boxer shorts", "briefs", "trunks", "underwear"),
    "socks": ("socks", "sock", "socken", "chaussettes", "calcetines"),
    "shoes": ("shoes", "sneakers", "trainers", "schuhe", "boots", "loafers", "slides", "sandals", "flip-flops"),
    "hat": ("hat", "bucket hat", "mütze", "hut", "chapeau"),
    "cap": ("cap", "baseball cap", "kappe", "casquette"),
    "beanie": ("beanie", "knit hat"),
    "scarf": ("scarf", "schal", "écharpe"),
    "belt": ("belt", "gürtel", "ceinture"),
    "backpack": ("backpack", "rucksack", "sac à dos"),
    "bag": ("bag", "tote", "holdall", "tasche", "sac", "pouch", "crossbody"),
    "wallet": ("wallet", "card holder", "geldbörse", "portemonnaie"),
    "watch": ("watch", "uhr", "montre"),
    "mug": ("mug", "cup", "tasse", "becher"),
    "bottle of perfume": ("perfume", "eau de toilette", "eau de parfum", "fragrance", "parfum", "cologne"),
    "billboard": ("billboard",),
    "towel": ("towel", "handtuch"),
    "phone case": ("phone case", "handyhülle"),
}
PLURAL = {"shorts", "swim shorts", "jeans", "trousers", "boxer briefs", "socks", "shoes"}
TOPS = {
    "t-shirt",
    "polo shirt",
    "sweatshirt",
    "hoodie",
    "sweater",
    "cardigan",
    "tank top",
    "shirt",
    "jacket",
    "coat",
    "dress",
}
LEGS = {"shorts", "swim shorts", "jeans", "trousers"}
FRONTS = {"hat", "cap", "beanie", "bag", "backpack", "mug", "bottle of perfume", "wallet"}


_WEARERS = (
    ("woman", ("women", "woman", "womens", "women's", "ladies", "damen", "femme", "mujer", "donna", "female")),
    ("man", ("men", "man", "mens", "men's", "herren", "homme", "hombre", "uomo", "male")),
    ("child", ("kids", "kid", "boys", "girls", "kinder", "enfant", "baby")),
)


def describe(row: Row) -> Known:
    """What is known of a picture from its product's name, category and colour, and from where its logo is."""
    name, category = str(row.get("product") or ""), str(row.get("category") or "")
    garment = find_garment(name) or find_garment(category)
    colour = row.get("colour") or None
    words = set(re.findall(r"[^\W\d_]+(?:'s)?", f"{name} {category}".casefold()))
    wearer = next((who for who, names in _WEARERS if words & set(names)), None)
    return Known(garment, colour, wearer, find_position(garment, row))


def find_garment(text: str) -> str | None:
    """The garment that a text names: the one named last, since names end with what the thing is."""
    folded = " " + re.sub(r"[^\w-]+", " ", text.casefold()) + " "
    hits = []
    for noun, names in GARMENTS.items():
        for name in names:
            place = folded.rfind(f" {name} ")
            if place >= 0:
                hits.append((place + len(name), len(name), noun))
    return max(hits)[2] if hits else None


def find_position(garment: str | None, row: Row) -> str | None:
    """Where the logo sits, in words, where garment and box leave no doubt. Left and right are the viewer's."""
    if not row["box"] or not garment:
        return None
    x0, y0, x1, y1 = row["box"]
    across, down = (x0 + x1) / 2 / row["width"], (y0 + y1) / 2 / row["height"]
    if row.get("exif_orientation", 1) in (5, 6, 7, 8):
        across, down = (x0 + x1) / 2 / row["height"], (y0 + y1) / 2 / row["width"]
    # Chosen by hand: a logo on the lowest quarter of a picture may be on a hem, one within a tenth of its middle on
    # either leg.
    if garment in TOPS:
        return "on the chest" if down < 0.72 else None
    if garment in LEGS:
        return "on the left leg" if across < 0.45 else "on the right leg" if across > 0.55 else None
    if garment == "socks":
        return "on the side"
    return "on the front" if garment in FRONTS else None
