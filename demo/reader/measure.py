"""What the shipped reader can do: words that it was not trained on, by kind and by size of the picture."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from demo.reader.crops import Grey, readable_in_grey
from demo.reader.words import near_miss, random_word, trained_words
from demo.render import BRANDS, COLOURS, HUGO, draw, sample_scene
from demo.training import WEIGHTS, demo_params
from stages.score.reader import load_reader
from stages.score.words import word_read

TARGET = WEIGHTS / "reader"


@dataclass(frozen=True)
class Sample:
    """A rendered picture, the box of its logo (pixels) and the word printed there."""

    picture: Grey
    box: tuple[float, float, float, float]
    word: str


def held_out(kind: str, count: int, size: int, known: set[str] | None = None, seed: int = 99) -> list[Sample]:
    """Rendered pictures with words that were not trained on, in the styles of the world's brands.

    kind: "words" (random ones of 3 to 6 letters; the world's own have 4 or 5), "long words" (7 letters), "brands" (the
        world's own), "hugo", or "near misses" (of HUGO, on the same red box).
    size: pixels of the picture; the same seed gives the same scenes at every size.
    known: words to leave out.
    """
    samples: list[Sample] = []
    for index in itertools.count():
        if len(samples) == count:
            return samples
        rng = np.random.default_rng([seed, index])
        style = BRANDS[rng.integers(len(BRANDS))]
        lengths = (7,) if kind == "long words" else (3, 4, 5, 6)
        word = random_word(rng)
        while len(word) not in lengths or not word.isalpha() or (known and word in known):
            word = random_word(rng)
        brand = {
            "words": replace(style, word=word),
            "long words": replace(style, word=word),
            "brands": style,
            "hugo": HUGO,
            "near misses": replace(HUGO, word=near_miss(rng, HUGO.word)),
        }[kind]
        scene = sample_scene(rng, brand=brand)
        drawing = draw(scene, size, size)
        if drawing.logo_box and readable_in_grey(brand, COLOURS[scene.colour]):
            samples.append(Sample(np.asarray(drawing.image), drawing.logo_box, brand.text))
    raise AssertionError("unreachable")


def read(samples: list[Sample], folder: Path = TARGET) -> list[str]:
    """What the shipped reader reads in each sample's box, through the pipeline's own reader."""
    reader = load_reader(folder)
    readings = reader.read([s.picture for s in samples], [[s.box] for s in samples])
    return [" ".join(reading.text for reading in of_picture) for of_picture in readings]


def accuracy(samples: list[Sample], readings: list[str]) -> float:
    """Share of samples whose word was read, by the score's own rule (upper or lower case, 0 accepted for o)."""
    return sum(word_read(r, s.word) for s, r in zip(samples, readings, strict=True)) / len(samples)


def measure(count: int = 500) -> None:
    """Print the share of words read, by kind and picture size, and how often HUGO is read where it is not."""
    params = demo_params()
    known = trained_words(params)
    for kind in ("words", "long words", "brands", "hugo", "near misses"):
        for size in (256, 128, 64):
            samples = held_out(kind, count, size, known)
            readings = read(samples)
            line = f"{kind:12} {size:4} px: {accuracy(samples, readings):.1%} read"
            if kind != "hugo":
                line += f", {sum(word_read(r, HUGO.word) for r in readings) / len(readings):.1%} read as HUGO"
            print(line)
