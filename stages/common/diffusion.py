"""A latent diffusion model in Stable Diffusion's folder layout: loading it, encoding for it, drawing with it.

Written for any size: nothing here knows how many tokens, channels or pixels a base has; its own configuration says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from diffusers.schedulers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from stages.common.errors import UserError
from stages.common.machine import DTYPES
from stages.common.progress import activity, progress

QUIET_PARTS = 16
"""Batches of pictures up to which encoding them is not worth a bar."""


@dataclass(frozen=True)
class Sampling:
    """How a picture is denoised: scheduler (dpm++, ddim, euler), steps, classifier-free guidance and its share.

    guidance_share: of the steps, from the first one on, that are guided.
    """

    scheduler: str
    steps: int
    guidance_scale: float
    guidance_share: float = 1.0


@dataclass(frozen=True)
class Steering:
    """What a batch's denoising does beside, or in place of, classifier-free guidance (stages/common/steering.py).

    excite: (number of the step, timestep, z_t) -> what is added to z_t before the step; z_t as the UNet is given it.
    compose: (the UNet as it is called, z_t in its precision, timestep) -> the prediction of the guided steps, fp32.
    """

    excite: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    compose: Callable[[Callable[..., Any], torch.Tensor, torch.Tensor], torch.Tensor] | None = None


@dataclass
class Base:
    """The parts of a loaded base model, each frozen and in fp32 until somebody says otherwise."""

    folder: Path
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: Any
    """The base's own noise schedule; `noise_schedule` and `scheduler_for` read it."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device(self.unet.device)

    @property
    def latent_scale(self) -> int:
        """Pixels a side of a latent cell (8 in Stable Diffusion)."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def require_base(folder: Path) -> None:
    """Raise UserError where a folder holds no base."""
    if not (folder / "unet" / "config.json").is_file():
        raise UserError(f"{folder}: no model in Stable Diffusion's layout (has the stage `pretrained` run?)")


def load_base(folder: Path, device: torch.device) -> Base:
    """Load a base, with no gradients and in fp32 whatever its files hold. Raises UserError where it isn't there."""
    require_base(folder)
    with activity("load the base"):
        return _load_base(folder, device)


def _load_base(folder: Path, device: torch.device) -> Base:
    quiet_libraries()
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32, local_files_only=True)
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32, local_files_only=True)
    text_encoder = CLIPTextModel.from_pretrained(
        folder / "text_encoder",
        dtype=torch.float32,
        attn_implementation="eager" if device.type == "cpu" else "sdpa",
        local_files_only=True,
    )
    for part in (unet, vae, text_encoder):
        part.requires_grad_(False).eval().to(device)
    set_attention(unet, device)
    return Base(
        folder=folder,
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        text_encoder=text_encoder,
        vae=vae,
        unet=unet,
        scheduler=DDPMScheduler.from_pretrained(folder / "scheduler"),
    )


def quiet_libraries() -> None:
    """No progress bars and no advice from the libraries: what matters, the stages say themselves."""
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def set_attention(unet: UNet2DConditionModel, device: torch.device, training: bool = False) -> None:
    """Compute attention with PyTorch's fused kernel; as two matrix products and a softmax where that is faster.

    It is for training in half precision on a CPU, where the fused kernel's backward is half of a step. In fp32, and
    for drawing in any precision, the fused one is ahead (`python -m benchmarks.machine`; the table in
    benchmarks/README.md).
    """
    plain = training and device.type == "cpu" and unet.dtype != torch.float32
    unet.set_attn_processor(AttnProcessor() if plain else AttnProcessor2_0())


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which matrix products run in `precision` while sums and norms stay in fp32."""
    dtype = getattr(torch, DTYPES[precision])
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")


def fill_token(template: str, token: str) -> str:
    """Put the brand's token into a prompt or caption template."""
    return template.replace("{token}", token)


def token_ids(base: Base, prompts: Sequence[str]) -> torch.Tensor:
    """Token numbers of prompts, padded as the pipeline does: int64 of shape [prompts, tokens]."""
    tokens = base.tokenizer(
        list(prompts),
        padding="max_length",
        max_length=base.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    ids: torch.Tensor = tokens.input_ids
    return ids.to(base.device)


def too_long(base: Base, prompts: Sequence[str]) -> list[str]:
    """Those of the prompts whose end the text encoder will not see."""
    limit = base.tokenizer.model_max_length
    return [prompt for prompt in prompts if len(base.tokenizer(prompt).input_ids) > limit]


@torch.no_grad()
def encode_prompts(base: Base, prompts: Sequence[str]) -> torch.Tensor:
    """Text embeddings of prompts, fp32 of shape [prompts, tokens, width]. Equal prompts are encoded once."""
    unique = list(dict.fromkeys(prompts))
    embeddings: torch.Tensor = base.text_encoder(token_ids(base, unique))[0]
    return embeddings[torch.tensor([unique.index(prompt) for prompt in prompts], device=embeddings.device)]


def scheduler_for(name: str, base: Base) -> Any:
    """The sampling scheduler of that name (params: sample.scheduler), on the base's own noise schedule."""
    classes = {"dpm++": DPMSolverMultistepScheduler, "ddim": DDIMScheduler, "euler": EulerDiscreteScheduler}
    return classes[name].from_config(base.scheduler.config)


def initial_noise(base: Base, seeds: Sequence[int], resolution: int) -> torch.Tensor:
    """Noise of shape [seeds, channels, height, width]: each picture's own, from a generator of its own, on the CPU."""
    side = resolution // base.latent_scale
    shape = (1, base.unet.config.in_channels, side, side)
    noise = [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
    return torch.cat(noise).to(base.device)


@torch.no_grad()
def draw(
    base: Base,
    text: torch.Tensor,
    negative: torch.Tensor,
    seeds: Sequence[int],
    settings: Sampling,
    resolution: int,
    unet: Callable[..., Any] | None = None,
    steering: Steering | None = None,
) -> torch.Tensor:
    """Draw a picture for each row of `text` [n, tokens, width] and seed, guided away from `negative` [tokens, width].

    Returns pictures on the CPU as uint8 of shape [n, resolution, resolution, 3]. Guidance is Ho & Salimans (2022),
    classifier-free, on the first `guidance_share` of the steps (Kynkäänniemi et al. 2024: the last ones do not need it,
    and without it a step costs half); the arithmetic is StableDiffusionPipeline's, step by step. `unet` replaces the
    base's, compiled. `steering` changes latents before a step, and the guided steps' prediction.
    """
    steering = steering or Steering()
    predict = unet if unet is not None else base.unet
    dtype = base.unet.dtype
    scheduler = scheduler_for(settings.scheduler, base)
    scheduler.set_timesteps(settings.steps, device=base.device)
    guides = settings.guidance_scale > 1 or steering.compose is not None
    guided_steps = round(settings.guidance_share * settings.steps) if guides else 0
    plain, both = text.to(dtype), torch.cat([negative.expand_as(text), text]).to(dtype)
    latents = initial_noise(base, seeds, resolution) * scheduler.init_noise_sigma
    for number, timestep in enumerate(scheduler.timesteps):
        model_input = scheduler.scale_model_input(latents, timestep)
        if steering.excite is not None:
            scale = scheduler.scale_model_input(torch.ones((), device=base.device), timestep)
            latents = latents + steering.excite(number, timestep, model_input) / scale
            model_input = scheduler.scale_model_input(latents, timestep)
        model_input = model_input.to(dtype)
        if number >= guided_steps:
            prediction = predict(model_input, timestep, encoder_hidden_states=plain, return_dict=False)[0].float()
        elif steering.compose is not None:
            prediction = steering.compose(predict, model_input, timestep)
        else:
            twice = torch.cat([model_input, model_input])
            said = predict(twice, timestep, encoder_hidden_states=both, return_dict=False)[0].float()
            away, towards = said.chunk(2)
            prediction = away + settings.guidance_scale * (towards - away)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    return decode(base, latents)


@torch.no_grad()
def decode(base: Base, latents: torch.Tensor, batch: int = 16) -> torch.Tensor:
    """Pictures of latents, on the CPU as uint8 of shape [n, height, width, 3].

    The decoder gains from batches of 8, and nothing from more than 16 (benchmarks/README.md).
    """
    pictures = []
    for part in torch.split(latents / base.vae.config.scaling_factor, batch):
        pixels = base.vae.decode(part.to(base.vae.dtype), return_dict=False)[0].float()
        pixels = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        pictures.append((pixels * 255).round().to(torch.uint8).cpu())
    return torch.cat(pictures)


@torch.no_grad()
def encode_pictures(base: Base, pixels: torch.Tensor, batch: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the latents of pixels in [-1, 1], shape [n, 3, height, width], on the device."""
    parts = torch.split(pixels, batch)
    shown = (
        progress(parts, "encode pictures", total=len(parts), unit=f"x{batch}") if len(parts) > QUIET_PARTS else parts
    )
    moments = [base.vae.encode(part.to(base.device)).latent_dist for part in shown]
    return torch.cat([m.mean for m in moments]), torch.cat([m.std for m in moments])
