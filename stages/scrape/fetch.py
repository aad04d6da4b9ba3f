"""One polite, guarded, remembered fetch: all that the crawl takes from the network comes through `Fetcher.fetch`.

Scrapy is the downloader (connections, compression, throttling, browser pages); the rules are here, on every hop:
- guard: http(s) only, hosts allowed by name, and the address that the name resolves to is public. The address that
  was checked is the one that is connected to, so a name cannot change its mind in between;
- robots: robots.txt with its Crawl-delay for pages and pictures, X-Robots-Tag noai and noimageai on what came back;
- patience: transient failures are tried again with growing pauses, Retry-After is honoured, sizes and times are
  bounded;
- memory: what was fetched is kept in a store, so that a killed crawl fetches nothing twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

from protego import Protego
from scrapy import Request
from scrapy.exceptions import DownloadCancelledError, DownloadTimeoutError, IgnoreRequest
from scrapy.extensions.throttle import AutoThrottle
from scrapy.resolver import dnscache
from w3lib.url import safe_url_string

from stages.common.errors import UserError
from stages.common.params import Scrape

if TYPE_CHECKING:
    from scrapy.core.engine import ExecutionEngine

Kind = Literal["page", "picture", "robots", "sitemap"]

PAGE_BYTES = 10 * 2**20
"""Largest page, robots.txt or sitemap, packed or unpacked."""
MOST_REDIRECTS = 6
MOST_CRAWL_DELAY = 120.0
"""Seconds. A robots.txt that asks for more is taken as a wish not to be crawled."""
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
REFUSING_TAGS = frozenset({"noai", "noimageai", "noimageindex"})
ACCEPT = {
    "picture": "image/png,image/jpeg,image/webp,image/*;q=0.8,*/*;q=0.5",
    "page": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}
KEPT_HEADERS = ("content-type", "x-robots-tag")


@dataclass(frozen=True)
class Fetched:
    """What came of one address: a body, or one reason why not."""

    url: str
    final_url: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    robots: Literal["allowed", "disallowed", "noai"] = "allowed"
    error: str | None = None

    @property
    def content_type(self) -> str:
        """The media type alone, lower-case."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()


# --- Memory ----------------------------------------------------------------------------------------------------------


class Store:
    """Fetched things on disk: a record an address, bodies by their sha256. Every write is atomic."""

    def __init__(self, folder: Path) -> None:
        self.records, self.bodies = folder / "records", folder / "bodies"
        for made in (self.records, self.bodies):
            made.mkdir(parents=True, exist_ok=True)

    def get(self, url: str) -> Fetched | None:
        """What is known of `url`; None where nothing is, or where a crash left a record without its whole body."""
        try:
            record = json.loads(self._record(url).read_bytes())
            sha256 = record.pop("sha256")
            body = self.body_path(sha256).read_bytes()
        except (FileNotFoundError, ValueError, KeyError):
            return None
        if hashlib.sha256(body).hexdigest() != sha256:
            return None
        return Fetched(body=body, **record)

    def put(self, fetched: Fetched) -> None:
        """Remember what came of an address."""
        sha256 = hashlib.sha256(fetched.body).hexdigest()
        if not self.body_path(sha256).exists():
            _write(self.body_path(sha256), fetched.body)
        record = {
            "url": fetched.url, "final_url": fetched.final_url, "status": fetched.status, "headers": fetched.headers,
            "robots": fetched.robots, "error": fetched.error, "sha256": sha256,
        }  # fmt: skip
        _write(self._record(fetched.url), json.dumps(record).encode())

    def forget_failures(self) -> None:
        """Forget what was not fetched well, so that the next run asks again."""
        for path in self.records.iterdir():
            try:
                failed = json.loads(path.read_bytes()).get("status") != 200
            except ValueError:
                failed = True
            if failed:
                path.unlink()

    def body_path(self, sha256: str) -> Path:
        """Where the body with this hash lies."""
        return self.bodies / sha256

    def _record(self, url: str) -> Path:
        return self.records / f"{hashlib.sha256(url.encode()).hexdigest()}.json"


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


# --- Guard -----------------------------------------------------------------------------------------------------------


class Guard:
    """Says which addresses may be asked. Names first, then what they resolve to."""

    def __init__(self, home_urls: list[str], allowed_hosts: list[str], private_origins: set[tuple[str, int]]) -> None:
        """home_urls: start pages and sitemaps, whose hosts are allowed; private_origins: (host, port) that may be on
        this machine or in a private network."""
        self.private_origins = private_origins
        self.home_hosts = {_without_www(urlsplit(url).hostname or "") for url in home_urls}
        self.allowed: set[tuple[str, int | None]] = set()
        for entry in allowed_hosts:
            parts = urlsplit(f"//{entry}" if "//" not in entry else entry)
            self.allowed.add((_without_www(parts.hostname or ""), parts.port))

    def refusal_of_name(self, url: str) -> str | None:
        """Why `url` may not be asked, judged by its text alone; None where it may."""
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip("."), port_of(url)
        except ValueError:
            return "not a valid address"
        if parts.scheme not in ("http", "https"):
            return f"{parts.scheme or 'no'}: addresses are not fetched"
        if not host or any(ord(c) <= 32 for c in url):
            return "not a valid address"
        name = _without_www(host)
        if name in self.home_hosts or (name, None) in self.allowed or (name, port) in self.allowed:
            return None
        return f"host {host} is not in scrape.allowed_hosts"

    async def refusal(self, url: str) -> str | None:
        """Why `url` may not be asked; resolves the host, and pins the address that was checked for the connection."""
        refused = self.refusal_of_name(url)
        if refused:
            return refused
        host, port = urlsplit(url).hostname or "", port_of(url)
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            if host in dnscache:
                addresses = [dnscache[host]]
            else:
                try:
                    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
                except OSError:
                    return f"host {host} cannot be resolved"
                addresses = [str(entry[4][0]) for entry in found if entry[0] == socket.AF_INET]
                addresses = addresses or [str(entry[4][0]) for entry in found]
        private = [address for address in addresses if not is_public(address)]
        if private and not self._may_be_private(host, port):
            return f"host {host} is {private[0]}, which is not a public address"
        dnscache[host] = addresses[0]
        return None

    def _may_be_private(self, host: str, port: int) -> bool:
        return (host, port) in self.private_origins


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet: not this machine, a private network, or a reserved range."""
    found = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return found.is_global and not found.is_multicast


def port_of(url: str) -> int:
    """The port of an address, its scheme's own where none is named."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _without_www(host: str) -> str:
    return host.lower().rstrip(".").removeprefix("www.")


def clean_url(url: str, base: str = "") -> str:
    """An absolute address, percent-encoded, without fragment, user name and control characters; '' for no address."""
    text = "".join(c for c in url if ord(c) > 31).strip()
    try:
        parts = urlsplit(urljoin(base, text))
        if parts.scheme not in ("http", "https"):
            return urlunsplit(parts)
        if not parts.hostname:
            return ""
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        default = parts.port in (None, 443 if parts.scheme == "https" else 80)
        netloc = host if default else f"{host}:{parts.port}"
        return str(safe_url_string(urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))))
    except ValueError:
        return ""


# --- Politeness ------------------------------------------------------------------------------------------------------


class PoliteThrottle(AutoThrottle):  # type: ignore[misc]
    """Scrapy's AutoThrottle that never goes below a host's Crawl-delay."""

    least: dict[str, float]

    def _spider_opened(self, spider: Any) -> None:
        self.least = {}
        super()._spider_opened(spider)

    def hold(self, engine: ExecutionEngine, host: str, seconds: float) -> None:
        """Wait at least `seconds` between two requests to `host` from now on."""
        self.least[host] = seconds
        engine.downloader.per_slot_settings[host] = {"delay": max(seconds, engine.downloader._delay)}
        if host in engine.downloader.slots:
            engine.downloader.slots[host].delay = max(seconds, engine.downloader.slots[host].delay)

    def _adjust_delay(self, slot: Any, latency: float, response: Any) -> None:
        super()._adjust_delay(slot, latency, response)
        host = urlsplit(response.url).hostname or ""
        slot.delay = max(slot.delay, self.least.get(host, 0.0))


class Robots:
    """robots.txt of every host, asked for once (RFC 9309: none allows all, one that cannot be had forbids all)."""

    def __init__(self, fetcher: Fetcher, agent: str) -> None:
        self.fetcher, self.agent = fetcher, agent.split("/")[0]
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
        answer = await self.fetcher.fetch(f"{origin}/robots.txt", "robots")
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
            self.fetcher.hold(origin, float(delay))
        return rules


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


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


# --- Fetching --------------------------------------------------------------------------------------------------------


class Fetcher:
    """Fetches addresses by the rules of this module. `alias` maps a public origin to the one that really serves it."""

    def __init__(
        self, engine: ExecutionEngine, throttle: PoliteThrottle | None, params: Scrape, store: Store, guard: Guard,
        alias: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.engine, self.throttle, self.params, self.store, self.guard = engine, throttle, params, store, guard
        self.public, self.real = alias or ("", "")
        self.robots = Robots(self, params.user_agent)
        self.limit = asyncio.Semaphore(params.concurrency * 4)
        self.fetched = 0

    async def fetch(self, url: str, kind: Kind) -> Fetched:
        """The body behind `url`, or why there is none. Never raises for what a server does."""
        known = self.store.get(url)
        if known is None:
            known = await self._follow(url, kind)
            if not (known.error and (known.status is None or known.status in TRANSIENT)):
                self.store.put(known)
        return known

    def hold(self, origin: str, seconds: float) -> None:
        """Ask `origin` no more often than every so many seconds."""
        if self.throttle:
            self.throttle.hold(self.engine, urlsplit(self._to_real(origin)).hostname or "", seconds)

    async def _follow(self, url: str, kind: Kind) -> Fetched:
        here, seen = url, {url}
        for _ in range(MOST_REDIRECTS + 1):
            real = self._to_real(here)
            refused = await self.guard.refusal(real)
            if refused:
                return Fetched(url, here, error=refused)
            if kind != "robots" and not await self.robots.allows(here):
                reason = self.robots.unreachable.get(origin_of(here))
                if reason:
                    return Fetched(url, here, robots="disallowed", error=f"robots.txt cannot be had ({reason})")
                return Fetched(url, here, robots="disallowed", error="forbidden by robots.txt")
            async with self.limit:
                answer = await self._patiently(url, here, real, kind)
            target = answer.headers.get("location", "")
            if answer.error or not (answer.status and 300 <= answer.status < 400 and target):
                return self._judge(answer, kind)
            here = self._to_public(clean_url(target, self._to_real(here)))
            if here in seen:
                return Fetched(url, here, status=answer.status, error="redirects in a circle")
            seen.add(here)
        return Fetched(url, here, status=answer.status, error=f"more than {MOST_REDIRECTS} redirects")

    def _judge(self, answer: Fetched, kind: Kind) -> Fetched:
        headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
        body, robots, error = answer.body, answer.robots, answer.error
        if error is None and answer.status != 200:
            error, body = f"HTTP status {answer.status}", b""
        if error is None and kind == "picture" and refuses_ai(headers.get("x-robots-tag", ""), self.params.user_agent):
            error, body, robots = "X-Robots-Tag refuses use for AI", b"", "noai"
        if self.real and kind != "picture":
            body = body.replace(self.real.encode(), self.public.encode())
        return Fetched(answer.url, answer.final_url, answer.status, headers, body, robots, error)

    async def _patiently(self, url: str, here: str, real: str, kind: Kind) -> Fetched:
        """One hop, tried again where it failed in a way that may pass."""
        for attempt in range(self.params.retries + 1):
            answer, pause = await self._once(url, here, real, kind)
            transient = pause is not None
            if not transient or attempt == self.params.retries:
                break
            await asyncio.sleep(max(pause or 0.0, min(0.25 * 2**attempt, 8.0)))
        return answer

    async def _once(self, url: str, here: str, real: str, kind: Kind) -> tuple[Fetched, float | None]:
        """One request. The second value is None, or the least number of seconds after which it may be tried again."""
        largest = self.params.max_image_megabytes * 2**20 if kind == "picture" else PAGE_BYTES
        meta: dict[str, Any] = {
            "download_maxsize": largest,
            "download_timeout": self.params.timeout,
            "dont_redirect": True,
        }
        if real != here or not is_public(dnscache[urlsplit(real).hostname or ""]):
            meta["proxy"] = None
        if kind == "page" and self.params.javascript:
            meta["playwright"] = True
        headers = {"Accept": ACCEPT.get(kind, "*/*")}
        request = Request(real, headers=headers, meta=meta, dont_filter=True)
        self.fetched += 1
        try:
            response = await self.engine.download_async(request)
        except DownloadTimeoutError:
            return Fetched(url, here, error=f"took longer than {self.params.timeout:g} s"), 0.0
        except (DownloadCancelledError, IgnoreRequest):
            return Fetched(url, here, status=0, error=f"larger than {largest // 2**20} MB"), None
        except UserError:
            raise
        except Exception as error:  # whatever else a connection can die of
            return Fetched(url, here, error=f"connection failed ({type(error).__name__})"), 0.0
        names = {name.decode("latin-1").lower(): name for name in response.headers}
        kept = {
            low: ", ".join(value.decode("latin-1") for value in response.headers.getlist(name))
            for low, name in names.items()
            if low in (*KEPT_HEADERS, "location", "retry-after")
        }
        bad = f"HTTP status {response.status}" if response.status >= 400 else None
        answer = Fetched(url, here, response.status, kept, bytes(response.body), error=bad)
        if response.status not in TRANSIENT:
            return answer, None
        retry_after = kept.get("retry-after", "")
        return answer, min(float(retry_after), 60.0) if retry_after.isdigit() else 0.0

    def _to_real(self, url: str) -> str:
        return self.real + url[len(self.public) :] if self.public and _begins(url, self.public) else url

    def _to_public(self, url: str) -> str:
        return self.public + url[len(self.real) :] if self.real and _begins(url, self.real) else url


def _begins(url: str, origin: str) -> bool:
    return url == origin or url.startswith(f"{origin}/") or url.startswith(f"{origin}?")
