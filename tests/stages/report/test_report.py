"""The page says the right thing, and works in a real browser: 1,500 pictures, keyboard, phone, axe-core."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from stages.common.checkpoints import by_epoch, summarise
from stages.common.errors import UserError
from stages.common.files import write_json
from stages.common.params import Params
from stages.common.tables import write_table
from stages.report.__main__ import Paths, report
from stages.report.tables import table_2
from tests.scored_world import demo_params, scored_rows

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = Path(__file__).parents[2] / "vendor" / "axe-core" / "axe.min.js"
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (apt-get install chromium)")

EPOCHS = range(0, 31, 3)
QUALITY = {"dreambooth": (0.9, 0.5), "textual_inversion": (0.2, 0.0), "lora": (0.6, 0.0)}


def write_world(
    folder: Path, seeds: int, epochs: range = EPOCHS, quality: dict[str, tuple[float, float]] = QUALITY
) -> None:
    """Everything that the report reads: three methods, of which DreamBooth scores highest and copies."""
    metrics, samples = folder / "metrics", folder / "samples"
    picture = folder / "picture.png"
    Image.effect_noise((64, 64), 60).convert("RGB").save(picture)
    options = {"confidence": 0.95, "samples": 100, "seed": 0}
    untuned = scored_rows("base", {0: 0.0}, seeds=seeds)
    write_table(folder / "scores" / "base.jsonl", untuned)
    for method, (best, copied) in quality.items():
        rows = scored_rows(method, {e: best * min(1, e / 15) for e in epochs if e}, seeds=seeds, memorised=copied)
        write_table(folder / "scores" / f"{method}.jsonl", rows)
        summaries = [{"epoch": e} | summarise(of, **options) for e, of in by_epoch([*untuned, *rows]).items()]
        write_json(metrics / "epochs" / f"{method}.json", summaries)
        for row in [*untuned, *rows]:
            target = samples / row["method"] / row["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)
        losses = metrics / "finetune" / method / "plots" / "metrics" / "loss.tsv"
        losses.parent.mkdir(parents=True)
        losses.write_text("step\tloss\n" + "".join(f"{e}\t{1 / e}\n" for e in range(1, 31)))
    (folder / "captioned").mkdir()
    for name in ("000.png", "001.png"):
        shutil.copyfile(picture, folder / "captioned" / name)
    write_json(metrics / "funnel.json", {"crawled": 1200, "named": 700, "unique": 600, "with_logo": 150})
    shutil.copyfile(picture, metrics / "funnel.png")


def make(folder: Path, params: Params | None = None) -> Path:
    """Run the stage on that world; returns the folder of what it wrote."""
    paths = Paths(folder / "scores", folder / "samples", folder / "captioned", folder / "metrics")
    report(params or demo_params(), paths)
    return folder / "metrics"


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,519 pictures: 3 methods x 10 epochs and the untuned base, x 7 prompts x 7 seeds."""
    folder = tmp_path_factory.mktemp("report")
    write_world(folder, seeds=7)
    return make(folder)


def test_markdown_names_the_verdict_the_table_and_what_the_gates_rejected(page_folder: Path) -> None:
    text = (page_folder / "report.md").read_text()
    assert "Ship **LoRA, epoch " in text
    assert "| DreamBooth, epoch " in text
    assert "Untuned base" in text
    assert "copies training pictures" in text
    assert "not distinguishable" in text.lower()
    assert (page_folder / "report.png").exists()


def test_table_2_holds_the_best_three_of_each_method_by_the_papers_mean() -> None:
    epochs = {"lora": {0: {"mean": 0.0}, 3: {"mean": 0.2}, 6: {"mean": 0.5}, 9: {"mean": 0.3}, 12: {"mean": 0.1}}}
    assert [name for name, _ in table_2(epochs, 3)] == [
        "LoRA, epoch 6",
        "LoRA, epoch 9",
        "LoRA, epoch 3",
        "Untuned base (epoch 0)",
    ]


def test_the_same_input_gives_the_same_page(tmp_path: Path) -> None:
    write_world(tmp_path, seeds=2, epochs=range(0, 7, 3))
    first = {p: p.read_bytes() for p in sorted((make(tmp_path) / "report").rglob("*")) if p.is_file()}
    second = {p: p.read_bytes() for p in sorted((make(tmp_path) / "report").rglob("*")) if p.is_file()}
    assert first == second
    assert str(tmp_path) not in (tmp_path / "metrics" / "report" / "index.html").read_text()


def test_what_is_not_there_is_said_to_be_unavailable(tmp_path: Path) -> None:
    write_world(tmp_path, seeds=2, epochs=range(0, 7, 3))
    (tmp_path / "metrics" / "funnel.json").unlink()
    shutil.rmtree(tmp_path / "metrics" / "finetune")
    html = (make(tmp_path) / "report" / "index.html").read_text()
    assert "Unavailable: metrics/funnel.json" in html
    assert "Unavailable: metrics/detector_details.json" in html
    assert "Training loss: unavailable" in html


def test_the_verdict_is_a_file_with_the_numbers_of_the_page(page_folder: Path) -> None:
    verdict = json.loads((page_folder / "verdict.json").read_text())
    text = (page_folder / "report.md").read_text()
    assert verdict["ship"]["method"] == "lora"
    assert f"Ship **LoRA, epoch {verdict['ship']['epoch']}**. {verdict['reason']}" in text
    n = verdict["numbers"]
    shown = f"{n['joint_success']:.2f} ({n['joint_success_low']:.2f} to {n['joint_success_high']:.2f})"
    assert f"Joint success {shown}" in text
    assert f"Pictures {n['images']}." in text
    assert {row["method"] for row in verdict["rejected"]} == {"dreambooth"}
    assert all("copies training pictures" in row["why"] for row in verdict["rejected"])
    assert verdict["not_distinguishable"]
    for row in verdict["not_distinguishable"]:
        assert row["low"] <= 0 <= row["high"]
    assert verdict["confidence"] == 0.95


def test_a_verdict_to_ship_nothing_says_why(tmp_path: Path) -> None:
    write_world(tmp_path, seeds=2, epochs=range(0, 4, 3), quality=dict.fromkeys(QUALITY, (0.0, 0.0)))
    verdict = json.loads((make(tmp_path) / "verdict.json").read_text())
    assert verdict["ship"] is None
    assert "readable logo" in verdict["reason"]
    assert verdict["numbers"] == {}


def test_a_method_that_is_left_out_is_not_looked_for(tmp_path: Path) -> None:
    write_world(tmp_path, seeds=2, epochs=range(0, 4, 3))
    (tmp_path / "scores" / "dreambooth.jsonl").unlink()
    shutil.rmtree(tmp_path / "samples" / "dreambooth")
    metrics = make(tmp_path, demo_params().changed("finetune.dreambooth", epochs=0))
    assert "DreamBooth" not in (metrics / "report.md").read_text()
    assert "dreambooth" not in (metrics / "verdict.json").read_text()
    assert not (metrics / "report" / "images" / "dreambooth").exists()


def test_a_scored_picture_that_is_missing_is_one_line(tmp_path: Path) -> None:
    write_world(tmp_path, seeds=2, epochs=range(0, 4, 3))
    (tmp_path / "samples" / "lora" / "epoch-03" / "p00-s00.png").unlink()
    with pytest.raises(UserError, match=r"p00-s00\.png: no such file, but it is scored"):
        make(tmp_path)


def test_a_method_without_scores_is_one_line(tmp_path: Path) -> None:
    write_world(tmp_path, seeds=2, epochs=range(0, 4, 3))
    (tmp_path / "scores" / "lora.jsonl").unlink()
    with pytest.raises(UserError, match=r"lora\.jsonl"):
        make(tmp_path)


def test_text_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    write_world(tmp_path, seeds=2, epochs=range(0, 4, 3))
    path = tmp_path / "scores" / "lora.jsonl"
    path.write_text(path.read_text().replace("HUCO", "<script>alert(1)</script>\\\"'"))
    assert "<script>alert" not in (make(tmp_path) / "report" / "index.html").read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser, page_folder: Path) -> Iterator:
    """The page, freshly opened; any error in the console and any request beyond the folder fails the test."""
    opened, trouble = browser.new_page(viewport={"width": 1280, "height": 900}), []
    opened.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda r: trouble.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    opened.goto((page_folder / "report" / "index.html").as_uri(), wait_until="domcontentloaded")
    yield opened
    opened.close()
    assert trouble == []


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    # The 1,519 entries of the gallery are alike: a few of them are enough for axe.
    page.evaluate("[...document.querySelectorAll('#gallery li')].slice(12).forEach((item) => item.remove())")
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"]) for v in serious] == []
    page.locator("#gallery a").first.click()
    found = page.evaluate("axe.run(document.getElementById('viewer'), {resultTypes: ['violations']})")
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []


@needs_browser
def test_1519_pictures_load_lazily_and_quickly(page) -> None:
    assert page.locator("#gallery li").count() == 1519
    page.wait_for_load_state("load")
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert timing < 5000
    loaded = page.evaluate("[...document.images].filter((i) => i.complete && i.naturalWidth > 0).length")
    assert loaded < 600
    started = page.evaluate("performance.now()")
    page.select_option("select[name=sort]", "similarity")
    page.select_option("select[name=show]", "joint")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("performance.now()") - started < 4000


@needs_browser
def test_filter_and_sort(page) -> None:
    page.select_option("select[name=method]", "lora")
    page.select_option("select[name=epoch]", "15")
    page.select_option("select[name=show]", "joint")
    page.select_option("select[name=sort]", "confidence")
    shown = page.evaluate(
        "[...document.querySelectorAll('#gallery li')].filter((i) => !i.hidden).map((i) => ({...i.dataset}))"
    )
    assert shown
    assert {(d["method"], d["epoch"], d["joint"]) for d in shown} == {("lora", "15", "1")}
    values = [float(d["confidence"]) for d in shown]
    assert values == sorted(values, reverse=True)
    page.select_option("select[name=direction]", "up")
    first = page.evaluate("[...document.querySelectorAll('#gallery li')].find((i) => !i.hidden).dataset.confidence")
    assert float(first) == values[-1]
    assert page.locator("#count").inner_text() == f"{len(shown)} pictures"


@needs_browser
def test_enlarge_by_keyboard_with_the_nearest_training_picture_beside(page) -> None:
    link = page.locator("#gallery a").first
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer[open]")
    page.wait_for_function("document.getElementById('viewer-nearest').naturalWidth > 0")
    assert page.locator("#viewer-nearest").get_attribute("src") == "images/training/001.png"
    title = page.locator("#viewer-title").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-title").inner_text() != title
    page.keyboard.press("ArrowLeft")
    assert page.locator("#viewer-title").inner_text() == title
    assert "HU" in page.locator("#viewer-data").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer:not([open])", state="attached")
    assert page.evaluate("document.activeElement === document.querySelector('#gallery a')")


@needs_browser
def test_a_picture_of_the_grid_opens_too(page) -> None:
    page.locator("#grids details[open] button.sample").nth(5).click()
    page.wait_for_selector("#viewer[open]")
    assert "Untuned base, epoch 0" in page.locator("#viewer-title").inner_text()


@needs_browser
def test_fits_a_phone_and_prints(browser, page_folder: Path) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    opened = context.new_page()
    opened.goto((page_folder / "report" / "index.html").as_uri(), wait_until="domcontentloaded")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    heights = opened.evaluate("[...document.querySelectorAll('select, button')].map((e) => e.offsetHeight)")
    assert not [height for height in heights if 0 < height < 24]
    context.close()
    opened = browser.new_page()
    opened.goto((page_folder / "report" / "index.html").as_uri(), wait_until="domcontentloaded")
    opened.emulate_media(media="print")
    assert opened.evaluate("getComputedStyle(document.getElementById('pictures')).display") == "none"
    assert opened.evaluate("getComputedStyle(document.getElementById('table')).display") != "none"
    assert len(opened.pdf()) > 10_000
    opened.close()


@needs_browser
def test_without_script_all_pictures_and_tables_are_there(browser, page_folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((page_folder / "report" / "index.html").as_uri(), wait_until="domcontentloaded")
    assert opened.locator("#gallery a").first.get_attribute("href", timeout=5000).endswith(".png")
    context.close()


def test_scores_hold_what_the_page_lists(page_folder: Path) -> None:
    rows = json.loads((page_folder / "epochs" / "lora.json").read_text())
    html = (page_folder / "report" / "index.html").read_text()
    best = max((r for r in rows if r["epoch"]), key=lambda r: (r["mean"], -r["epoch"]))
    assert f"LoRA, epoch {best['epoch']}</th><td>{best['mean_od']:.2f}" in html
