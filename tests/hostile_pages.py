# ruff: noqa: E501
"""A shop with pages and pictures that cost a reader its time or its memory, good products among them.

`python -m tests.hostile_pages 200 1000` crawls 200 such pages and 1,000 such pictures and says what that took.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stages.common.params import load_params
from stages.common.tables import read_table
from tests.hostile_shop import gzip_bomb, huge_png, product_page
from tests.shop_server import Answer, Route, Shop, jpeg, page, picture, serving

REPOSITORY = Path(__file__).parents[1]
LD = '<script type="application/ld+json">{}</script>'


def html(text: str | bytes, **more: Any) -> Answer:
    body = text.encode() if isinstance(text, str) else text
    packed = gzip.compress(body, 1)
    return Answer(packed, headers={"Content-Encoding": "gzip"}, **more)


def graph(n: int) -> str:
    things = [
        {"@id": f"#{i}", "@type": "Product", "isRelatedTo": [{"@id": f"#{(i + s) % n}"} for s in range(9)]}
        for i in range(n)
    ]
    return json.dumps({"@graph": things})


KINDS: dict[str, Callable[[int], Route]] = {
    "deep": lambda n: html("<div>" * (100_000 + n)),
    "tags": lambda n: html("<b></b>" * (1_200_000 + n)),
    "tags below the bound": lambda n: html("<p><i>x</i>" * 90_000),
    "attributes": lambda n: html("<div " + " ".join(f"a{i}=1" for i in range(300_000 + n)) + ">"),
    "cards": lambda n: html(
        "".join(f'<li><a href="/x{n}/{i}"><img src="/n/{i}.jpg">x</a></li>' for i in range(30_000))
    ),
    "links": lambda n: html("".join(f'<a href="/l{n}/{i}">x</a>' for i in range(140_000))),
    "srcset": lambda n: html(f'<h1>a</h1><img srcset="{"/a.jpg 1x 2 ( " * 60_000}">'),
    "pictures": lambda n: html(
        "<h1>a</h1><div class=gallery>" + "".join(f"<img src=/n/{i}.jpg>" for i in range(100_000))
    ),
    "graph": lambda n: html(LD.format(graph(3000))),
    "opened JSON": lambda n: html(LD.format("[" * 3_000_000)),
    "entities": lambda n: html("&amp" * 2_000_000),
    "XML entities": lambda n: Answer(
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><html>&b;</html>',
        "application/xhtml+xml",
    ),
    "prices": lambda n: html(f"<h1>a</h1><p>{'1 ' * 1_000_000}</p>"),
    "classes": lambda n: html(f'<h1 class="{"related " * 500_000}">a</h1>' + "<p>x</p>" * 1000),
    "style": lambda n: html(f'<div class=gallery style="{"background:url(" * 300_000}">'),
    "script": lambda n: html(f"<script>window.__NUXT__={'{a:' * 1_000_000}</script><script>{'x' * 9_000_000}</script>"),
    "Nuxt in itself": lambda n: html(
        f'<script id="__NUXT_DATA__" type="application/json">{json.dumps([[1] * 2000, [0] * 2000])}</script>'
    ),
    "utf-16 that is none": lambda n: html(
        b"\xff\xfe" + b"<h1>\xd8" * 100_001, content_type="text/html; charset=utf-16"
    ),
    "another charset": lambda n: html(bytes(range(256)) * 2000, content_type="text/html; charset=idna"),
    "zeros": lambda n: html(b"<h1>\0</h1>" + bytes(5_000_000)),
    "gzip bomb": lambda n: Answer(gzip_bomb(), headers={"Content-Encoding": "gzip"}),
    "cut gzip": lambda n: Answer(gzip.compress(b"<h1>x</h1>" * 9000)[:-200], headers={"Content-Encoding": "gzip"}),
    "deflate that is none": lambda n: Answer(
        b"<h1>x</h1>" + zlib.compress(b"x"), headers={"Content-Encoding": "deflate"}
    ),
    "redirects": lambda n: Answer(status=302, headers={"Location": f"{bad_page(n)}/on/0"}),
    "slow": lambda n: Answer("<h1>slow</h1>" * 100, drip=0.5),
    "microdata": lambda n: html("<div itemscope itemtype=https://schema.org/Product itemprop=isRelatedTo>" * 30_000),
    "templates": lambda n: html("<table><tr><td><template>" * 60_000),
    "formatting": lambda n: html("<a><p>" * 100_000),
}
PICTURES: dict[str, Callable[[int], Route]] = {
    "huge": lambda n: Answer(huge_png(40_000, 40_000), "image/png"),
    "large": lambda n: Answer(huge_png(5_900 + n % 7, 6_000), "image/png"),
    "cut": lambda n: jpeg(picture(n)[:900]),
    "page": lambda n: Answer("<!doctype html><h1>x</h1>", "image/jpeg"),
    "noise": lambda n: Answer(bytes(range(256)) * 12_000, "image/jpeg"),
    "bomb": lambda n: Answer(gzip_bomb(), "image/jpeg", headers={"Content-Encoding": "gzip"}),
    "gone": lambda n: Answer("gone", status=404),
    "circle": lambda n: Answer(status=302, headers={"Location": f"/bad/{n}.jpg"}),
}


def bad_page(n: int) -> str:
    """The address of a hostile page; twenty have one pattern, as a pattern that leads to nothing is left soon."""
    return f"/bad/{chr(ord('a') + n // 20)}/{n}"


def hostile_pages(pages: int, pictures: int, good: int = 40) -> Shop:
    """A shop of so many hostile pages and pictures, by turns, and of `good` products with a picture each."""
    shop, kinds, images = Shop(), list(KINDS.values()), list(PICTURES.values())
    made: dict[str, Route] = {}

    def once(path: str, kind: Callable[[int], Route], n: int) -> Route:
        if path not in made:
            made.clear()  # the answers together are larger than a memory
            made[path] = kind(n)
        return made[path]

    def answer(path: str) -> Answer | None:
        parts = path.strip("/").split("/")
        if parts[0] == "bad" and len(parts) == 3:
            return once(path, kinds[int(parts[2]) % len(kinds)], int(parts[2]))  # type: ignore[return-value]
        if parts[0] == "bad" and len(parts) == 5:
            return Answer(status=302, headers={"Location": "/".join(["", *parts[:4], str(int(parts[4]) + 1)])})
        if parts[0] == "bad" and parts[1].endswith(".jpg"):
            number = int(parts[1].removesuffix(".jpg"))
            return once(path, images[number % len(images)], number)  # type: ignore[return-value]
        return None

    shop.fallback = answer
    share = -(-pictures // good)
    for n in range(good):
        shop.pages[f"/i/{n}.jpg"] = jpeg(picture(n))
        bad = [f"/bad/{k}.jpg" for k in range(n * share, min((n + 1) * share, pictures))]
        shop.pages[f"/p/{n}"] = product_page(f"HUGO {n}", [f"/i/{n}.jpg", *bad])
    links = [bad_page(n) for n in range(pages)]
    for n in range(good):
        links.insert(n * (pages + good) // good, f"/p/{n}")
    shop.pages["/robots.txt"] = Answer("User-agent: *\nAllow: /\n", "text/plain")
    lists = [links[at : at + 8] for at in range(0, len(links), 8)]
    for n, part in enumerate(lists):
        shop.pages[f"/list/{n}"] = page("".join(f'<a href="{link}">x</a>' for link in part))
    shop.pages["/"] = page(
        "".join(f'<a href="/list/{n}">{n}</a>' for n in range(len(lists)))
        + "".join(f'<a href="{link}">x</a>' for link in links)
    )
    return shop


@dataclass
class Cost:
    """A crawl and what it took: rows, its text, seconds, and the most MiB of its processes together (as PSS)."""

    rows: list[dict[str, Any]]
    said: str
    seconds: float
    megabytes: float
    shop: Shop


_SCRIPT = """
import sys, json
from pathlib import Path
from stages.common.params import Scrape
from stages.scrape import reader
from stages.scrape.__main__ import Paths, scrape
reader.Reader.__init__.__defaults__ = (float(sys.argv[4]),)
scrape(Scrape.model_validate(json.loads(sys.argv[1])), Paths(Path(sys.argv[2]), Path(sys.argv[3])))
"""


def measured(shop: Shop, folder: Path, page_seconds: float = 1.0) -> Cost:
    """Crawl the shop in a process of its own, and measure."""
    base = load_params(REPOSITORY / "params.yaml").scrape
    most = 0.0
    with serving(shop) as origin:
        given = {"storefront": "", "start_urls": [f"{origin}/"], "allow_loopback": True, "timeout": 3.0, "retries": 0}
        params = base.model_copy(update=given | {"max_failed_share": 1.0, "max_image_megabytes": 5})
        command = [
            sys.executable,
            "-c",
            _SCRIPT,
            params.model_dump_json(),
            str(folder / "raw"),
            str(folder / "scratch"),
            str(page_seconds),
        ]
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def watch() -> None:
            nonlocal most
            crawl = psutil.Process(process.pid)
            while process.poll() is None:
                total = 0
                try:
                    for one in (crawl, *crawl.children(recursive=True)):
                        total += one.memory_full_info().pss
                except (psutil.Error, OSError):
                    pass
                most = max(most, total / 2**20)
                time.sleep(0.05)

        watcher = threading.Thread(target=watch)
        watcher.start()
        said = process.communicate()[0]
        watcher.join()
        seconds = time.monotonic() - started
    manifest = folder / "raw" / "manifest.jsonl"
    return Cost(read_table(manifest) if manifest.exists() else [], said, seconds, most, shop)


if __name__ == "__main__":
    huge_png(40_000, 40_000)  # takes longer to make than the crawl waits
    with tempfile.TemporaryDirectory() as made_for_it:
        cost = measured(hostile_pages(int(sys.argv[1]), int(sys.argv[2])), Path(made_for_it))
    kept = {row["product"] for row in cost.rows if row["sha256"] and "/i/" in row["image_url"]}
    asked = {path for path in cost.shop.asked if path.startswith("/bad/")}
    print(cost.said)
    print(
        f"{len(kept)} good products kept; {len(asked)} hostile addresses asked; {cost.seconds:.0f} s, {cost.megabytes:.0f} MiB"
    )
