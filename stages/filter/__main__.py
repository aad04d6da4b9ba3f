"""Stage filter: keep the pictures that show the logo, and say of every other one why not.

Reads data/raw (scrape), data/brand/reference.png (the logo, cut to its edges), data/brand/keep_drop.csv (a person's
decisions, which win over the machine's; may be missing), and data/brand/detector where filter.matcher is "detector":
a copy of models/detector that a person was content with (train-detector reads what filter writes, and a DAG has no
circles).
Writes data/filtered/images/<sha256>.png (upright 8-bit sRGB, every different picture with the logo, large enough or
not), data/filtered/manifest.jsonl (all of raw's rows with columns added), metrics/filter.json (the funnel) and
metrics/funnel.png (what was kept and dropped, to look at).

The order matters: exact duplicates, then the logo, then near-duplicates within a product. A perceptual hash sees no
difference between a garment with and without its logo, nor between black and navy, so it must come last, must not
look beyond a product, and must be checked against the colours.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stages.common.command import stage_main, threads
from stages.common.errors import UserError
from stages.common.files import write_file, write_json
from stages.common.params import PARAMS_FILE, Params, load_params
from stages.common.progress import progress
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.common.tables import Row, read_table, write_table

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

RAW, BRAND, FILTERED, DETECTOR = (
    Path("data/raw"),
    Path("data/brand"),
    Path("data/filtered"),
    Path("data/brand/detector"),
)
METRICS = Path("metrics")
STEPS = ("crawled", "named", "decoded", "unique", "with_logo", "large_enough")
COLOUR_DISTANCE = 14.0
"""CIELAB distance of mean colours (of any third of the picture) from which two similar pictures are colourways."""


@dataclass(frozen=True)
class Judged:
    """What the machine found on one file."""

    sha256: str
    reason: str | None
    width: int = 0
    height: int = 0
    box: tuple[float, ...] | None = None
    score: float = 0.0
    hash: int = 0
    colours: tuple[float, ...] = ()


def filter_images(
    params: Params, raw: Path = RAW, brand: Path = BRAND, target: Path = FILTERED, metrics: Path = METRICS,
    detector: Path = DETECTOR, scratch_root: Path = SCRATCH_ROOT,
) -> list[Row]:  # fmt: skip
    """Judge every picture of `raw` and publish those with the logo in `target`; returns the manifest's rows.

    Raises UserError where no picture is left, or the keep/drop list names what is not there.
    """
    remove_partials([target])
    rows = read_table(raw / "manifest.jsonl")
    decisions = read_decisions(brand / "keep_drop.csv")
    files = {row["sha256"]: raw / row["file"] for row in rows if row["file"]}
    judged = judge_all(params, files, brand / "reference.png", detector)
    folder = scratch_folder(
        "filter", digest(params.filter.model_dump(), params.resolution, rows, decisions), scratch_root
    )
    shutil.rmtree(folder)
    (folder / "images").mkdir(parents=True)
    rows = decide(params, rows, judged, decisions)
    write_pictures(params, folder, rows, files)
    write_table(folder / "manifest.jsonl", rows)
    funnel = count(rows)
    if not funnel["with_logo"]:
        raise UserError(f"none of {funnel['unique']} different pictures shows the logo of {brand / 'reference.png'}")
    write_funnel(metrics, funnel, rows, files, params.filter.max_megapixels)
    publish(folder, target)
    shutil.rmtree(folder)
    click.echo(" -> ".join(f"{funnel[step]} {step.replace('_', ' ')}" for step in STEPS))
    return rows


# --- A person's decisions --------------------------------------------------------------------------------------------


def read_decisions(path: Path) -> dict[str, tuple[str, str]]:
    """sha256 -> (keep or drop, reason). Raises UserError naming the line that is wrong."""
    if not path.exists():
        return {}
    decisions: dict[str, tuple[str, str]] = {}
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    if not {"sha256", "decision"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: the first line must be sha256,decision,reason")
    for line in reader:
        sha256, decision = (line["sha256"] or "").strip().lower(), (line["decision"] or "").strip().lower()
        if decision not in ("keep", "drop") or len(sha256) != 64:
            raise UserError(f"{path}:{reader.line_num}: must be a sha256 and keep or drop, is {sha256!r}, {decision!r}")
        if sha256 in decisions and decisions[sha256][0] != decision:
            raise UserError(f"{path}:{reader.line_num}: {sha256} is told to be kept and to be dropped")
        decisions[sha256] = (decision, (line.get("reason") or "").strip())
    return decisions


# --- The machine's judgement -----------------------------------------------------------------------------------------


def judge_all(params: Params, files: dict[str, Path], reference: Path, detector: Path) -> dict[str, Judged]:
    """Look at every different file, in as many processes as EMBLEM_THREADS allows."""
    from stages.filter.logo_match import load_matcher

    load_matcher(
        reference, params.filter.min_inliers, params.filter.min_letter_match
    )  # a bad reference is told here, once
    tasks = [(sha256, path) for sha256, path in sorted(files.items())]
    arguments = (reference, params.filter.min_inliers, params.filter.min_letter_match, params.filter.max_megapixels)
    workers = min(threads(), max(1, len(tasks) // 16))
    if workers == 1:
        _start_worker(*arguments)
        judged = [_judge(task) for task in progress(tasks, "filter", len(tasks), "picture")]
    else:
        with multiprocessing.get_context("spawn").Pool(workers, _start_worker, arguments) as pool:
            judged = list(progress(pool.imap(_judge, tasks, chunksize=4), "filter", len(tasks), "picture"))
    found = {entry.sha256: entry for entry in judged}
    if params.filter.matcher == "detector":
        found = second_pass(params, files, found, detector)
    return found


_worker: dict[str, object] = {}


def _start_worker(reference: Path, min_inliers: int, min_letter_match: float, max_megapixels: float) -> None:
    import cv2

    from stages.filter.logo_match import load_matcher

    cv2.setNumThreads(1)
    _worker.update(matcher=load_matcher(reference, min_inliers, min_letter_match), max_megapixels=max_megapixels)


def _judge(task: tuple[str, Path]) -> Judged:
    from stages.common.images import UnreadableImage, decode

    sha256, path = task
    try:
        image = decode(path.read_bytes(), _worker["max_megapixels"])  # type: ignore[arg-type]
    except UnreadableImage as error:
        return Judged(sha256, str(error))
    match = _worker["matcher"].find(image)  # type: ignore[attr-defined]
    box = tuple(round(v, 1) for v in match.box) if match else None
    score = round(match.score, 4) if match else 0.0
    return Judged(sha256, None, image.width, image.height, box, score, difference_hash(image), colours_of(image))


def second_pass(
    params: Params, files: dict[str, Path], judged: dict[str, Judged], detector: Path
) -> dict[str, Judged]:  # fmt: skip
    """Let the trained detector look at the pictures on which the matcher found nothing."""
    from dataclasses import replace

    import numpy as np

    from stages.common.detector import load_detector
    from stages.common.images import decode

    if not detector.is_dir():
        raise UserError(f"filter.matcher = 'detector': {detector} is not there (cp -r models/detector {detector})")
    model = load_detector(detector)
    found = dict(judged)
    missing = [entry for entry in judged.values() if entry.reason is None and entry.box is None]
    for entry in progress(missing, "detector", len(missing), "picture"):
        picture = np.asarray(decode(files[entry.sha256].read_bytes(), params.filter.max_megapixels))
        best = next(iter(model.detect([picture])[0]), None)
        if best is not None and best.confidence >= params.score.threshold:
            box = tuple(round(float(v), 1) for v in best.box)
            found[entry.sha256] = replace(entry, box=box, score=round(best.confidence, 4))
    return found


def difference_hash(image: Image.Image) -> int:
    """64 bits: is a pixel of a 9 x 8 thumbnail brighter than its right neighbour (dHash)."""
    import numpy as np
    from PIL import Image

    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS), np.int16)
    return int("".join("1" if bit else "0" for bit in (small[:, :-1] > small[:, 1:]).ravel()), 2)


def colours_of(image: Image.Image) -> tuple[float, ...]:
    """Mean CIELAB colour of each cell of a 3 x 3 grid, 27 numbers."""
    import cv2
    import numpy as np
    from PIL import Image

    small = np.asarray(image.resize((3, 3), Image.Resampling.BOX), np.float32) / 255
    lab: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    return tuple(round(float(v), 2) for v in lab.ravel())


# --- One decision and one reason for each row ------------------------------------------------------------------------


def decide(
    params: Params, rows: list[Row], judged: dict[str, Judged], decisions: dict[str, tuple[str, str]]
) -> list[Row]:  # fmt: skip
    """The rows with the columns file, box, logo_width, large_enough, decision_source and drop_reason added."""
    decided: list[Row] = []
    first_of: dict[str, str] = {}
    for row in rows:
        row = row | {"file": None, "box": None, "logo_width": None, "large_enough": False, "decision_source": "machine"}
        decided.append(row)
        if row["drop_reason"] or not row["sha256"]:
            continue
        found, (decision, reason) = judged[row["sha256"]], decisions.get(row["sha256"], ("", ""))
        if decision:
            row["decision_source"] = "person"
        row["drop_reason"] = found.reason
        if found.reason is None and row["sha256"] in first_of:
            row["drop_reason"] = f"same file as {first_of[row['sha256']]}"
            continue
        first_of.setdefault(row["sha256"], row["image_url"])
        if found.reason is not None:
            continue
        if found.box:
            row["box"] = list(found.box)
            row["logo_width"] = logo_width(found, params.resolution)
        if decision == "drop":
            row["drop_reason"] = f"a person: {reason or 'drop'}"
        elif found.box is None and decision != "keep":
            row["drop_reason"] = "no logo found"
    _drop_near_duplicates(params.filter.duplicate_distance, decided, judged, decisions)
    for row in decided:
        if row["sha256"] and not row["drop_reason"]:
            row["file"] = f"images/{row['sha256']}.png"
            row["large_enough"] = _is_large_enough(row, params, decisions)
            if not row["large_enough"]:
                row["drop_reason"] = f"logo narrower than {params.filter.min_logo_width} px"
    return decided


def logo_width(found: Judged, resolution: int) -> float:
    """The logo's width in pixels once the whole picture fits a square of `resolution`."""
    assert found.box is not None
    return round((found.box[2] - found.box[0]) * resolution / max(found.width, found.height), 2)


def _is_large_enough(row: Row, params: Params, decisions: dict[str, tuple[str, str]]) -> bool:
    kept_by_hand = decisions.get(row["sha256"], ("", ""))[0] == "keep"
    return bool(kept_by_hand or (row["logo_width"] or 0) >= params.filter.min_logo_width)


def _drop_near_duplicates(
    distance: int, rows: list[Row], judged: dict[str, Judged], decisions: dict[str, tuple[str, str]]
) -> None:  # fmt: skip
    """Of pictures of one product that differ only in compression or size, keep the largest; mark the others."""
    of_product: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["sha256"] and not row["drop_reason"]:
            of_product[row["page_url"]].append(row)
    for members in of_product.values():

        def rank(row: Row) -> tuple[bool, int, int, str]:
            kept_by_hand = decisions.get(row["sha256"], ("", ""))[0] == "keep"
            return (not kept_by_hand, -row["width"] * row["height"], -row["bytes"], row["image_url"])

        kept: list[Row] = []
        for row in sorted(members, key=rank):
            by_hand = decisions.get(row["sha256"], ("", ""))[0] == "keep"
            twin = next(
                (k for k in kept if is_near_duplicate(judged[row["sha256"]], judged[k["sha256"]], distance)), None
            )
            if twin is None or by_hand:
                kept.append(row)
            else:
                row["drop_reason"] = f"near-duplicate of {twin['image_url']}"


def is_near_duplicate(a: Judged, b: Judged, distance: int) -> bool:
    """Whether two pictures are one saved twice: the same shapes, the same colours, the logo in the same place."""
    if (a.hash ^ b.hash).bit_count() > distance or (a.box is None) != (b.box is None):
        return False
    if a.box and b.box:
        places = [[v / side for v, side in zip(j.box or (), (j.width, j.height) * 2, strict=True)] for j in (a, b)]
        if max(abs(p - q) for p, q in zip(*places, strict=True)) > 0.03:
            return False
    cells = [
        sum((a.colours[i + c] - b.colours[i + c]) ** 2 for c in range(3)) ** 0.5 for i in range(0, len(a.colours), 3)
    ]
    return bool(max(cells) < COLOUR_DISTANCE / 2) or bool(
        max(cells) < COLOUR_DISTANCE and sum(cells) / len(cells) < COLOUR_DISTANCE / 4
    )


# --- What is left behind ---------------------------------------------------------------------------------------------


def write_pictures(params: Params, folder: Path, rows: list[Row], files: dict[str, Path]) -> None:
    """Save the pictures with the logo as PNG."""
    from stages.common.images import decode

    for row in rows:
        if row["file"]:
            image = decode(files[row["sha256"]].read_bytes(), params.filter.max_megapixels)
            buffer = io.BytesIO()
            image.save(buffer, "PNG", compress_level=6)
            (folder / row["file"]).write_bytes(buffer.getvalue())


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
) -> None:  # fmt: skip
    """metrics/filter.json, and metrics/funnel.png: up to 16 pictures of each step, spread over the shop."""
    from stages.common.images import Cell, UnreadableImage, contact_sheet, decode

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
        chosen = list(_spread(groups[step], 16))
        if chosen:
            lines.append((f"{title} ({len(groups[step])})", [cell(row) for row in chosen]))
    buffer = io.BytesIO()
    contact_sheet(lines, cell=88, columns=16).save(buffer, "PNG", optimize=True)
    write_json(metrics / "filter.json", funnel)
    write_file(metrics / "funnel.png", buffer.getvalue())


def _spread(rows: list[Row], most: int) -> Iterator[Row]:
    step = max(1.0, len(rows) / most)
    return (rows[int(i * step)] for i in range(min(most, len(rows))))


def reasons(rows: list[Row]) -> Counter[str]:
    """How many rows were dropped for each kind of reason."""
    return Counter(_step_of(row) for row in rows)


@click.command(help=__doc__)
def main() -> None:
    """Run the stage."""
    stage_main(lambda: _run())()


def _run() -> None:
    filter_images(load_params(PARAMS_FILE))


if __name__ == "__main__":
    main()
