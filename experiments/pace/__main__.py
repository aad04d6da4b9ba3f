"""How fast this machine trains, draws and scores: a few updates and pictures of each method, timed.

    python -m experiments.pace --method lora FILE

Reads   params.yaml, data/captioned, models/pretrained, models/detector.
Writes  FILE: seconds an epoch of each method, a picture (drawn and scored), and the start of an experiment.

Times are of this machine at this moment and for people alone: nothing is decided by them.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_json
from stages.common.params import METHODS, Method, load_params


@click.command()
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, required=True)
@click.argument("file", type=click.Path(path_type=Path))
def main(methods: tuple[Method, ...], file: Path) -> None:
    """Measure this machine's pace."""
    began = time.time()

    @stage_main
    def run() -> None:
        if not Path("data/captioned").is_dir():
            raise UserError("data/captioned: not there, so there is nothing to measure with")
        from experiments.pace.measure import measure

        write_json(file, measure(load_params(), methods, began))

    run()


if __name__ == "__main__":
    main()
