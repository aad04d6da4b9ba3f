"""Run the whole pipeline on another brand of the demo world, and keep its numbers.

    python -m demo.brands badge           everything, a quarter of an hour or more on two cores; stopped, it goes on
    python -m demo.brands badge filter    as far as a stage (any targets of `dvc repro`); no numbers are kept

Reads   the repository at HEAD (a clone of it is made in .emblem/brands/NAME, sharing DVC's cache), demo/brands/NAME/.
Writes  metrics/brands/NAME.json: funnel, detector, scores of the three methods, verdict. Nothing else of the workspace.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from stages.common.errors import UserError

RESULTS = Path("metrics/brands")


def teach(name: str, targets: Sequence[str] = ()) -> None:
    """Run the pipeline on a brand, or as far as `targets`, and keep its numbers where it was run to the end.

    Raises UserError: an unknown brand, one that is not committed or is being run, or a stage that failed.
    """
    from demo.brands.catalogue import TAUGHT
    from demo.brands.clone import cloned, uncommitted
    from docs.brands import collect, summary
    from experiments.grid.workspace import listed
    from stages.common.files import write_json

    if name == "hugo":
        raise UserError("hugo is the brand that `make repro` runs; its numbers are in metrics/")
    if name not in TAUGHT:
        others = ", ".join(known for known in TAUGHT if known != "hugo")
        raise UserError(f"{name!r}: no brand of demo/brands; there are {others}")
    with cloned(name) as clone:
        if changed := uncommitted(clone.repository, besides=[RESULTS.as_posix()]):
            click.echo(f"left out, not committed: {listed(changed)}; what runs is commit {clone.commit[:10]}", err=True)
        clone.prepare()
        clone.call(sys.executable, "-m", "dvc", "repro", *targets)
        click.echo(f"the logo: {clone.folder / 'data/brand/reference.png'}")
        if targets:
            return
        numbers = collect(clone.folder)
        result = clone.repository / RESULTS / f"{name}.json"
        write_json(result, {"brand": name, "commit": clone.commit, **numbers})
        for line in summary(numbers, clone.folder):
            click.echo(line)
        click.echo(f"the numbers: {result} (`python -m docs.brands` writes README.md's table)")


@click.command(help=__doc__)
@click.argument("name")
@click.argument("targets", nargs=-1)
def main(name: str, targets: tuple[str, ...]) -> None:
    """Teach one brand."""
    try:  # not stage_main, which speaks of itself every few seconds: the stages that run here do so themselves
        teach(name, targets)
    except UserError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
