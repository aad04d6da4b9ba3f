"""Check params.yaml against its schema before any work is done, or write another profile into it.

    python -m stages.params                               check params.yaml
    python -m stages.params --profile profiles/sd15.yaml  write what the profile sets into it, and check that

Reads   params.yaml (or another FILE), and the profiles asked for: overlays that hold only what differs, and name
        the one that they stand on, if any.
Writes  FILE, only where a profile is given and what comes of it is valid; comments stay.
"""

from __future__ import annotations

from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.params import PARAMS_FILE, load_params
from stages.params.profiles import apply_profiles


@click.command(help=__doc__)
@click.argument("file", type=click.Path(path_type=Path), default=PARAMS_FILE)
@click.option(
    "--profile", "profiles", type=click.Path(path_type=Path), multiple=True, help="overlay to write into FILE"
)
def main(file: Path, profiles: tuple[Path, ...]) -> None:
    """Check parameters, after writing profiles into them where some are given."""

    @stage_main
    def run() -> None:
        if profiles:
            for line in apply_profiles(file, profiles):
                click.echo(line)
        load_params(file)

    run()


if __name__ == "__main__":
    main()
