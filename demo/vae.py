"""Recipe, step 1: the autoencoder. A logo's letters must survive encoding and decoding at a quarter of the size.

Writes demo/weights/base/vae (AutoencoderKL). Random crops make a step cheap; the latent's noise is small and fixed from
the start (the KL's initial variance of 1 would drown the letters); edges weigh more than flat areas. At the end the
decoder alone goes on with whole pictures: its normalisation sees them as it will in use, and the latents stay.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as functional
from diffusers import AutoencoderKL
from torch import Tensor

from demo.pictures import PICTURES, Pictures
from demo.training import WEIGHTS, demo_params, device, rng_of, to_tensor, train
from stages.common.scratch import file_digest

TARGET = WEIGHTS / "base" / "vae"
LATENT_PENALTY = 1e-5


def build(settings: dict) -> AutoencoderKL:
    """A small AutoencoderKL: no attention, few normalisation groups (many would throw flat colour away)."""
    channels = settings["channels"]
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=settings["latent_channels"],
        norm_num_groups=2,
        sample_size=64,
        mid_block_add_attention=False,
    )


def edge_weights(images: Tensor, strength: float) -> Tensor:
    """[N, 1, H, W]: 1 on flat areas, up to 1 + strength on edges (gradient magnitude, 0.5 and more counts in full)."""
    grey = images.mean(1, keepdim=True)
    across = functional.pad(grey[..., 1:] - grey[..., :-1], (0, 1))
    down = functional.pad(grey[..., 1:, :] - grey[..., :-1, :], (0, 0, 0, 1))
    return 1 + strength * (2 * (across.abs() + down.abs())).clamp(max=1)


def fix_latent_noise(vae: AutoencoderKL, deviation: float) -> None:
    """Make the encoder's predicted variance the constant that it was trained with."""
    channels = vae.config.latent_channels
    with torch.no_grad():
        vae.quant_conv.weight[channels:] = 0
        vae.quant_conv.bias[channels:] = 2 * math.log(deviation)


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, images: Tensor) -> float:
    """1 / standard deviation of the latents, so that the UNet sees unit variance (Rombach et al. 2022, appendix G)."""
    return 1 / vae.encode(images).latent_dist.mean.std().item()


def in_box(boxes: np.ndarray, size: int) -> Tensor:
    """[N, 1, size, size]: 1 in the box (pixels) of each picture's logo, 0 elsewhere."""
    inside = np.zeros((len(boxes), 1, size, size), dtype=np.float32)
    for mask, (x0, y0, x1, y1) in zip(inside, boxes, strict=True):
        mask[0, int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)] = 1
    return torch.from_numpy(inside)


def train_decoder(vae: AutoencoderKL, pictures: Pictures, settings: dict, seed: int, inputs: list) -> None:
    """Train the decoder alone on whole pictures; logos weigh more, and the absolute error keeps their edges crisp."""
    where = next(vae.parameters()).device
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    with_logo = np.flatnonzero(pictures.boxes[:, 2] > pictures.boxes[:, 0])

    def loss_of_step(step: int) -> Tensor:
        rng = rng_of(seed, step)
        chosen = with_logo[rng.integers(len(with_logo), size=settings["batch_size"])]
        images = to_tensor(pictures.images[chosen], where)
        with torch.autocast(where.type, torch.bfloat16):
            with torch.no_grad():
                mean = vae.encode(images).latent_dist.mean
            noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32)).to(where)
            drawn = vae.decode(mean + settings["latent_noise"] * noise).sample
        weight = edge_weights(images, settings["edge_weight"])
        weight = weight * (
            1 + (settings["logo_weight"] - 1) * in_box(pictures.boxes[chosen], images.shape[-1]).to(where)
        )
        return (weight * (drawn.float() - images).abs()).mean() / weight.mean()

    train(
        "vae-decoder",
        {"decoder": vae.decoder, "post": vae.post_quant_conv},
        loss_of_step,
        settings=settings,
        inputs=inputs,
    )


def main() -> None:
    """Train the autoencoder and write it in diffusers' layout, in half precision."""
    params = demo_params()
    settings, seed, where = params["vae"], params["seed"], device()
    pictures = Pictures()
    torch.manual_seed(seed)
    vae = build(settings).to(where)
    crop, size = settings["crop"], pictures.images.shape[1]

    def loss_of_step(step: int) -> Tensor:
        rng = rng_of(seed, step)
        chosen = rng.integers(len(pictures), size=settings["batch_size"])
        x, y = rng.integers(size - crop + 1, size=(2, settings["batch_size"]))
        windows = [pictures.images[i, b : b + crop, a : a + crop] for i, a, b in zip(chosen, x, y, strict=True)]
        images = to_tensor(np.stack(windows), where)
        with torch.autocast(where.type, torch.bfloat16):
            mean = vae.encode(images).latent_dist.mean
            noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32)).to(where)
            drawn = vae.decode(mean + settings["latent_noise"] * noise).sample
        weight = edge_weights(images, settings["edge_weight"])
        error = (weight * (drawn.float() - images).square()).mean() / weight.mean()
        return error + LATENT_PENALTY * mean.float().square().mean()

    inputs = [seed, file_digest(PICTURES)]
    train("vae", {"vae": vae}, loss_of_step, settings=settings, inputs=inputs)
    train_decoder(vae, pictures, params["vae_decoder"], seed, [*inputs, settings])
    fix_latent_noise(vae, settings["latent_noise"])
    sample = to_tensor(pictures.images[:512], where)
    vae.eval().register_to_config(scaling_factor=round(latent_scale(vae, sample), 4))
    with torch.no_grad():
        error = (vae(sample[:64]).sample.clamp(-1, 1) - sample[:64]).square().mean().item() / 4
    print(f"PSNR of 64 pictures: {-10 * math.log10(error):.1f} dB, scaling factor {vae.config.scaling_factor}")
    vae.half().save_pretrained(TARGET)


if __name__ == "__main__":
    main()
