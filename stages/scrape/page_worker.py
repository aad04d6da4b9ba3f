"""The process that parses what a shop sends: that may take its time and its memory, but never the crawl's.

Reads pickled tasks from stdin and answers each on stdout, until stdin ends. A page that takes more than its seconds of
computing ends the process (by SIGPROF, which needs no line of Python to be reached); `reader` starts another one.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any, Literal

from stages.scrape.html import UnreadablePage
from stages.scrape.page import Page, read_page
from stages.scrape.robots import NotRobots, robots_text
from stages.scrape.sitemap_file import Sitemap, read_sitemap
from stages.scrape.store import Fetched

MOST_MEMORY = 640 * 2**20
"""Bytes of address space of this process, of which it has 100 MB before the first page; by hand: 2 MB of nothing but
cards take 300 MB, and a real page of that size a third."""
ENOUGH_MEMORY = 250 * 2**20
"""Bytes that this process has ever had at once after which it ends: freed memory seldom goes back. By hand, above what
real pages take."""
LENGTH = struct.Struct(">Q")
"""What stands before each message on the pipe: its length."""


@dataclass(frozen=True)
class Task:
    """Something to be read."""

    kind: Literal["page", "sitemap", "robots"]
    url: str
    content_type: str
    body: bytes
    card_texts: list[str]
    seconds: float
    """Of computing, not of waiting: how busy the machine is must not decide what is read."""


@dataclass(frozen=True)
class Answer:
    """What was read, or why it could not be."""

    page: Page | None = None
    sitemap: Sitemap | None = None
    robots: str | None = None
    """The text of a robots.txt."""
    error: str = ""
    last: bool = False
    """Whether the process ends, as what it has read has left it with much memory."""


def send(pipe: IO[bytes], message: Any) -> None:
    """Write a message with its length in front."""
    content = pickle.dumps(message)
    pipe.write(LENGTH.pack(len(content)) + content)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Any:
    """The next message. Raises EOFError where the other end is gone."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    content = pipe.read(LENGTH.unpack(head)[0])
    if len(content) < LENGTH.unpack(head)[0]:
        raise EOFError
    return pickle.loads(content)  # noqa: S301 - of the process that this one started, or was started by


def answer_to(task: Task) -> Answer:
    """Read what the task names within its time."""
    signal.setitimer(signal.ITIMER_PROF, task.seconds)
    try:
        if task.kind == "sitemap":
            return Answer(sitemap=read_sitemap(Fetched(task.url, task.url, body=task.body)))
        if task.kind == "robots":
            return Answer(robots=robots_text(task.body))
        return Answer(read_page(task.url, task.content_type, task.body, task.card_texts))
    except (UnreadablePage, NotRobots) as error:
        return Answer(error=str(error))
    except Exception as error:  # whatever a page can bring a parser to
        return Answer(error=f"cannot be parsed ({type(error).__name__})")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    """Answer tasks until there are no more. What a library prints goes to stderr: stdout is the pipe."""
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the crawl is asked to stop, and closes the pipe
    with suppress(ValueError, OSError):  # macOS knows no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    send(answers, "ready")
    while True:
        try:
            task = receive(tasks)
        except EOFError:
            return
        answer = answer_to(task)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        answer = replace(answer, last=used > ENOUGH_MEMORY)
        send(answers, answer)
        if answer.last:
            return
        del task, answer
