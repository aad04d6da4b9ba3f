"""Composed sampling: the parts of a prompt guide one by one, each with its own weight.

Composable Diffusion (Liu et al. 2022, arXiv 2206.01714, conjunction) adds up what each part c_i says:

    eps = eps(empty) + sum over i of w_i (eps(c_i) - eps(empty))

`parts` has two parts, the prompt without the token's phrase (plain) and that phrase (stages/common/prompt_words.py):

    eps = eps(empty) + plain_weight (eps(plain) - eps(empty)) + token_weight (eps(phrase) - eps(empty))

`token` leaves to the untuned base what it knows, and takes from the tuned model what the token adds to the prompt:

    eps = base(empty) + plain_weight (base(plain) - base(empty)) + token_weight (tuned(prompt) - tuned(plain))

`empty` is the negative prompt, as in classifier-free guidance, whose scale these weights stand in place of. A prompt
without the token, or that is the token's phrase alone, has one term fewer: nothing is said by the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from stages.common.diffusion import Base, encode_prompts
from stages.common.prompt_words import split_prompt
from stages.common.sampler_params import Composition as Settings


@dataclass(frozen=True)
class Term:
    """A prompt whose prediction is added with a weight; by the untuned base, or by the tuned one."""

    prompt: str
    weight: float
    untuned: bool = False


def terms_of(prompt: str, negative: str, token: str, settings: Settings) -> list[Term]:
    """The terms of a prompt's sum (module docstring).

    Args:
        prompt: with its token spelled as the tuned text encoder reads it.
        negative: the prompt that is steered away from.
        token: as it is spelled in the prompt.
        settings: whose mode is `parts` or `token`.
    """
    plain, phrase = split_prompt(prompt, token)
    given, added = settings.plain_weight, settings.token_weight
    if settings.mode == "token":
        own = [Term(prompt, added), Term(plain, -added)] if phrase is not None else []
        return [Term(negative, 1 - given, untuned=True), Term(plain, given, untuned=True), *own]
    parts = [Term(plain, given)] if plain or phrase is None else []
    parts += [Term(phrase, added)] if phrase is not None else []
    return [Term(negative, 1 - sum(part.weight for part in parts)), *parts]


@dataclass
class Composer:
    """The weighted sum of predictions for a batch of pictures."""

    tuned: Base
    untuned: Base
    terms: Sequence[Sequence[Term]]
    """Of each picture."""

    def __post_init__(self) -> None:
        self.device = self.tuned.device
        self.groups = [self.gather(untuned) for untuned in (False, True)]

    def gather(self, untuned: bool) -> tuple[torch.Tensor, torch.Tensor, list[list[float]]]:
        """Of one model: each term's picture [terms] and embedding [terms, tokens, width]; each picture's weights."""
        listed = [[term for term in of_picture if term.untuned == untuned] for of_picture in self.terms]
        pictures = [number for number, of_picture in enumerate(listed) for _ in of_picture]
        base, prompts = self.untuned if untuned else self.tuned, [term.prompt for part in listed for term in part]
        text = encode_prompts(base, prompts).to(base.unet.dtype) if prompts else torch.empty(0)
        return torch.tensor(pictures, device=self.device), text, [[term.weight for term in part] for part in listed]

    def __call__(self, unet: Callable[..., Any], latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The predicted noise, fp32 in the latents' shape; `unet` is the tuned one, as it is called."""
        total = torch.zeros_like(latents, dtype=torch.float32)
        for predict, (pictures, text, weights) in zip((unet, self.untuned.unet), self.groups, strict=True):
            if len(pictures):
                said = predict(latents[pictures], timestep, encoder_hidden_states=text, return_dict=False)[0].float()
                parts = said.split([len(of_picture) for of_picture in weights])
                total += torch.stack([weighted(*pair) for pair in zip(parts, weights, strict=True)])
        return total


def weighted(predictions: torch.Tensor, weights: Iterable[float]) -> torch.Tensor:
    """Their weighted sum, in the order in which they stand: a picture's bytes do not depend on its batch's others."""
    total = predictions.new_zeros(predictions.shape[1:])
    for prediction, weight in zip(predictions, weights, strict=True):
        total = total + weight * prediction
    return total
