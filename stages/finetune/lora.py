"""LoRA (Hu et al. 2022; paper 3.3): rank-r adapters on the attention of UNet and text encoder learn, nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from stages.finetune.method import Method
from stages.lib.diffusion import Base
from stages.lib.errors import UserError
from stages.lib.machine import derive_seed
from stages.lib.params import LoRA as Settings
from stages.lib.params import Params
from stages.lib.weights import LORA_FILE, lora_tensors, write_kohya, write_lora

UNET_LINEARS = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_LINEARS = ["q_proj", "k_proj", "v_proj", "out_proj"]


class LoRA(Method):
    """Trains W0 + (alpha / rank) B A on every attention projection, B from 0; each part at its own learning rate."""

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
        torch.manual_seed(derive_seed(params.seed, "lora"))
        for name, part in self.parts.items():
            add_adapter(part, self.settings.rank, self.settings.alpha, UNET_LINEARS if name == "unet" else TEXT_LINEARS)
            for parameter_name, parameter in part.named_parameters():
                if parameter.requires_grad:
                    self.trained[f"{name}.{parameter_name}"] = parameter
                    self.learning_rates[f"{name}.{parameter_name}"] = rates[name]

    @override
    def save(self, folder: Path, metadata: dict[str, str]) -> None:
        adapters = {name: lora_tensors(part) for name, part in self.parts.items()}
        configs = {name: part.peft_config["default"].to_dict() for name, part in self.parts.items()}
        unet, text_encoder = adapters.get("unet", {}), adapters.get("text_encoder", {})
        write_lora(folder, unet, text_encoder, configs, metadata)
        kohya = folder / kohya_file(self.params.brand.token)
        write_kohya(kohya, unet, text_encoder, self.settings.rank, self.settings.alpha, metadata)

    @override
    def loaders(self) -> list[Callable[[Any, Path], None]]:
        def load(file: str, pipeline: Any, folder: Path) -> None:
            pipeline.load_lora_weights(folder, weight_name=file, local_files_only=True)

        return [partial(load, file) for file in (LORA_FILE, kohya_file(self.params.brand.token))]

    @override
    def put(self, pipeline: Any) -> None:
        scale = self.settings.alpha / self.settings.rank
        for name in self.trained:
            if name.endswith(".lora_A.default.weight"):
                part, linear = name.removesuffix(".lora_A.default.weight").split(".", 1)
                down, up = self.trained[name], self.trained[name.replace(".lora_A.", ".lora_B.")]
                getattr(pipeline, part).get_parameter(f"{linear}.weight").add_(scale * (up @ down))

    @override
    def how_to_load(self) -> str:
        return f'pipe.load_lora_weights("epoch-NN", weight_name="{LORA_FILE}")'

    @override
    def notes(self) -> list[str]:
        file = kohya_file(self.params.brand.token)
        return [f"For A1111, ComfyUI and Forge: put `epoch-NN/{file}` into their LoRA folder.", ""]


def add_adapter(module: Any, rank: int, alpha: float, linears: list[str]) -> None:
    """Add a peft adapter with fp32 weights to a module, the only ones of it that train."""
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=linears)
    module.add_adapter(config)
    cast_training_params([module], torch.float32)
    for layer in module.modules():
        if isinstance(layer, LoraLayer):  # autocast casts weights; peft would cast every activation to fp32 and back
            layer.cast_input_dtype_enabled = False


def kohya_file(token: str) -> str:
    """The name of the file for A1111 and ComfyUI, from which their users call it: the token without its brackets."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '', token) or 'lora'}_kohya.safetensors"
