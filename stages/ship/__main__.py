"""Put the checkpoint that the report says to ship into a folder of its own, with a card that says what it is and why.

Reads   metrics/verdict.json (report), models/<method> (finetune) of the method that it names.
Writes  models/shipped: the files of models/<method>/epoch-NN, and README.md, the model card. Where nothing is shipped,
        README.md alone, which says why.

The folder can be handed on as it is: the card loads what lies beside it. The verdict may come out of a cache or a
remote: a name that it gives never becomes a path before it is one of the three methods.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.ship.card import shipped_card, unshipped_card
from stages.ship.verdict import read_verdict


@dataclass(frozen=True)
class Paths:
    """The stage's files and folders."""

    verdict: Path = Path("metrics/verdict.json")
    models: Path = Path("models")
    shipped: Path = Path("models/shipped")
    scratch: Path = SCRATCH_ROOT


PATHS = Paths()


def ship(paths: Paths = PATHS) -> Path:
    """Publish the shipped checkpoint and its card; returns their folder.

    Raises UserError where the verdict is missing or no verdict, or the checkpoint that it names is not there.
    """
    remove_partials([paths.shipped])
    verdict = read_verdict(paths.verdict)
    scratch = scratch_folder("ship", digest(paths.verdict), paths.scratch)
    shutil.rmtree(scratch)
    folder = scratch / "shipped"
    if verdict.ship is None:
        card = unshipped_card(verdict)
        said = f"nothing to ship: {verdict.reason}"
    else:
        model = paths.models / verdict.ship.method
        epoch = model / f"epoch-{verdict.ship.epoch:02d}"
        if not epoch.is_dir():
            raise UserError(f"{epoch}: no such checkpoint, but {paths.verdict} says to ship it")
        # Copies, not links: what is shipped shares no file, and no read-only mode, with what was trained.
        shutil.copytree(epoch, folder, copy_function=shutil.copyfile)
        card = shipped_card(verdict, read_card(model / "README.md"))
        said = f"shipped: {verdict.ship.method}, epoch {verdict.ship.epoch}"
    write_file(folder / "README.md", card)
    publish(folder, paths.shipped)
    shutil.rmtree(scratch)
    click.echo(said)
    return paths.shipped


def read_card(path: Path) -> str:
    """The model card of a method. Raises UserError where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: no model card (has the finetune stage run?)") from None


@click.command()
@stage_main
def main() -> None:
    """Copy the checkpoint that the report says to ship into models/shipped."""
    ship()


if __name__ == "__main__":
    main()
