"""Recipe, step 2: the tokenizer and the text encoder, trained as CLIP was: captions against pictures.

Writes demo/weights/base/tokenizer and demo/weights/clip (both towers: the start of the base's text encoder, and the
demo's judge of whether a picture shows what its prompt says). The loss is the symmetric cross-entropy of Radford et al.
2021, section 2.3.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import torch.nn.functional as functional
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from demo.pictures import PICTURES, Pictures
from demo.training import WEIGHTS, demo_params, device, rng_of, to_tensor, train
from stages.common.scratch import file_digest

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_tokenizer(captions: list[str], pieces: int, max_length: int) -> CLIPTokenizer:
    """A byte-level BPE in CLIP's form with every single byte in it, so that an unseen word splits into pieces."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    split = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, initial_alphabet=alphabet, end_of_word_suffix="</w>", min_frequency=20, show_progress=False
    )
    bpe.train_from_iterator(captions, trainer)
    learned = dict(sorted(bpe.get_vocab().items(), key=lambda item: item[1]))
    merges = [tuple(pair) for pair in _merges(bpe)]
    ordered = alphabet + [byte + "</w>" for byte in alphabet]
    ordered += [piece for piece in learned if piece not in set(ordered)] + [START, END]
    vocabulary = {piece: index for index, piece in enumerate(ordered)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=max_length)


def _merges(bpe: Tokenizer) -> list[list[str]]:
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in json.loads(bpe.to_str())["model"]["merges"]]


def build(settings: dict[str, Any], tokenizer: CLIPTokenizer, size: int) -> CLIPModel:
    """Two small towers of one width. Attention in plain arithmetic: the fused kernel's backward is slow on a CPU."""
    tower = {
        "hidden_size": settings["width"],
        "intermediate_size": 4 * settings["width"],
        "num_hidden_layers": settings["layers"],
        "num_attention_heads": settings["heads"],
    }
    text = tower | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = tower | {"image_size": size, "patch_size": settings["patch"]}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=settings["width"])
    return CLIPModel._from_config(config, attn_implementation="eager")


def contrastive_loss(image_features: Tensor, text_features: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy over the batch's N x N similarities; features [N, D]."""
    image_features = functional.normalize(image_features.float(), dim=-1)
    text_features = functional.normalize(text_features.float(), dim=-1)
    logits = logit_scale.exp().clamp(max=100) * image_features @ text_features.T
    target = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def main() -> None:
    """Train tokenizer and towers; write the tokenizer where Stable Diffusion's layout wants it, and all as a CLIP."""
    params = demo_params()
    settings, seed, where = params["clip"], params["seed"], device()
    pictures = Pictures()
    texts = [text for several in pictures.captions for text in several]
    tokenizer = train_tokenizer(texts, settings["vocabulary"], settings["max_length"])
    torch.manual_seed(seed)
    clip = build(settings, tokenizer, pictures.images.shape[1]).to(where)

    def loss_of_step(step: int) -> Tensor:
        rng = rng_of(seed, step)
        chosen = rng.integers(len(pictures), size=settings["batch_size"])
        captions = [pictures.captions[i][rng.integers(len(pictures.captions[i]))] for i in chosen]
        tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids.to(where)
        images = to_tensor(pictures.images[chosen], where)
        with torch.autocast(where.type, torch.bfloat16):
            seen = clip.visual_projection(clip.vision_model(images).pooler_output)
            read = clip.text_projection(clip.text_model(tokens).pooler_output)
        return contrastive_loss(seen, read, clip.logit_scale)

    train("clip", {"clip": clip}, loss_of_step, settings=settings, inputs=[seed, file_digest(PICTURES)])
    tokenizer.save_pretrained(WEIGHTS / "base" / "tokenizer")
    tokenizer.save_pretrained(WEIGHTS / "clip")
    size = pictures.images.shape[1]
    half = [0.5, 0.5, 0.5]
    CLIPImageProcessor(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, image_mean=half, image_std=half
    ).save_pretrained(WEIGHTS / "clip")
    clip.half().save_pretrained(WEIGHTS / "clip")


if __name__ == "__main__":
    main()
