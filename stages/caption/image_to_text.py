"""Captions by a model that looks at the picture, for products of which no word tells what they are."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from stages.common.errors import UserError


def model_captions(folder: Path, pictures: list[Path]) -> list[str]:
    """What an image-to-text model (BLIP or another that transformers knows) says of each picture, greedily decoded.

    Raises UserError where the folder holds no such model.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"pretrained.captioner: {folder} holds no model (config.json is not there)")
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise UserError(f"pretrained.captioner: {folder}: {' '.join(str(error).split())[:200]}") from None
    captions = []
    for path in pictures:
        with Image.open(path) as image:
            white = Image.new("RGB", image.size, (255, 255, 255))
            white.paste(image, mask=image.getchannel("A"))
        inputs = processor(images=white, return_tensors="pt")
        with torch.inference_mode():
            # A sentence has about ten words; 30 tokens end a model that repeats itself.
            tokens = model.generate(**inputs, max_new_tokens=30, do_sample=False, num_beams=1)
        captions.append(str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip().casefold())
    return captions


def with_logo(text: str) -> str:
    """A model's caption with the logo named once: in place of what it says of a logo, else at the end."""
    text = " ".join(text.replace("{", "").replace("}", "").split()).rstrip(".")
    said = re.sub(
        r"\s*\b(with|and|that has|has|featuring)\b (a|the|an)? ?[^,]*?\b(logo|word|text|letters?|name)\b.*$", "", text
    )
    return f"{said or 'a photo'} with a {{token}} logo"
