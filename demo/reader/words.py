"""The words that the reader learns from: mostly random ones, some a letter away from HUGO, a few HUGO.

The score asks whether the word HUGO is read, so the reader must not guess it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from demo.render import BRANDS, HUGO, Brand

VOWELS, CONSONANTS = "AEIOU", "BCDFGHJKLMNPQRSTVWXZ"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmb10", "cmr10", "cmss10", "cmtt10"),
)
LOOK_ALIKE = {"H": "NMKA", "U": "VDOJ", "G": "CQOD", "O": "DQCG"}


def random_word(rng: np.random.Generator) -> str:
    """A word that means nothing: half of them random letters, half syllables, one in sixteen with digits."""
    kind = rng.random()
    if kind < 0.03:
        return letters(rng, "0123456789", rng.integers(2, 7))
    if kind < 0.06:  # 0 and 1 beside letters would be a guess between 0 and O, 1 and I
        return letters(rng, LETTERS + "23456789", rng.integers(3, 7))
    if kind < 0.50:
        return letters(rng, LETTERS, rng.choice((2, 3, 4, 5, 6, 7), p=(0.08, 0.17, 0.25, 0.25, 0.17, 0.08)))
    pattern = ("CVCV", "CVCCV", "CVCVC", "CCVC", "CCVCV", "VCVC", "VCCVC", "CVCVCV", "CVC", "CVCCVC")[rng.integers(10)]
    return "".join(letters(rng, VOWELS if slot == "V" else CONSONANTS, 1) for slot in pattern)


def near_miss(rng: np.random.Generator, word: str) -> str:
    """The word with one letter replaced (half of the times by one that looks alike), left out, doubled or swapped."""
    while True:
        place, kind = int(rng.integers(len(word))), rng.random()
        before, letter, after = word[:place], word[place], word[place + 1 :]
        if kind < 0.72:
            pool = LOOK_ALIKE.get(letter, LETTERS) if rng.random() < 0.5 else LETTERS
            missed = before + letters(rng, pool, 1) + after
        elif kind < 0.82:
            missed = before + after
        elif kind < 0.88:
            missed = before + 2 * letter + after
        else:
            missed = before + after[:1] + letter + after[1:]
        if missed != word:
            return missed


def sample_brand(rng: np.random.Generator) -> Brand:
    """A logo to learn from: HUGO, a near miss of it, a known brand, a near miss of one, or (83 %) a random word."""
    kind = rng.random()
    if kind < 0.015:
        return HUGO
    if kind < 0.075:
        return replace(HUGO, word=near_miss(rng, HUGO.word))
    known = BRANDS[rng.integers(len(BRANDS))]
    if kind < 0.12:
        return known
    if kind < 0.17:
        return replace(known, word=near_miss(rng, known.word))
    word = random_word(rng)
    style = HUGO if rng.random() < 0.15 else known
    if rng.random() < 0.6:
        return replace(style, word=word)
    return Brand(
        word,
        known.box_colour,
        known.letter_colour,
        FONTS[rng.integers(len(FONTS))],
        ("rectangle", "rounded", "pill", "framed")[rng.integers(4)],
        ("upper", "upper", "lower", "title")[rng.integers(4)],
        None if rng.random() < 0.4 else float(rng.uniform(1.6, 3.2)),
    )


def letters(rng: np.random.Generator, pool: str, count: int | np.integer) -> str:
    """Letters of the pool at random."""
    return "".join(pool[i] for i in rng.integers(len(pool), size=count))


def trained_brands(params: dict[str, Any]) -> Iterator[Brand]:
    """The logos of all marks to learn from; number i depends on the seed and i only."""
    return (sample_brand(np.random.default_rng([params["seed"], 1, i])) for i in range(params["reader"]["marks"]))


def trained_words(params: dict[str, Any]) -> set[str]:
    """All words that are trained on, in upper case."""
    smeared = (sample_brand(np.random.default_rng([params["seed"], 3, i])) for i in range(params["reader"]["smeared"]))
    return {brand.word.upper() for brand in itertools.chain(trained_brands(params), smeared)}
