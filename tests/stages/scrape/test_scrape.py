# ruff: noqa: E501
"""The crawl against real HTTP servers: the demo's storefront, shop systems of other kinds, a hostile one, and kills."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from stages.common.params import Scrape, load_params
from stages.common.tables import read_table
from stages.scrape.__main__ import Paths, scrape
from tests.hostile_shop import GOOD, hostile_shop
from tests.shop_server import Answer, Shop, jpeg, page, picture, serving
from tests.shop_systems import hand_made, opencart_like, oscar_like, shopify_like, woocommerce_like

REPOSITORY = Path(__file__).parents[3]


def settings(origin: str, **changes: Any) -> Scrape:
    base = load_params(REPOSITORY / "params.yaml").scrape
    given = {"storefront": "", "start_urls": [f"{origin}/"], "allow_loopback": True, "timeout": 2.0, "retries": 2}
    return base.model_copy(update=given | changes)


def crawl(origin: str, folder: Path, **changes: Any) -> list[dict[str, Any]]:
    return scrape(settings(origin, **changes), Paths(folder / "raw", folder / "scratch"))


def pictures_by_product(rows: list[dict[str, Any]], origin: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if not (row["drop_reason"] or "").startswith("smaller copy"):
            found[row["product"]].add(row["image_url"].removeprefix(origin))
    return dict(found)


# --- The demo's storefront -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("demo")
    params = load_params(REPOSITORY / "params.yaml").scrape
    params = params.model_copy(update={"storefront": str(REPOSITORY / "demo/storefront"), "start_urls": ["/"]})
    rows = scrape(params, Paths(folder / "raw", folder / "scratch"))
    return folder / "raw", rows, json.loads((REPOSITORY / "demo/storefront/truth.json").read_text())


def test_every_product_and_picture_of_the_demo_is_found_once(demo: Any) -> None:
    _, rows, truth = demo
    origin = "http://storefront.invalid/"
    assert sorted(row["image_url"].removeprefix(origin) for row in rows) == sorted(p["path"] for p in truth["pictures"])
    assert {row["product"] for row in rows} == {p["name"] for p in truth["products"]}
    colours = {product["name"]: product["colour"] for product in truth["products"]}
    assert all(row["colour"] == colours[row["product"]] for row in rows)


def test_the_demos_files_are_the_shops_bytes_named_by_their_hash(demo: Any) -> None:
    raw, rows, truth = demo
    hashes = {p["path"]: p["sha256"] for p in truth["pictures"]}
    taken = [row for row in rows if row["sha256"]]
    names = {product["slug"]: product["name"].lower() for product in truth["products"]}
    assert len(taken) == sum("hugo" in names[p["product"]] for p in truth["pictures"])
    for row in taken:
        assert row["sha256"] == hashes[row["image_url"].removeprefix("http://storefront.invalid/")]
        assert hashlib.sha256((raw / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    assert {f"images/{path.name}" for path in (raw / "images").iterdir()} == {row["file"] for row in taken}


def test_nothing_that_robots_txt_forbids_is_in_the_demos_manifest(demo: Any) -> None:
    assert not [row for row in demo[1] if "/private/" in row["page_url"] + row["image_url"]]


# --- Shop systems ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", [woocommerce_like, oscar_like, shopify_like, opencart_like, hand_made])
def test_all_products_of_a_shop_system_with_all_pictures_at_their_largest(system: Any, tmp_path: Path) -> None:
    shop, wanted = system()
    with serving(shop) as origin:
        rows = crawl(origin, tmp_path, name_contains="")
    assert pictures_by_product(rows, origin) == wanted
    assert not [row for row in rows if row["drop_reason"] and not row["drop_reason"].startswith("smaller copy")]


# --- Manners ---------------------------------------------------------------------------------------------------------


def small_shop(pictures: int = 3) -> Shop:
    shop = Shop()
    for number in range(pictures):
        shop.pages[f"/i/{number}.jpg"] = jpeg(picture(number))
        shop.pages[f"/p/{number}"] = page(
            f'<main class="product"><h1>Hugo {number}</h1><img src="/i/{number}.jpg"><p>$ 5.00</p><button>Add to cart</button></main>'
        )
    shop.pages["/"] = page("".join(f'<a href="/p/{number}">{number}</a>' for number in range(pictures)))
    return shop


def test_the_crawl_delay_of_robots_txt_is_kept(tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/robots.txt"] = Answer("User-agent: emblem\nCrawl-delay: 0.3\n", "text/plain")
    with serving(shop) as origin:
        crawl(origin, tmp_path)
    gaps = [b - a for a, b in zip(shop.times[1:], shop.times[2:], strict=False)]
    assert len(gaps) >= 6
    assert min(gaps) > 0.25


def test_a_shop_whose_robots_txt_cannot_be_had_is_not_crawled(tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/robots.txt"] = Answer("down", status=500)
    with serving(shop) as origin, pytest.raises(UserError, match=r"robots\.txt cannot be had"):
        crawl(origin, tmp_path)
    assert set(shop.asked) == {"/robots.txt"}


def test_the_user_agent_says_who_it_is() -> None:
    assert load_params(REPOSITORY / "params.yaml").scrape.user_agent.startswith("emblem/")


def test_a_shop_on_this_machine_is_only_crawled_where_that_is_allowed(tmp_path: Path) -> None:
    shop = small_shop()
    with serving(shop) as origin, pytest.raises(UserError, match="not a public address"):
        crawl(origin, tmp_path, allow_loopback=False)
    assert not shop.asked


def test_pictures_on_a_host_that_is_not_allowed_fail_the_stage_and_are_named(tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/p/0"] = page(
        '<main class="product"><h1>Hugo 0</h1><img src="http://cdn.example.com/1.jpg"><p>$ 5.00</p><button>Add to cart</button></main>'
    )
    with (
        serving(shop) as origin,
        pytest.raises(UserError, match=r"1 of 3 pictures lost.*cdn\.example\.com.*allowed_hosts"),
    ):
        crawl(origin, tmp_path)


def test_no_product_at_all_is_an_error(tmp_path: Path) -> None:
    shop = Shop({"/": page("<h1>Under construction</h1>")})
    with serving(shop) as origin, pytest.raises(UserError, match="no product found on 1 pages"):
        crawl(origin, tmp_path)


def test_no_product_of_the_name_is_an_error_that_shows_names(tmp_path: Path) -> None:
    with (
        serving(small_shop()) as origin,
        pytest.raises(UserError, match=r"none of 3 products is named 'boss'.*'Hugo 0'"),
    ):
        crawl(origin, tmp_path, name_contains="boss")


def test_the_page_budget_is_kept(tmp_path: Path) -> None:
    shop = small_shop(20)
    with serving(shop) as origin:
        crawl(origin, tmp_path, max_pages=6)
    assert sum(path.startswith("/p/") or path == "/" for path in shop.asked) == 6


def test_language_variants_are_one_product(tmp_path: Path) -> None:
    shop = Shop({"/i/1.jpg": jpeg(picture(1)), "/i/2.jpg": jpeg(picture(2))})
    link = '<link rel="alternate" hreflang="{}" href="{}">'
    head = link.format("en", "/p/shirt") + link.format("de", "/de/p/hemd")
    body = '<main class="product"><h1>{}</h1><div class="gallery"><img src="/i/1.jpg"><img src="/i/2.jpg"></div><button>Add to cart</button></main>'
    shop.pages["/p/shirt"] = page(body.format("HUGO shirt"), head)
    shop.pages["/de/p/hemd"] = page(body.format("HUGO Hemd"), head, "de")
    shop.pages["/fr/p/chemise"] = page(body.format("HUGO chemise"), "", "fr")
    shop.pages["/"] = page('<a href="/p/shirt">a</a><a href="/de/p/hemd">b</a><a href="/fr/p/chemise">c</a>')
    with serving(shop) as origin:
        rows = crawl(origin, tmp_path)
    assert {row["product"] for row in rows} == {"HUGO shirt"}
    assert len(rows) == 2


def test_a_start_page_that_only_leads_on_is_followed(tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/shop/"] = shop.pages.pop("/")
    shop.pages["/"] = Answer('<html><head><meta http-equiv="refresh" content="0; URL=shop/"></head></html>')
    with serving(shop) as origin:
        rows = crawl(origin, tmp_path)
    assert len(rows) == 3


def test_a_crawl_that_failed_asks_again_for_what_failed(tmp_path: Path) -> None:
    shop = small_shop()
    there = shop.pages.pop("/i/0.jpg")
    with serving(shop) as origin:
        with pytest.raises(UserError, match=r"1 of 3 pictures lost.*HTTP status 404.*/i/0\.jpg"):
            crawl(origin, tmp_path)
        shop.pages["/i/0.jpg"] = there
        rows = crawl(origin, tmp_path)
    assert all(row["sha256"] for row in rows)
    assert shop.counts()["/i/1.jpg"] == 1


def test_a_broken_address_in_an_attribute_costs_no_page(tmp_path: Path) -> None:
    shop = small_shop()
    shop.pages["/p/0"] = page(
        '<main class="product"><h1>Hugo 0</h1><img src="/i/0.jpg" data-zoom="//[bad.jpg"><p>$ 5.00</p><button>Add to cart</button></main>'
    )
    with serving(shop) as origin:
        assert len(crawl(origin, tmp_path)) == 3


# --- The hostile shop ------------------------------------------------------------------------------------------------


@dataclass
class HostileCrawl:
    """A finished crawl of the hostile shop, and what it cost."""

    shop: Shop
    inside: Shop
    folder: Path
    rows: list[dict[str, Any]]
    seconds: float
    megabytes: float


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> HostileCrawl:
    folder = tmp_path_factory.mktemp("hostile") / "deep" / "er"
    inside = Shop({"/": page("<h1>inside</h1>"), "/inside.jpg": jpeg(picture(1))})
    with serving(inside) as other:
        shop = hostile_shop(int(other.rsplit(":", 1)[1]))
        with serving(shop) as origin:
            started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            rows = crawl(origin, folder, max_failed_share=1.0, max_image_megabytes=5, timeout=1.0)
            seconds = time.monotonic() - started
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return HostileCrawl(shop, inside, folder, rows, seconds, megabytes)


def test_a_hostile_shop_gives_its_good_pictures_and_nothing_else(hostile: HostileCrawl) -> None:
    path_of = {id(row): "/" + row["image_url"].split("/", 3)[-1] for row in hostile.rows}
    taken = {path_of[id(row)] for row in hostile.rows if row["sha256"]}
    assert {f"/images/good-{number}.jpg" for number in range(GOOD)} <= taken
    assert not [row for row in hostile.rows if row["drop_reason"] is None and not row["sha256"]]
    reasons = {path_of[id(row)]: row["drop_reason"] for row in hostile.rows}
    assert reasons["/html.jpg"] == "HTML, not a picture"
    assert reasons["/loop/a.jpg"] == "redirects in a circle"
    assert reasons["/gone.jpg"] == "HTTP status 404"
    assert reasons["/drip.jpg"] == "took longer than 1 s"
    assert reasons["/bomb.jpg"] == "larger than 5 MB"
    assert reasons["/to-secret.jpg"] == "forbidden by robots.txt"
    for name in ("file", "data", "private", "localhost", "decimal", "metadata"):
        assert reasons[f"/to-{name}.jpg"], name
    assert {row["robots"] for row in hostile.rows if row["image_url"].endswith(("/noai.jpg", "/never.jpg"))} == {"noai"}


def test_a_hostile_shop_gets_nothing_fetched_that_is_forbidden_or_private(hostile: HostileCrawl) -> None:
    assert not hostile.inside.asked
    forbidden = ("/secret/", "/images/secret", "/images/never")
    assert not [path for path in hostile.shop.asked if path.startswith(forbidden)]


def test_a_hostile_shop_costs_bounded_time_and_memory(hostile: HostileCrawl) -> None:
    assert hostile.seconds < 90
    assert hostile.megabytes < 300
    assert sum(path.startswith("/calendar/") for path in hostile.shop.asked) <= 40


def test_a_hostile_shop_writes_nothing_outside_of_its_folder(hostile: HostileCrawl) -> None:
    root = hostile.folder.parents[1]
    files = [path.relative_to(hostile.folder).as_posix() for path in root.rglob("*") if path.is_file()]
    assert all(name.startswith(("raw/images/", "raw/manifest.jsonl")) for name in files), files
    assert all(len(Path(name).stem) == 64 for name in files if name.startswith("raw/images/"))
    assert not Path("/tmp/evil").exists()


def test_a_shop_that_only_draws_itself_by_script(tmp_path: Path) -> None:
    pytest.importorskip("scrapy_playwright")
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("no browser here")
    shop = Shop({"/i/1.jpg": jpeg(picture(1))})
    body = '<main class="product"><h1>Hugo 1</h1><img src="/i/1.jpg"><p>$ 5.00</p><button>Add to cart</button></main>'
    shop.pages["/p/1"] = page(f"<script>document.write({json.dumps(body)})</script>")
    shop.pages["/"] = page('<script>document.write("<a href=/p/1>one</a>"); fetch("http://localhost:9/leak")</script>')
    with serving(shop) as origin:
        rows = crawl(origin, tmp_path, javascript=True, timeout=20.0)
    assert [(row["product"], row["image_url"]) for row in rows] == [("Hugo 1", f"{origin}/i/1.jpg")]
    assert not [path for path in shop.asked if shop.counts()[path] > 1]


# --- Kills -----------------------------------------------------------------------------------------------------------

_SCRIPT = """
import sys, json
from pathlib import Path
from stages.common.params import Scrape
from stages.scrape.__main__ import Paths, scrape
scrape(Scrape.model_validate(json.loads(sys.argv[1])), Paths(Path(sys.argv[2]), Path(sys.argv[3])))
"""


def test_a_crawl_killed_ten_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    shop, _ = woocommerce_like(products=24)
    shop.delay = 0.03
    with serving(shop) as origin:
        params = settings(origin, name_contains="", concurrency=4)
        scrape(params, Paths(tmp_path / "calm", tmp_path / "calm-scratch"))
        calm = shop.counts()
        shop.asked.clear()
        target, rng = tmp_path / "killed", random.Random(5)
        command = [sys.executable, "-c", _SCRIPT, params.model_dump_json(), str(target), str(tmp_path / "scratch")]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        kills = 0
        while not (target / "manifest.jsonl").exists():
            asked = len(shop.asked)
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            while kills < 10 and process.poll() is None and len(shop.asked) == asked:
                time.sleep(0.01)  # the process is up and asks for something new
            if kills < 10:
                time.sleep(rng.uniform(0, 0.12))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    kills += 1
            assert process.wait(120) in (0, -signal.SIGKILL)
    assert kills == 10
    assert (target / "manifest.jsonl").read_bytes() == (tmp_path / "calm" / "manifest.jsonl").read_bytes()
    assert len(list((target / "images").iterdir())) == len(read_table(target / "manifest.jsonl"))
    again = sum((shop.counts() - calm).values())
    assert again <= kills * params.concurrency  # only what was on its way when the process died
