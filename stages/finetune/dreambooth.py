"""DreamBooth (Ruiz et al. 2023; paper 3.3): the whole UNet learns the logo, under one caption for every picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from typing_extensions import override

from stages.common.diffusion import Base, Sampling, draw, encode_prompts, fill_token
from stages.common.machine import DTYPES, derive_seed
from stages.common.params import DreamBooth as Settings
from stages.common.params import Params
from stages.common.weights import write_unet
from stages.finetune.flat_parameters import FlatParameters, take_gradients
from stages.finetune.method import Method


class DreamBooth(Method):
    """Trains every weight of the UNet; the text encoder is frozen, so captions are encoded once.

    Where the arithmetic is not fp32, the UNet computes on a rounded copy of the fp32 weights that are trained
    (Micikevicius et al. 2018, section 3.1), which is made once an update: autocast would round at every use.
    """

    settings: Settings

    def __init__(self, base: Base, params: Params) -> None:
        """Train the whole UNet."""
        super().__init__(base, params, params.finetune.dreambooth)
        base.unet.requires_grad_(True)
        names, weights = zip(*base.unet.named_parameters(), strict=True)
        self.weights: tuple[nn.Parameter, ...] = weights
        self.exact = self.computing = FlatParameters(weights, torch.float32)
        if self.settings.precision != "fp32":
            self.computing = FlatParameters(weights, getattr(torch, DTYPES[self.settings.precision]))
        self.computing.adopt(weights)
        self.round_unet()
        self.trained = dict(zip(names, self.exact.tensors, strict=True))
        self.parameters, self.rates = [self.exact.flat], [self.settings.learning_rate]

    @override
    def captions(self, rows: list[dict[str, Any]]) -> list[str]:
        return [fill_token(self.settings.class_caption, self.params.brand.token)] * len(rows)

    @override
    def class_caption(self) -> str:
        """The caption without the token: what the class as a whole is called ("a logo")."""
        return " ".join(self.settings.class_caption.replace("{token}", "").split())

    @override
    def draw_class_pictures(self) -> torch.Tensor | None:
        if not self.settings.prior_weight:
            return None
        sampling = Sampling("dpm++", self.settings.prior_steps, self.settings.prior_guidance_scale)
        count, batch = self.settings.prior_images, self.settings.batch_size
        seeds = [derive_seed(self.params.seed, "prior", number) for number in range(count)]
        text, negative = encode_prompts(self.base, [self.class_caption(), ""])
        parts = [seeds[start : start + batch] for start in range(0, count, batch)]
        drawn = [
            draw(self.base, text.expand(len(part), -1, -1), negative, part, sampling, self.params.resolution)
            for part in parts
        ]
        return torch.cat(drawn)

    @override
    def after_backward(self) -> None:
        self.exact.add_gradient(take_gradients(self.weights))

    @override
    @torch.no_grad()
    def after_update(self) -> None:
        if self.computing is not self.exact:
            self.computing.flat.copy_(self.exact.flat)

    @override
    def after_resume(self) -> None:
        self.after_update()

    @override
    def write_checkpoint(self, folder: Path, metadata: dict[str, str]) -> None:
        write_unet(folder, self.base.unet, self._saved(), metadata)

    @override
    def loaders(self) -> list[Callable[[Any, Path], None]]:
        def load(pipeline: Any, folder: Path) -> None:
            unet = UNet2DConditionModel.from_pretrained(
                folder / "unet", torch_dtype=torch.float32, local_files_only=True
            )
            pipeline.unet = unet.to(pipeline.device)

        return [load]

    @override
    def merge_into(self, pipeline: Any) -> None:
        pipeline.unet.load_state_dict({name: tensor.float() for name, tensor in self._saved().items()})

    def _saved(self) -> dict[str, torch.Tensor]:
        dtype = torch.float16 if self.settings.save_precision == "fp16" else torch.float32
        return {name: parameter.detach().to(dtype) for name, parameter in self.trained.items()}

    @override
    def how_to_load(self) -> str:
        return 'pipe.unet = UNet2DConditionModel.from_pretrained("epoch-NN/unet", torch_dtype=pipe.dtype)'
