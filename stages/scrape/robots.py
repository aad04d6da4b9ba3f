"""What a shop asks of robots: robots.txt with its Crawl-delay, and tags that refuse use for AI."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import lxml.html  # type: ignore[import-untyped]
from lxml.etree import ParserError  # type: ignore[import-untyped]
from protego import Protego
from w3lib.encoding import read_bom

from stages.common.errors import UserError
from stages.scrape.store import Fetched, Kind
from stages.scrape.urls import origin_of

ROBOTS_BYTES = 500 * 2**10
"""Largest robots.txt: what RFC 9309 (2.5) asks of every reader. Cut, a longer one would lose rules."""
MOST_STRANGE = 0.05
"""Share of characters that are no text (control characters, bytes of no letter), above which a file is none: a comment
in another encoding has fewer. By hand."""
MOST_CRAWL_DELAY = 120.0
"""Seconds. A robots.txt that asks for more is taken as a wish not to be crawled."""
REFUSING_TAGS = frozenset({"noai", "noimageai", "noimageindex"})
"""What img2dataset honours too, but for noindex, which is said of pages that search engines shall not list."""


class NotRobots(ValueError):
    """A robots.txt that cannot be had, and the reason."""


class Robots:
    """robots.txt of every host, asked for once (RFC 9309: none allows all, one that cannot be had forbids all).

    What cannot be read cannot be had: what is too large, no text, or answered with anything but 200 or 4xx. 429 is
    among the refusals, as the host asks for patience there.
    """

    def __init__(
        self,
        fetch: Callable[[str, Kind], Awaitable[Fetched]],
        read: Callable[[bytes], Awaitable[str]],
        hold: Callable[[str, float], None],
        agent: str,
    ) -> None:
        """Know no rules yet.

        Args:
            fetch: gets an address.
            read: gives a robots.txt's text, as `robots_text` does.
            hold: asks an origin no more often than every so many seconds from now on.
            agent: who asks.
        """
        self.fetch, self.read, self.hold, self.agent = fetch, read, hold, agent.split("/")[0]
        self.rules: dict[str, asyncio.Task[Protego | None]] = {}
        self.unreachable: dict[str, str] = {}

    async def allows(self, url: str) -> bool:
        """Whether the rules of its host let `url` be fetched."""
        rules = await self.of(url)
        try:
            return rules is not None and bool(rules.can_fetch(url, self.agent))
        except ValueError:  # an address that cannot be taken apart
            return False

    async def of(self, url: str) -> Protego | None:
        """The rules of the host of `url`; None where they cannot be had, which forbids everything."""
        origin = origin_of(url)
        if origin not in self.rules:
            self.rules[origin] = asyncio.ensure_future(self._ask(origin))
        return await self.rules[origin]

    async def _ask(self, origin: str) -> Protego | None:
        answer = await self.fetch(f"{origin}/robots.txt", "robots")
        none_there = answer.status is not None and 400 <= answer.status < 500 and answer.status != 429
        try:
            if answer.error and not none_there:
                raise NotRobots(answer.error)
            rules = Protego.parse("" if none_there else await self.read(answer.body))
            delay = rules.crawl_delay(self.agent)
        except ValueError as error:
            self.unreachable[origin] = str(error)
            return None
        if delay:
            if not delay <= MOST_CRAWL_DELAY:  # nan, too
                raise UserError(
                    f"{origin}/robots.txt asks for {delay:g} s between requests: that is no crawl; ask the shop"
                )
            self.hold(origin, float(delay))
        return rules


def robots_text(body: bytes) -> str:
    """The text of a robots.txt in whatever form it came: packed, with a BOM, in UTF-16, within a page of HTML.

    Raises NotRobots where it is none.
    """
    if body[:2] == b"\x1f\x8b":
        try:
            unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
            body = unpacker.decompress(body, ROBOTS_BYTES + 1)
        except zlib.error:
            raise NotRobots("packed in a way that cannot be read") from None
        if not unpacker.eof and len(body) <= ROBOTS_BYTES:
            raise NotRobots("its end is missing")
    if len(body) > ROBOTS_BYTES:
        raise NotRobots(f"larger than {ROBOTS_BYTES // 2**10} KB")
    encoding, mark = read_bom(body)
    if encoding is None and body[:200].count(0) > len(body[:200]) // 4:
        encoding = "utf-16-be" if body[:1] == b"\0" else "utf-16-le"
    text = body[len(mark or b"") :].decode(encoding or "utf-8", "replace")
    strange = sum(1 for c in text if c == "\ufffd" or not (c.isprintable() or c.isspace()))
    if "\0" in text or strange > MOST_STRANGE * len(text):
        raise NotRobots("no text")
    if text.lstrip()[:1] == "<":
        try:
            text = "\n".join(lxml.html.document_fromstring(text).itertext())
        except (ParserError, ValueError):  # nothing but comments
            return ""
    return text


def refuses_ai(tags: str, agent: str) -> bool:
    """Whether X-Robots-Tag (or a robots meta tag) says noai, noimageai or noimageindex to all, or to this agent.

    A tag may be addressed to one agent ("otherbot: noai, noindex"), which then holds until the next one is named.
    """
    addressed = True
    for part in tags.lower().split(","):
        directive = part.strip()
        if ":" in directive and not directive.startswith(("unavailable_after", "max-")):
            name, directive = (piece.strip() for piece in directive.split(":", 1))
            addressed = name in ("*", "robots", agent.split("/")[0].lower())
        if addressed and directive in REFUSING_TAGS:
            return True
    return False
