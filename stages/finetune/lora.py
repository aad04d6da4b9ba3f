"""LoRA (Hu et al. 2022; paper 3.3): rank-r adapters on the attention of UNet and text encoder learn, nothing else.

With `finetune.lora.convolutions` the UNet's convolutions and feed-forward layers have adapters too, as in the variant
that its users call LoCon (Yeh et al. 2024, section 3.1).
"""

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
from stages.lib.weights import LORA_FILE, change, lora_tensors, write_kohya, write_lora

UNET_ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
UNET_OTHERS = [
    *("proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj", "downsamplers.0.conv", "upsamplers.0.conv"),
]
"""The other layers of transformer, residual and resampling blocks: those that kohya's tools and A1111 can load."""


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
        layers = {"unet": UNET_ATTENTION, "text_encoder": TEXT_ATTENTION}
        if self.settings.convolutions:
            layers["unet"] = UNET_ATTENTION + UNET_OTHERS
        torch.manual_seed(derive_seed(params.seed, "lora"))
        for name, part in self.parts.items():
            add_adapter(part, self.settings.rank, self.settings.strength, layers[name])
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
            if name.endswith(".lora_A.default.weight"):
                part, layer = name.removesuffix(".lora_A.default.weight").split(".", 1)
                down, up = self.trained[name], self.trained[name.replace(".lora_A.", ".lora_B.")]
                getattr(pipeline, part).get_parameter(f"{layer}.weight").add_(change(down, up, scale))

    @override
    def how_to_load(self) -> str:
        return f'pipe.load_lora_weights("epoch-NN", weight_name="{LORA_FILE}")'

    @override
    def notes(self) -> list[str]:
        file = kohya_file(self.params.brand.token)
        return [f"For A1111, ComfyUI and Forge: put `epoch-NN/{file}` into their LoRA folder.", ""]


def add_adapter(module: Any, rank: int, alpha: float, layers: list[str]) -> None:
    """Add a peft adapter with fp32 weights to these layers of a module, the only ones of it that train."""
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=layers)
    module.add_adapter(config)
    cast_training_params([module], torch.float32)
    for layer in module.modules():
        if isinstance(layer, LoraLayer) and isinstance(layer.base_layer, torch.nn.Linear):
            layer.forward = partial(adapted_linear, layer)


def adapted_linear(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """What peft's layer computes, W0 x + b + (alpha / rank) B A x, in half of its kernels; [..., in] -> [..., out]."""
    base, dtype = layer.base_layer, x.dtype
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    flat = x.reshape(-1, x.shape[-1]).to(dtype)
    out: torch.Tensor = _AdaptedLinear.apply(flat, base.weight, base.bias, down, up, layer.scaling["default"])
    return out.view(*x.shape[:-1], out.shape[-1])


class _AdaptedLinear(torch.autograd.Function):
    """The linear of a frozen weight and an adapter, in the dtype of its input; the adapter's gradients in its own."""

    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        weight, a, b = weight.to(x.dtype), down.to(x.dtype), (scale * up).to(x.dtype)
        inner = x @ a.t()
        out = x @ weight.t() if bias is None else torch.addmm(bias.to(x.dtype), x, weight.t())
        context.save_for_backward(x, weight, a, b, inner)
        context.scale, context.dtype = scale, down.dtype
        return out.addmm_(inner, b.t())

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, inner = context.saved_tensors
        gradient = gradients[0]
        inner_gradient = gradient @ b
        of_down = (inner_gradient.t() @ x).to(context.dtype)
        of_up = (gradient.t() @ inner).to(context.dtype) * context.scale
        of_x = (gradient @ weight).addmm_(inner_gradient, a) if context.needs_input_grad[0] else None
        return of_x, None, None, of_down, of_up, None


def kohya_file(token: str) -> str:
    """The name of the file for A1111 and ComfyUI, from which their users call it: the token without its brackets."""
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '', token) or 'lora'}_kohya.safetensors"
