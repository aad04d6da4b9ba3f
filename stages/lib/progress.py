"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LINE_SECONDS = 15.0


def progress(items: Iterable[Item], description: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield `items` while showing how far the work is, at what rate and how long it still takes."""
    terminal = sys.stderr.isatty()
    bar = tqdm(
        items,
        desc=description,
        total=total,
        unit=unit,
        dynamic_ncols=terminal,
        mininterval=0.1 if terminal else LINE_SECONDS,
        ascii=not terminal,
        file=sys.stderr if terminal else _Lines(),
    )
    yield from bar


class _Lines:
    """A stand-in for a terminal: tqdm's redraws of one line become lines of their own."""

    def write(self, text: str) -> int:
        line = text.strip("\r\n ")
        if line:
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()
