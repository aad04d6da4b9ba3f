"""The boxes that people drew: checking them, and exchanging them with labelling tools. Not a stage of the DAG.

data/brand/labels.jsonl holds a row for each labelled picture of the shop, data/brand/extra.jsonl one for each labelled
picture from elsewhere (social media; drawings of the logo, good and bad), whose file lies in data/brand/extra. A row is
{"sha256", "width", "height", "boxes": [[x0, y0, x1, y1], ...], "product", "source"}; boxes are in pixels of the upright
picture, and no boxes makes it a negative. Labels are in git and are a dependency: no stage writes them.

    python -m stages.labels check                        every bad row at once
    python -m stages.labels import coco boxes.json       or yolo, voc (folders), label-studio, cvat
    python -m stages.labels export cvat boxes.xml        for correcting boxes in a tool
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError

FORMATS = ("yolo", "coco", "label-studio", "cvat", "voc")


@dataclass(frozen=True)
class Paths:
    """Where labels and the shop's pictures are."""

    brand: Path = Path("data/brand")
    raw: Path = Path("data/raw")


PATHS = Paths()


@click.group(help=__doc__)
def main() -> None:
    """See the module's docstring."""


@main.command("check")
@click.option("--brand", type=click.Path(path_type=Path), default=PATHS.brand, show_default=True)
@click.option("--raw", type=click.Path(path_type=Path), default=PATHS.raw, show_default=True)
def check_command(brand: Path, raw: Path) -> None:
    """Report every bad box and row at once; exit status 1 where there is one."""

    @stage_main
    def run() -> None:
        from stages.labels.checks import check

        problems, rows = check(brand, raw)
        for problem in problems:
            click.echo(problem, err=True)
        if not (raw / "manifest.jsonl").exists():
            click.echo(f"{raw}/manifest.jsonl is not there: the shop's pictures were not compared", err=True)
        if problems:
            raise UserError(f"{len(problems)} problems in {rows} rows of {brand}")
        click.echo(f"{rows} rows are good")

    run()


@main.command("import")
@click.argument("format_", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--label", "labels", multiple=True, metavar="NAME", help="The class that is the logo, where there are several."
)
@click.option("--leave-out", is_flag=True, help="Leave out pictures with something that is not understood, and say so.")
def import_command(format_: str, path: Path, labels: tuple[str, ...], leave_out: bool) -> None:
    """Read boxes from another tool's file (YOLO, VOC: a folder) into data/brand/labels.jsonl, all of it or nothing.

    Polygons, ellipses, masks and turned boxes become the box around them. What is not understood is told by file and
    line, and nothing is imported; it never makes a picture a negative.
    """

    @stage_main
    def run() -> None:
        from stages.labels.exchange import import_labels

        count = import_labels(format_, path, PATHS.brand, PATHS.raw, labels, leave_out, click.echo)
        click.echo(f"{count} pictures imported")

    run()


@main.command("export")
@click.argument("format_", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("path", type=click.Path(path_type=Path))
def export_command(format_: str, path: Path) -> None:
    """Write data/brand/labels.jsonl for another tool."""

    @stage_main
    def run() -> None:
        from stages.labels.exchange import export_labels

        click.echo(f"{export_labels(format_, path, PATHS.brand)} pictures exported")

    run()


if __name__ == "__main__":
    main()
