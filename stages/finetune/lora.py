"""LoRA (Hu et al. 2022; paper 3.3): rank-r adapters on the attention of UNet and text encoder learn, nothing else.

With `finetune.lora.convolutions` the UNet's convolutions and feed-forward layers have adapters too, as in the variant
that its users call LoCon (Yeh et al. 2024, section 3.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn
from typing_extensions import override

from stages.common.diffusion import Base
from stages.common.errors import UserError
from stages.common.machine import DTYPES, derive_seed
from stages.common.params import LoRA as Settings
from stages.common.params import Params
from stages.common.weights import LORA_FILE, change, write_kohya, write_lora
from stages.finetune.flat_parameters import FlatParameters, in_memory_order, stacks, take_gradients
from stages.finetune.method import Method

UNET_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
UNET_OTHERS = [
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
]
"""The other layers of transformer, residual and resampling blocks: those that kohya's tools and A1111 can load."""


@dataclass
class AdaptedLayers:
    """Layers of one shape and their adapters, as one: W0 + scale x B A of all of them is one operation.

    A step computes with the sum, as the sampler does, so it costs no more than one without adapters. The gradients of
    A and B follow from the sum's, G: scale x B^T G and scale x G A^T. These products are made in the precision that
    the layers compute in; W0, A and B, and what they are changed by, stay in fp32.
    """

    layers: list[nn.Parameter]
    """The weights that the layers compute with, W."""
    weights: torch.Tensor
    """The same, as one: [layers, outputs, inputs], a convolution's window being part of its inputs."""
    pristine: torch.Tensor
    """W0, fp32."""
    down: torch.Tensor
    """A, fp32: [layers, rank, inputs]."""
    up: torch.Tensor
    """B, fp32: [layers, outputs, rank]."""
    scale: float

    @torch.no_grad()
    def merge(self) -> None:
        """Renew the sum."""
        if self.weights.dtype == self.pristine.dtype:  # in one pass over the weights
            torch.baddbmm(self.pristine, self.up, self.down, alpha=self.scale, out=self.weights)
            return
        change = torch.bmm(self.up.to(self.weights.dtype), self.down.to(self.weights.dtype))
        self.weights.copy_(torch.add(self.pristine, change, alpha=self.scale))

    @torch.no_grad()
    def take_gradients(self) -> list[torch.Tensor]:
        """The gradients of A and B, flat, from those of the layers, which have none after it."""
        gradients = torch.cat(take_gradients(self.layers)).view_as(self.weights)
        # The scale goes to A and B, which are small.
        down, up = (self.scale * matrix.to(self.weights.dtype) for matrix in (self.down, self.up))
        return [(up.mT @ gradients).flatten(), (gradients @ down.mT).flatten()]


class LoRA(Method):
    """Trains W0 + (alpha / rank) B A on every adapted layer, B from 0; each part at its own learning rate."""

    settings: Settings

    def __init__(self, base: Base, params: Params) -> None:
        """Add the adapters, to the parts whose learning rate isn't 0."""
        super().__init__(base, params, params.finetune.lora)
        rates = {"unet": self.settings.unet_lr, "text_encoder": self.settings.text_encoder_lr}
        if not any(rates.values()):
            raise UserError("finetune.lora: unet_lr and text_encoder_lr are both 0: nothing would be trained")
        self.parts = {name: getattr(base, name) for name, rate in rates.items() if rate > 0}
        self.trains_text = "text_encoder" in self.parts
        targets = {"unet": UNET_ATTENTION, "text_encoder": TEXT_ATTENTION}
        if self.settings.convolutions:
            targets["unet"] = UNET_ATTENTION + UNET_OTHERS
        self.adapted: list[tuple[FlatParameters, list[AdaptedLayers]]] = []
        """For each part, the A and B that learn, and the layers that compute with them."""
        torch.manual_seed(derive_seed(params.seed, "lora"))
        for part_name, part in self.parts.items():
            layers = add_adapter(part, self.settings.rank, self.settings.strength, targets[part_name])
            dtype = getattr(torch, DTYPES[self.settings.precision]) if part_name == "unet" else torch.float32
            learning, matrices, adapted = join_layers(layers, dtype, self.settings.strength / self.settings.rank)
            self.adapted.append((learning, adapted))
            self.parameters.append(learning.flat)
            self.rates.append(rates[part_name])
            self.trained |= {f"{part_name}.{name}.weight": matrix for name, matrix in matrices.items()}
        self.round_unet()

    @override
    def after_backward(self) -> None:
        for learning, adapted in self.adapted:
            learning.add_gradient([part for layers in adapted for part in layers.take_gradients()])

    @override
    def after_update(self) -> None:
        for _, adapted in self.adapted:
            for layers in adapted:
                layers.merge()

    @override
    def after_resume(self) -> None:
        self.after_update()

    @override
    def write_checkpoint(self, folder: Path, metadata: dict[str, str]) -> None:
        unet, text_encoder = (
            {name.removeprefix(part): matrix for name, matrix in self.trained.items() if name.startswith(part)}
            for part in ("unet.", "text_encoder.")
        )
        configs = {name: part.peft_config["default"].to_dict() for name, part in self.parts.items()}
        write_lora(folder, unet, text_encoder, configs, metadata)
        kohya = folder / kohya_file(self.params.brand.token)
        write_kohya(kohya, unet, text_encoder, self.settings.rank, self.settings.strength, metadata)

    @override
    def loaders(self) -> list[Callable[[Any, Path], None]]:
        def load(file: str, pipeline: Any, folder: Path) -> None:
            pipeline.load_lora_weights(folder, weight_name=file, local_files_only=True)

        return [partial(load, file) for file in (LORA_FILE, kohya_file(self.params.brand.token))]

    @override
    def merge_into(self, pipeline: Any) -> None:
        scale = self.settings.strength / self.settings.rank
        for name in self.trained:
            if name.endswith(".lora_A.weight"):
                part, layer = name.removesuffix(".lora_A.weight").split(".", 1)
                down, up = self.trained[name], self.trained[name.replace(".lora_A.", ".lora_B.")]
                getattr(pipeline, part).get_parameter(f"{layer}.weight").add_(change(down, up, scale))

    @override
    def how_to_load(self) -> str:
        return f'pipe.load_lora_weights("epoch-NN", weight_name="{LORA_FILE}")'

    @override
    def notes(self) -> list[str]:
        file = kohya_file(self.params.brand.token)
        return [f"For A1111, ComfyUI and Forge: put `epoch-NN/{file}` into their LoRA folder.", ""]


def add_adapter(module: Any, rank: int, alpha: float, targets: list[str]) -> dict[str, Any]:
    """Add a peft adapter to the layers of a module that `targets` names, as peft starts it; the layers, by name.

    They are left to compute with one weight, the sum: peft's own forward would be four kernels for one.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=targets)
    module.add_adapter(config)
    module.requires_grad_(False)
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, LoraLayer)}
    for layer in layers.values():
        layer.forward = layer.base_layer.forward
    return layers


def join_layers(
    layers: dict[str, Any], dtype: torch.dtype, scale: float
) -> tuple[FlatParameters, dict[str, torch.Tensor], list[AdaptedLayers]]:
    """Join the layers' weights, of `dtype`, and their adapters' A and B, which learn, in fp32: each flat in memory.

    Returns the second, the A and B in it by their names, and the layers, joined by their shapes.
    """
    groups: dict[torch.Size, list[str]] = {}
    for name, layer in layers.items():
        groups.setdefault(layer.base_layer.weight.flatten(1).shape, []).append(name)
    joined = [[layers[name].base_layer.weight.requires_grad_(True) for name in group] for group in groups.values()]
    weights = [weight for group in joined for weight in group]
    pristine = torch.cat([in_memory_order(weight.detach().float()) for weight in weights])
    computing = FlatParameters(weights, dtype)
    computing.adopt(weights)
    order = [(kind, name) for group in groups.values() for kind in ("lora_A", "lora_B") for name in group]
    starts = [matrix_of(layers[name], kind) for kind, name in order]
    learning = FlatParameters(starts, torch.float32)
    for layer in layers.values():  # peft's own A and B are no longer of use
        layer.lora_A.clear()
        layer.lora_B.clear()
    place = dict(zip(order, learning.tensors, strict=True))
    matrices = {f"{name}.{kind}": place[kind, name] for name in layers for kind in ("lora_A", "lora_B")}
    rank = starts[0].shape[0]
    sums = [(len(group), *shape) for shape, group in groups.items()]
    pairs = [shape for count, outputs, inputs in sums for shape in ((count, rank, inputs), (count, outputs, rank))]
    pieces = stacks(learning.flat.data, pairs)
    adapted = [
        AdaptedLayers(*each, scale)
        for each in zip(
            joined, stacks(computing.flat.data, sums), stacks(pristine, sums), pieces[::2], pieces[1::2], strict=True
        )
    ]
    return learning, matrices, adapted


def matrix_of(layer: Any, kind: str) -> torch.Tensor:
    """A (`lora_A`) or B (`lora_B`) of an adapted layer, in the memory layout of the layer's own weight."""
    matrix: torch.Tensor = getattr(layer, kind)["default"].weight.detach()
    if matrix.dim() == 4 and layer.base_layer.weight.is_contiguous(memory_format=torch.channels_last):
        return matrix.contiguous(memory_format=torch.channels_last)
    return matrix


def kohya_file(token: str) -> str:
    """The name of the file for A1111 and ComfyUI, from which their users call it: the token without its brackets."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '', token) or 'lora'}_kohya.safetensors"
