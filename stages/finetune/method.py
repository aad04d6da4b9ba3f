"""What the three methods must say about themselves; the loop knows nothing else of them."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.common.diffusion import Base, set_attention
from stages.common.machine import DTYPES
from stages.common.params import Params, Training


class Method(ABC):
    """A way of fine-tuning: what is trained, under which captions, and how it is saved and loaded."""

    settings: Training
    trains_text = False
    """Whether gradients flow through the text encoder. If not, captions are encoded once, before training."""

    def __init__(self, base: Base, params: Params, settings: Training) -> None:
        """Mark in the loaded base what is trained; the UNet has its memory layout from here on."""
        self.base = base
        self.params = params
        self.settings = settings
        self.parameters: list[nn.Parameter] = []
        """What the optimizer moves, in fp32."""
        self.rates: list[float] = []
        """The learning rate of each parameter."""
        self.trained: dict[str, torch.Tensor] = {}
        """What is saved, by name: the parameters, or views of them."""
        if settings.channels_last:
            base.unet.to(memory_format=torch.channels_last)

    def round_unet(self) -> None:
        """Have the UNet compute in the precision asked for; what is trained is kept in fp32 by whoever trains it."""
        self.base.unet.to(getattr(torch, DTYPES[self.settings.precision]))
        set_attention(self.base.unet, self.base.device, training=True)

    def captions(self, rows: list[dict[str, Any]]) -> list[str]:
        """The caption under which each picture is trained."""
        return [row["text"] for row in rows]

    def prompt(self, text: str) -> str:
        """A caption as the tokenizer must see it."""
        return text

    def after_backward(self) -> None:
        """What is done to the gradients after each backward pass, if anything."""
        return

    def after_update(self) -> None:
        """What is done to the weights after each update, if anything."""
        return

    def after_resume(self) -> None:
        """What is done after weights were read from a state, if anything."""
        return

    @abstractmethod
    def write_checkpoint(self, folder: Path, metadata: dict[str, str]) -> None:
        """Write what is trained into `folder`, in the formats that other tools load."""

    @abstractmethod
    def loaders(self) -> list[Callable[[Any, Path], None]]:
        """For each format that is written, how a stock StableDiffusionPipeline loads it, by stock calls alone."""

    @abstractmethod
    def merge_into(self, pipeline: Any) -> None:
        """Merge what is trained into a stock pipeline by plain arithmetic, to check what is written against."""

    @abstractmethod
    def how_to_load(self) -> str:
        """The line of Python that loads it, for the model card."""

    def notes(self) -> list[str]:
        """Further lines for the model card."""
        return []

    def class_caption(self) -> str:
        """The caption of class pictures, for methods with prior preservation."""
        raise NotImplementedError

    def draw_class_pictures(self) -> torch.Tensor | None:
        """Pictures of the class, drawn by the untouched base (prior preservation): uint8 [n, r, r, 3], or None."""
        return None


CLASSES = {"dreambooth": "DreamBooth", "textual_inversion": "TextualInversion", "lora": "LoRA"}


def load_method(name: str) -> Callable[[Base, Params], Method]:
    """The class of a method, whose module alone is imported: a stage depends on its own method's file."""
    return getattr(importlib.import_module(f"stages.finetune.{name}"), CLASSES[name])  # type: ignore[no-any-return]
