"""Stage filter: keep the pictures that show the logo, and say of every other one why not.

Reads data/raw (scrape), data/brand/reference.png (the logo, cut to its edges), data/brand/keep_drop.csv (a person's
decisions, which win over the machine's; may be missing), and data/brand/detector where filter.matcher is "detector":
a copy of models/detector that a person was content with (train-detector reads what filter writes, and a DAG has no
circles).
Writes data/filtered/images/<sha256>.png (upright 8-bit sRGB, every different picture with the logo, large enough or
not), data/filtered/manifest.jsonl (all of raw's rows with columns added), metrics/funnel.json (how many were left after
each step), its headlines in metrics/filter.json, and metrics/funnel.png (what was kept and dropped, to look at).

The order matters: exact duplicates, then the logo, then near-duplicates within a product. A perceptual hash sees no
difference between a garment with and without its logo, nor between black and navy, so it must come last, must not
look beyond a product, and must be checked against the colours.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import Params, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.common.tables import Row, read_table, write_table


@dataclass(frozen=True)
class Paths:
    """The stage's files and folders."""

    raw: Path = Path("data/raw")
    reference: Path = Path("data/brand/reference.png")
    decisions: Path = Path("data/brand/keep_drop.csv")
    detector: Path = Path("data/brand/detector")
    filtered: Path = Path("data/filtered")
    metrics: Path = Path("metrics")
    scratch: Path = SCRATCH_ROOT


PATHS = Paths()


def filter_images(params: Params, paths: Paths = PATHS) -> list[Row]:
    """Judge every picture of the crawl and publish those with the logo; returns the manifest's rows.

    Raises UserError where no picture is left, or the reference or the keep/drop list is wrong.
    """
    from stages.filter.decisions import read_decisions, tell_without_effect
    from stages.filter.findings import find_logos
    from stages.filter.funnel import STEPS, count, write_funnel
    from stages.filter.pictures import write_pictures
    from stages.filter.selection import decide

    remove_partials([paths.filtered])
    rows = read_table(paths.raw / "manifest.jsonl")
    decisions = read_decisions(paths.decisions, click.echo)
    files = {row["sha256"]: paths.raw / row["file"] for row in rows if row["file"]}
    findings = find_logos(params.filter, files, paths.reference)
    if params.filter.matcher == "detector":
        from stages.filter.second_pass import second_pass

        findings = second_pass(params.filter, files, findings, paths.detector)
    key = digest(params.filter.model_dump(), params.resolution, rows, decisions)
    folder = scratch_folder("filter", key, paths.scratch)
    shutil.rmtree(folder)
    (folder / "images").mkdir(parents=True)
    rows = decide(params, rows, findings, decisions)
    tell_without_effect(paths.decisions, decisions, rows, click.echo)
    write_pictures(folder, rows, files, params.filter.max_megapixels)
    write_table(folder / "manifest.jsonl", rows)
    funnel = count(rows)
    if not funnel["with_logo"]:
        raise UserError(f"none of {funnel['unique']} different pictures shows the logo of {paths.reference}")
    write_funnel(paths.metrics, funnel, rows, files, params.filter.max_megapixels)
    publish(folder, paths.filtered)
    shutil.rmtree(folder)
    click.echo(" -> ".join(f"{funnel[step]} {step.replace('_', ' ')}" for step in STEPS))
    return rows


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    filter_images(load_params())


if __name__ == "__main__":
    main()
