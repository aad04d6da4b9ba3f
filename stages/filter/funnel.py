"""How many pictures were left after each step, in numbers and as a sheet to look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stages.common.files import replacing, write_json
from stages.common.images import Cell, UnreadableImage, contact_sheet, decode
from stages.common.tables import Row

STEPS = ("crawled", "named", "decoded", "unique", "with_logo", "large_enough")
HEADLINES = ("with_logo", "large_enough")
"""The steps that `dvc metrics diff` compares."""
SHOWN = 16
"""Pictures of each step on the sheet: one line of it."""


def count(rows: list[Row]) -> dict[str, int]:
    """The funnel: pictures on product pages, of the name, that decode, different ones, with logo, large enough."""
    named = [row for row in rows if not (row["drop_reason"] or "").startswith("name without")]
    decoded = [row for row in named if row["sha256"] and not _is_undecoded(row)]
    with_logo = [row for row in rows if row["file"]]
    return {
        "crawled": len(rows),
        "named": len(named),
        "decoded": len(decoded),
        "unique": len({row["sha256"] for row in decoded}),
        "with_logo": len(with_logo),
        "large_enough": sum(1 for row in with_logo if row["large_enough"]),
    }


def _is_undecoded(row: Row) -> bool:
    return bool(row["drop_reason"]) and _step_of(row) == "decoded"


def _step_of(row: Row) -> str:
    """The step of the funnel at which a row was dropped; large_enough where it was not."""
    reason = row["drop_reason"] or ""
    if not reason:
        return "kept"
    if reason.startswith("name without"):
        return "named"
    if reason.startswith(("same file", "near-duplicate")):
        return "unique"
    if reason.startswith(("no logo", "a person")):
        return "with_logo"
    if reason.startswith("logo narrower"):
        return "large_enough"
    return "decoded"


def write_funnel(
    metrics: Path, funnel: dict[str, int], rows: list[Row], files: dict[str, Path], max_megapixels: float
) -> None:
    """metrics/funnel.json, its headlines in metrics/filter.json, and metrics/funnel.png: pictures of each step."""

    def cell(row: Row) -> Cell:
        image = None
        if row["sha256"]:
            with suppress(UnreadableImage):
                image = decode(files[row["sha256"]].read_bytes(), max_megapixels)
        label = f"{row['logo_width']:.0f} px" if row["logo_width"] else (row["drop_reason"] or "")
        colour = (40, 160, 80) if not row["drop_reason"] else (200, 60, 60)
        return Cell(image, label, [row["box"]] if row["box"] else [], colour)

    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[_step_of(row)].append(row)
    reasons = {
        "kept": "kept",
        "large_enough": "logo too small",
        "with_logo": "no logo",
        "unique": "duplicate",
        "decoded": "not read",
    }
    lines = []
    for step, title in reasons.items():
        chosen = list(_spread(groups[step], SHOWN))
        if chosen:
            lines.append((f"{title} ({len(groups[step])})", [cell(row) for row in chosen]))
    write_json(metrics / "funnel.json", funnel)
    write_json(metrics / "filter.json", {step: funnel[step] for step in HEADLINES})
    with replacing(metrics / "funnel.png") as file:
        contact_sheet(lines, cell=88, columns=SHOWN).save(file, "PNG", optimize=True)


def _spread(rows: list[Row], most: int) -> Iterator[Row]:
    """At most so many rows, from all over the list."""
    step = max(1.0, len(rows) / most)
    return (rows[int(i * step)] for i in range(min(most, len(rows))))
