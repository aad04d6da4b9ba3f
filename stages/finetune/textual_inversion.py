"""Textual inversion (Gal et al. 2023; paper 3.3): only the new token's vectors learn; the model stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from typing_extensions import override

from stages.common.diffusion import Base
from stages.common.errors import UserError
from stages.common.params import Params
from stages.common.params import TextualInversion as Settings
from stages.common.weights import EMBEDDINGS_FILE, add_token, embedding_tokens, spell_out, write_safetensors
from stages.finetune.method import Method


class TextualInversion(Method):
    """Trains k vectors of the text encoder's width, and nothing that any other token uses."""

    settings: Settings
    trains_text = True

    def __init__(self, base: Base, params: Params) -> None:
        """Add the token, its vectors at the initialiser word's."""
        super().__init__(base, params, params.finetune.textual_inversion)
        self.count = self.settings.num_vectors
        vocabulary = base.text_encoder.get_input_embeddings().weight
        norms = vocabulary.norm(dim=1)
        self.norm_range = (float(norms.quantile(0.01)), float(norms.quantile(0.99)))
        start = initial_vectors(base, self.settings.initializer_word, self.count)
        first = add_token(base, params.brand.token, self.count)
        self.embedding = NewTokens(vocabulary.detach(), start, first)
        base.text_encoder.set_input_embeddings(self.embedding)
        self.trained = {"vectors": self.embedding.vectors}
        self.parameters, self.rates = [self.embedding.vectors], [self.settings.learning_rate]
        self.round_unet()

    @override
    def prompt(self, text: str) -> str:
        return spell_out(text, self.params.brand.token, self.count)

    @torch.no_grad()
    @override
    def after_update(self) -> None:
        """Keep each vector's norm in the range of the vocabulary's: longer ones drown the other words of a prompt."""
        norms = self.embedding.vectors.norm(dim=1, keepdim=True)
        self.embedding.vectors.mul_(norms.clamp(*self.norm_range) / norms.clamp(min=1e-12))

    @override
    def write_checkpoint(self, folder: Path, metadata: dict[str, str]) -> None:
        write_safetensors(folder / EMBEDDINGS_FILE, {self.params.brand.token: self.embedding.vectors}, metadata)

    @override
    def loaders(self) -> list[Callable[[Any, Path], None]]:
        def load(pipeline: Any, folder: Path) -> None:
            pipeline.load_textual_inversion(folder / EMBEDDINGS_FILE, local_files_only=True)

        return [load]

    @override
    def merge_into(self, pipeline: Any) -> None:
        old = pipeline.text_encoder.get_input_embeddings().weight
        pipeline.tokenizer.add_tokens(embedding_tokens(self.params.brand.token, self.count))
        rows = torch.cat([old[: self.embedding.first], self.embedding.vectors]).detach()
        pipeline.text_encoder.set_input_embeddings(nn.Embedding(len(rows), rows.shape[1], _weight=rows))

    @override
    def how_to_load(self) -> str:
        return f'pipe.load_textual_inversion("epoch-NN/{EMBEDDINGS_FILE}")'


class NewTokens(nn.Module):
    """The text encoder's embedding, frozen, with k rows behind it that learn: [..., tokens] -> [..., tokens, width]."""

    vocabulary: torch.Tensor

    def __init__(self, vocabulary: torch.Tensor, vectors: torch.Tensor, first: int) -> None:
        """Take the frozen table and the start of the new rows, the first of which has the number `first`."""
        super().__init__()
        self.register_buffer("vocabulary", vocabulary, persistent=False)
        self.vectors = nn.Parameter(vectors.clone())
        self.first = first

    @property
    def weight(self) -> torch.Tensor:
        """The whole table, as the library's own embedding would hold it."""
        return torch.cat([self.vocabulary[: self.first], self.vectors])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of token numbers, old or new."""
        new = (ids - self.first).clamp(0, len(self.vectors) - 1)
        old = ids.clamp(max=len(self.vocabulary) - 1)
        is_new = (ids >= self.first).unsqueeze(-1)
        return torch.where(is_new, functional.embedding(new, self.vectors), functional.embedding(old, self.vocabulary))


def initial_vectors(base: Base, word: str, count: int) -> torch.Tensor:
    """The vectors of a word's tokens, repeated until there are `count`: [count, width].

    Raises UserError where the word is made of more than two tokens, so no word of the base's vocabulary.
    """
    pieces = base.tokenizer(word, add_special_tokens=False).input_ids
    if not 1 <= len(pieces) <= max(2, count):
        raise UserError(
            f"finetune.textual_inversion.initializer_word = {word!r}: must be a word that the base knows as one token "
            f"(here it is {len(pieces)})"
        )
    table = base.text_encoder.get_input_embeddings().weight.detach()
    return torch.stack([table[pieces[number % len(pieces)]] for number in range(count)])
