"""Drawing: the base is loaded once, checkpoints are put into it in place, and every picture is kept.

A picture depends on checkpoint, prompt and seed alone. So one that was drawn before is not drawn again where more
pictures are asked for, or more epochs. What is drawn at once is always the prompts of one seed: on some processors the
last digits depend on the size of a batch, and so never on how many seeds there are, or which of them were drawn before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
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
from stages.common.steering import Steerer
from stages.common.tables import Row
from stages.common.weights import StaticWeights, spell_out


def draw_all(
    method: str,
    params: Params,
    checkpoints: dict[int, Path],
    base_folder: Path,
    rows: list[Row],
    kept: dict[int, Path],
    device: Any,
) -> None:
    """Draw what is not drawn yet: the picture of each row, in the folder of its epoch's kept pictures."""
    missing = {epoch: list(batches(rows, epoch, params.sample.batch_size, kept[epoch])) for epoch in kept}
    total = sum(len(batch) for of_epoch in missing.values() for batch in of_epoch)
    if not total:
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
    steerer = Steerer.of(base, base_folder, params.sample, params.brand.token, tuned=bool(checkpoints))
    with counted(f"sample {method}", total, "picture") as advance:
        for epoch, of_epoch in missing.items():
            if of_epoch:
                vectors = weights.load(method, checkpoints[epoch]) if epoch else 1
                draw_epoch(weights, vectors, unet, steerer, params, of_epoch, kept[epoch], advance)


def batches(rows: list[Row], epoch: int, batch_size: int, kept: Path) -> Iterator[list[Row]]:
    """The rows of an epoch that are drawn at once: prompts of one seed, at most `batch_size`; not what is there."""
    by_seed: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row["epoch"] == epoch:
            by_seed[row["seed_index"]].append(row)
    for of_seed in by_seed.values():
        for start in range(0, len(of_seed), batch_size):
            batch = of_seed[start : start + batch_size]
            if not all(is_whole(kept / Path(row["file"]).name) for row in batch):
                yield batch


def is_whole(file: Path) -> bool:
    """Whether a picture is there and its checksums are right."""
    try:
        with Image.open(file) as picture:
            picture.verify()
    except (OSError, SyntaxError):  # SyntaxError is Pillow's word for a broken PNG
        return False
    return True


def draw_epoch(
    weights: StaticWeights,
    vectors: int,
    unet: Any,
    steerer: Steerer,
    params: Params,
    missing: list[list[Row]],
    kept: Path,
    advance: Callable[[int], object],
) -> None:
    """Draw one checkpoint's pictures, batch by batch; `advance` is told of those that are done."""
    base, settings = weights.base, params.sample
    sampling = Sampling(settings.scheduler, settings.steps, settings.guidance_scale, settings.guidance_share)
    spelled = {row["prompt"]: spell_out(row["prompt"], params.brand.token, vectors) for rows in missing for row in rows}
    cut = too_long(base, list(spelled.values()))
    if cut:
        raise UserError(f"sample.prompts: longer than the text encoder reads: {cut[0]!r}")
    if too_long(base, [settings.negative_prompt]):
        raise UserError(f"sample.negative_prompt: longer than the text encoder reads: {settings.negative_prompt!r}")
    *embedded, negative = encode_prompts(base, [*spelled.values(), settings.negative_prompt])
    text = dict(zip(spelled, embedded, strict=True))
    for rows in missing:
        context = torch.stack([text[row["prompt"]] for row in rows])
        steering = steerer.steer([spelled[row["prompt"]] for row in rows], context, vectors)
        seeds = [row["seed"] for row in rows]
        pictures = draw(base, context, negative, seeds, sampling, params.resolution, unet, steering)
        for row, picture in zip(rows, pictures.numpy(), strict=True):
            with replacing(kept / Path(row["file"]).name, durable=False) as file:
                Image.fromarray(picture).save(file, "PNG")
        advance(len(rows))
