"""The networks that read: EasyOCR's own classes as installed, with weights that are read as data.

| file in models/pretrained/reader | network |
|---|---|
| reader.safetensors, reader.yaml | one's own recogniser (the demo's): `easyocr.model.vgg_model.Model` as described |
| english_g2.safetensors | EasyOCR's English recogniser: the same class in EasyOCR's own size |
| craft_mlt_25k.safetensors | EasyOCR's text detector, `easyocr.craft.CRAFT` |

EasyOCR's own loader unpickles weights without restriction and imports a custom network's code from the folder of its
weights. That folder comes out of a cache or a remote, so neither happens here: the architecture is this package's, and
a folder that still holds code or a pickle is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from easyocr.config import recognition_models
from easyocr.craft import CRAFT
from easyocr.model.vgg_model import Model
from easyocr.utils import CTCLabelConverter
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from stages.common.errors import UserError
from stages.common.params import read_yaml
from stages.common.schema import Section
from stages.common.scratch import file_digest

CUSTOM, ENGLISH, TEXT_DETECTOR = "reader.safetensors", "english_g2.safetensors", "craft_mlt_25k.safetensors"
DESCRIPTION = "reader.yaml"
DESCRIBED = "description"
"""Key in the header of reader.safetensors: the sha256 of the reader.yaml that its weights belong to."""
CODE_AND_PICKLES = (".py", ".pyc", ".pth", ".pt", ".pkl", ".bin")
ENGLISH_HEIGHT = 64
"""Pixels: EasyOCR's own (`imgH` in easyocr.easyocr), for which english_g2 was trained."""
ENGLISH_SIZE = {"input_channel": 1, "output_channel": 256, "hidden_size": 256}
"""EasyOCR's own numbers for its second generation (`generation2` in easyocr.easyocr)."""
COUNTER = re.compile(r"(^|\.)num_batches_tracked$")
"""A batch normalisation's count of training steps: files from before PyTorch 0.4.1 lack it, reading does not use it."""


class NetworkSize(Section):
    """The arguments of `easyocr.model.vgg_model.Model`. Bounded: they decide how much memory is taken."""

    input_channel: Literal[1]
    output_channel: Annotated[int, Field(ge=8, le=1024, multiple_of=8)]
    hidden_size: Annotated[int, Field(ge=1, le=1024)]


class Description(Section):
    """What reader.yaml says of a recogniser, in the words of EasyOCR's own custom models.

    The least height is what the network's four halvings and its last convolution leave one row of.
    """

    imgH: Annotated[int, Field(ge=32, le=256)]
    lang_list: Annotated[list[str], Field(min_length=1)]
    character_list: Annotated[str, Field(min_length=1, max_length=10_000)]
    network_params: NetworkSize


@dataclass(frozen=True)
class Recogniser:
    """A network that turns a line of text, in grey and of `height` pixels, into characters."""

    network: Any
    converter: Any
    characters: str
    height: int
    device: torch.device


def load_recogniser(folder: Path, device: torch.device) -> Recogniser:
    """Load the recogniser of one's own, or else EasyOCR's English one.

    Raises UserError, in one line, where the folder holds neither, or holds what does not fit together.
    """
    refuse_code_and_pickles(folder)
    if (folder / CUSTOM).exists():
        described = read_description(folder)
        characters, height, size = described.character_list, described.imgH, described.network_params.model_dump()
        weights = folder / CUSTOM
    elif (folder / ENGLISH).exists():
        characters, height, size = recognition_models["gen2"]["english_g2"]["characters"], ENGLISH_HEIGHT, ENGLISH_SIZE
        weights = folder / ENGLISH
    else:
        raise UserError(f"{folder}: no OCR weights ({CUSTOM} with {DESCRIPTION}, or {ENGLISH})")
    converter = CTCLabelConverter(characters)
    network = Model(num_class=len(converter.character), **size)
    fill(network, weights)
    return Recogniser(network.to(device).eval(), converter, characters, height, device)


def load_text_detector(folder: Path, device: torch.device) -> Any | None:
    """Load CRAFT, or None where its weights are not in the folder. Raises UserError where they do not fit."""
    refuse_code_and_pickles(folder)
    if not (folder / TEXT_DETECTOR).exists():
        return None
    network = CRAFT()
    fill(network, folder / TEXT_DETECTOR)
    return network.to(device).eval()


def refuse_code_and_pickles(folder: Path) -> None:
    """Raise UserError where a folder of weights holds what could only be used by running it."""
    found = sorted(path for path in folder.glob("*") if path.suffix in CODE_AND_PICKLES)
    if found:
        raise UserError(f"{found[0]}: weights are read as data, code and pickles are never run; remove the file")


def read_description(folder: Path) -> Description:
    """Read and check reader.yaml. Raises UserError where it is no description, or another one than the weights'."""
    path = folder / DESCRIPTION
    if not path.exists():
        raise UserError(f"{path}: no such file ({CUSTOM} needs it beside it)")
    try:
        described = Description.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {key or 'content'}: {first['msg']}") from None
    if len(set(described.character_list)) < len(described.character_list):
        raise UserError(f"{path}: character_list: has a character twice")
    if read_header(folder / CUSTOM).get(DESCRIBED) != file_digest(path):
        raise UserError(f"{path}: not the description that {CUSTOM} was written with")
    return described


def read_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises UserError where it is no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: no safetensors file: {' '.join(str(error).split())}") from None


def fill(network: torch.nn.Module, path: Path) -> None:
    """Put a file's tensors into a network; half precision is widened to the network's own.

    Raises UserError naming the first tensor that is missing, unknown, or of another shape or kind of number.
    """
    read_header(path)
    found, own = load_file(path), network.state_dict()
    for name in sorted(found.keys() | own.keys()):
        if name not in own:
            raise UserError(f"{path}: {name}: no tensor of {type(network).__name__}")
        if name not in found:
            if COUNTER.search(name):
                continue
            raise UserError(f"{path}: {name} is missing")
        tensor, expected = found[name], own[name]
        if tensor.shape != expected.shape:
            raise UserError(f"{path}: {name} is {list(tensor.shape)}, must be {list(expected.shape)}")
        if tensor.is_floating_point() != expected.is_floating_point() or tensor.is_complex():
            raise UserError(f"{path}: {name} is {tensor.dtype}, must be {expected.dtype}")
    network.load_state_dict(own | found)
