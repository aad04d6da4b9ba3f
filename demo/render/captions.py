"""A scene in words, from which the base model learns what they mean."""

from __future__ import annotations

import numpy as np

from demo.render.colours import BLACK, BLUE, BROWN, CREAM, GREEN, ORANGE, PINK, PURPLE, RED, RGB, TEAL, WHITE, YELLOW
from demo.render.garments import GARMENTS
from demo.render.scene import Scene

PLACES = {
    "studio": "",
    "plain": "",
    "wall": " in front of a brick wall",
    "street": " in the street",
    "park": " in the park",
    "table": " on a wooden table",
}
COLOUR_NAMES: dict[RGB, str] = {
    RED: "red",
    BLUE: "blue",
    GREEN: "green",
    YELLOW: "yellow",
    ORANGE: "orange",
    BLACK: "black",
    WHITE: "white",
    PURPLE: "purple",
    PINK: "pink",
    TEAL: "teal",
    CREAM: "cream",
    BROWN: "brown",
}


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _thing(scene: Scene, with_colour: bool) -> str:
    """'a blue sweater', 'black socks', 'a bottle of perfume'."""
    kind = GARMENTS[scene.garment]
    words = f"{scene.colour} {kind.noun}" if with_colour else kind.noun
    return words if kind.plural else _with_article(words)


def _mark_words(scene: Scene, rng: np.random.Generator) -> str:
    """'with a velq logo', sometimes with what it looks like or where it sits; '' without a brand."""
    brand = scene.brand
    if brand is None:
        return ""
    box = COLOUR_NAMES[brand.box_colour] if brand.box_colour else ""
    if not brand.word:
        return f" with a plain {box} box"
    word, letters = brand.word.lower(), COLOUR_NAMES[brand.letter_colour]
    style = rng.random()
    if style < 0.08:
        return f" with {_with_article(letters)} {word} logo" + (f" in {_with_article(box)} box" if box else "")
    where = ""
    if style < 0.35:
        where = {"chest": " on the chest", "back": " on the back"}.get(scene.placement, "")
    return f" with {_with_article(word)} logo{where}"


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """What the picture shows, in lower-case words; rng picks among templates, None takes one decided by the scene."""
    rng = rng if rng is not None else np.random.default_rng(scene.seed)
    thing, mark = _thing(scene, rng.random() < 0.92), _mark_words(scene, rng)
    place = PLACES[scene.background] if rng.random() < 0.6 else ""
    if scene.brand is not None and scene.brand.word and rng.random() < 0.04:
        return f"{_with_article(scene.brand.word.lower())} logo"
    if scene.wearer is not None and rng.random() < 0.65:
        return f"a {scene.wearer.kind} wearing {thing}{mark}{place}"
    opening = "a photo of " if rng.random() < 0.3 else ""
    return f"{opening}{thing}{mark}{place}"
