"""All that a step reads, encoded once and kept on the device."""

from __future__ import annotations

import numpy as np
import torch

from stages.common.diffusion import encode_prompts, token_ids
from stages.finetune.method import Method
from stages.finetune.pictures import Pictures, encode


class CachedDataset:
    """The pictures (and the class's, behind them), as moments of latents, and their captions, encoded."""

    def __init__(
        self, method: Method, pictures: Pictures, captions: list[str], class_pictures: torch.Tensor | None
    ) -> None:
        """Encode the captions, or cut them into tokens where the text encoder learns."""
        base, count = method.base, len(pictures)
        self.names, self.mean, self.std, self.mask = pictures.names, pictures.mean, pictures.std, pictures.mask
        prompts = [method.prompt(caption) for caption in captions]
        self.prior_pool = 0
        if class_pictures is not None:
            self.prior_pool = len(class_pictures)
            side = pictures.mask.shape[-1]
            names = [f"class picture {number}" for number in range(self.prior_pool)]
            prior = encode(names, class_pictures.numpy(), np.ones((self.prior_pool, side, side), dtype=bool), base)
            self.names = [*self.names, *prior.names]
            self.mean, self.std = torch.cat([self.mean, prior.mean]), torch.cat([self.std, prior.std])
            self.mask = torch.cat([self.mask, prior.mask])
            prompts += [method.prompt(method.class_caption())] * self.prior_pool
        self.visible = self.mask.sum(dim=(1, 2, 3)) * self.mean.shape[1]
        unique = list(dict.fromkeys([*prompts, ""]))
        self.text = token_ids(base, unique) if method.trains_text else encode_prompts(base, unique)
        self.text_of = torch.tensor([unique.index(prompt) for prompt in prompts], device=base.device)
        self.empty_text = unique.index("")
        assert len(self.text_of) == count + self.prior_pool
