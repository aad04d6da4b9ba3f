"""Which pictures are drawn: epochs x prompts x seeds, the same seeds for every method, checkpoint and prompt."""

from __future__ import annotations

from pathlib import Path

from stages.common.diffusion import fill_token
from stages.common.errors import UserError
from stages.common.machine import derive_seed
from stages.common.params import Params
from stages.common.tables import Row


def find_checkpoints(models: Path) -> dict[int, Path]:
    """The checkpoints by epoch; none where the folder is empty, which `finetune` leaves of a method without epochs.

    Raises UserError where there is no such folder, or other things in it.
    """
    folders = {int(path.name.removeprefix("epoch-")): path for path in models.glob("epoch-*")}
    if not models.is_dir() or (not folders and any(models.iterdir())):
        raise UserError(f"{models}: no checkpoints (has the stage `finetune` run?)")
    return dict(sorted(folders.items()))


def manifest_rows(method: str, params: Params, epochs: list[int]) -> list[Row]:
    """The manifest: a row for each picture that will be drawn, plain prompts behind the others."""
    prompts = [(fill_token(prompt, params.brand.token), False) for prompt in params.sample.prompts]
    prompts += [(prompt, True) for prompt in params.sample.plain_prompts]
    return [
        {
            "method": method,
            "epoch": epoch,
            "prompt_index": prompt_index,
            "prompt": prompt,
            "plain": plain,
            "seed_index": seed_index,
            "seed": picture_seed(params.seed, seed_index),
            "file": f"epoch-{epoch:02d}/p{prompt_index:02d}-s{seed_index:02d}.png",
        }
        for epoch in epochs
        for prompt_index, (prompt, plain) in enumerate(prompts)
        for seed_index in range(params.sample.images_per_prompt)
    ]


def picture_seed(seed: int, seed_index: int) -> int:
    """The seed of the n-th picture of every prompt, below 2^31 so that any tool takes it."""
    return derive_seed(seed, "sample", seed_index) >> 32
