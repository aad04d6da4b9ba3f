"""Our numbers in docs/paper.md: the tables between its marks, written from metrics/ and params.yaml.

    python -m docs.numbers

Reads   params.yaml, metrics/funnel.json, metrics/detector_details.json, metrics/epochs/*.json, metrics/details/*.json,
        metrics/report.md (the paired comparisons of the methods), metrics/paper/paper.json where the grid was run
        (the paper's tables, figures and findings).
Writes  docs/paper.md, between `<!-- numbers -->` and `<!-- /numbers -->`; nothing else of it.

What stands in the column "paper" is the paper's (3.2 to 5, Table 1). Whether a finding is seen here is decided by rule,
not by hand: see `finding`, and experiments/paper/findings.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.params import Params, load_params

PAGE = Path("docs/paper.md")
PAPER = Path("metrics/paper/paper.json")
NOT_RUN = (
    "Not run yet: `python -m experiments.grid run` runs the paper's search, `python -m experiments.paper` writes this."
)
BEGIN, END = "<!-- numbers -->", "<!-- /numbers -->"
TITLES = {"dreambooth": "DreamBooth", "textual_inversion": "Textual inversion", "lora": "LoRA"}
OPPOSITE = {"higher": "lower", "lower": "higher"}
NUMBER_WORDS = ("higher", "lower", "not distinguishable", "unavailable")
Numbers = dict[str, Any]


# --- The tables ----------------------------------------------------------------------------------------------------


def tables(folder: Path = Path()) -> str:
    """All tables as markdown, from the repository in `folder`. Raises UserError where a file is missing."""
    params = load_params(folder / "params.yaml")
    scores = {method: read_json(folder / f"metrics/details/{method}.json") for method in TITLES}
    epochs = {method: read_json(folder / f"metrics/epochs/{method}.json") for method in TITLES}
    funnel = read_funnel(folder / "metrics/funnel.json")
    detector = read_json(folder / "metrics/detector_details.json")
    compared = comparisons(read(folder / "metrics/report.md"))
    parts = {
        "The data and the detector": data_table(funnel, detector),
        "The training": training_table(params, epochs),
        "Each method's best checkpoint of this run": scores_table(scores),
        "The paper's findings, by this run's three models": findings_table(scores, compared),
        **grid_parts(folder / PAPER),
    }
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in parts.items())


def data_table(funnel: Numbers, detector: Numbers) -> str:
    """Pictures and the detector's own numbers."""
    pictures = detector["pictures"]
    unknown = "not given"
    return markdown(
        ("what", "paper", "here"),
        [
            ("photographs crawled", "thousands", str(funnel["crawled"])),
            ("with the logo", "150", f"{funnel['with_logo']} (found by `filter`)"),
            ("large enough to train on", "49", str(funnel["large_enough"])),
            ("labelled pictures for the detector", "210", str(pictures["labelled"] + pictures["held_out"])),
            (
                "the same, augmented",
                "630",
                f"{pictures['augmented']} (made of {pictures['labelled']})",
            ),
            ("detector, mAP50 on held-out pictures", "0.995 (not said on which)", two(detector["mAP50"])),
            (f"its recall at {detector['threshold']:g}", unknown, interval(detector, "recall")),
            ("its false positives on hard negatives", unknown, interval(detector, "false_positive_rate")),
        ],
    )


def training_table(params: Params, epochs: Mapping[str, Sequence[Numbers]]) -> str:
    """Parameters that decide the training and the drawing."""
    tuned = {method: [row["epoch"] for row in rows if row["epoch"] > 0] for method, rows in epochs.items()}
    images = {row["images"] for rows in epochs.values() for row in rows}
    lora = params.finetune.lora
    repeats = [str(getattr(params.finetune, method).repeats) for method in TITLES]
    sizes = [str(len(params.grid.combinations(method))) for method in TITLES]
    return markdown(
        ("what", "paper", "here"),
        [
            ("pixels a side", "512", str(params.resolution)),
            ("DreamBooth, learning rate", "1e-5, 2e-5, 5e-5", f"{params.finetune.dreambooth.learning_rate:g}"),
            (
                "Textual inversion, learning rate",
                "1e-3, 5e-4, 1e-4, 2e-5, 1e-5, 1e-6",
                f"{params.finetune.textual_inversion.learning_rate:g}",
            ),
            ("LoRA, learning rate of the UNet", "1e-6, 5e-6, 1e-5, 5e-5, 1e-4", f"{lora.unet_lr:g}"),
            ("LoRA, learning rate of the text encoder", "the same five", f"{lora.text_encoder_lr:g}"),
            ("LoRA, rank", "4, 8, 16, 32, 64", str(lora.rank)),
            (
                "LoRA, adapted layers",
                "attention",
                "attention, UNet's convolutions" if lora.convolutions else "attention",
            ),
            ("models of the grid, by method", "3, 6, 125", ", ".join(sizes)),
            ("times that an epoch shows a picture, by method", "not given", ", ".join(repeats)),
            ("epochs", "30", one_or_each({max(found) for found in tuned.values()})),
            ("checkpoints a method", "10 (every 3 epochs)", one_or_each({len(found) for found in tuned.values()})),
            ("guidance of the samples", "not given", f"{params.sample.guidance_scale:g}"),
            ("pictures a checkpoint", "48 for LoRA (six prompts, eight pictures)", one_or_each(images)),
        ],
    )


def scores_table(scores: Mapping[str, Numbers]) -> str:
    """The paper's scores and this project's, of each method's best checkpoint and of the untuned base."""
    shown = ("mean_od", "mean_ocr", "mean", "joint_success")
    rows = [
        (f"{TITLES[method]}, epoch {numbers['best_epoch']}", *(interval(numbers, key) for key in shown))
        for method, numbers in scores.items()
    ]
    rows.append(("untuned base", *(interval(scores["lora"]["epoch_0"], key) for key in shown)))
    return markdown(("best checkpoint of", "mean_od", "mean_ocr", "mean", "read inside its box"), rows)


def findings_table(scores: Mapping[str, Numbers], compared: Mapping[tuple[str, str], str]) -> str:
    """What the paper found, the numbers that speak for or against it here, and what they say."""
    shown = [
        (found.finding, found.measured, *(interval(numbers, found.key) for numbers in scores.values()), found.seen)
        for found in findings(scores, compared)
    ]
    return markdown(("the paper's finding", "measured here by", *TITLES.values(), "seen here?"), shown)


@dataclass(frozen=True)
class Finding:
    """A finding of the paper, the number by which it is measured (in words, and its key), and whether it is seen."""

    finding: str
    measured: str
    key: str
    seen: str


def findings(scores: Mapping[str, Numbers], compared: Mapping[tuple[str, str], str]) -> list[Finding]:
    """The paper's findings, decided by a run's best checkpoints and the paired comparisons of their means."""
    dreambooth, inversion, lora = scores["dreambooth"], scores["textual_inversion"], scores["lora"]

    def pair(first: str, second: str) -> str:
        return compared.get((first, second), "unavailable")

    masked, colour, prompt = "similarity_masked", "colour_fidelity", "clip_prompt_accuracy"
    base = inversion["epoch_0"]
    # The finding, the number by which it is measured, its key, and what the comparisons say that expect "higher".
    rows = [
        (
            "DreamBooth scores highest",
            "mean",
            "mean",
            [pair("dreambooth", "lora"), pair("dreambooth", "textual_inversion")],
        ),
        ("LoRA lies between", "mean", "mean", [pair("dreambooth", "lora"), pair("lora", "textual_inversion")]),
        (
            "DreamBooth copies its training pictures",
            "similarity to the nearest one, logo left out",
            masked,
            [apart(dreambooth, lora, masked)],
        ),
        (
            "Textual inversion gets the idea",
            "mean_od, against the base's",
            "mean_od",
            [apart(inversion, base, "mean_od")],
        ),
        ("... but not the letters", "mean_ocr, against LoRA's", "mean_ocr", [apart(lora, inversion, "mean_ocr")]),
        (
            "LoRA generalises: the colour asked for",
            "pictures of the blue and green prompts in it",
            colour,
            [apart(lora, dreambooth, colour)],
        ),
        (
            "LoRA generalises: the thing asked for",
            "pictures whose own prompt CLIP prefers",
            prompt,
            [apart(lora, dreambooth, prompt)],
        ),
    ]
    return [Finding(found, measured, key, finding(words)) for found, measured, key, words in rows]


# --- The grid ------------------------------------------------------------------------------------------------------


def grid_parts(file: Path) -> dict[str, str]:
    """The paper's tables, figures and findings as experiments.paper left them: title -> markdown."""
    if not file.exists():
        return {"The paper's Tables 2, 3 and 4, Figures 9, 10 and 11, and its findings": NOT_RUN}
    content = read_json(file)
    parts = {}
    for table in content["tables"]:
        parts[table["title"]] = "\n\n".join([markdown(table["header"], table["rows"]), *table["notes"]])
    for figure in content["figures"]:
        shown = f"![{figure['title']}](../{PAPER.parent}/{figure['file']})"
        said = shown if figure["file"] else f"Unavailable: {figure['unavailable']}."
        parts[figure["title"]] = "\n\n".join([said, *figure["notes"]])
    rows = [(found["finding"], found["source"], found["decision"], found["why"]) for found in content["findings"]]
    answered = markdown(("the paper's finding", "where", "seen here?", "why"), rows)
    notes = "\n".join(f"- {note}" for note in content["notes"])
    parts["The paper's findings, by the grid"] = "\n\n".join([content["how_answered"], answered, notes])
    return parts


# --- Rules ---------------------------------------------------------------------------------------------------------


def finding(words: Sequence[str]) -> str:
    """Whether a finding is seen, given one of NUMBER_WORDS for each comparison in which it expects "higher"."""
    if "unavailable" in words:
        return "unavailable"
    if "lower" in words:
        return "no: the opposite"
    seen = words.count("higher")
    return "yes" if seen == len(words) else "in part" if seen else "not distinguishable"


def apart(first: Numbers, second: Numbers, key: str) -> str:
    """Whether a number is "higher" or "lower" in the first: where the two intervals do not overlap."""
    if key not in first or key not in second:
        return "unavailable"
    low, high = bounds(first, key), bounds(second, key)
    if low[0] > high[1]:
        return "higher"
    return "lower" if low[1] < high[0] else "not distinguishable"


def bounds(numbers: Numbers, key: str) -> tuple[float, float]:
    """A number's interval; a number without one is its own."""
    value = float(numbers[key])
    return float(numbers.get(f"{key}_low", value)), float(numbers.get(f"{key}_high", value))


def comparisons(report: str) -> dict[tuple[str, str], str]:
    """(method, method) -> one of NUMBER_WORDS, both ways round, from the paired comparisons of metrics/report.md."""
    by_title = {title.lower(): method for method, title in TITLES.items()}
    found = {}
    for line in report.splitlines():
        match = re.match(rf"- (.+?) epoch \d+ against (.+?) epoch \d+: ({'|'.join(NUMBER_WORDS)})", line)
        if match and match[1].lower() in by_title and match[2].lower() in by_title:
            first, second, word = by_title[match[1].lower()], by_title[match[2].lower()], match[3]
            found[first, second], found[second, first] = word, OPPOSITE.get(word, word)
    return found


# --- Reading and writing -------------------------------------------------------------------------------------------


def read(path: Path) -> str:
    """A file's text. Raises UserError where it is missing."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: run `dvc repro` first") from None


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(read(path))


def read_funnel(path: Path) -> dict[str, int]:
    """Step -> pictures that are left at it, from a table of both (as `dvc plots` draws it) or a mapping."""
    content = read_json(path)
    return {row["step"]: row["pictures"] for row in content} if isinstance(content, list) else dict(content)


def two(number: float) -> str:
    """Two digits after the point, as the report shows numbers; never rounded up to 1."""
    return f"{number:.2f}" if number == 1 or number < 0.995 else f"{number:.3f}"


def interval(numbers: Numbers, key: str) -> str:
    """A number with its interval, or "unavailable"."""
    if key not in numbers:
        return "unavailable"
    low, high = bounds(numbers, key)
    return two(numbers[key]) + (f" ({low:.2f} to {high:.2f})" if f"{key}_low" in numbers else "")


def one_or_each(values: set[int]) -> str:
    """The value that all methods share, or all of them."""
    return ", ".join(map(str, sorted(values)))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def fill(page: str, content: str, marks: tuple[str, str] = (BEGIN, END), file: Path = PAGE) -> str:
    """The page with `content` between its marks. Raises UserError where they are not there once each."""
    begin, end = marks
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise UserError(f"{file}: must hold {begin} and {end} once, in this order")
    return f"{page[: page.index(begin)]}{begin}\n\n{content}\n\n{page[page.index(end) :]}"


@click.command(help=__doc__)
def main() -> None:
    """Fill in docs/paper.md."""

    @stage_main
    def run() -> None:
        write_file(PAGE, fill(read(PAGE), tables()))

    run()


if __name__ == "__main__":
    main()
