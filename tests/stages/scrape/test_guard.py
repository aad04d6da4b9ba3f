"""Which addresses a crawl may ask."""

from __future__ import annotations

import asyncio

import pytest

from stages.scrape.guard import Guard, is_public

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "192.168.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "::1",
    "fe80::1%eth0",
    "::ffff:127.0.0.1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_this_machine_and_private_networks_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_the_open_internet_is_public() -> None:
    assert is_public("8.8.8.8")
    assert is_public("2001:4860:4860::8888")


def test_hosts_are_allowed_by_name_and_port() -> None:
    guard = Guard(["https://www.shop.test/"], ["cdn.test", "other.test:8080"], set())
    for url in ("https://shop.test/a", "http://www.shop.test:81/", "https://cdn.test/1.jpg", "http://other.test:8080/"):
        assert guard.refusal_of_name(url) is None, url
    for url in (
        "http://other.test/",
        "https://shop.test.evil.test/",
        "file:///etc/passwd",
        "http://[bad",
        "https:///a",
    ):
        assert guard.refusal_of_name(url), url


def test_a_private_address_needs_its_host_and_port_to_be_named() -> None:
    guard = Guard(["http://127.0.0.1:8000/"], [], {("127.0.0.1", 8000)})
    assert asyncio.run(guard.refusal("http://127.0.0.1:8000/")) is None
    assert "not a public address" in (asyncio.run(guard.refusal("http://127.0.0.1:8001/")) or "")
    assert guard.only_private_homes
    assert not Guard(["https://shop.test/"], [], set()).only_private_homes
