"""The pictures on the page: copied beside it, listed with what they are sorted and filtered by, laid out by epoch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from stages.common.checkpoints import best_epoch, by_epoch
from stages.common.errors import UserError
from stages.common.tables import Row
from stages.report.labels import title_of


@dataclass(frozen=True)
class Figures:
    """Sizes in pixels, (width, height), of the pictures beside the page; None where one is not there."""

    key_picture: tuple[int, int] | None
    detections: tuple[int, int] | None
    funnel: tuple[int, int] | None
    side: int  # of the generated pictures


def copy_figures(scores: Mapping[str, list[Row]], metrics: Path, images: Path) -> Figures:
    """Copy the pictures of `metrics` beside the generated ones that are in `images` already (`copy_pictures`)."""
    with Image.open(images / drawn_file(all_pictures(scores)[0])) as first:
        side = first.width
    names = ("report.png", "detections.png", "funnel.png")
    key_picture, detections, funnel = (copy_figure(metrics / name, images / name) for name in names)
    return Figures(key_picture, detections, funnel, side)


def copy_pictures(scores: Mapping[str, list[Row]], samples: Path, captioned: Path, images: Path) -> None:
    """Copy the samples and the training pictures beside the page.

    Raises UserError where a scored picture is missing.
    """
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


def copy_figure(source: Path, target: Path) -> tuple[int, int] | None:
    """Copy a picture beside the page; its width and height, None where it is not there."""
    if not source.exists():
        return None
    shutil.copyfile(source, target)
    with Image.open(source) as opened:
        return opened.size


def all_pictures(scores: Mapping[str, list[Row]]) -> list[Row]:
    """Every scored picture once: those of the untuned base belong to every method."""
    return list({picture_id(row): row for rows in scores.values() for row in rows}.values())


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
        "method": row["method"],
        "epoch": row["epoch"],
        "prompt": row["prompt_index"],
        "joint": int(row["joint"]),
        "plain": int(row["plain"]),
        "found": int(row["od"] > 0),
        "memorised": int(bool(row.get("memorised"))),
        "colour": "" if colour is None else int(colour),
        "confidence": row["confidence"],
        "edit": round(1 - row["edit_distance"], 4),
        "similarity": row.get("similarity_masked", ""),
        "diversity": "" if row.get("diversity") is None else row["diversity"],
        "title": title,
        "nearest": f"images/training/{row['nearest_masked']}" if row.get("nearest_masked") else "",
        "near": f"similarity {row['similarity_masked']:.2f} without logos" if row.get("nearest_masked") else "",
        "facts": json.dumps(facts, ensure_ascii=False),
    }
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
