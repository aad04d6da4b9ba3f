"""Draw the prompts with every checkpoint of one method, or with the untuned base.

Reads models/<method>/epoch-NN, models/pretrained/base and, for the sheet, data/samples/base. Writes
data/samples/<method>/epoch-NN/pP-sS.png (prompt P, seed S), manifest.jsonl beside them, and
metrics/samples/<method>.png, a contact sheet of epoch x prompt (the paper's figures 5 to 8). The base is loaded once;
checkpoints are put into it in place. A picture depends on checkpoint, prompt and seed alone: the same seeds are drawn
for every method, checkpoint and prompt. The untuned base is epoch 0 of all methods: `--method base` draws it for them,
once, into data/samples/base/epoch-00.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.params import UNTUNED, Params, load_params
from stages.common.progress import counted
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.common.tables import Row, read_table, write_table

if TYPE_CHECKING:
    from PIL import Image

    from stages.common.weights import StaticWeights

METHODS = ("dreambooth", "textual_inversion", "lora")
SAMPLES = Path("data/samples")
COMMON = Path(__file__).parents[1] / "common"
CODE = [Path(__file__), *(COMMON / f"{name}.py" for name in ("diffusion", "machine", "weights"))]
SHEET_PICTURE = 96  # pixels a side at most, in the contact sheet


def sample(
    method: str,
    params: Params,
    models: Path | None = None,
    base: Path = Path("models/pretrained/base"),
    output: Path | None = None,
    sheet: Path | None = None,
    scratch: Path = SCRATCH_ROOT,
    untuned: Path = SAMPLES / UNTUNED,
) -> Path:
    """Draw every prompt and seed with each checkpoint of a method, or with the untuned base; return the folder.

    A method's sheet begins with the pictures in `untuned`. A killed run goes on from the last whole checkpoint. Raises
    UserError where base, checkpoints or the untuned base's pictures are missing, or a prompt is longer than the text
    encoder reads.
    """
    models = models or Path("models") / method
    output = output or SAMPLES / method
    sheet = sheet or Path("metrics/samples") / f"{method}.png"
    from stages.common.machine import environment, explain_out_of_memory, prepare_machine, resolve_precision

    device = prepare_machine()
    precision = resolve_precision(params.sample.precision, device, "sample.precision")
    params = params.model_copy(update={"sample": params.sample.model_copy(update={"precision": precision})})
    from stages.common.diffusion import require_base

    require_base(base)
    checkpoints = {} if method == UNTUNED else find_checkpoints(models)
    first = read_table(untuned / "manifest.jsonl") if checkpoints else []
    rows = plan_rows(method, params, list(checkpoints or [0]))
    settings = {
        "seed": params.seed,
        "resolution": params.resolution,
        "token": params.brand.token,
        "sample": params.sample.model_dump(),
    }
    key = digest(method, settings, base, models if checkpoints else None, *CODE, environment())
    folder = scratch_folder(f"sample-{method}", key, scratch)
    with explain_out_of_memory(f"sample.batch_size = {params.sample.batch_size}"):
        draw_all(method, params, checkpoints, base, rows, folder / "samples", device)
    write_table(folder / "samples" / "manifest.jsonl", rows)
    remove_partials([output])
    publish(folder / "samples", output)
    if checkpoints:
        files = {row["file"]: untuned / row["file"] for row in first} | {
            row["file"]: output / row["file"] for row in rows
        }
        write_file(sheet, png_bytes(contact_sheet([*first, *rows], files)))
    return output


def find_checkpoints(models: Path) -> dict[int, Path]:
    """The checkpoints by epoch. Raises UserError where there are none."""
    folders = {int(path.name.removeprefix("epoch-")): path for path in models.glob("epoch-*")}
    if not folders:
        raise UserError(f"{models}: no checkpoints (has the stage `finetune` run?)")
    return dict(sorted(folders.items()))


def plan_rows(method: str, params: Params, epochs: list[int]) -> list[Row]:
    """The manifest: a row for each picture that will be drawn, plain prompts behind the others."""
    prompts = [(fill(prompt, params.brand.token), False) for prompt in params.sample.prompts]
    prompts += [(prompt, True) for prompt in params.sample.plain_prompts]
    return [
        {
            "method": method,
            "epoch": epoch,
            "prompt_index": prompt_index,
            "prompt": prompt,
            "plain": plain,
            "seed_index": seed_index,
            "seed": picture_seed(params.seed, seed_index),
            "file": f"epoch-{epoch:02d}/p{prompt_index:02d}-s{seed_index:02d}.png",
        }
        for epoch in epochs
        for prompt_index, (prompt, plain) in enumerate(prompts)
        for seed_index in range(params.sample.images_per_prompt)
    ]


def fill(prompt: str, token: str) -> str:
    """A prompt template with the brand's token in it."""
    return prompt.replace("{token}", token)


def picture_seed(seed: int, seed_index: int) -> int:
    """The seed of the n-th picture of every prompt, below 2^31 so that any tool takes it."""
    from stages.common.machine import derive_seed

    return derive_seed(seed, "sample", seed_index) >> 32


def draw_all(
    method: str,
    params: Params,
    checkpoints: dict[int, Path],
    base_folder: Path,
    rows: list[Row],
    folder: Path,
    device: Any,
) -> None:
    """Draw what is not drawn yet, a folder for each epoch, each complete or not there."""
    epochs = list(checkpoints or [0])
    missing = [epoch for epoch in epochs if not (folder / f"epoch-{epoch:02d}").is_dir()]
    if not missing:
        return
    import torch

    from stages.common.diffusion import load_base
    from stages.common.machine import DTYPES
    from stages.common.weights import StaticWeights

    base = load_base(base_folder, device)
    weights = StaticWeights(base, params.brand.token)
    if checkpoints:
        weights.prepare(method, next(iter(checkpoints.values())))
    base.unet.to(getattr(torch, DTYPES[params.sample.precision]))
    if params.sample.precision == "bf16":  # in fp16 the decoder of some bases overflows
        base.vae.to(torch.bfloat16)
    if params.sample.channels_last:
        base.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    unet = torch.compile(base.unet, dynamic=False) if params.sample.compile else base.unet
    total = sum(row["epoch"] in missing for row in rows)
    with counted(f"sample {method}", total, "picture") as advance:
        for epoch in missing:
            vectors = weights.load(method, checkpoints[epoch]) if epoch else 1
            of_epoch = [row for row in rows if row["epoch"] == epoch]
            draw_epoch(weights, vectors, unet, params, of_epoch, folder, epoch, advance)


def draw_epoch(
    weights: StaticWeights,
    vectors: int,
    unet: Any,
    params: Params,
    rows: list[Row],
    folder: Path,
    epoch: int,
    advance: Callable[[int], object],
) -> None:
    """Draw one checkpoint's pictures into folder/epoch-NN; `advance` is told of those that are done."""
    import torch
    from PIL import Image

    from stages.common.diffusion import draw, encode_prompts, too_long
    from stages.common.weights import spell_out

    base, settings = weights.base, params.sample
    prompts = [spell_out(row["prompt"], params.brand.token, vectors) for row in rows]
    cut = too_long(base, prompts)
    if cut:
        raise UserError(f"sample.prompts: longer than the text encoder reads: {cut[0]!r}")
    *text, negative = encode_prompts(base, [*prompts, settings.negative_prompt])
    partial, target = folder / f".epoch-{epoch:02d}.partial", folder / f"epoch-{epoch:02d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for start in range(0, len(rows), settings.batch_size):
        part = slice(start, start + settings.batch_size)
        seeds = [row["seed"] for row in rows[part]]
        pictures = draw(base, torch.stack(text[part]), negative, seeds, settings, params.resolution, unet)
        for row, picture in zip(rows[part], pictures.numpy(), strict=True):
            Image.fromarray(picture).save(partial / Path(row["file"]).name)
        advance(len(seeds))
    partial.replace(target)


def contact_sheet(rows: list[Row], files: dict[str, Path]) -> Image.Image:
    """The first picture of each prompt, epochs downwards, prompts across; `files` says where each row's file is."""
    from PIL import Image, ImageDraw, ImageFont

    first = [row for row in rows if row["seed_index"] == 0]
    epochs = sorted({row["epoch"] for row in first})
    prompts = {row["prompt_index"]: row["prompt"] for row in first}
    with Image.open(files[first[0]["file"]]) as picture:
        side = min(SHEET_PICTURE, picture.width)
    gap, left, top = 4, 60, 44
    size = (left + len(prompts) * (side + gap), top + len(epochs) * (side + gap))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for column, index in enumerate(sorted(prompts)):
        text = wrap(prompts[index], lambda line: pen.textlength(line, font=font) <= side)
        pen.multiline_text((left + column * (side + gap), 2), "\n".join(text[:3]), fill="black", font=font, spacing=1)
    for line, epoch in enumerate(epochs):
        y = top + line * (side + gap)
        pen.text((4, y + side // 2 - 6), f"epoch {epoch}" if epoch else "base", fill="black", font=font)
    for row in first:
        with Image.open(files[row["file"]]) as picture:
            column, line = sorted(prompts).index(row["prompt_index"]), epochs.index(row["epoch"])
            sheet.paste(picture.resize((side, side)), (left + column * (side + gap), top + line * (side + gap)))
    return sheet


def wrap(text: str, fits: Any) -> list[str]:
    """Words into lines that fit, a word that doesn't fit on a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def png_bytes(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    import io

    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@click.command()
@click.option("--method", type=click.Choice([UNTUNED, *METHODS]), required=True, help="base: untuned, epoch 0 of all")
def main(method: str) -> None:
    """Draw the prompts with every checkpoint of one method, or with the untuned base."""

    @stage_main
    def run() -> None:
        sample(method, load_params())

    run()


if __name__ == "__main__":
    main()
