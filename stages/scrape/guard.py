"""Which addresses may be asked: http(s) alone, on hosts that are allowed by name, at public IP addresses.

The IP address that was checked is the one that is connected to, so a name cannot change its mind in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from scrapy.resolver import dnscache

from stages.common.params import Scrape
from stages.scrape.shop import Shop
from stages.scrape.urls import port_of


class Guard:
    """Says which addresses may be asked. Names first, then what they resolve to."""

    def __init__(self, home_urls: list[str], allowed_hosts: list[str], private_origins: set[tuple[str, int]]) -> None:
        """Allow the hosts of home_urls and allowed_hosts; private_origins may be on this machine or its network.

        Args:
            home_urls: start pages and sitemaps.
            allowed_hosts: host names, with or without a port.
            private_origins: (host, port).
        """
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
        if private and (host, port) not in self.private_origins:
            return f"host {host} is {private[0]}, which is not a public address"
        dnscache[host] = addresses[0]
        return None

    @property
    def only_private_homes(self) -> bool:
        """Whether the whole shop is on this machine or in a private network, as its addresses say."""
        return all(_is_private(host) for host in self.home_hosts)


def guard_of(params: Scrape, shop: Shop) -> Guard:
    """The guard of a crawl by `params`: what is private may be asked only where the user named it."""
    home_urls = [shop.served_at] if shop.served_at else [*shop.starts, *shop.sitemaps]
    allowed = [host if "//" in host else f"http://{host}" for host in params.allowed_hosts]
    may_be_private = [*home_urls, *allowed] if shop.served_at or params.allow_loopback else []
    return Guard(
        home_urls, params.allowed_hosts, {(urlsplit(url).hostname or "", port_of(url)) for url in may_be_private}
    )


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the open internet: not this machine, a private network, or a reserved range."""
    found = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return found.is_global and not found.is_multicast


def _is_private(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:  # a name, not an IP address
        return host == "localhost"


def _without_www(host: str) -> str:
    return host.lower().rstrip(".").removeprefix("www.")
