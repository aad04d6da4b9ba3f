"""One prompt drawn with one checkpoint, a picture a seed, as the stage `sample` draws it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.diffusion import Sampling, draw, encode_prompts, load_base, too_long
from stages.common.errors import UserError
from stages.common.machine import DTYPES, explain_out_of_memory
from stages.common.params import Params
from stages.common.progress import counted
from stages.common.steering import Steerer
from stages.common.weights import StaticWeights, spell_out
from stages.generate.checkpoint import Checkpoint


def draw_prompt(
    prompt: str, checkpoint: Checkpoint, params: Params, seeds: Sequence[int], base: Path, device: torch.device
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield each seed with its picture (resolution x resolution x 3).

    Args:
        prompt: with the brand's token in it.
        params: with a precision that is settled.
        base: folder of the base model.

    Raises:
        UserError: base or weights are missing, or a prompt is longer than the text encoder reads.
    """
    settings, token = params.sample, params.brand.token
    sampling = Sampling(settings.scheduler, settings.steps, settings.guidance_scale, settings.guidance_share)
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
    if too_long(loaded, [settings.negative_prompt]):
        told = "the negative prompt (sample.negative_prompt) is longer than the text encoder reads"
        raise UserError(f"{told}: {settings.negative_prompt!r}")
    text, negative = encode_prompts(loaded, [spelled, settings.negative_prompt])
    steerer = Steerer.of(loaded, base, settings, token, tuned=checkpoint.folder is not None)
    batches = [seeds[start : start + settings.batch_size] for start in range(0, len(seeds), settings.batch_size)]
    with (
        explain_out_of_memory(f"sample.batch_size = {settings.batch_size}"),
        counted("generate", settings.steps * len(batches), "step") as advance,
    ):

        def predict(*arguments: Any, **options: Any) -> Any:
            advance(1)
            return loaded.unet(*arguments, **options)

        for batch in batches:
            texts = text.expand(len(batch), *text.shape)
            steering = steerer.steer([spelled] * len(batch), texts, vectors)
            pictures = draw(loaded, texts, negative, list(batch), sampling, params.resolution, predict, steering)
            yield from zip(batch, pictures.numpy(), strict=True)
