"""Draw any prompt with any checkpoint: of this workspace, of an experiment or commit, or an artifact of the registry.

    python -m stages.generate --method lora --epoch 12 "a billboard with the <token>"
    python -m stages.generate --artifact shipped "a mug with the <token>"
    python -m stages.generate --method lora --revision grid-0123456789ab "a bag with the <token>"

Reads   models/<method>/epoch-NN (by default the best epoch in metrics/score/<method>.json), models/pretrained/base,
        params sample and brand. With --revision both numbers and weights are that commit's, from DVC's cache or remote.
Writes  generated/<method>-epoch-NN-seed-S.png, with all that is needed to draw it again in its metadata: as the
        `parameters` text that A1111's and ComfyUI's users know, and as JSON under `emblem`.

`<token>` and `{token}` in the prompt stand for `brand.token`. It is no stage of the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.params import METHODS, Params, load_params
from stages.common.scratch import SCRATCH_ROOT

if TYPE_CHECKING:
    from stages.generate.checkpoint import Checkpoint


@dataclass(frozen=True)
class Paths:
    """The command's folders and files."""

    models: Path = Path("models")
    scores: Path = Path("metrics/score")
    base: Path = Path("models/pretrained/base")
    pipeline: Path = Path("dvc.yaml")
    generated: Path = Path("generated")
    scratch: Path = SCRATCH_ROOT


PATHS = Paths()


@dataclass(frozen=True)
class Choice:
    """Which checkpoint is asked for: a folder, or a method (by name or artifact), its epoch and revision."""

    method: str | None = None
    artifact: str | None = None
    epoch: int | None = None
    revision: str = ""
    checkpoint: Path | None = None


def generate(
    prompt: str, checkpoint: Checkpoint, params: Params, seeds: Sequence[int], paths: Paths = PATHS
) -> list[Path]:
    """Draw the prompt once for each seed, as the stage `sample` does, and return the files.

    A picture depends on checkpoint, prompt, seed and params.sample alone: the manifest's prompt and seed draw the
    sampler's own picture. Raises UserError where base or weights are missing, or a prompt is longer than the text
    encoder reads.
    """
    from stages.common.machine import prepare_machine, resolve_precision
    from stages.generate.drawing import draw_prompt
    from stages.generate.metadata import png

    device = prepare_machine()
    precision = resolve_precision(params.sample.precision, device, "sample.precision")
    params = params.changed("sample", precision=precision)
    prompt = prompt.replace("{token}", params.brand.token).replace("<token>", params.brand.token)
    files = []
    for seed, picture in draw_prompt(prompt, checkpoint, params, seeds, paths.base, device):
        path = paths.generated / f"{checkpoint.name}-seed-{seed}.png"
        write_file(path, png(picture, prompt, seed, checkpoint, params))
        files.append(path)
    return files


def choose(choice: Choice, paths: Paths = PATHS) -> Checkpoint:
    """The checkpoint that is asked for. Raises UserError where it isn't there, or not one thing is asked for."""
    if sum(given is not None for given in (choice.method, choice.artifact, choice.checkpoint)) != 1:
        raise UserError("give one of --method, --artifact and --checkpoint")
    from stages.generate.checkpoint import find_artifact, find_at_revision, find_checkpoint, method_of, read_checkpoint

    method, folder = choice.method, choice.checkpoint
    if choice.artifact is not None:
        folder = find_artifact(choice.artifact, paths.pipeline)
        method = method_of(folder)
    if method is not None:
        where = (paths.models, paths.scores)
        if choice.revision:
            return find_at_revision(method, choice.epoch, choice.revision, *where, paths.scratch)
        return find_checkpoint(method, choice.epoch, *where)
    if choice.revision or choice.epoch is not None:
        raise UserError(f"{folder} is one checkpoint: --epoch and --revision are for a method's")
    assert folder is not None
    return read_checkpoint(folder)


def with_settings(params: Params, given: Mapping[str, Any]) -> Params:
    """The parameters with those settings of sample that are given (not None)."""
    return params.changed("sample", **{key: value for key, value in given.items() if value is not None})


@click.command(help=__doc__)
@click.argument("prompt")
@click.option("--method", type=click.Choice(METHODS), help="whose checkpoint")
@click.option("--artifact", help="a name in dvc.yaml's artifacts: one checkpoint, or a method's")
@click.option("--epoch", type=click.IntRange(0), help="0 is the untuned base  [default: the best, by metrics/score]")
@click.option("--revision", default="", help="a commit, tag or experiment  [default: this workspace]")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="any folder with a checkpoint in it")
@click.option("--seed", type=click.IntRange(0), help="of the first picture  [default: params seed]")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="pictures, of seeds one apart")
@click.option("--steps", type=click.IntRange(1, 1000), help="denoising steps  [default: params sample.steps]")
@click.option("--guidance-scale", type=click.FloatRange(1), help="[default: params sample.guidance_scale]")
@click.option("--negative-prompt", help="[default: params sample.negative_prompt]")
@click.option("--output", type=click.Path(path_type=Path), default=PATHS.generated, show_default=True, help="folder")
def main(prompt: str, seed: int | None, count: int, output: Path, **options: Any) -> None:
    """Draw a prompt."""

    @stage_main
    def run() -> None:
        settings = {name: options.pop(name) for name in ("steps", "guidance_scale", "negative_prompt")}
        params = with_settings(load_params(), settings)
        checkpoint = choose(Choice(**options))
        first = params.seed if seed is None else seed
        seeds = range(first, first + count)
        for path in generate(prompt, checkpoint, params, seeds, replace(PATHS, generated=output)):
            click.echo(path)

    run()


if __name__ == "__main__":
    main()
