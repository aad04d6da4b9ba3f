"""Reads pages, sitemaps and robots.txt in a process of its own, within a time that each of them has."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from stages.scrape.page_worker import Answer, Task, receive, send
from stages.scrape.robots import NotRobots
from stages.scrape.store import Fetched

PAGE_SECONDS = 10.0
"""Seconds of computing for one page; by hand: pages of real shops take a twentieth of a second, 5 MB of links two."""
WAITING_SECONDS = 120.0
"""Seconds by the clock after which a process that says nothing is ended: twelve times as long, for a busy machine."""
REPOSITORY = Path(__file__).parents[2]


class Reader:
    """The process that parses pages, started when the first one comes, and anew after one has ended it."""

    def __init__(self, seconds: float = PAGE_SECONDS) -> None:
        """seconds: of computing, for each page."""
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ready = self.is_closed = False
        self.one_at_a_time = asyncio.Lock()

    async def read(self, answer: Fetched, card_texts: list[str]) -> Answer:
        """What was fetched, read as a page; X-Robots-Tag counts as the page's robots tag does."""
        content_type = answer.headers.get("content-type", "")
        read = await self._read(
            Task("page", answer.final_url, content_type, answer.body, list(card_texts), self.seconds)
        )
        if read.page is not None:
            tags = [read.page.robots, answer.headers.get("x-robots-tag", "")]
            read.page.robots = ", ".join(filter(None, tags))
        return read

    async def read_sitemap(self, answer: Fetched) -> Answer:
        """What was fetched, read as a sitemap."""
        return await self._read(Task("sitemap", answer.final_url, "", answer.body, [], self.seconds))

    async def robots_text(self, body: bytes) -> str:
        """The text of a robots.txt. Raises NotRobots where it is none, or takes too long to be read."""
        read = await self._read(Task("robots", "", "", body, [], self.seconds))
        if read.robots is None:
            raise NotRobots(read.error)
        return read.robots

    async def _read(self, task: Task) -> Answer:
        async with self.one_at_a_time:
            return await asyncio.to_thread(self.ask, task)

    def start(self) -> None:
        """Start the process: it is up when the first page is there."""
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, "-c", "from stages.scrape.page_worker import main; main()"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def ask(self, task: Task) -> Answer:
        """Have a page read. Raises RuntimeError where no process for it can be started."""
        if self.is_closed:
            return Answer(error="not parsed, as the crawl has ended")
        if self.process is None:
            self.start()
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        if not self.is_ready:
            try:
                receive(process.stdout)
            except EOFError:
                self.end()
                raise RuntimeError("the process that parses pages does not start") from None
            self.is_ready = True
        try:
            send(process.stdin, task)
            waiting = select.poll()
            waiting.register(process.stdout, select.POLLIN)
            if not waiting.poll(WAITING_SECONDS * 1000):
                process.kill()
            found = receive(process.stdout)
            assert isinstance(found, Answer)
            if found.last:
                self.end()
            return found
        except (EOFError, BrokenPipeError):
            self.end()
            if process.returncode in (-signal.SIGPROF, -signal.SIGKILL):
                return Answer(error=f"takes longer than {self.seconds:g} s to parse")
            return Answer(error=f"ends its parser (status {process.returncode})")

    def close(self) -> None:
        """End the process for good."""
        self.is_closed = True
        self.end()

    def end(self) -> None:
        """End the process, after half a second by force; the next page starts another one."""
        if self.process is None:
            return
        process, self.process, self.is_ready = self.process, None, False
        try:
            process.communicate(timeout=0.5)  # closes its stdin, upon which it ends
        except (subprocess.TimeoutExpired, BrokenPipeError, ValueError):
            process.kill()
            process.wait()
