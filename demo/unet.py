"""Recipe, step 3: the UNet, pretrained on the renderer's pictures with their captions, and the base put together.

Writes demo/weights/base in Stable Diffusion's own layout (unet, text_encoder, scheduler, model_index.json beside the
parts that the steps before this one wrote). Noise prediction on SD's beta schedule, min-SNR weighting (Hang et al.
2023, section 3.4), dropped captions for guidance (Ho and Salimans 2022), averaged weights. The text encoder starts as
CLIP's and learns too, as in Rombach et al. 2022 (section 3.3): to tell pictures apart, CLIP need not tell every word
from every other; to draw them, one must. CLIP itself, the judge of prompt fidelity, stays as it was.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from demo.pictures import PICTURES, Pictures
from demo.training import WEIGHTS, demo_params, device, rng_of, round_of, to_tensor, train
from stages.common.scratch import digest, file_digest

BASE = WEIGHTS / "base"
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}


def build(settings: dict[str, Any], latent_channels: int, latent_size: int, text_width: int) -> UNet2DConditionModel:
    """Three levels, one layer each, cross-attention at all of them."""
    levels = len(settings["channels"])
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=settings["channels"],
        down_block_types=["CrossAttnDownBlock2D"] * levels,
        up_block_types=["CrossAttnUpBlock2D"] * levels,
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=settings["heads"],
        norm_num_groups=8,
    )


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: Pictures, where: torch.device) -> Tensor:
    """Scaled mean latents of all pictures, half precision: [N, C, H/4, W/4]."""
    parts = []
    for first in tqdm(range(0, len(pictures), 250), desc="latents", mininterval=10):
        with torch.autocast(where.type, torch.bfloat16):
            mean = vae.encode(to_tensor(pictures.images[first : first + 250], where)).latent_dist.mean
        parts.append((mean.float() * vae.config.scaling_factor).half().cpu())
    return torch.cat(parts)


def text_tower(clip: Path) -> CLIPTextModel:
    """The text encoder of a CLIP's folder, fp32."""
    both = CLIPModel.from_pretrained(clip, dtype=torch.float32)
    text_encoder = CLIPTextModel._from_config(both.config.text_config, attn_implementation="eager")
    text_encoder.load_state_dict(both.text_model.state_dict())
    return text_encoder


def logo_masks(boxes: np.ndarray, picture: int, latent: int) -> Tensor:
    """[N, 1, latent, latent]: 1 where a cell of the latent lies in the logo's box (in pixels), else 0."""
    cell = picture / latent
    masks = np.zeros((len(boxes), 1, latent, latent), dtype=np.float32)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        if x1 > x0:
            mask[0, int(y0 // cell) : int(np.ceil(y1 / cell)), int(x0 // cell) : int(np.ceil(x1 / cell))] = 1
    return torch.from_numpy(masks)


def main() -> None:
    """Train the UNet and write the base."""
    params = demo_params()
    settings, seed, where = params["unet"], params["seed"], device()
    pictures = Pictures()
    tokenizer = CLIPTokenizer.from_pretrained(BASE / "tokenizer")
    text_encoder = text_tower(WEIGHTS / "clip").to(where)
    vae = AutoencoderKL.from_pretrained(BASE / "vae", torch_dtype=torch.float32).to(where)
    latents = encode_pictures(vae, pictures, where)
    texts = sorted({text for several in pictures.captions for text in several} | {""})
    number = {text: index for index, text in enumerate(texts)}
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    logos = logo_masks(pictures.boxes, pictures.images.shape[1], latents.shape[-1])

    torch.manual_seed(seed)
    unet = build(settings, latents.shape[1], latents.shape[-1], text_encoder.config.hidden_size).to(where)
    if where.type == "cpu":
        unet.set_attn_processor(AttnProcessor())
    predict = torch.compile(unet, dynamic=False) if settings["compile"] else unet
    averages = {"unet": copy.deepcopy(unet), "text_encoder": copy.deepcopy(text_encoder)}
    noise_scheduler = DDPMScheduler(**SCHEDULE)
    signal = noise_scheduler.alphas_cumprod / (1 - noise_scheduler.alphas_cumprod)
    min_snr = (signal.clamp(max=settings["snr_gamma"]) / signal).to(where)

    def loss_of_step(step: int) -> Tensor:
        rng = rng_of(seed, step)
        chosen = rng.integers(len(pictures), size=settings["batch_size"])
        dropped = rng.random(len(chosen)) < settings["caption_dropout"]
        captions = [
            "" if drop else pictures.captions[i][rng.integers(len(pictures.captions[i]))]
            for i, drop in zip(chosen, dropped, strict=True)
        ]
        clean = latents[chosen].to(where).float()
        shape = clean.shape
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(where)
        shift = torch.from_numpy(rng.standard_normal((*shape[:2], 1, 1), dtype=np.float32)).to(where)
        noise = noise + settings["noise_offset"] * shift
        timesteps = torch.from_numpy(rng.integers(1000, size=len(chosen))).to(where)
        noisy = noise_scheduler.add_noise(clean, noise, timesteps)
        rows = [number[text] for text in captions]
        with torch.autocast(where.type, torch.bfloat16):
            context = text_encoder(tokens[rows].to(where)).last_hidden_state
            predicted = predict(noisy, timesteps, context).sample
        strength = settings["logo_weight"][round_of(step, settings["steps"])[0]]
        weight = 1 + (strength - 1) * logos[chosen].to(where)
        error = (weight * (predicted.float() - noise).square()).mean((1, 2, 3)) / weight.mean((1, 2, 3))
        return (min_snr[timesteps] * error).mean()

    inputs = [seed, file_digest(PICTURES), digest(BASE / "vae"), digest(WEIGHTS / "clip")]
    modules, shares = {"unet": unet, "text_encoder": text_encoder}, {"text_encoder": settings["text_encoder_share"]}
    train("unet", modules, loss_of_step, settings=settings, inputs=inputs, ema=averages, shares=shares)
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=averages["text_encoder"],
        tokenizer=tokenizer,
        unet=averages["unet"],
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(torch.float16)
    pipeline.save_config(BASE)  # model_index.json
    for part in ("unet", "text_encoder", "scheduler"):  # the others are there, from the steps before
        getattr(pipeline, part).save_pretrained(BASE / part)


if __name__ == "__main__":
    main()
