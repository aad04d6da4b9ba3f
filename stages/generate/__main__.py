"""Draw any prompt with any checkpoint: of this workspace, of an experiment or commit, or an artifact of the registry.

    python -m stages.generate --method lora --epoch 12 "a billboard with the <token>"
    python -m stages.generate --artifact hugo-lora "a mug with the <token>"
    python -m stages.generate --method lora --revision grid-0123456789ab "a bag with the <token>"

Reads   models/<method>/epoch-NN (by default the best epoch in metrics/score/<method>.json), models/pretrained/base,
        params sample and brand. With --revision both numbers and weights are that commit's, from DVC's cache or remote.
Writes  generated/<method>-epoch-NN-seed-S.png, with all that is needed to draw it again in its metadata: as the
        `parameters` text that A1111's and ComfyUI's users know, and as JSON under `emblem`.

`<token>` and `{token}` in the prompt stand for `brand.token`. It is no stage of the pipeline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.params import Params, load_params, read_yaml
from stages.common.progress import progress
from stages.common.revisions import find_revisions
from stages.common.scratch import SCRATCH_ROOT, digest, scratch_folder

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

METHODS = ("dreambooth", "textual_inversion", "lora")
BASE = Path("models/pretrained/base")
OUTPUT = Path("generated")


@dataclass(frozen=True)
class Checkpoint:
    """What is put into the base: a folder of a method's weights; no folder is the untuned base."""

    method: str
    epoch: int
    folder: Path | None
    revision: str = ""

    @property
    def name(self) -> str:
        """For the file's name and metadata."""
        revision = f"{self.revision.replace('/', '-')}-" if self.revision else ""
        return f"{revision}{self.method}-epoch-{self.epoch:02d}"


# --- Which checkpoint ----------------------------------------------------------------------------------------------


def find_checkpoint(
    method: str, epoch: int | None, models: Path | None = None, scores: Path | None = None
) -> Checkpoint:
    """A checkpoint of this workspace, the best where no epoch is asked for. Raises UserError where it isn't there."""
    models = models or Path("models") / method
    if epoch is None:
        scores = scores or Path(f"metrics/score/{method}.json")
        epoch = best_epoch(scores.read_text(encoding="utf-8") if scores.is_file() else None, scores)
    if epoch == 0:
        return Checkpoint(method, 0, None)
    folder = models / f"epoch-{epoch:02d}"
    if not folder.is_dir():
        there = sorted(path.name.removeprefix("epoch-") for path in models.glob("epoch-*"))
        raise UserError(
            f"{folder}: no such checkpoint; there are {', '.join(there) or 'none (dvc repro, or dvc pull)'}"
        )
    return Checkpoint(method, epoch, folder)


def best_epoch(text: str | None, source: Path) -> int:
    """The best epoch that a metrics file names. Raises UserError where it names none."""
    try:
        return int(json.loads(text or "")["best_epoch"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{source}: names no best epoch: give --epoch, or run dvc repro first") from None


def find_at_revision(method: str, epoch: int | None, revision: str, scratch: Path = SCRATCH_ROOT) -> Checkpoint:
    """A checkpoint of a commit or experiment, from DVC's cache or remote. Raises UserError where it is out of reach."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    commit = find_revisions([revision])[0].commit
    try:
        files: DVCFileSystem = DVCFileSystem(rev=commit)
        if epoch is None:
            path = f"metrics/score/{method}.json"
            epoch = best_epoch(files.read_text(path) if files.exists(path) else None, Path(f"{revision}:{path}"))
        if epoch == 0:
            return Checkpoint(method, 0, None, revision)
        source = f"models/{method}/epoch-{epoch:02d}"
        if not files.exists(source):
            raise UserError(f"{revision} has no {source}")
        folder = scratch_folder("generate", digest(commit, source), scratch) / "checkpoint"
        files.get(source, str(folder), recursive=True)
    except (DvcException, OSError) as error:
        raise UserError(
            f"models/{method} of {revision} is in no cache or remote in reach: {first_line(error)}"
        ) from None
    return Checkpoint(method, epoch, folder, revision)


def method_of_artifact(name: str, pipeline: Path = Path("dvc.yaml")) -> str:
    """The method whose models an entry of dvc.yaml's `artifacts:` names. Raises UserError for an unknown one."""
    artifacts = read_yaml(pipeline).get("artifacts") or {}
    path = str((artifacts.get(name) or {}).get("path", ""))
    method = next((part for part in Path(path).parts if part in METHODS), None)
    if method is None:
        raise UserError(
            f"{pipeline}: no artifact {name!r} with a method's models; there are {', '.join(artifacts) or 'none'}"
        )
    return method


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint anywhere on disk; its files say which method made it. Raises UserError where they don't."""
    from stages.common.weights import EMBEDDINGS_FILE, LORA_FILE, UNET_FILE

    files = {"lora": LORA_FILE, "textual_inversion": EMBEDDINGS_FILE, "dreambooth": UNET_FILE}
    for method, file in files.items():
        if (folder / file).is_file():
            number = folder.name.removeprefix("epoch-")
            return Checkpoint(method, int(number) if number.isdigit() else 0, folder)
    raise UserError(f"{folder}: no checkpoint: none of {', '.join(files.values())} is in it")


def first_line(error: BaseException) -> str:
    """What an error says, without its traceback or further lines."""
    return (str(error).splitlines() or [type(error).__name__])[0]


# --- Drawing -------------------------------------------------------------------------------------------------------


def generate(
    prompt: str,
    checkpoint: Checkpoint,
    params: Params,
    *,
    seeds: Sequence[int],
    base: Path = BASE,
    output: Path = OUTPUT,
) -> list[Path]:
    """Draw the prompt once for each seed, as the stage `sample` does, and return the files.

    A picture depends on checkpoint, prompt, seed and params.sample alone: the manifest's prompt and seed draw the
    sampler's own picture. Raises UserError where base or weights are missing, or the prompt is longer than the text
    encoder reads.
    """
    import torch
    from PIL import Image

    from stages.common.diffusion import draw, encode_prompts, load_base, too_long
    from stages.common.machine import DTYPES, explain_out_of_memory, prepare_machine, resolve_precision
    from stages.common.weights import StaticWeights, spell_out

    device, token = prepare_machine(), params.brand.token
    precision = resolve_precision(params.sample.precision, device, "sample.precision")
    params = params.model_copy(update={"sample": params.sample.model_copy(update={"precision": precision})})
    settings = params.sample
    prompt = prompt.replace("{token}", token).replace("<token>", token)
    loaded = load_base(base, device)
    weights, vectors = StaticWeights(loaded, token), 1
    if checkpoint.folder is not None:
        weights.prepare(checkpoint.method, checkpoint.folder)
    loaded.unet.to(getattr(torch, DTYPES[settings.precision]))
    if checkpoint.folder is not None:
        vectors = weights.load(checkpoint.method, checkpoint.folder)
    spelled = spell_out(prompt, token, vectors)
    if too_long(loaded, [spelled]):
        raise UserError(f"the prompt is longer than the text encoder reads: {prompt!r}")
    text, negative = encode_prompts(loaded, [spelled, settings.negative_prompt])
    batches = [seeds[start : start + settings.batch_size] for start in range(0, len(seeds), settings.batch_size)]
    steps = progress(range(settings.steps * len(batches)), "generate", total=settings.steps * len(batches), unit="step")

    def predict(*arguments: Any, **options: Any) -> Any:
        next(steps, None)
        return loaded.unet(*arguments, **options)

    files = []
    with explain_out_of_memory(f"sample.batch_size = {settings.batch_size}"):
        for batch in batches:
            texts = text.expand(len(batch), *text.shape)
            pictures = draw(loaded, texts, negative, list(batch), settings, params.resolution, predict)
            for seed, picture in zip(batch, pictures.numpy(), strict=True):
                path = output / f"{checkpoint.name}-seed-{seed}.png"
                write_file(path, png(Image.fromarray(picture), prompt, seed, checkpoint, params))
                files.append(path)
    next(steps, None)
    return files


def png(picture: Any, prompt: str, seed: int, checkpoint: Checkpoint, params: Params) -> bytes:
    """The picture's file, with what it was drawn from in two text chunks: `parameters` and `emblem` (JSON)."""
    import io

    from PIL.PngImagePlugin import PngInfo

    settings = params.sample
    chunks = PngInfo()
    chunks.add_text(
        "parameters",
        f"{prompt}\nNegative prompt: {settings.negative_prompt}\nSteps: {settings.steps}, "
        f"Sampler: {settings.scheduler}, CFG scale: {settings.guidance_scale:g}, Seed: {seed}, "
        f"Size: {picture.width}x{picture.height}, Model: {checkpoint.name}",
    )
    of_settings = ("negative_prompt", "steps", "guidance_scale", "guidance_share", "scheduler", "precision")
    content = {
        "prompt": prompt,
        "seed": seed,
        "method": checkpoint.method,
        "epoch": checkpoint.epoch,
        "revision": checkpoint.revision,
        "resolution": params.resolution,
        "base": params.pretrained.base,
        "base_revision": params.pretrained.base_revision,
        **{key: getattr(settings, key) for key in of_settings},
    }
    chunks.add_text("emblem", json.dumps(content, sort_keys=True))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


@click.command(help=__doc__)
@click.argument("prompt")
@click.option("--method", type=click.Choice(METHODS), help="whose checkpoint")
@click.option("--artifact", help="a name in dvc.yaml's artifacts, in place of --method")
@click.option("--epoch", type=click.IntRange(0), help="0 is the untuned base  [default: the best, by metrics/score]")
@click.option("--revision", default="", help="a commit, tag or experiment  [default: this workspace]")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="any folder with a checkpoint in it")
@click.option("--seed", type=click.IntRange(0), help="of the first picture  [default: params seed]")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="pictures, of seeds one apart")
@click.option("--steps", type=click.IntRange(1, 1000), help="denoising steps  [default: params sample.steps]")
@click.option("--guidance-scale", type=click.FloatRange(1), help="[default: params sample.guidance_scale]")
@click.option("--negative-prompt", help="[default: params sample.negative_prompt]")
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT, show_default=True, help="folder")
def main(
    prompt: str, method: str | None, artifact: str | None, epoch: int | None, revision: str, checkpoint: Path | None,
    seed: int | None, count: int, steps: int | None, guidance_scale: float | None, negative_prompt: str | None,
    output: Path,
) -> None:  # fmt: skip
    """Draw a prompt."""

    @stage_main
    def run() -> None:
        params = load_params()
        if sum(given is not None for given in (method, artifact, checkpoint)) != 1:
            raise UserError("give one of --method, --artifact and --checkpoint")
        if checkpoint is not None:
            chosen = read_checkpoint(checkpoint)
        else:
            named = method_of_artifact(artifact) if artifact else str(method)
            chosen = find_at_revision(named, epoch, revision) if revision else find_checkpoint(named, epoch)
        given = {"steps": steps, "guidance_scale": guidance_scale, "negative_prompt": negative_prompt}
        settings = params.sample.model_copy(update={key: value for key, value in given.items() if value is not None})
        first = params.seed if seed is None else seed
        for path in generate(
            prompt,
            chosen,
            params.model_copy(update={"sample": settings}),
            seeds=range(first, first + count),
            output=output,
        ):
            click.echo(path)

    run()


if __name__ == "__main__":
    main()
