"""The loss that every method minimises."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn


class DenoisingLoss(nn.Module):
    """The loss of each picture: the mean squared error of the prediction over what isn't a transparent margin."""

    def __init__(self, unet: Any, text_encoder: Any) -> None:
        """Hold the models; no text encoder where the captions are encoded already."""
        super().__init__()
        self.unet, self.text_encoder, self.dtype = unet, text_encoder, unet.dtype

    def forward(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        target: torch.Tensor,
        mask: torch.Tensor,
        visible: torch.Tensor,
    ) -> torch.Tensor:
        """[n] losses; `text` is token numbers [n, tokens] where the text encoder takes part, else its embeddings."""
        if self.text_encoder is not None:
            text = self.text_encoder(text)[0]
        # In a UNet that isn't fp32, nothing is left to be cast: autocast would only cost, up to a third of a step.
        with torch.autocast(noisy.device.type, enabled=False) if self.dtype != torch.float32 else nullcontext():
            prediction = self.unet(noisy.to(self.dtype), timesteps, text.to(self.dtype), return_dict=False)[0]
        error: torch.Tensor = (prediction.float() - target).square() * mask
        return error.sum(dim=(1, 2, 3)) / visible
