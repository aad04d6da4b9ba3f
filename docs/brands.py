"""README.md's table of the brands: whether what holds for HUGO holds for another logo, with the same hyper-parameters.

    python -m docs.brands

Reads   metrics/brands/*.json (`make brand NAME=...` makes them), and for HUGO the numbers in metrics/ themselves.
Writes  README.md, between `<!-- brands -->` and `<!-- /brands -->`; nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from demo.brands.catalogue import TAUGHT
from docs.numbers import (
    OPPOSITE,
    TITLES,
    Numbers,
    comparisons,
    fill,
    findings,
    interval,
    markdown,
    read,
    read_funnel,
    read_json,
    two,
)
from stages.common.command import stage_main
from stages.common.files import write_file

PAGE = Path("README.md")
MARKS = ("<!-- brands -->", "<!-- /brands -->")
RESULTS = Path("metrics/brands")
NOT_RUN = (
    "Not run yet: `make brand NAME=badge` (or wordmark, or mark) runs a brand, `python -m docs.brands` writes this."
)
KEPT = (
    *("mean", "mean_ocr", "mean_od", "joint_success", "memorised_share", "similarity_masked"),
    *("colour_fidelity", "clip_prompt_accuracy", "prior_drift"),
)
"""The scores of a checkpoint that are kept, each with its interval where it has one."""
OF_DETECTOR = ("mAP50", "precision", "recall", "false_positive_rate")


def collect(folder: Path = Path()) -> Numbers:
    """The headline numbers of the run in a repository. Raises UserError where a file is missing."""
    details = {method: read_json(folder / f"metrics/details/{method}.json") for method in TITLES}
    detector = read_json(folder / "metrics/detector_details.json")
    verdict = read_json(folder / "metrics/verdict.json")
    compared = comparisons(read(folder / "metrics/report.md"))
    return {
        "funnel": read_funnel(folder / "metrics/funnel.json"),
        "detector": {"threshold": detector["threshold"], **with_intervals(detector, OF_DETECTOR)},
        "methods": {
            method: {
                "best_epoch": found["best_epoch"],
                "images": found["images"],
                **with_intervals(found, KEPT),
                "base": with_intervals(found["epoch_0"], KEPT),
            }
            for method, found in details.items()
        },
        "compared": {f"{first} {second}": said for (first, second), said in compared.items() if first < second},
        "verdict": {name: verdict[name] for name in ("ship", "reason", "rejected") if name in verdict},
    }


def with_intervals(numbers: Numbers, keys: tuple[str, ...]) -> Numbers:
    """Those numbers that are there, each with its interval."""
    wanted = [f"{key}{end}" for key in keys for end in ("", "_low", "_high")]
    return {key: numbers[key] for key in wanted if key in numbers}


def summary(numbers: Numbers, folder: Path) -> Iterator[str]:
    """A run in a few lines, the last of them saying where its pictures are."""
    yield f"{funnel_words(numbers)} (crawled, with the logo, large enough)"
    for method, title in TITLES.items():
        found = numbers["methods"][method]
        yield f"{title}, epoch {found['best_epoch']}: mean {interval(found, 'mean')}"
    yield f"shipped: {shipped(numbers)}"
    ship = numbers["verdict"].get("ship")
    yield f"samples: {folder / 'metrics/samples' / ((ship or {}).get('method', 'lora') + '.png')}"
    yield f"the whole report: {folder / 'metrics/report/index.html'}"


def table(folder: Path = Path()) -> str:
    """The table of all brands that were run, a brand a column; one line where only HUGO was."""
    runs = {name: read_json(folder / RESULTS / f"{name}.json") for name in TAUGHT if is_run(folder, name)}
    if not runs:
        return NOT_RUN
    runs = {"hugo": collect(folder), **runs}
    header = ("", *(f"{TAUGHT[name].title}, {TAUGHT[name].looks}" for name in runs))
    columns = [dict(rows(numbers)) for numbers in runs.values()]
    return markdown(header, [(title, *(column[title] for column in columns)) for title in columns[0]])


def is_run(folder: Path, name: str) -> bool:
    """Whether a brand's numbers are there."""
    return (folder / RESULTS / f"{name}.json").exists()


def rows(numbers: Numbers) -> Iterator[tuple[str, str]]:
    """A brand's column: (what, value) from the crawl to the paper's findings."""
    yield "photographs crawled, with the logo, large enough", funnel_words(numbers)
    detector = numbers["detector"]
    yield "detector: mAP50", two(detector["mAP50"])
    yield f"detector at {detector['threshold']:g}: recall", interval(detector, "recall")
    yield f"detector at {detector['threshold']:g}: false positives", interval(detector, "false_positive_rate")
    for method, title in TITLES.items():
        found = numbers["methods"][method]
        yield f"{title}: mean", f"{interval(found, 'mean')}, epoch {found['best_epoch']}"
        yield (
            f"{title}: OD, OCR",
            ", ".join(two(found[key]) if key in found else "-" for key in ("mean_od", "mean_ocr")),
        )
        yield f"{title}: read inside its box", interval(found, "joint_success")
        shares = ("memorised_share", "colour_fidelity", "clip_prompt_accuracy")
        yield (
            f"{title}: copies, right colour, right thing",
            ", ".join(two(found[key]) if key in found else "-" for key in shares),
        )
    yield "shipped", shipped(numbers)
    for found, decided in decisions(numbers).items():
        yield f"{found}?", decided


def decisions(numbers: Numbers) -> Mapping[str, str]:
    """The paper's finding -> whether this run shows it, by the rules of docs.numbers."""
    scores = {method: {**found, "epoch_0": found["base"]} for method, found in numbers["methods"].items()}
    compared = {}
    for names, said in numbers["compared"].items():
        first, second = names.split()
        compared[first, second], compared[second, first] = said, OPPOSITE.get(said, said)
    return {found.finding: found.seen for found in findings(scores, compared)}


def funnel_words(numbers: Numbers) -> str:
    """Pictures crawled, with the logo and large enough."""
    return ", ".join(str(numbers["funnel"][step]) for step in ("crawled", "with_logo", "large_enough"))


def shipped(numbers: Numbers) -> str:
    """The checkpoint that the report ships, or that it ships none."""
    ship = numbers["verdict"].get("ship")
    return f"{TITLES[ship['method']]}, epoch {ship['epoch']}" if ship else "none"


@click.command(help=__doc__)
def main() -> None:
    """Fill in README.md's table."""

    @stage_main
    def run() -> None:
        write_file(PAGE, fill(read(PAGE), table(), MARKS, PAGE))

    run()


if __name__ == "__main__":
    main()
