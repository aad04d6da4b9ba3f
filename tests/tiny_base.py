"""A tiny base model with random weights in Stable Diffusion's own folder layout, for tests and for no other use.

Every part is of the full-size model's class (CLIPTokenizer, CLIPTextModel, AutoencoderKL, UNet2DConditionModel), so
that what holds here in seconds holds there. Nothing it draws means anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LATENT_CHANNELS = 8
MAX_TOKENS = 40
WORDS = ["logo", "shirt", "mug", "bag", "blue", "white", "red", "a", "with", "hat"]


def write_tiny_base(folder: Path, latent_channels: int = LATENT_CHANNELS, seed: int = 0, fp16: bool = False) -> Path:
    """Write the pipeline to `folder` (about 1 MB) and return the folder. 32-pixel pictures have 8 x 8 latents."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(seed)
    write_tokenizer(folder / "tokenizer")
    vocabulary = json.loads((folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=vocabulary["<|startoftext|>"],
            eos_token_id=vocabulary["<|endoftext|>"],
            pad_token_id=vocabulary["<|endoftext|>"],
        )
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=2,
        sample_size=32,
        scaling_factor=0.5,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=8,
        norm_num_groups=4,
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, skip_prk_steps=True
    )
    parts: dict[str, Any] = {"text_encoder": text_encoder, "vae": vae, "unet": unet}
    for name, part in parts.items():
        part.to(torch.float16 if fp16 else torch.float32).save_pretrained(folder / name)
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    return folder


def write_tokenizer(folder: Path, max_length: int = MAX_TOKENS) -> None:
    """Write a byte-level BPE tokenizer, as CLIP's: every byte, every byte at a word's end, and a few whole words."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        units = [*word[:-1], word[-1] + "</w>"]
        while len(units) > 1:
            pair = (units[0], units[1])
            if pair not in merges:
                merges.append(pair)
                pieces.append("".join(pair))
            units = ["".join(pair), *units[2:]]
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)
    tokenizer.save_pretrained(folder)
