"""Fine-tune the base on the captioned pictures, by one of three methods.

Reads   data/captioned (pictures and captions) and models/pretrained/base.
Writes  models/<method>/epoch-NN, in the formats that diffusers, A1111 and ComfyUI load, with a model card; and
        metrics/finetune/<method>, the loss of each epoch, as soon as it ends.

A killed run goes on from its last saved epoch and ends with the same bytes; so does one that `stop_after` ended and
that is now asked for more: where it stops decides no byte of what comes before. A method whose `epochs` are 0 is left
out: its files are there, and empty.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stages.common.command import stage_main
from stages.common.params import METHODS, Params, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder


@dataclass(frozen=True)
class Paths:
    """The stage's folders."""

    models: Path
    metrics: Path
    data: Path = Path("data/captioned")
    base: Path = Path("models/pretrained/base")
    scratch: Path = SCRATCH_ROOT

    @classmethod
    def of(cls, method: str) -> Paths:
        """Those of a method."""
        return cls(Path("models") / method, Path("metrics/finetune") / method)


def finetune(method: str, params: Params, paths: Paths | None = None) -> Path:
    """Fine-tune by one method and return the folder of its checkpoints, one every `save_every` epochs.

    Raises UserError for a missing base or picture, a prompt that makes no sense, a loss that isn't finite, or too
    little memory; SystemExit(143) where SIGTERM stopped it, its state saved.
    """
    paths = paths or Paths.of(method)
    settings = params.training(method)
    if not settings.epochs:
        return leave_out(method, paths)
    from stages.common.diffusion import require_base
    from stages.common.machine import environment, explain_out_of_memory, prepare_machine, resolve_precision
    from stages.finetune.assembly import fine_tune
    from stages.finetune.epoch_log import EpochLog, write_coverage
    from stages.finetune.pictures import read_rows
    from stages.finetune.processes import join_processes
    from stages.finetune.result import finished, result_folder

    device = prepare_machine()
    read_rows(paths.data)
    require_base(paths.base)
    processes = join_processes(device)
    precision = resolve_precision(settings.precision, device, f"finetune.{method}.precision")
    params = params.changed(f"finetune.{method}", precision=precision)
    about = {
        "method": method,
        "precision": precision,
        "params_digest": digest(decisive_params(method, params)),
        "data_digest": digest(paths.data),
        "base_revision": params.pretrained.base_revision,
    }
    key = digest(about, paths.base, *decisive_code(method), environment())
    folder = scratch_folder(f"finetune-{method}", key, paths.scratch)
    log = EpochLog(paths.metrics) if processes.main else None
    before = finished(folder, settings.last_epoch)
    if before is None:
        with explain_out_of_memory(
            f"finetune.{method}.batch_size = {settings.batch_size} (and raise gradient_accumulation by as much: "
            "the result stays the same), or resolution"
        ):
            coverage = fine_tune(params, about, paths.data, paths.base, folder, log, processes, device)
    else:
        print(f"finetune {method}: this very run has finished before; its result is published again", file=sys.stderr)
        coverage = before["coverage"]
        for epoch, loss in enumerate(before["losses"], start=1):
            if log:
                log.log_epoch(epoch, loss)
    if log:
        log.close()
        write_coverage(paths.metrics, coverage)
        remove_partials([paths.models])
        publish(result_folder(folder, settings.last_epoch), paths.models)
    processes.wait()
    return paths.models


def decisive_params(method: str, params: Params) -> dict[str, Any]:
    """The parameters that decide a checkpoint, and no others: changing another one must not train again."""
    return {
        "seed": params.seed,
        "resolution": params.resolution,
        "token": params.brand.token,
        "settings": params.training(method).model_dump(exclude={"stop_after"}),
    }


def decisive_code(method: str) -> list[Path]:
    """The files whose change makes a state of an earlier run stale: the package's without the other methods' own."""
    package, common = Path(__file__).parent, Path(__file__).parents[1] / "common"
    own = [file for file in sorted(package.glob("*.py")) if file.stem not in METHODS or file.stem == method]
    return [*own, *(common / f"{name}.py" for name in ("diffusion", "machine", "tokens", "weights"))]


def leave_out(method: str, paths: Paths) -> Path:
    """Publish that a method has no checkpoints, and return their empty folder."""
    from stages.finetune.epoch_log import write_nothing

    click.echo(f"finetune {method}: left out (finetune.{method}.epochs = 0)")
    for folder in (paths.models, paths.metrics):  # an earlier run's, where DVC has not removed them
        shutil.rmtree(folder, ignore_errors=True)
    paths.models.mkdir(parents=True)
    write_nothing(paths.metrics)
    return paths.models


@click.command()
@click.option("--method", type=click.Choice(METHODS), required=True)
def main(method: str) -> None:
    """Fine-tune the base on the captioned pictures by one method."""

    @stage_main
    def run() -> None:
        params = load_params()
        if params.training(method).epochs:
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
