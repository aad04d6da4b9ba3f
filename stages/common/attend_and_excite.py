"""Attend-and-Excite: no word of the prompt is overlooked (Chefer et al. 2023, arXiv 2301.13826, Algorithm 1).

Before a step, the latents z_t are moved so that the cross-attention to each of the prompt's words that mean something
is high somewhere in the picture:

    A    = softmax over the text (without its start and its last position) of sharpness x the mean of the attention
           probabilities over heads and layers of one resolution, [side, side, tokens]
    L_s  = max(0, 1 - max over the picture of Gaussian(A_s))       for each word s
    L    = max over s of L_s
    z_t <- z_t - alpha_t grad L                alpha_t = step_size x sqrt(1 - 0.5 t / (steps - 1)), t = 0, 1, ...

At some steps this is repeated until L is at most 1 - threshold (iterative latent refinement), then done once more and
the step taken, as Algorithm 1 says; the authors' code, and diffusers' pipeline, move once more after the threshold is
met. The sharpness (100), alpha's schedule, the kernel and the limit of repetitions are those of the authors' code
(github.com/yuval-alaluf/Attend-and-Excite); the paper has them not. A word of several text tokens (pieces of a word,
the vectors of a textual inversion) has the highest attention of any of them.

Each picture of a batch has its own loss, its own gradient (nothing in the UNet mixes pictures) and its own end of
the refinement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from stages.common.diffusion import Base
from stages.common.errors import UserError
from stages.common.prompt_words import content_words
from stages.common.sampler_params import AttendAndExcite as Settings

KERNEL_SIDE, KERNEL_SIGMA = 3, 0.5
"""Of the Gaussian (the authors' code; its exponent is -(x / (2 sigma))^2, which is a Gaussian of sigma x sqrt(2))."""
LAST_SCALE = 0.5
"""Alpha's square falls linearly from 1 to this share over the steps (the authors' code, `scale_range`)."""


# --- Which tokens -------------------------------------------------------------------------------------------------


def word_positions(base: Base, prompt: str, token: str) -> list[list[int]]:
    """Of each of the prompt's words that mean something, the positions of its text tokens; `token` as it is spelled."""
    limit = base.tokenizer.model_max_length
    encoded = base.tokenizer(prompt, return_offsets_mapping=True, truncation=True, max_length=limit)
    spans = encoded["offset_mapping"]
    groups = [
        [place for place, (start, end) in enumerate(spans) if word.start <= start < end <= word.end]
        for word in content_words(prompt, token)
    ]
    return [group for group in groups if group]


def membership(groups: Sequence[Sequence[Sequence[int]]], tokens: int) -> torch.Tensor:
    """Which text tokens belong to which word of which prompt: bool of shape [prompts, words, tokens], rows of none."""
    belongs = torch.zeros(len(groups), max((len(of_prompt) for of_prompt in groups), default=0), tokens).bool()
    for number, of_prompt in enumerate(groups):
        for word, places in enumerate(of_prompt):
            belongs[number, word, list(places)] = True
    return belongs


# --- Which layers -------------------------------------------------------------------------------------------------


def attention_layers(unet: Any, latent_side: int, share: float) -> tuple[list[str], int]:
    """The cross-attention layers of one resolution, and its side.

    It is the coarsest one of at least `share` of the latents' side. The paper's is 16 x 16 of a 64 x 64 latent, a
    quarter. A side of 1 is left out: there is nothing to look at in it. Where every one is coarser, it is the finest
    that there is. No layers, and 0, where the UNet has none.
    """
    last = len(unet.down_blocks) - 1
    layers: dict[int, list[str]] = {}
    for name in unet.attn_processors:
        if name.endswith(".attn2.processor"):
            part, number = name.split(".")[:2]
            level = int(number) if part == "down_blocks" else last - int(number) if part == "up_blocks" else last
            layers.setdefault(math.ceil(latent_side / 2**level), []).append(name)
    sides = sorted(side for side in layers if side > 1)
    chosen = next((side for side in sides if side >= share * latent_side), sides[-1] if sides else 0)
    return layers.get(chosen, []), chosen


class SeenEnough(Exception):
    """Every layer that is looked at was reached: the rest of the UNet's pass is not needed."""


@dataclass
class Watched:
    """An attention processor that does what `own` does, and keeps the probabilities, [n, heads, places, tokens]."""

    own: Any
    kept: list[torch.Tensor]
    layers: int
    """How many are looked at; the last one raises `SeenEnough`."""

    def __call__(self, attn: Any, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **rest: Any) -> Any:
        """Attend as `own`; queries and keys are computed a second time, which costs less than attention unfused."""
        text = attn.norm_encoder_hidden_states(encoder_hidden_states) if attn.norm_cross else encoder_hidden_states
        query, key = (attn.head_to_batch_dim(part) for part in (attn.to_q(hidden_states), attn.to_k(text)))
        self.kept.append(split(attn.get_attention_scores(query, key), attn.heads))
        if len(self.kept) == self.layers:
            raise SeenEnough
        return self.own(attn, hidden_states, encoder_hidden_states, **rest)


def split(joined: torch.Tensor, count: int) -> torch.Tensor:
    """[n x count, ...] as [n, count, ...]."""
    return joined.reshape(-1, count, *joined.shape[1:])


@contextmanager
def watching(unet: Any, layers: Sequence[str]) -> Iterator[list[torch.Tensor]]:
    """Keep the attention probabilities of these layers in the list that is yielded; afterwards all is as before.

    One pass of the UNet belongs into it, which ends at the last of the layers: of 16 x 16 in Stable Diffusion, that
    leaves out the two dearest blocks.
    """
    before = dict(unet.attn_processors)
    kept: list[torch.Tensor] = []
    unet.set_attn_processor(before | {name: Watched(before[name], kept, len(layers)) for name in layers})
    try:
        yield kept
    except SeenEnough:
        pass
    finally:
        unet.set_attn_processor(before)


# --- The loss -----------------------------------------------------------------------------------------------------


def excite_loss(kept: Sequence[torch.Tensor], belongs: torch.Tensor, side: int, sharpness: float) -> torch.Tensor:
    """L of each picture (module docstring), fp32 of shape [n]; 0 where no word is to be excited.

    Args:
        kept: the layers' attention probabilities, each [n, heads, side x side, tokens].
        belongs: which text tokens belong to which word, bool of shape [n, words, tokens].
        side: of the attention maps.
        sharpness: what mean probabilities are multiplied by before the softmax over the text.
    """
    maps = torch.cat([probabilities.float() for probabilities in kept], dim=1).mean(dim=1)
    maps = torch.softmax(sharpness * maps[:, :, 1:-1], dim=-1).transpose(1, 2)
    smooth = smoothing(side).to(maps.device)
    peaks = (smooth @ maps.reshape(*maps.shape[:2], side, side) @ smooth.T).amax(dim=(2, 3))
    inner = belongs[:, :, 1:-1].to(maps.device)
    highest = peaks.unsqueeze(1).masked_fill(~inner, -1).amax(dim=-1)
    highest = torch.where(inner.any(dim=-1), highest, torch.ones_like(highest))
    if not highest.shape[1]:
        return peaks.sum(dim=1) * 0
    loss: torch.Tensor = (1 - highest.amin(dim=1)).clamp(min=0)
    return loss


def smoothing(side: int) -> torch.Tensor:
    """The Gaussian along one axis, reflected at the edges, as a matrix [side, side] (a convolution's padding has no
    backward on CUDA that gives the same bytes each time)."""
    reach = KERNEL_SIDE // 2
    weights = [math.exp(-((offset / (2 * KERNEL_SIGMA)) ** 2)) for offset in range(-reach, reach + 1)]
    matrix = torch.zeros(side, side)
    for place in range(side):
        for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
            source = abs(place + offset)
            matrix[place, min(source, 2 * (side - 1) - source)] += weight / sum(weights)
    return matrix


# --- Moving the latents -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exciter:
    """Attend-and-Excite for a batch of pictures: called before each step, it says by what the latents are moved.

    text: the prompts' embeddings, [n, tokens, width]; belongs: their words (`membership`); steps: denoising steps.
    """

    base: Base
    text: torch.Tensor
    belongs: torch.Tensor
    settings: Settings
    steps: int

    def __call__(self, number: int, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """What is added to z_t [n, channels, side, side] before step `number`, counted from 0."""
        if number >= round(self.settings.share * self.steps):
            return torch.zeros_like(latents)
        size, moved, threshold = self.step_size(number), latents.clone(), self.threshold(number)
        if threshold is not None:
            waiting = torch.arange(len(latents), device=latents.device)
            for _ in range(self.settings.max_refinements):
                loss, gradient = self.loss_and_gradient(timestep, moved[waiting], waiting)
                going = loss > max(0.0, 1 - threshold)
                if not going.any():
                    break
                waiting = waiting[going]
                moved[waiting] -= size * gradient[going]
        everyone = torch.arange(len(latents), device=latents.device)
        moved = moved - size * self.loss_and_gradient(timestep, moved, everyone)[1]
        return moved - latents

    def step_size(self, number: int) -> float:
        """Alpha of a step."""
        done = number / (self.steps - 1) if self.steps > 1 else 0.0
        return self.settings.step_size * math.sqrt(1 - (1 - LAST_SCALE) * done)

    def threshold(self, number: int) -> float | None:
        """The attention that every word must have at this step, the highest where shares of the steps meet in it."""
        settings = self.settings
        pairs = zip(settings.refine_at, settings.thresholds, strict=True)
        return max((least for share, least in pairs if round(share * self.steps) == number), default=None)

    def loss_and_gradient(
        self, timestep: torch.Tensor, latents: torch.Tensor, pictures: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """L of these pictures of the batch, [n], and its gradient to their latents, in the latents' shape."""
        unet = self.base.unet
        layers, side = attention_layers(unet, latents.shape[-1], self.settings.attention_share)
        if not layers:
            raise UserError(
                "sample.attend_and_excite.step_size: the base has no cross-attention to look at; set it to 0"
            )
        with torch.enable_grad():
            leaf = latents.detach().requires_grad_(True)
            context = self.text[pictures].to(unet.dtype)
            with watching(unet, layers) as kept:
                unet(leaf.to(unet.dtype), timestep, encoder_hidden_states=context, return_dict=False)
            belongs = self.belongs.to(latents.device)[pictures]
            loss = excite_loss(kept, belongs, side, self.settings.sharpness)
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        return loss.detach(), gradient
