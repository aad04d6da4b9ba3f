"""What is remembered of a crawl that was killed."""

from __future__ import annotations

from pathlib import Path

from stages.scrape.store import Fetched, Store

GOOD = Fetched("http://s.test/a", "http://s.test/b", 200, {"content-type": "image/png; q=1"}, b"bytes")
BAD = Fetched("http://s.test/c", "http://s.test/c", 404, error="HTTP status 404")


def test_what_was_put_is_got_by_another_process(tmp_path: Path) -> None:
    Store(tmp_path).put(GOOD)
    assert Store(tmp_path).get(GOOD.url) == GOOD
    assert Store(tmp_path).get(GOOD.final_url) is None


def test_half_a_file_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(GOOD)
    next(store.bodies.iterdir()).write_bytes(b"by")
    assert store.get(GOOD.url) is None
    next(store.records.iterdir()).write_bytes(b"{")
    assert store.get(GOOD.url) is None


def test_only_failures_are_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(GOOD)
    store.put(BAD)
    store.forget_failures()
    assert store.get(GOOD.url) == GOOD
    assert store.get(BAD.url) is None
