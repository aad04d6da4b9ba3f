"""Drawing: the base is loaded once, checkpoints are put into it in place; an epoch's folder is whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from stages.common.diffusion import Sampling, draw, encode_prompts, load_base, too_long
from stages.common.errors import UserError
from stages.common.files import replacing
from stages.common.machine import DTYPES
from stages.common.params import Params
from stages.common.progress import counted
from stages.common.tables import Row
from stages.common.weights import StaticWeights, spell_out


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
    base, settings = weights.base, params.sample
    sampling = Sampling(settings.scheduler, settings.steps, settings.guidance_scale, settings.guidance_share)
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
        pictures = draw(base, torch.stack(text[part]), negative, seeds, sampling, params.resolution, unet)
        for row, picture in zip(rows[part], pictures.numpy(), strict=True):
            with replacing(partial / Path(row["file"]).name, durable=False) as file:
                Image.fromarray(picture).save(file, "PNG")
        advance(len(seeds))
    partial.replace(target)
