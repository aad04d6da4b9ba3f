"""CLIP, where one is in models/pretrained/clip: does a picture show what its prompt says, rather than another prompt?

Any model in transformers' CLIPModel layout (`config.json`, `model.safetensors`, the tokenizer's files, and optionally
`preprocessor_config.json`): ViT-L/14 for real pictures, a tiny one trained on the demo world's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoTokenizer, CLIPModel
from transformers.utils import logging

from stages.common.errors import UserError
from stages.common.tables import Row
from stages.common.tokens import replace_token
from stages.score.colours import SHADES, colour_asked
from stages.score.pictures import Picture

BATCH = 64
"""Pictures encoded at once; chosen by hand."""
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of the channels in OpenAI's own CLIP, for a folder without preprocessor_config.json."""


class Clip:
    """A CLIP that gives unit vectors for pictures and texts."""

    def __init__(self, model: Any, tokenizer: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._mean, self._std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self._side = int(model.config.vision_config.image_size)

    def pictures(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """Unit vectors of RGB pictures [height, width, 3], shape [n, d]."""
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                batch = [
                    np.asarray(Image.fromarray(p).resize((self._side, self._side), Image.Resampling.BICUBIC))
                    for p in pictures[start : start + BATCH]
                ]
                pixels = (np.stack(batch).astype(np.float32) / 255 - self._mean) / self._std
                tensor = torch.from_numpy(pixels.transpose(0, 3, 1, 2)).to(self._model.device)
                vectors.append(_unit(self._model.get_image_features(pixel_values=tensor)))
        return np.concatenate(vectors)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of texts, shape [n, d]."""
        length = int(self._model.config.text_config.max_position_embeddings)
        tokens = self._tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        )
        with torch.inference_mode():
            return _unit(self._model.get_text_features(input_ids=tokens["input_ids"].to(self._model.device)))


def load_clip(folder: Path) -> Clip | None:
    """Load a CLIP, None where the folder holds none. Raises UserError where what it holds cannot be loaded."""
    if not (folder / "config.json").exists():
        return None
    logging.disable_progress_bar()
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: cannot be loaded as a CLIP: {str(error).splitlines()[0]}") from None
    settings = folder / "preprocessor_config.json"
    content = json.loads(settings.read_text()) if settings.exists() else {}
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return Clip(model, tokenizer, content.get("image_mean", OPENAI_MEAN), content.get("image_std", OPENAI_STD))


def without_token(prompt: str, token: str) -> str:
    """The prompt as CLIP can know it: "a mug with a <hugo> logo" -> "a mug with a logo"."""
    return re.sub(r"\s+", " ", replace_token(prompt, token, " ")).strip()


def prompt_alternatives(prompt: str, others: Sequence[str]) -> list[str]:
    """The prompt first, then what it competes with: the run's other prompts, and itself in every other colour."""
    colour = colour_asked(prompt)
    recoloured = [re.sub(rf"\b{colour}\b", name, prompt, count=1, flags=re.I) for name in SHADES] if colour else []
    return list(dict.fromkeys([prompt, *others, *recoloured]))


def clip_columns(clip: Clip, pictures: Sequence[Picture], prompts: Sequence[str], others: Sequence[str]) -> list[Row]:
    """Does CLIP prefer a picture's own prompt to the run's other prompts and to its own in other colours?

    Args:
        clip: the judge.
        pictures: RGB, each [height, width, 3] of uint8.
        prompts: each picture's own prompt, without the token.
        others: all different prompts of the run, without the token.
    """
    candidates = {prompt: prompt_alternatives(prompt, others) for prompt in dict.fromkeys(prompts)}
    texts = list(dict.fromkeys(text for listed in candidates.values() for text in listed))
    vectors = dict(zip(texts, clip.texts(texts), strict=True))
    out = []
    for vector, prompt in zip(clip.pictures(pictures), prompts, strict=True):
        score = {text: float(vector @ vectors[text]) for text in candidates[prompt]}
        preferred = max(others, key=lambda text: score[text])
        recoloured = [text for text in candidates[prompt] if text == prompt or text not in others]
        coloured = colour_asked(prompt) is not None
        out.append(
            {
                "clip_prompt": preferred,
                "clip_prompt_right": preferred == prompt,
                "clip_colour_right": max(recoloured, key=lambda text: score[text]) == prompt if coloured else None,
            }
        )
    return out


def _unit(output: Any) -> NDArray[np.float32]:
    features = getattr(output, "pooler_output", output)
    return np.asarray((features / features.norm(dim=-1, keepdim=True)).float().cpu().numpy())
