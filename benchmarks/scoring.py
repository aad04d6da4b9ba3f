"""How long scoring takes, and that it grows linearly with the number of pictures.

Runs the stage `score` on growing parts of a run's drawn pictures (from its start again where they are used up), each
size a process of its own, loading the networks included, and prints seconds and what each further picture costs.

    python -m benchmarks.scoring                      # the pictures of `dvc repro` in this folder
    python -m benchmarks.scoring --method dreambooth --sizes 240,480,960
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from stages.common.command import offline
from stages.common.params import load_params
from stages.common.tables import read_table, write_table
from stages.score.__main__ import Paths, score


@click.command()
@click.option("--method", default="lora", show_default=True)
@click.option("--sizes", default="120,240,480,960", show_default=True, help="numbers of pictures, growing")
@click.option("--child", default="", hidden=True)
def main(method: str, sizes: str, child: str) -> None:
    """Measure, and print a table."""
    if child:
        print(json.dumps(scoring_seconds(method, Path(child))))
        return
    counts, seconds = [int(size) for size in sizes.split(",")], []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_samples(method, count, Path(folder) / "samples" / method)
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scoring"]
            done = subprocess.run([*command, "--method", method, "--child", folder], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{count} pictures: {done.stderr[-2000:]}")
            seconds.append(float(json.loads(done.stdout.splitlines()[-1])))
    print("| pictures | seconds | ms for each picture more |")
    print("|---|---|---|")
    for number, (count, taken) in enumerate(zip(counts, seconds, strict=True)):
        before = (counts[number - 1], seconds[number - 1]) if number else None
        more = f"{1000 * (taken - before[1]) / (count - before[0]):.1f}" if before else ""
        print(f"| {count} | {taken:.1f} | {more} |")


def write_samples(method: str, count: int, folder: Path) -> None:
    """A sample folder of `count` pictures, taken from the run's: whole epochs again, under new numbers."""
    source = Path("data/samples") / method
    rows = read_table(source / "manifest.jsonl")
    epochs = max(row["epoch"] for row in rows) + 1
    shutil.copytree(source, folder)
    chosen = [rows[number % len(rows)] for number in range(count)]
    again = [number // len(rows) * epochs for number in range(count)]
    renumbered = [row | {"epoch": row["epoch"] + later} for row, later in zip(chosen, again, strict=True)]
    write_table(folder / "manifest.jsonl", renumbered)


def scoring_seconds(method: str, folder: Path) -> float:
    """Seconds of the stage, its networks' loading included."""
    offline()
    (folder / "scores").mkdir()
    shutil.copyfile("data/scores/base.jsonl", folder / "scores" / "base.jsonl")
    params, before = load_params(), time.perf_counter()
    score(params, method, Paths(samples=folder / "samples", scores=folder / "scores", metrics=folder / "metrics"))
    return time.perf_counter() - before


if __name__ == "__main__":
    main()
