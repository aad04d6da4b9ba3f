"""A checkpoint is published only after it has been loaded as its users load it and drawn one step with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from stages.common.diffusion import fill_token, set_attention
from stages.common.errors import UserError
from stages.finetune.method import Method

TOLERANCE = 1e-4
"""Largest difference of a denoising step, relative to its largest value: what summing in another order makes."""


@torch.no_grad()
def verify_checkpoint(method: Method, folder: Path) -> None:
    """Compare one denoising step of two fresh pipelines, in fp32.

    One loads the checkpoint from disk by stock calls, each of its formats in turn; into the other the trained tensors
    are merged by hand. Raises UserError where they differ.
    """
    expected = denoising_step(method, method.merge_into)
    for load in method.loaders():
        loaded = denoising_step(method, lambda pipeline, load=load: load(pipeline, folder))  # type: ignore[misc]
        difference = float((loaded - expected).abs().max() / expected.abs().max())
        if not difference <= TOLERANCE:
            raise UserError(
                f"{folder}: a saved checkpoint draws something else when it is loaded: a denoising step differs by "
                f"{difference:.2g} of its largest value, where {TOLERANCE} is allowed; it was not published"
            )


def fresh_pipeline(method: Method) -> Any:
    """A StableDiffusionPipeline of the untouched base from disk, on the device, in fp32."""
    base = method.base
    pipeline = StableDiffusionPipeline.from_pretrained(
        base.folder,
        vae=None,
        safety_checker=None,
        feature_extractor=None,
        torch_dtype=torch.float32,
        local_files_only=True,
    )
    return pipeline.to(base.device)


def denoising_step(method: Method, load: Callable[[Any], None]) -> torch.Tensor:
    """The UNet's prediction for fixed noise and one prompt, in the middle of the noise schedule."""
    pipeline = fresh_pipeline(method)
    load(pipeline)
    text = fill_token("a {token} logo", method.params.brand.token)
    set_attention(pipeline.unet, pipeline.device)
    side = 2 ** len(pipeline.unet.config.block_out_channels)
    shape = (1, pipeline.unet.config.in_channels, side, side)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(pipeline.device)
    prompt, _ = pipeline.encode_prompt(text, pipeline.device, 1, False)
    prediction: torch.Tensor = pipeline.unet(noise, 500, prompt, return_dict=False)[0]
    return prediction
