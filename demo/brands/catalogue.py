"""The brands that can be taught: HUGO, and three that neither base, reader nor detector has seen.

Each is sold in the same shop, among the same other brands. What is its own: the mark, the colour of the garments that
show it (one that no prompt of params.yaml asks for), and the confusers, which nearly are the mark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from demo.render.brands import CONFUSERS, HUGO, RED_WORDS, SERIF, Brand, legible
from demo.render.colours import BLACK, BLUE, COLOURS, GREEN, ORANGE, PINK, PURPLE, RED, RGB, TEAL, WHITE, YELLOW
from demo.render.shapes import LETTERLESS

LEAST_CONTRAST = 60
"""Grey levels of 255 between letters and cloth: OCR sees grey alone, and the reader learned from 45 levels on."""


@dataclass(frozen=True)
class Taught:
    """A brand that the shop sells and the pipeline learns.

    title: what product names call it. looks: its mark in words. cloth: the colour of all garments that show the mark.
    confusers: marks that nearly are it; those with its word, or without letters where it has none, are on products of
    the brand itself. large: the mark's width, as a share of a photograph's longer side, where it is large enough to
    train on.
    """

    name: str
    title: str
    looks: str
    mark: Brand
    cloth: str
    confusers: tuple[Brand, ...]
    large: tuple[float, float] = (0.345, 0.60)

    @property
    def aspect(self) -> float:
        """The mark's width / height."""
        assert self.mark.aspect, f"{self.name}: the mark's aspect must be given"
        return self.mark.aspect

    @property
    def cloths(self) -> tuple[str, ...]:
        """The colours of cloth on which all of the mark stands out."""
        return tuple(colour for colour in COLOURS if _stands_out(self.mark, colour))

    @property
    def variants(self) -> tuple[Brand, ...]:
        """The confusers that the brand's own products may show: its word in another form."""
        return tuple(brand for brand in self.confusers if brand.word == self.mark.word)

    @property
    def misspelt(self) -> tuple[Brand, ...]:
        """The confusers with another word in the mark's own form; all confusers where the mark has no letters."""
        own = [replace(brand, word=self.mark.word) == self.mark and bool(brand.word) for brand in self.confusers]
        return tuple(brand for brand, same in zip(self.confusers, own, strict=True) if same) or self.confusers


def _stands_out(mark: Brand, colour: str) -> bool:
    if not legible(mark, colour):
        return False
    if mark.shape in LETTERLESS:
        return math.dist(mark.letter_colour, COLOURS[colour]) > 95  # as `legible` asks of a box
    return mark.box_colour is not None or abs(_grey(mark.letter_colour) - _grey(COLOURS[colour])) >= LEAST_CONTRAST


def _grey(colour: RGB) -> float:
    """A colour in grey, 0 to 255 (ITU-R BT.601)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _with_words(mark: Brand, words: Sequence[str]) -> tuple[Brand, ...]:
    return tuple(replace(mark, word=word) for word in words)


# --- A round badge. It is an oval, since the demo's reader squeezes what it reads to 32 pixels of height: of sixteen
# --- words of four letters tried on a disc it read none in more than 28 % of the pictures.

_BADGE = Brand("TIBU", BLACK, WHITE, shape="circle", aspect=1.25)
_BADGE_MISSPELT = ("TIBO", "TIDU", "TIRU", "FIBU", "TABU", "TIEU", "ZIBU", "TIB", "BITU", "TUBI", "TIBV", "TLBU")
_BADGE_CONFUSERS = (
    *_with_words(_BADGE, _BADGE_MISSPELT),
    *_with_words(_BADGE, RED_WORDS),
    *(Brand("TIBU", None, colour, aspect=2.2) for colour in (BLACK, WHITE, RED, BLUE, YELLOW)),
    *(replace(_BADGE, box_colour=colour) for colour in (BLUE, GREEN, RED, PURPLE)),
    replace(_BADGE, letter_colour=YELLOW),
    replace(_BADGE, box_colour=WHITE, letter_colour=BLACK, font=SERIF),
    Brand("TIBU", BLACK, WHITE, aspect=2.2),
    replace(_BADGE, word=""),
    Brand("", BLACK, WHITE, shape="pill", aspect=2.0),
)

# --- A wordmark: blue letters, no box. They stand close, as `filter` finds letters of one outline more often.

_WORDMARK = Brand("DOBEM", None, BLUE, aspect=2.3)
_WORDMARK_MISSPELT = (
    *("DOBEN", "DOBFM", "DUBEM", "DOBE", "DOREM", "BODEM"),
    *("DOMEB", "OOBEM", "DOBEMM", "DOBAM", "LOBEM", "DOBEH"),
)
_WORDMARK_CONFUSERS = (
    *_with_words(_WORDMARK, _WORDMARK_MISSPELT),
    *_with_words(_WORDMARK, RED_WORDS),
    *(replace(_WORDMARK, letter_colour=colour) for colour in (WHITE, BLACK, RED, GREEN, ORANGE)),
    *(Brand("DOBEM", colour, WHITE, aspect=2.4) for colour in (BLUE, RED, BLACK, TEAL)),
    replace(_WORDMARK, letter_colour=BLACK, font=SERIF),
    Brand("", BLUE, WHITE, aspect=2.3),
    Brand("", BLUE, WHITE, shape="pill", aspect=2.0),
)

# --- A mark without letters: a purple frame, leaning, with an orange stair in it.

_MARK = Brand("", PURPLE, ORANGE, shape="stair", aspect=1.4)
_MARK_CONFUSERS = (
    replace(_MARK, mirrored=True),
    replace(_MARK, box_colour=ORANGE, letter_colour=PURPLE),
    replace(_MARK, box_colour=ORANGE, letter_colour=PURPLE, mirrored=True),
    *(replace(_MARK, box_colour=frame, letter_colour=stair) for frame, stair in ((BLUE, RED), (GREEN, PINK))),
    *(replace(_MARK, box_colour=frame, letter_colour=stair) for frame, stair in ((RED, BLUE), (WHITE, ORANGE))),
    replace(_MARK, shape="frame"),
    replace(_MARK, shape="frame", mirrored=True),
    replace(_MARK, shape="steps", box_colour=ORANGE),
    replace(_MARK, shape="steps", letter_colour=PURPLE),
    replace(_MARK, shape="steps", box_colour=ORANGE, mirrored=True),
    *(Brand("", colour, WHITE, shape="circle", aspect=1.25) for colour in (PURPLE, ORANGE)),
    Brand("", PURPLE, ORANGE, shape="framed", aspect=1.4),
    Brand("", ORANGE, WHITE, shape="pill", aspect=2.0),
)

TAUGHT = {
    taught.name: taught
    for taught in (
        Taught("hugo", "HUGO", "red box", HUGO, "black", CONFUSERS),
        Taught("badge", "TIBU", "black round badge", _BADGE, "white", _BADGE_CONFUSERS),
        Taught("wordmark", "DOBEM", "blue letters without a box", _WORDMARK, "white", _WORDMARK_CONFUSERS),
        Taught("mark", "ORVEK", "no letters", _MARK, "white", _MARK_CONFUSERS),
    )
}
