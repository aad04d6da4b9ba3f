"""Words as shops write them, made fit for people to read and for programs to compare."""

from __future__ import annotations

import unicodedata
from typing import Any


def normalise(text: str) -> str:
    """A name for comparing: one kind of space between words, one form of each letter, no case."""
    return " ".join(unicodedata.normalize("NFKC", text).split()).casefold()


def tidy(text: Any) -> str:
    """A name for people: stray and special spaces made single plain ones, control characters taken out."""
    kept = "".join(c if c.isprintable() or c.isspace() else "" for c in unicodedata.normalize("NFKC", str(text)))
    return " ".join(kept.split())
