"""The reader's network: EasyOCR's own, narrower; its loss, and the files that it is written to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from easyocr.model.vgg_model import Model
from safetensors.torch import save
from torch import Tensor, nn

from demo.reader.crops import HEIGHT, Grey
from stages.common.files import write_file
from stages.common.scratch import file_digest
from stages.score.recogniser import CUSTOM, DESCRIBED, DESCRIPTION

CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def build(settings: dict[str, Any]) -> Model:
    """EasyOCR's second-generation network, narrower, with the initial weights of its own trainer."""
    model = Model(num_class=len(CHARACTERS) + 1, **network_params(settings))
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return model


def network_params(settings: dict[str, Any]) -> dict[str, int]:
    """The arguments of EasyOCR's Model."""
    return {"input_channel": 1, "output_channel": settings["channels"], "hidden_size": settings["hidden_size"]}


def batches(crops: list[Grey], texts: list[str]) -> Iterator[tuple[Tensor, list[str]]]:
    """Crops of about one width together, padded to a multiple of the height with their last column, as EasyOCR does.

    Yields pictures [N, 1, HEIGHT, W] in -1 to 1 and their texts.
    """
    narrow = [crop.shape[1] <= 2 * HEIGHT for crop in crops]
    if min(sum(narrow), len(narrow) - sum(narrow)) < 8:  # too few for the batch normalisation
        narrow = [False] * len(crops)
    for wanted in (True, False):
        chosen = [i for i, is_narrow in enumerate(narrow) if is_narrow == wanted]
        if not chosen:
            continue
        width = HEIGHT * math.ceil(max(crops[i].shape[1] for i in chosen) / HEIGHT)
        padded = np.stack([np.pad(crops[i], ((0, 0), (0, width - crops[i].shape[1])), "edge") for i in chosen])
        yield torch.from_numpy(padded[:, None]).float() / 127.5 - 1, [texts[i] for i in chosen]


def ctc_loss(model: Model, pictures: Tensor, texts: list[str]) -> Tensor:
    """Sum over the texts of connectionist temporal classification (Graves et al. 2006), blank 0, per letter."""
    where = pictures.device
    with torch.autocast(where.type, torch.bfloat16):
        seen = model.FeatureExtraction(pictures)
    columns = seen.float().mean(2).permute(0, 2, 1)
    logits = model.Prediction(model.SequenceModeling(columns))
    labels = torch.tensor([CHARACTERS.index(c) + 1 for text in texts for c in text])
    lengths = torch.tensor([len(text) for text in texts])
    steps = torch.full((len(texts),), logits.shape[1])
    loss = nn.functional.ctc_loss(
        logits.log_softmax(2).permute(1, 0, 2), labels, steps, lengths, reduction="none", zero_infinity=True
    )
    return (loss / lengths.to(where)).sum()


def write(network: Model, settings: dict[str, Any], folder: Path) -> None:
    """Write what `stages.score.recogniser` loads, in half precision: reading is done in float32 all the same."""
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    write_weights(tensors, network_params(settings), folder)


def write_weights(
    tensors: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    folder: Path,
    height: int = HEIGHT,
    characters: str = CHARACTERS,
) -> None:
    """Write reader.yaml, in the words of EasyOCR's custom models, and reader.safetensors, which names it in its header.

    The same content gives the same bytes: the library sorts the tensors, and a header of one key has one order.
    """
    lines = [f"imgH: {height}", "lang_list: [en]", f"character_list: {json.dumps(characters)}", "network_params:"]
    lines += [f"  {name}: {value}" for name, value in sizes.items()]
    write_file(folder / DESCRIPTION, "\n".join(lines) + "\n")
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_file(folder / CUSTOM, save(stored, metadata={DESCRIBED: file_digest(folder / DESCRIPTION)}))
