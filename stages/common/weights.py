"""The file formats of fine-tuned weights: written the same way each time, read into a loaded base as data.

| method | file in models/<method>/epoch-NN/ | read by |
|---|---|---|
| dreambooth | unet/ | `UNet2DConditionModel.from_pretrained` |
| textual_inversion | learned_embeds.safetensors | `load_textual_inversion`, A1111, ComfyUI |
| lora | pytorch_lora_weights.safetensors | `load_lora_weights` (diffusers, peft) |
| lora | <token>_kohya.safetensors | A1111, ComfyUI, Forge, `load_lora_weights` |
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from transformers import AddedToken

from stages.common.diffusion import Base
from stages.common.errors import UserError
from stages.common.files import replacing, write_file
from stages.common.tokens import is_word, replace_token

LORA_FILE = "pytorch_lora_weights.safetensors"
EMBEDDINGS_FILE = "learned_embeds.safetensors"
UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


# --- Writing -----------------------------------------------------------------------------------------------------


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file: the same bytes for the same content, synced to disk.

    The library writes metadata in the order of a hash map, another one in each process; here its keys are sorted.
    """
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in sorted(tensors.items())}
    content = save(tensors)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header = {"__metadata__": {"format": "pt", **dict(sorted(metadata.items()))}, **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(memoryview(content)[8 + length :])


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def write_unet(folder: Path, unet: Any, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write `weights` as a folder that `UNet2DConditionModel.from_pretrained` opens."""
    config = {key: value for key, value in json.loads(unet.to_json_string()).items() if key != "_name_or_path"}
    write_safetensors(folder / UNET_FILE, weights, metadata)
    write_file(folder / "unet" / "config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_lora(
    folder: Path,
    unet: Mapping[str, torch.Tensor],
    text_encoder: Mapping[str, torch.Tensor],
    configs: Mapping[str, Mapping[str, Any]],
    metadata: Mapping[str, str],
) -> None:
    """Write an adapter as diffusers does.

    `unet` and `text_encoder` are {"<layer's name>.lora_A.weight": [rank, in], "<...>.lora_B.weight": [out, rank]}; of a
    convolution, [rank, in, height, width] and [out, rank, 1, 1]. `configs` holds the peft configurations of both.
    Without these (rank and alpha) a reader takes alpha for the rank, and the picture is silently another one.
    """
    tensors = {f"unet.{name}": tensor for name, tensor in unet.items()}
    tensors |= {f"text_encoder.text_model.{name}": tensor for name, tensor in text_encoder.items()}
    adapter = {f"{part}.{key}": value for part, config in configs.items() for key, value in config.items()}
    header = {**metadata, "lora_adapter_metadata": json.dumps(adapter, indent=2, sort_keys=True, default=_plain)}
    write_safetensors(folder / LORA_FILE, tensors, header)


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def write_kohya(
    path: Path,
    unet: Mapping[str, torch.Tensor],
    text_encoder: Mapping[str, torch.Tensor],
    rank: int,
    alpha: float,
    metadata: Mapping[str, str],
) -> None:
    """Write an adapter in kohya's layout, which A1111, ComfyUI and Forge read: flat names and an alpha a module."""
    tensors: dict[str, torch.Tensor] = {}
    for prefix, part in (("lora_unet_", unet), ("lora_te_text_model_", text_encoder)):
        for name, tensor in part.items():
            module, kind = name.removesuffix(".weight").rsplit(".", 1)
            flat = prefix + module.replace(".", "_")
            tensors[f"{flat}.{'lora_down' if kind == 'lora_A' else 'lora_up'}.weight"] = tensor
            tensors[f"{flat}.alpha"] = torch.tensor(float(alpha))
    header = {"ss_network_module": "networks.lora", "ss_network_dim": str(rank), "ss_network_alpha": str(float(alpha))}
    write_safetensors(path, tensors, {**metadata, **header})


# --- Reading into a loaded base -----------------------------------------------------------------------------------


def embedding_tokens(token: str, vectors: int) -> list[str]:
    """The names under which `load_textual_inversion` adds a token of several vectors: <t>, <t>_1, <t>_2, ..."""
    return [token, *(f"{token}_{number}" for number in range(1, vectors))]


def spell_out(prompt: str, token: str, vectors: int) -> str:
    """The prompt with all of the token's vectors named, as the pipeline itself expands it."""
    return replace_token(prompt, token, " ".join(embedding_tokens(token, vectors)))


def known_as(base: Base, token: str) -> str | None:
    """What the base's vocabulary calls a token that it has, None where it has it not.

    CLIP has its words with a mark at their end: "mug" is "mug</w>" there.
    """
    pieces = base.tokenizer.tokenize(token)
    vocabulary = base.tokenizer.get_vocab()
    if token in vocabulary:
        return token
    return str(pieces[0]) if len(pieces) == 1 and pieces[0] in vocabulary else None


def add_token(base: Base, token: str, vectors: int) -> int:
    """Add a token of several vectors, zero for now, to tokenizer and text encoder; return the first one's number.

    Raises UserError where the base knows the token already, since training it would change the base.
    """
    names = embedding_tokens(token, vectors)
    known = [piece for name in names if (piece := known_as(base, name))]
    if known:
        raise UserError(f"brand.token = {token!r}: the base's vocabulary has {known[0]!r} already; choose another one")
    # A string alone is looked for anywhere: "hu" would be cut out of "hugo".
    base.tokenizer.add_tokens([AddedToken(name, single_word=is_word(name)) for name in names])
    old = base.text_encoder.get_input_embeddings().weight
    first = int(base.tokenizer.convert_tokens_to_ids(names[0]))
    rows = torch.zeros(max(first + vectors, len(old)), old.shape[1], dtype=old.dtype, device=old.device)
    rows[: len(old)] = old
    table = torch.nn.Embedding(len(rows), rows.shape[1], _weight=rows).requires_grad_(False)
    base.text_encoder.set_input_embeddings(table)
    return first


@dataclass
class StaticWeights:
    """A base whose weights are replaced in place, checkpoint after checkpoint: no second load, no drift.

    What an adapter changes is always computed anew from the pristine fp32 weights: adding and subtracting adapters
    would lose digits each time. The tensors stay where they are, so that a compiled graph stays valid.
    """

    base: Base
    token: str
    pristine: dict[str, torch.Tensor] = field(default_factory=dict)
    first_row: int | None = None

    def prepare(self, method: str, checkpoint: Path) -> None:
        """Note what checkpoints like this one will change, before the base is cast to another precision."""
        if method == "lora":
            for part, name, _, _, _ in read_lora(checkpoint / LORA_FILE):
                weight = getattr(self.base, part).get_parameter(f"{name}.weight")
                self.pristine[f"{part}.{name}"] = weight.detach().float().clone()

    @torch.no_grad()
    def load(self, method: str, checkpoint: Path) -> int:
        """Put a checkpoint's weights into the base; return the number of vectors of its token (1: plain text)."""
        if method == "dreambooth":
            self._load_unet(checkpoint / UNET_FILE)
        elif method == "lora":
            for part, name, down, up, scale in read_lora(checkpoint / LORA_FILE):
                pristine = self.pristine[f"{part}.{name}"]
                added = change(down.float().to(pristine.device), up.float().to(pristine.device), scale)
                getattr(self.base, part).get_parameter(f"{name}.weight").copy_(pristine + added)
        else:
            return self._load_embeddings(checkpoint / EMBEDDINGS_FILE)
        return 1

    def _load_unet(self, path: Path) -> None:
        weights = dict(self.base.unet.named_parameters())
        with safe_open(path, framework="pt") as file:
            if set(file.keys()) != set(weights):
                raise UserError(f"{path}: not a checkpoint of this base (its tensors have other names)")
            for name, weight in weights.items():
                weight.copy_(file.get_tensor(name))

    def _load_embeddings(self, path: Path) -> int:
        rows = load_file(path)[self.token]
        if self.first_row is None:
            self.first_row = add_token(self.base, self.token, len(rows))
        self.base.text_encoder.get_input_embeddings().weight[self.first_row : self.first_row + len(rows)] = rows
        return len(rows)


def read_lora(path: Path) -> list[tuple[str, str, torch.Tensor, torch.Tensor, float]]:
    """A diffusers LoRA file as (part, layer's name, down (A), up (B), alpha / rank)."""
    tensors = load_file(path)
    adapter = json.loads(read_metadata(path)["lora_adapter_metadata"])
    layers = []
    for key in sorted(tensors):
        if key.endswith(".lora_A.weight"):
            part, name = key.removesuffix(".lora_A.weight").split(".", 1)
            scale = adapter[f"{part}.lora_alpha"] / adapter[f"{part}.r"]
            up = tensors[key.replace(".lora_A.", ".lora_B.")]
            layers.append((part, name.removeprefix("text_model."), tensors[key], up, scale))
    return layers


def change(down: torch.Tensor, up: torch.Tensor, scale: float) -> torch.Tensor:
    """What an adapter adds to a weight, scale x B A (Hu et al. 2022, equation 3), in the weight's shape."""
    return scale * (up.flatten(1) @ down.flatten(1)).view(len(up), *down.shape[1:])
