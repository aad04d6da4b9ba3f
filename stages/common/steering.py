"""How the parameters of `sample` ask for more than classifier-free guidance: made once a base, then for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.common.attend_and_excite import Exciter, membership, word_positions
from stages.common.composition import Composer, terms_of
from stages.common.diffusion import Base, Steering, load_base
from stages.common.machine import DTYPES
from stages.common.params import Sample
from stages.common.weights import spell_out


@dataclass(frozen=True)
class Steerer:
    """What steers the pictures of one base, whatever weights are in it."""

    base: Base
    untuned: Base
    """The base as it came, whose weights nobody changes; the same object as `base` where nobody asks for it."""
    settings: Sample
    token: str

    @classmethod
    def of(cls, base: Base, folder: Path, settings: Sample, token: str, tuned: bool = True) -> Steerer:
        """For a base of that folder; it is loaded a second time where the tuned and the untuned are to draw together.

        Args:
            base: in whose place weights will be put, if `tuned`.
            folder: that it was loaded from.
            settings: with a precision that is settled.
            token: the brand's.
            tuned: whether its weights will be others than the folder's.
        """
        untuned = base
        if tuned and settings.composition.mode == "token":
            untuned = load_base(folder, base.device)
            untuned.unet.to(getattr(torch, DTYPES[settings.precision]))
            if settings.channels_last:
                untuned.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(base, untuned, settings, token)

    def steer(self, prompts: Sequence[str], text: torch.Tensor, vectors: int) -> Steering | None:
        """What steers these pictures, for `draw`; None where nothing but classifier-free guidance is asked for.

        Args:
            prompts: each picture's, the token spelled out in them.
            text: their embeddings, [n, tokens, width].
            vectors: of the token (1: plain text).
        """
        settings, token = self.settings, spell_out(self.token, self.token, vectors)
        excite = compose = None
        if settings.attend_and_excite.step_size:
            places = {prompt: word_positions(self.base, prompt, token) for prompt in prompts}
            belongs = membership([places[prompt] for prompt in prompts], text.shape[1])
            excite = Exciter(self.base, text, belongs, settings.attend_and_excite, settings.steps)
        if settings.composition.mode != "none":
            terms = [terms_of(prompt, settings.negative_prompt, token, settings.composition) for prompt in prompts]
            compose = Composer(self.base, self.untuned, terms)
        return Steering(excite, compose) if excite or compose else None
