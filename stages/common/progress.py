"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere.

Nothing that takes long is silent: where neither an item nor a step has ended for `LINE_SECONDS`, a thread says what is
being done and for how long.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LINE_SECONDS = 5.0
"""Between two lines of one piece of work, where there is no terminal; and the longest silence."""
QUIET_SECONDS = 2.0
"""What ends within this time is not worth a line."""


def progress(items: Iterable[Item], description: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield `items` while showing how far the work is, at what rate and how long it still takes."""
    with counted(description, total, unit) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def counted(description: str, total: int | None = None, unit: str = "it") -> Iterator[Callable[[int], object]]:
    """Show the progress of work that tells itself how far it is: what is yielded takes the number of items done."""
    terminal = sys.stderr.isatty()
    bar = tqdm(
        desc=description,
        total=total,
        unit=unit,
        dynamic_ncols=terminal,
        mininterval=0.1 if terminal else LINE_SECONDS,
        ascii=not terminal,
        file=sys.stderr if terminal else _Lines(),
    )
    with bar, _at_work(bar.refresh):
        yield bar.update


@contextmanager
def activity(description: str) -> Iterator[None]:
    """Say what is being done and for how long, once it takes more than `QUIET_SECONDS` and then again and again."""
    start = time.monotonic()

    def speak() -> None:
        seconds = time.monotonic() - start
        if seconds >= QUIET_SECONDS:
            tqdm.write(f"{description}: {seconds:.0f} s", file=sys.stderr)

    with _at_work(speak):
        yield


class _Heart(threading.Thread):
    """Has the innermost piece of work speak wherever nothing has been said for a while."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lock = threading.RLock()
        self.work: list[Callable[[], object]] = []
        self.spoken = time.monotonic()
        self.ended = threading.Event()

    def run(self) -> None:
        """Look every second, until there is no work left."""
        while not self.ended.wait(1.0):
            with self.lock:
                if self.work and time.monotonic() - self.spoken >= LINE_SECONDS - 1:
                    self.spoken = time.monotonic()
                    self.work[-1]()


_heart: _Heart | None = None


@contextmanager
def _at_work(speak: Callable[[], object]) -> Iterator[None]:
    """Within it, `speak` is called after every long silence, unless work within this work speaks for it."""
    global _heart
    if _heart is None or _heart.ended.is_set():
        _heart = _Heart()
        _heart.start()
    heart = _heart
    with heart.lock:
        heart.work.append(speak)
    try:
        yield
    finally:
        with heart.lock:
            heart.work.remove(speak)
            if not heart.work:
                heart.ended.set()


class _Lines:
    """A stand-in for a terminal: tqdm's redraws of one line become lines of their own.

    Where nobody reads them any more, nothing is said: an error in the midst of a redraw leaves tqdm's lock taken, for
    which the bar would wait for ever when it is closed.
    """

    def write(self, text: str) -> int:
        line = text.strip("\r\n ")
        if line:
            with suppress(BrokenPipeError):
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
            if _heart is not None:
                _heart.spoken = time.monotonic()
        return len(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError):
            sys.stderr.flush()
