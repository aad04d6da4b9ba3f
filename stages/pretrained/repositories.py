"""What is taken of which kind of repository: a Stable Diffusion pipeline, a CLIP, a captioner.

Weights are taken as safetensors in full precision, settings and vocabularies as texts: no pickle, no code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import AutoModelForImageTextToText, AutoProcessor, CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.scratch import publish
from stages.pretrained import hub

WEIGHTS = re.compile(r"(diffusion_pytorch_model|model)(-\d{5}-of-\d{5})?\.safetensors")
"""A component's weights in their full precision: no variant (fp16, non_ema), no pickle."""
TEXTS = re.compile(r"[\w.-]+\.(json|txt)")
SENTENCE_PIECES = re.compile(r"(tokenizer|spiece|sentencepiece\.bpe)\.model")
"""Vocabularies of tokenizers that are not BPE in JSON: a table in protobuf."""
BASE_FOLDERS = ("scheduler", "text_encoder", "tokenizer", "unet", "vae")
BASE_WEIGHTS = ("text_encoder", "unet", "vae")
BASE_NEEDS = {
    "model_index.json (Stable Diffusion's layout)": re.compile(r"model_index\.json"),
    "tokenizer": re.compile(r"tokenizer/(tokenizer|vocab)\.json"),
    **{f"{part}/config.json": re.compile(rf"{part}/config\.json") for part in BASE_WEIGHTS},
    **{f"{part}/*.safetensors": re.compile(rf"{part}/{WEIGHTS.pattern}") for part in BASE_WEIGHTS},
}
MODEL_NEEDS = {"config.json": re.compile(r"config\.json"), "model.safetensors": WEIGHTS}
CAPTIONER_NEEDS = {**MODEL_NEEDS, "preprocessor_config.json": re.compile(r"(pre)?processor_config\.json")}


def of_base(path: str) -> bool:
    """Whether a file of a repository in Stable Diffusion's layout is needed: no checker, no variant, no pickle."""
    folder, _, name = path.rpartition("/")
    if folder == "":
        return name == "model_index.json"
    return folder in BASE_FOLDERS and bool(WEIGHTS.fullmatch(name) or TEXTS.fullmatch(name))


def of_model(path: str) -> bool:
    """Whether a file of a repository in transformers' layout is needed: a CLIP's, a captioner's."""
    kinds = (WEIGHTS, TEXTS, SENTENCE_PIECES)
    return "/" not in path and any(kind.fullmatch(path) for kind in kinds)


def fetch_base(repository: str, revision: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch a Stable Diffusion repository's pipeline, without its safety checker, and see that diffusers opens it."""
    hub.fetch_repository(repository, revision, downloads, of_base, BASE_NEEDS, pinned)
    publish(downloads, target)
    index = target / "model_index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    content |= {"safety_checker": [None, None], "feature_extractor": [None, None], "requires_safety_checker": False}
    # A new file: the download, which this one may be a link to, must keep its hash.
    write_file(index, json.dumps(content, indent=2, sort_keys=True) + "\n")
    weights = {"use_safetensors": True}
    check_opens(repository, "scheduler", DDPMScheduler.from_pretrained, target / "scheduler")
    check_opens(repository, "text_encoder", CLIPTextModel.from_pretrained, target / "text_encoder", **weights)
    check_opens(repository, "tokenizer", CLIPTokenizer.from_pretrained, target / "tokenizer")
    check_opens(repository, "unet", UNet2DConditionModel.from_pretrained, target / "unet", **weights)
    check_opens(repository, "vae", AutoencoderKL.from_pretrained, target / "vae", **weights)


def fetch_clip(repository: str, revision: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch a CLIP in transformers' layout."""
    hub.fetch_repository(repository, revision, downloads, of_model, MODEL_NEEDS, pinned)
    publish(downloads, target)


def fetch_captioner(repository: str, revision: str, downloads: Path, target: Path, pinned: Mapping[str, str]) -> None:
    """Fetch an image-to-text model in transformers' layout, one that transformers itself knows: no code comes along."""
    hub.fetch_repository(repository, revision, downloads, of_model, CAPTIONER_NEEDS, pinned)
    publish(downloads, target)
    alone = {"trust_remote_code": False}
    check_opens(repository, "processor", AutoProcessor.from_pretrained, target, **alone)
    check_opens(repository, "model", AutoModelForImageTextToText.from_pretrained, target, use_safetensors=True, **alone)


def check_opens(repository: str, name: str, loader: Callable[..., Any], folder: Path, **options: Any) -> None:
    """Open a component with its library's own loader. Raises UserError naming the one that does not open."""
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        loader(folder, local_files_only=True, **options)
    except Exception as error:  # whatever a library raises for a file that it cannot use
        raise UserError(f"{repository}: {name} does not open: {' '.join(str(error).split())[:200]}") from None
