"""What the machine found on one file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Whether a file is a picture, where the logo is on it, and what it looks like.

    reason: why it is not used as a picture, None where it is. box: (x0, y0, x1, y1) in pixels, None without a logo.
    score: of the match, 0 to 1. hash, colours: see near_duplicates.
    """

    sha256: str
    reason: str | None
    width: int = 0
    height: int = 0
    box: tuple[float, ...] | None = None
    score: float = 0.0
    hash: int = 0
    colours: tuple[float, ...] = ()
