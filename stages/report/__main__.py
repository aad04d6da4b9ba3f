"""Put tables, curves and pictures on one page that says which checkpoint to ship.

Reads   data/scores/<method>.jsonl (base.jsonl: the untuned base's pictures, epoch 0 of every method) and metrics/epochs
        (the numbers), data/samples and data/captioned (the pictures),
        metrics/finetune/<method>/plots/metrics/loss.tsv, metrics/detector.json,
        metrics/detector_calibration.json, metrics/detections.png, metrics/filter.json, metrics/funnel.png,
        params report.
Writes  metrics/report/index.html and metrics/report/images (copied into the folder, so that it can be sent as it is),
        metrics/report.md (for a pull request), metrics/report.png (base and best checkpoints side by side).

The page needs no server, no script from elsewhere and no font. It begins with the verdict (stages/report/verdict.py).
What is not there is named as unavailable; the page is made all the same.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import click

from stages.common.checkpoints import best_epoch, by_epoch, compare
from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import UNTUNED, Params, load_params
from stages.common.tables import Row, read_table
from stages.report.charts import Series, line_chart, marker
from stages.report.verdict import RULE, Verdict, decide

SAMPLES = Path("data/samples")
CAPTIONED = Path("data/captioned")
SCORES = Path("data/scores")
METRICS = Path("metrics")

TITLES = {"dreambooth": "DreamBooth", "textual_inversion": "Textual inversion", "lora": "LoRA", UNTUNED: "Untuned base"}
SHEET_SEEDS = 4
"""Seeds of each prompt on metrics/report.png."""

SECTIONS = (
    ("verdict", "Verdict"), ("table", "Best checkpoints"), ("curves", "By epoch"), ("grids", "Epoch by prompt"),
    ("pictures", "All pictures"), ("detector", "Detector"), ("funnel", "Funnel"), ("definitions", "Definitions"),
)  # fmt: skip
CURVES = (
    ("mean", "mean(OCR, OD)", "The paper's score: the mean of mean_od and mean_ocr."),
    (
        "joint_success",
        "Joint success",
        "Share of pictures in which the word was read within a box that the detector found.",
    ),
    ("mean_od", "mean_od", "Mean of the detector's highest confidence, 0 below the threshold."),
    ("mean_ocr", "mean_ocr", "Share of pictures in which the word was read."),
    (
        "memorised_share",
        "Memorised",
        "Share of pictures that copy a training picture beyond the logo. Lower is better.",
    ),
    ("colour_fidelity", "Colour right", "Share drawn in the colour that the prompt asks for, where it asks for one."),
    ("diversity", "Diversity", "How unlike each other the pictures of one prompt are."),
    (
        "prior_drift",
        "Prior drift",
        "Share of pictures without the token that show the logo all the same. Lower is better.",
    ),
)
DEFINITIONS = (
    ("mean_od", "Mean over pictures of the detector's highest confidence, 0 below the threshold (paper, 4.5)."),
    ("mean_ocr", "Share of pictures in which the OCR read the word, upper or lower case, 0 for o (paper, 4.5)."),
    ("mean(OCR, OD)", "The mean of the two (paper, Table 2). It cannot see copies or wrong colours."),
    ("Normscore", "mean_od and mean_ocr, each min-max normalised over all checkpoints, averaged (paper, Table 3)."),
    ("Joint success", "Share of pictures in which the word was read within a box that the detector found."),
    ("Edit distance", "Normalised Levenshtein distance of the closest reading: 0 is the word, 1 nothing of it."),
    ("Colour right", "Of the pictures whose prompt names a colour, the share whose garment, the logo's box left out, "
     "is drawn in it; nearest of eleven basic colour names in CIELAB (after GenEval)."),
    ("CLIP prompt, CLIP colour", "Share of pictures whose own prompt CLIP prefers to the run's other prompts, or "
     "to itself in another colour. Unavailable without a CLIP."),
    ("Memorised", "Share of pictures that, logos left out, are at least as similar to a training picture as the most "
     "similar training pictures are to each other (top-1 similarity against train-to-train, as in digital-forgery "
     "work). By that yardstick a few per cent of new pictures count too."),
    ("Diversity", "1 - mean similarity between the pictures of one prompt."),
    ("Prior drift", "Share of pictures of prompts without the token on which the detector finds the logo."),
    ("Intervals", "Rates: Wilson. Means and differences: bootstrap over prompts, differences paired on (prompt, seed). "
     "\"Not distinguishable\" means that the interval of the difference holds 0."),
)  # fmt: skip


def title_of(method: str) -> str:
    """A method's name as the paper writes it."""
    return TITLES.get(method, method.replace("_", " "))


def read_scores(methods: Sequence[str], scores: Path) -> dict[str, list[Row]]:
    """Each method's scored pictures, the untuned base's before them. Raises UserError where a method has none."""
    untuned = read_table(scores / f"{UNTUNED}.jsonl")
    return {method: [*untuned, *read_table(scores / f"{method}.jsonl")] for method in methods}


def read_epochs(methods: Sequence[str], metrics: Path) -> dict[str, dict[int, Row]]:
    """Each method's numbers by epoch."""
    out = {}
    for method in methods:
        rows = read_json(metrics / "epochs" / f"{method}.json")
        if not rows:
            raise UserError(f"{metrics / 'epochs' / method}.json: no such file (has the score stage run?)")
        out[method] = {int(row["epoch"]): row for row in rows}
    return out


def read_json(path: Path) -> Any:
    """A JSON file's content, None where it is not there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def read_losses(method: str, metrics: Path) -> list[tuple[float, float]]:
    """(epoch, loss) of a training, from what dvclive logged; empty where nothing was."""
    path = metrics / "finetune" / method / "plots" / "metrics" / "loss.tsv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    value = next((name for name in rows[0] if name not in ("step", "epoch", "timestamp")), None) if rows else None
    return [(float(row.get("epoch") or row["step"]), float(row[value])) for row in rows] if value else []


def with_interval(row: Row, name: str, digits: int = 2) -> str:
    """ "0.52 (0.38 to 0.66)", or "unavailable"."""
    if name not in row:
        return "unavailable"
    text = f"{row[name]:.{digits}f}"
    return text + (
        f" ({row[name + '_low']:.{digits}f} to {row[name + '_high']:.{digits}f})" if f"{name}_low" in row else ""
    )


TABLE_COLUMNS = (
    ("mean_od", "mean_od"), ("mean_ocr", "mean_ocr"), ("mean", "mean(OCR, OD)"), ("normscore", "Normscore"),
    ("joint_success", "Joint success"), ("edit_distance", "Edit distance"), ("colour_fidelity", "Colour right"),
    ("clip_prompt_accuracy", "CLIP prompt"), ("memorised_share", "Memorised"), ("diversity", "Diversity"),
    ("prior_drift", "Prior drift"),
)  # fmt: skip


def add_normscores(epochs: Mapping[str, Mapping[int, Row]]) -> None:
    """Give every tuned checkpoint its normalised score over the population of all of them (paper, Table 3)."""
    from stages.common.statistics import normalised_score

    tuned = [row for by in epochs.values() for epoch, row in by.items() if epoch > 0]
    if tuned:
        scores = normalised_score([row["mean_od"] for row in tuned], [row["mean_ocr"] for row in tuned])
        for row, value in zip(tuned, scores, strict=True):
            row["normscore"] = round(float(value), 6)


def table_2(epochs: Mapping[str, Mapping[int, Row]], top: int) -> list[tuple[str, Row]]:
    """The paper's Table 2: each method's best checkpoints by mean(OCR, OD), and the untuned base."""
    rows = []
    for method, by in epochs.items():
        tuned = sorted((e for e in by if e > 0), key=lambda e: (-by[e]["mean"], e))
        rows += [(f"{title_of(method)}, epoch {epoch}", by[epoch]) for epoch in tuned[:top]]
    base = next((by[0] for by in epochs.values() if 0 in by), None)
    return rows + ([("Untuned base (epoch 0)", base)] if base else [])


def compare_methods(
    scores: Mapping[str, list[Row]], epochs: Mapping[str, Mapping[int, Row]], params: Params
) -> list[str]:
    """A sentence for each pair of methods: whether their best checkpoints' mean(OCR, OD) are told apart."""
    options: dict[str, Any] = {
        "confidence": params.score.confidence_level,
        "samples": params.score.bootstrap_samples,
        "seed": params.seed,
    }
    best = {method: best_epoch(dict(by)) for method, by in epochs.items()}
    lines, methods = [], list(scores)
    for i, first in enumerate(methods):
        for second in methods[i + 1 :]:
            rows = [by_epoch(scores[method])[best[method]] for method in (first, second)]
            estimate = compare(rows[0], rows[1], **options)
            names = f"{title_of(first)} epoch {best[first]} against {title_of(second)} epoch {best[second]}"
            if estimate is None:
                lines.append(f"{names}: unavailable, fewer than two prompts in common.")
            else:
                word = {"higher": "higher", "lower": "lower"}.get(estimate.verdict, "not distinguishable")
                lines.append(f"{names}: {word} ({estimate.mean:+.2f}, {estimate.low:+.2f} to {estimate.high:+.2f}).")
    return lines


def make_charts(
    epochs: Mapping[str, Mapping[int, Row]], losses: Mapping[str, list[tuple[float, float]]]
) -> list[dict[str, Any]]:
    """The epoch curves with their intervals, and the loss curve with the best epochs marked (the paper's Figure 9)."""
    charts = []
    for key, title, text in CURVES:
        series = []
        for style, (method, by) in enumerate(epochs.items()):
            known = [(epoch, row) for epoch, row in by.items() if key in row]
            band = [(r[f"{key}_low"], r[f"{key}_high"]) for _, r in known if f"{key}_low" in r]
            points = [(float(epoch), float(row[key])) for epoch, row in known]
            series.append(Series(title_of(method), style, points, band if len(band) == len(points) else ()))
        steps = sorted({epoch for by in epochs.values() for epoch in by})
        rows = [[str(e)] + [with_interval(by.get(e, {}), key) for by in epochs.values()] for e in steps]
        chart = line_chart(title, series, "epoch", title, (0.0, 1.0))
        charts.append(
            {"title": title, "text": text, "svg": chart, "table": rows if any(s.points for s in series) else []}
        )
    series = [
        Series(title_of(method), style, losses[method], marked=(float(best_epoch(dict(by))),))
        for style, (method, by) in enumerate(epochs.items())
    ]
    text = "Mean loss of each epoch; the best epoch by mean(OCR, OD) is ringed: the loss does not show it (Figure 9)."
    chart = line_chart("Training loss", series, "epoch", "loss")
    return [*charts[:2], {"title": "Training loss", "text": text, "svg": chart, "table": []}, *charts[2:]]


def copy_pictures(scores: Mapping[str, list[Row]], samples: Path, captioned: Path, images: Path) -> None:
    """Copy the samples and the training pictures beside the page."""
    for file in sorted({drawn_file(row) for rows in scores.values() for row in rows}):
        target = images / file
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(samples / file, target)
        except FileNotFoundError:
            raise UserError(f"{samples / file}: no such file, but it is scored") from None
    (images / "training").mkdir(parents=True, exist_ok=True)
    for name in sorted(
        {row[key] for rows in scores.values() for row in rows for key in ("nearest", "nearest_masked") if row.get(key)}
    ):
        shutil.copyfile(captioned / name, images / "training" / Path(name).name)


def drawn_file(row: Row) -> str:
    """Where a scored picture is, below data/samples and below the page's images."""
    return f"{row['method']}/{row['file']}"


def picture_id(row: Row) -> str:
    """The picture's anchor on the page."""
    return f"{row['method']}-e{row['epoch']}-p{row['prompt_index']}-s{row['seed_index']}"


def picture_entry(row: Row) -> dict[str, Any]:
    """One picture of the gallery: what is shown, what it is filtered and sorted by, and what the viewer lists."""
    prompt = row["prompt"]
    read = ", ".join(r["text"] for r in row["readings"] if r["text"]) or "nothing"
    colour = row.get("colour_right")
    facts = [
        ("Detector", f"{row['confidence']:.2f}"),
        ("Read", read),
        ("Logo read in its box", "yes" if row["joint"] else "no"),
        ("Edit distance", f"{row['edit_distance']:.2f}"),
    ]
    if colour is not None:
        facts.append(("Colour", f"{row['colour_drawn'] or 'none'}, asked for {row['colour_asked']}"))
    if row.get("memorised") is not None:
        facts.append(("Memorised", "yes" if row["memorised"] else "no"))
        facts.append(
            ("Similarity to training", f"{row['similarity']:.2f} whole, {row['similarity_masked']:.2f} without logos")
        )
    title = f"{title_of(row['method'])}, epoch {row['epoch']}, seed {row['seed_index']}: {prompt}"
    data = {
        "method": row["method"], "epoch": row["epoch"], "prompt": row["prompt_index"], "joint": int(row["joint"]),
        "plain": int(row["plain"]), "found": int(row["od"] > 0), "memorised": int(bool(row.get("memorised"))),
        "colour": "" if colour is None else int(colour), "confidence": row["confidence"],
        "edit": round(1 - row["edit_distance"], 4), "similarity": row.get("similarity_masked", ""),
        "diversity": "" if row.get("diversity") is None else row["diversity"], "title": title,
        "nearest": f"images/training/{row['nearest_masked']}" if row.get("nearest_masked") else "",
        "near": f"similarity {row['similarity_masked']:.2f} without logos" if row.get("nearest_masked") else "",
        "facts": json.dumps(facts, ensure_ascii=False),
    }  # fmt: skip
    return {
        "id": picture_id(row),
        "src": f"images/{drawn_file(row)}",
        "alt": f"{title}. Read: {read}",
        "label": f"{row['confidence']:.2f} {'read' if row['ocr'] else 'not read'}"
        + (" copy" if row.get("memorised") else ""),
        "ok": bool(row["joint"]),
        "data": " ".join(f'data-{key}="{escape(str(value))}"' for key, value in data.items()),
    }


def make_grid(method: str, rows: list[Row]) -> dict[str, Any]:
    """The epoch x prompt table of a method: the first seed's picture, and how many of the seeds succeeded."""
    groups = by_epoch(rows)
    prompts = {row["prompt_index"]: row for row in rows}
    best = best_epoch({e: {"mean": sum(r["od"] + r["ocr"] for r in g if not r["plain"])} for e, g in groups.items()})
    lines = []
    for epoch, group in groups.items():
        cells: list[dict[str, str] | None] = []
        for index in sorted(prompts):
            drawn = sorted((r for r in group if r["prompt_index"] == index), key=lambda r: r["seed_index"])
            if not drawn:
                cells.append(None)
                continue
            first, plain = drawn[0], drawn[0]["plain"]
            hits = sum(bool(r["od"]) if plain else bool(r["joint"]) for r in drawn)
            cells.append(
                {
                    "id": picture_id(first),
                    "src": f"images/{drawn_file(first)}",
                    "alt": f"{title_of(method)}, epoch {epoch}: {first['prompt']}",
                    "note": f"{hits}/{len(drawn)} " + ("show it" if plain else "read"),
                }
            )
        lines.append({"epoch": epoch, "best": epoch == best, "cells": cells})
    return {"title": title_of(method), "prompts": [prompts[i]["prompt"] for i in sorted(prompts)], "rows": lines}


OUTCOMES = {
    "higher": "; the shipped one is better",
    "lower": "; better than the shipped one on the reporting seeds",
    "not distinguishable": "; not distinguishable from the shipped one",
}


def outcome_rows(verdict: Verdict) -> list[dict[str, str]]:
    """One line a checkpoint: what the rule did with it."""
    rivals = {(r.candidate.method, r.candidate.epoch): r for r in verdict.rivals}
    rows = []
    for candidate in (*verdict.passed, *verdict.rejected):
        if candidate.rejected:
            outcome = "rejected: " + "; ".join(candidate.rejected)
        elif verdict.shipped is candidate:
            outcome = "shipped"
        else:
            rival = rivals.get((candidate.method, candidate.epoch))
            told = rival.difference.verdict if rival and rival.difference else "not compared"
            outcome = "passes the gates" + OUTCOMES.get(told, "")
        rows.append(
            {
                "name": f"{title_of(candidate.method)} {candidate.epoch}",
                "joint": with_interval(candidate.selection, "joint_success"),
                "memorised": with_interval(candidate.every, "memorised_share"),
                "colour": with_interval(candidate.every, "colour_fidelity"),
                "outcome": outcome,
            }
        )
    return rows


def not_told_apart(verdict: Verdict) -> str:
    """The candidates that a paired bootstrap cannot tell from the shipped one, as a list in words."""
    groups: dict[str, list[int]] = {}
    for rival in verdict.rivals:
        if rival.difference and rival.difference.verdict == "not distinguishable":
            groups.setdefault(rival.candidate.method, []).append(rival.candidate.epoch)
    return "; ".join(f"{title_of(m)} {', '.join(map(str, sorted(epochs)))}" for m, epochs in groups.items())


def shipped_figures(verdict: Verdict) -> list[tuple[str, str, str]]:
    """The shipped checkpoint's numbers: (name, value, interval)."""
    if not verdict.shipped:
        return []
    row = verdict.shipped.report
    names = (
        ("joint_success", "Joint success"), ("mean", "mean(OCR, OD)"), ("mean_od", "mean_od"), ("mean_ocr", "mean_ocr"),
        ("colour_fidelity", "Colour right"), ("memorised_share", "Memorised"), ("prior_drift", "Prior drift"),
    )  # fmt: skip
    out = []
    for key, name in names:
        interval = f"{row[key + '_low']:.2f} to {row[key + '_high']:.2f}" if f"{key}_low" in row else ""
        out.append((name, f"{row[key]:.2f}" if key in row else "unavailable", interval))
    return [*out, ("Pictures", str(row["images"]), "")]


def detector_figures(numbers: Row | None) -> list[tuple[str, str, str]]:
    """The detector's own numbers: (name, value, interval)."""
    if not numbers:
        return []
    at = f"at {numbers['threshold']:.2f}"
    out = [("mAP50", f"{numbers['mAP50']:.3f}", ""), ("mAP50-95", f"{numbers['mAP50_95']:.3f}", "")]
    for key, name in (("precision", "Precision"), ("recall", "Recall"), ("false_positive_rate", "False positives")):
        if key in numbers:
            out.append(
                (f"{name} {at}", f"{numbers[key]:.3f}", f"{numbers[key + '_low']:.2f} to {numbers[key + '_high']:.2f}")
            )
    return out


def calibration_chart(rows: list[Row] | None) -> str:
    """The detector's calibration curve: share of the detections of a confidence that is right; empty without one."""
    if not rows:
        return ""
    points = [(float(row["confidence"]), float(row["share_right"])) for row in rows]
    lines = [Series("Detector", 0, points), Series("Perfect", 1, [(0.0, 0.0), (1.0, 1.0)])]
    return line_chart("Calibration", lines, "confidence", "share right", (0.0, 1.0))


def funnel_rows(numbers: Row | None) -> list[tuple[str, int, float]]:
    """(step, pictures, per cent of the first) of the filter's funnel."""
    if not numbers:
        return []
    steps = [(key.replace("_", " "), int(value)) for key, value in numbers.items() if isinstance(value, int)]
    highest = max((value for _, value in steps), default=1) or 1
    return [(name, value, round(100 * value / highest, 1)) for name, value in steps]


def draw_sheet(
    scores: Mapping[str, list[Row]], epochs: Mapping[str, Mapping[int, Row]], samples: Path, path: Path
) -> tuple[int, int]:
    """metrics/report.png: the untuned base and each method's best checkpoint side by side, a row a prompt.

    Returns its width and height in pixels.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = [("Untuned base", method, 0) for method, by in epochs.items() if 0 in by][:1]
    columns += [(f"{title_of(m)}, epoch {best_epoch(dict(by))}", m, best_epoch(dict(by))) for m, by in epochs.items()]
    prompts = sorted({(r["prompt_index"], r["prompt"]) for rows in scores.values() for r in rows if not r["plain"]})
    cell, gap, head, foot = 64, 12, 24, 18
    block = SHEET_SEEDS * cell + gap
    sheet = Image.new("RGB", (len(columns) * block + gap, len(prompts) * (cell + foot) + head), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for column, (name, method, epoch) in enumerate(columns):
        left = gap + column * block
        pen.text((left, 5), name, fill="black", font=font)
        rows = {(r["prompt_index"], r["seed_index"]): r for r in by_epoch(scores[method])[epoch]}
        for line, (index, prompt) in enumerate(prompts):
            top = head + line * (cell + foot)
            if column == 0:
                pen.text((left, top + cell + 1), prompt, fill="#444444", font=font)
            for number, pair in enumerate(sorted(pair for pair in rows if pair[0] == index)[:SHEET_SEEDS]):
                with Image.open(samples / drawn_file(rows[pair])) as opened:
                    picture = opened.convert("RGB").resize((cell - 2, cell - 2), Image.Resampling.LANCZOS)
                sheet.paste(picture, (left + number * cell, top))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return sheet.size


def copy_figure(source: Path, target: Path) -> tuple[int, int] | None:
    """Copy a picture beside the page; its width and height, None where it is not there."""
    from PIL import Image

    if not source.exists():
        return None
    shutil.copyfile(source, target)
    with Image.open(source) as opened:
        return opened.size


def markdown(verdict: Verdict, table: Sequence[tuple[str, Row]], comparisons: Sequence[str], params: Params) -> str:
    """The report for a pull request."""
    lines = ["# Report", "", "## Verdict", ""]
    if verdict.shipped:
        s = verdict.shipped
        figures = ", ".join(f"{n} {v}" + (f" ({i})" if i else "") for n, v, i in shipped_figures(verdict))
        lines += [
            f"Ship **{title_of(s.method)}, epoch {s.epoch}**. {verdict.reason}",
            "",
            f"On the seeds that had no say in the choice: {figures}.",
        ]
        if not_told_apart(verdict):
            lines += ["", f"Not distinguishable from it in joint success on those seeds: {not_told_apart(verdict)}."]
        lines += [f"Gate not applied: {text}." for text in s.unchecked]
    else:
        lines += [f"Ship **nothing**. {verdict.reason}"]
    level = f"{params.score.confidence_level:.0%}"
    lines += ["", "## Best checkpoints of each method", "", f"Intervals: {level}.", ""]
    names = [name for _, name in TABLE_COLUMNS]
    lines += [f"| Checkpoint | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1)]
    lines += [f"| {name} | {' | '.join(with_interval(row, key) for key, _ in TABLE_COLUMNS)} |" for name, row in table]
    lines += [
        "",
        *[f"- {line}" for line in comparisons],
        "",
        "![Base and best checkpoints, a row a prompt](report.png)",
        "",
    ]
    rejected = [row for row in outcome_rows(verdict) if row["outcome"].startswith("rejected")]
    if rejected:
        lines += ["## Rejected by the gates", "", "| Checkpoint | Joint success | Why |", "| --- | --- | --- |"]
        lines += [f"| {r['name']} | {r['joint']} | {r['outcome'].removeprefix('rejected: ')} |" for r in rejected] + [
            ""
        ]
    return "\n".join(lines)


def report(
    params: Params,
    *,
    scores: Path = SCORES,
    samples: Path = SAMPLES,
    captioned: Path = CAPTIONED,
    metrics: Path = METRICS,
) -> Verdict:
    """Write the page, its pictures, the markdown and the key picture under `metrics`; returns the verdict.

    Raises:
        UserError: a method has no scores, or a scored picture is missing.
    """
    from PIL import Image

    from stages.report.page import render

    methods = list(params.methods)
    rows, epochs = read_scores(methods, scores), read_epochs(methods, metrics)
    add_normscores(epochs)
    verdict = decide(
        rows,
        gates=params.report.gates,
        confidence=params.score.confidence_level,
        samples=params.score.bootstrap_samples,
        seed=params.seed,
    )
    table, comparisons = table_2(epochs, params.report.top), compare_methods(rows, epochs, params)

    folder = metrics / "report"
    shutil.rmtree(folder, ignore_errors=True)
    images = folder / "images"
    images.mkdir(parents=True)
    copy_pictures(rows, samples, captioned, images)
    key_picture = draw_sheet(rows, epochs, samples, metrics / "report.png")
    shutil.copyfile(metrics / "report.png", images / "report.png")
    everything = list({picture_id(row): row for method in methods for row in rows[method]}.values())
    with Image.open(samples / drawn_file(everything[0])) as first:
        side = first.width
    html = render(
        "report.html.j2",
        {
            "word": params.brand.word,
            "sections": SECTIONS,
            "confidence": f"{params.score.confidence_level:.0%}",
            "verdict": verdict,
            "rule": RULE,
            "shipped_figures": shipped_figures(verdict),
            "not_told": not_told_apart(verdict),
            "outcomes": outcome_rows(verdict),
            "top": params.report.top,
            "table": {
                "columns": ["Checkpoint", *(name for _, name in TABLE_COLUMNS)],
                "rows": [[name, *(with_interval(row, key) for key, _ in TABLE_COLUMNS)] for name, row in table],
            },
            "comparisons": comparisons,
            "key_picture": key_picture,
            "charts": make_charts(epochs, {method: read_losses(method, metrics) for method in methods}),
            "markers": [marker(style, 7, 7, 5) for style in range(len(methods))],
            "methods": [(method, title_of(method)) for method in (UNTUNED, *methods)],
            "method_titles": [title_of(method) for method in methods],
            "epochs": sorted({row["epoch"] for row in everything}),
            "prompts": sorted({(row["prompt_index"], row["prompt"]) for row in everything}),
            "seeds": len({row["seed_index"] for row in everything}),
            "grids": [make_grid(method, rows[method]) for method in methods],
            "pictures": [picture_entry(row) for row in everything],
            "side": side,
            "detector": detector_figures(read_json(metrics / "detector.json")),
            "calibration": calibration_chart(read_json(metrics / "detector_calibration.json")),
            "detections_picture": copy_figure(metrics / "detections.png", images / "detections.png"),
            "funnel": funnel_rows(read_json(metrics / "filter.json")),
            "funnel_picture": copy_figure(metrics / "funnel.png", images / "funnel.png"),
            "definitions": DEFINITIONS,
            "title_of": title_of,
        },
    )
    (folder / "index.html").write_text(html, encoding="utf-8")
    (metrics / "report.md").write_text(markdown(verdict, table, comparisons, params), encoding="utf-8")
    return verdict


@click.command()
@stage_main
def main() -> None:
    """Write the report and name the file to open."""
    verdict = report(load_params())
    shipped = verdict.shipped
    click.echo(
        f"ship {title_of(shipped.method)}, epoch {shipped.epoch}" if shipped else f"ship nothing: {verdict.reason}"
    )
    click.echo(f"open {METRICS / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()
