"""What a shop asks of robots: robots.txt with its Crawl-delay, and tags that refuse use for AI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from protego import Protego

from stages.common.errors import UserError
from stages.scrape.store import Fetched, Kind
from stages.scrape.urls import origin_of

MOST_CRAWL_DELAY = 120.0
"""Seconds. A robots.txt that asks for more is taken as a wish not to be crawled."""
REFUSING_TAGS = frozenset({"noai", "noimageai", "noimageindex"})
"""What img2dataset honours too, but for noindex, which is said of pages that search engines shall not list."""


class Robots:
    """robots.txt of every host, asked for once (RFC 9309: none allows all, one that cannot be had forbids all)."""

    def __init__(
        self,
        fetch: Callable[[str, Kind], Awaitable[Fetched]],
        hold: Callable[[str, float], None],
        agent: str,
    ) -> None:
        """fetch: get an address; hold: ask an origin no more often than every so many seconds; agent: who asks."""
        self.fetch, self.hold, self.agent = fetch, hold, agent.split("/")[0]
        self.rules: dict[str, asyncio.Task[Protego | None]] = {}
        self.unreachable: dict[str, str] = {}

    async def allows(self, url: str) -> bool:
        """Whether the rules of its host let `url` be fetched."""
        rules = await self.of(url)
        return rules is not None and bool(rules.can_fetch(url, self.agent))

    async def of(self, url: str) -> Protego | None:
        """The rules of the host of `url`; None where they cannot be had, which forbids everything."""
        origin = origin_of(url)
        if origin not in self.rules:
            self.rules[origin] = asyncio.ensure_future(self._ask(origin))
        return await self.rules[origin]

    async def _ask(self, origin: str) -> Protego | None:
        answer = await self.fetch(f"{origin}/robots.txt", "robots")
        if answer.error and (answer.status is None or answer.status >= 500 or answer.status == 429):
            self.unreachable[origin] = answer.error
            return None
        found = answer.status == 200 and "html" not in answer.content_type
        rules = Protego.parse(answer.body.decode("utf-8", "replace") if found else "")
        delay = rules.crawl_delay(self.agent)
        if delay:
            if delay > MOST_CRAWL_DELAY:
                raise UserError(
                    f"{origin}/robots.txt asks for {delay:g} s between requests: that is no crawl; ask the shop"
                )
            self.hold(origin, float(delay))
        return rules


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
