"""The command line of `finetune`: `python -m stages.finetune --method lora`."""

from __future__ import annotations

import os
import sys

import click

from stages.common.command import stage_main
from stages.common.params import load_params
from stages.finetune import METHODS, finetune


@click.command()
@click.option("--method", type=click.Choice(METHODS), required=True)
def main(method: str) -> None:
    """Fine-tune the base on the captioned pictures by one method."""

    @stage_main
    def run() -> None:
        params = load_params()
        use_all_devices()
        finetune(method, params)

    run()


def use_all_devices() -> None:
    """Where there are several GPUs, start again through `accelerate launch`: one process for each."""
    import torch

    if "WORLD_SIZE" in os.environ or torch.cuda.device_count() < 2:
        return
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(torch.cuda.device_count())]
    os.execv(sys.executable, [sys.executable, *launch, "--module", "stages.finetune", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
