"""When a reading counts as the brand's word, and how far off it is when it does not. No weights, no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_TOKENS = re.compile(r"[^\W_]+")


def word_read(readings: Iterable[str] | str, word: str) -> bool:
    """Whether one of an image's readings holds the word (paper 4.2): upper or lower case, 0 accepted for o.

    The word must stand by itself: "HUGO BOSS", " hugo." and "HUG0" are read, "HUGOS", "HUG O" and "HUCO" are not. A
    word with even spaces between all its letters, as logos are often set, is read too: "H U G O". The digit 0 may stand
    where the word has the letter o, not the other way round.

    Args:
        readings: the texts that the OCR returned for one image; a single text counts as a list of one.
        word: the brand's word, letters and digits.

    Raises:
        ValueError: `word` is empty or holds anything but letters and digits.
    """
    if not _TOKENS.fullmatch(word):
        raise ValueError(f"word = {word!r}: must be letters and digits")
    texts = [readings] if isinstance(readings, str) else readings
    return any(_same(token, word) for text in texts for token in _words_of(text))


def edit_distance(readings: Iterable[str] | str, word: str) -> float:
    """Normalised edit distance of the closest reading to the word: 0 is the word, 1 shares nothing with it.

    Levenshtein distance over max(len(reading), len(word)), after folding case and 0 to o (the "NED" of AnyText, Tuo et
    al. 2023, 4.2, which reports 1 minus this). The closest of the whole readings and of the words in them counts. No
    reading at all is 1: nothing legible was drawn.
    """
    texts = [readings] if isinstance(readings, str) else list(readings)
    target = _fold(word)
    candidates = {_fold(text.strip()) for text in texts} | {_fold(token) for text in texts for token in _words_of(text)}
    return min((levenshtein(c, target) / max(len(c), len(target)) for c in sorted(candidates) if c), default=1.0)


def levenshtein(a: str, b: str) -> int:
    """The least number of insertions, deletions and substitutions that turn a into b."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


def _words_of(text: str) -> Iterator[str]:
    """The words of a reading, letter-spaced ones too: "H U G O  BOSS" gives H, U, G, O, BOSS and HUGO.

    Letter-spaced are single letters with the same space between all of them and a wider one (or nothing) around them.
    """
    yield from _TOKENS.findall(text)
    for width in sorted({len(space) for space in re.findall(r"\s+", text)}):
        for part in re.split(rf"\s{{{width + 1},}}", text):
            letters = re.sub(r"^[\W_]+|[\W_]+$", "", part)
            if re.fullmatch(rf"[^\W_](?:\s{{{width}}}[^\W_])+", letters):
                yield "".join(letters.split())


def _same(token: str, word: str) -> bool:
    if len(token) != len(word):
        return False
    pairs = zip(token.lower(), word.lower(), strict=False)
    return all(read == asked or (read == "0" and asked == "o") for read, asked in pairs)


def _fold(text: str) -> str:
    return text.lower().replace("0", "o")
