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
from torch import nn
from typing_extensions import override

from stages.finetune.method import Method, add_gradient
from stages.lib.diffusion import Base
from stages.lib.errors import UserError
from stages.lib.machine import derive_seed
from stages.lib.params import LoRA as Settings
from stages.lib.params import Params
from stages.lib.weights import LORA_FILE, change, write_kohya, write_lora

UNET_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
UNET_OTHERS = [
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
]
"""The other layers of transformer, residual and resampling blocks: those that kohya's tools and A1111 can load."""


@dataclass
class Adapted:
    """A layer's weight W0 + scale x B A: the one that the layer computes with, W0 in fp32, and the adapter's A and B.

    A step computes with the sum, as the sampler does, so it costs no more than one without adapters. The gradients of
    A and B follow from the sum's: scale x B^T G and scale x G A^T.
    """

    weight: nn.Parameter
    pristine: torch.Tensor
    down: nn.Parameter
    up: nn.Parameter
    scale: float

    @torch.no_grad()
    def merge(self) -> None:
        """Renew the sum."""
        down, up = self.down.flatten(1), self.up.flatten(1)
        self.weight.copy_(torch.addmm(self.pristine.flatten(1), up, down, alpha=self.scale).view_as(self.weight))

    @torch.no_grad()
    def share_gradient(self) -> None:
        """Hand the sum's gradient on to A and B, and forget it."""
        if self.weight.grad is not None:
            down, up = self.down.flatten(1), self.up.flatten(1)
            gradient = self.scale * self.weight.grad.flatten(1).float()
            self.weight.grad = None
            add_gradient(self.down, (up.t() @ gradient).view_as(self.down))
            add_gradient(self.up, (gradient @ down.t()).view_as(self.up))


class LoRA(Method):
    """Trains W0 + (alpha / rank) B A on every adapted layer, B from 0; each part at its own learning rate."""

    settings: Settings

    def __init__(self, base: Base, params: Params) -> None:
        """Add the adapters, to the parts whose learning rate isn't 0."""
        super().__init__(base, params)
        self.settings = params.finetune.lora
        rates = {"unet": self.settings.unet_lr, "text_encoder": self.settings.text_encoder_lr}
        if not any(rates.values()):
            raise UserError("finetune.lora: unet_lr and text_encoder_lr are both 0: nothing would be trained")
        self.parts = {name: getattr(base, name) for name, rate in rates.items() if rate > 0}
        self.trains_text = "text_encoder" in self.parts
        targets = {"unet": UNET_ATTENTION, "text_encoder": TEXT_ATTENTION}
        if self.settings.convolutions:
            targets["unet"] = UNET_ATTENTION + UNET_OTHERS
        self.adapted: list[Adapted] = []
        torch.manual_seed(derive_seed(params.seed, "lora"))
        for part_name, part in self.parts.items():
            for name, adapted in add_adapter(part, self.settings.rank, self.settings.strength, targets[part_name]):
                self.adapted.append(adapted)
                for kind, matrix in (("lora_A", adapted.down), ("lora_B", adapted.up)):
                    self.trained[f"{part_name}.{name}.{kind}.weight"] = matrix
                    self.learning_rates[f"{part_name}.{name}.{kind}.weight"] = rates[part_name]
        self.round_unet()

    @override
    def after_backward(self) -> None:
        for adapted in self.adapted:
            adapted.share_gradient()

    @override
    def after_update(self) -> None:
        for adapted in self.adapted:
            adapted.merge()

    @override
    def after_resume(self) -> None:
        self.after_update()

    @override
    def save(self, folder: Path, metadata: dict[str, str]) -> None:
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
    def put(self, pipeline: Any) -> None:
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


def add_adapter(module: Any, rank: int, alpha: float, layers: list[str]) -> list[tuple[str, Adapted]]:
    """Add a peft adapter to these layers of a module; each one's name and its matrices, in fp32, as peft starts them.

    The layers are left to compute with one weight, the sum: peft's own forward would be four kernels for one.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=layers)
    module.add_adapter(config)
    module.requires_grad_(False)
    found = []
    for name, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            weight = layer.base_layer.weight.requires_grad_(True)
            down, up = (nn.Parameter(part["default"].weight.float().clone()) for part in (layer.lora_A, layer.lora_B))
            found.append((name, Adapted(weight, weight.detach().float().clone(), down, up, alpha / rank)))
            layer.forward = layer.base_layer.forward
    return found


def kohya_file(token: str) -> str:
    """The name of the file for A1111 and ComfyUI, from which their users call it: the token without its brackets."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '', token) or 'lora'}_kohya.safetensors"
