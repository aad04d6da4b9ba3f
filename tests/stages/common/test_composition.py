"""Composed sampling: explicit sums of stock calls, and classifier-free guidance where the sums come to that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from stages.common.composition import Composer, Term, terms_of
from stages.common.diffusion import Base, Sampling, Steering, draw, encode_prompts, initial_noise, load_base, token_ids
from stages.common.sampler_params import Composition
from stages.common.weights import add_token
from tests.tiny_base import write_tiny_base

TOKEN, SIZE, SEEDS, STEPS = "<hugo>", 32, [3, 4, 5], 4
NEGATIVE = "a red bag"
PROMPTS = [f"a blue shirt with a {TOKEN} logo", f"a {TOKEN}", "a white mug"]
"""Of two parts, of the token's phrase alone, and without the token."""
TIMESTEP = torch.tensor(600)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def untuned(folder: Path) -> Base:
    return load_base(folder, torch.device("cpu"))


@pytest.fixture
def tuned(folder: Path) -> Base:
    """The base with other weights in UNet and text encoder."""
    base = load_base(folder, torch.device("cpu"))
    for part in (base.unet, base.text_encoder):
        for weight in part.parameters():
            weight.mul_(1.1)
    return base


def composition(mode: str, plain_weight: float = 2.0, token_weight: float = 3.0) -> Composition:
    values = {"mode": mode, "plain_weight": plain_weight, "token_weight": token_weight}
    return Composition.model_validate(values)


def composer(tuned: Base, untuned: Base, settings: Composition, prompts: list[str] = PROMPTS) -> Composer:
    return Composer(tuned, untuned, [terms_of(prompt, NEGATIVE, TOKEN, settings) for prompt in prompts])


def says(base: Base, latents: torch.Tensor, prompt: str) -> torch.Tensor:
    """One model's prediction for one picture and one prompt, by the libraries' own calls."""
    with torch.no_grad():
        text = base.text_encoder(token_ids(base, [prompt]))[0]
        return base.unet(latents[None], TIMESTEP, encoder_hidden_states=text).sample[0]


def test_parts_are_the_sum_of_liu_et_al(tuned: Base, untuned: Base) -> None:
    latents = initial_noise(tuned, SEEDS, SIZE)
    with torch.no_grad():
        found = composer(tuned, untuned, composition("parts"))(tuned.unet, latents, TIMESTEP)
    parts = [{"a blue shirt": 2.0, f"a {TOKEN} logo": 3.0}, {f"a {TOKEN}": 3.0}, {"a white mug": 2.0}]
    for point, weights, prediction in zip(latents, parts, found, strict=True):
        empty = says(tuned, point, NEGATIVE)
        expected = empty + sum(weight * (says(tuned, point, part) - empty) for part, weight in weights.items())
        assert torch.allclose(prediction, expected, atol=1e-4)


def test_token_takes_from_the_tuned_model_what_the_token_adds(tuned: Base, untuned: Base) -> None:
    latents = initial_noise(tuned, SEEDS, SIZE)
    with torch.no_grad():
        found = composer(tuned, untuned, composition("token"))(tuned.unet, latents, TIMESTEP)
    for point, prompt, plain, prediction in zip(
        latents, PROMPTS, ["a blue shirt", "", "a white mug"], found, strict=True
    ):
        empty = says(untuned, point, NEGATIVE)
        expected = empty + 2 * (says(untuned, point, plain) - empty)
        expected += 3 * (says(tuned, point, prompt) - says(tuned, point, plain))
        assert torch.allclose(prediction, expected, atol=1e-4)
    assert not torch.allclose(found[0], says(tuned, latents[0], PROMPTS[0]), atol=1e-2)


def test_the_terms_of_a_prompt() -> None:
    assert terms_of(PROMPTS[0], "", TOKEN, composition("parts")) == [
        Term("", -4.0),
        Term("a blue shirt", 2.0),
        Term(f"a {TOKEN} logo", 3.0),
    ]
    assert terms_of(PROMPTS[0], "", TOKEN, composition("token")) == [
        Term("", -1.0, untuned=True),
        Term("a blue shirt", 2.0, untuned=True),
        Term(PROMPTS[0], 3.0),
        Term("a blue shirt", -3.0),
    ]


def pictures(base: Base, prompts: list[str], seeds: list[int], compose: Any = None, scale: float = 2.0) -> Any:
    *text, negative = encode_prompts(base, [*prompts, NEGATIVE])
    settings = Sampling("ddim", STEPS, scale, 0.5)
    drawn = draw(base, torch.stack(text), negative, seeds, settings, SIZE, steering=Steering(compose=compose))
    return drawn.numpy().astype(int)


def test_a_prompt_of_one_part_is_classifier_free_guidance(tuned: Base, untuned: Base) -> None:
    """A prompt without the token under `parts`; and any under `token`, where both models are the same one."""
    settings = composition("parts", plain_weight=2.0)
    found = pictures(tuned, PROMPTS[2:], SEEDS[:1], composer(tuned, untuned, settings, PROMPTS[2:]))
    assert np.abs(found - pictures(tuned, PROMPTS[2:], SEEDS[:1])).max() <= 1
    settings = composition("token", plain_weight=2.0, token_weight=2.0)
    found = pictures(untuned, PROMPTS, SEEDS, composer(untuned, untuned, settings))
    assert np.abs(found - pictures(untuned, PROMPTS, SEEDS)).max() <= 1


@pytest.mark.parametrize("mode", ["parts", "token"])
def test_a_picture_is_the_loop_of_its_steps_alone_or_with_others(mode: str, tuned: Base, untuned: Base) -> None:
    """Composed on the first half of the steps, whatever the guidance scale; then the tuned model's prompt alone."""
    settings = composition(mode)
    together = pictures(tuned, PROMPTS, SEEDS, composer(tuned, untuned, settings), scale=1.0)
    for number, (prompt, seed) in enumerate(zip(PROMPTS, SEEDS, strict=True)):
        alone = pictures(tuned, [prompt], [seed], composer(tuned, untuned, settings, [prompt]))
        assert np.abs(alone[0] - together[number]).max() <= 1
    scheduler = DDIMScheduler.from_config(tuned.scheduler.config)
    scheduler.set_timesteps(STEPS)
    latents, text = initial_noise(tuned, SEEDS, SIZE), encode_prompts(tuned, PROMPTS)
    with torch.no_grad():
        for number, timestep in enumerate(scheduler.timesteps):
            if number < STEPS // 2:
                said = composer(tuned, untuned, settings)(tuned.unet, latents, timestep)
            else:
                said = tuned.unet(latents, timestep, encoder_hidden_states=text).sample
            latents = scheduler.step(said, timestep, latents).prev_sample
        pixels = tuned.vae.decode(latents / tuned.vae.config.scaling_factor).sample
    expected = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(together - expected).max() <= 1


def test_each_model_reads_prompts_with_its_own_text_encoder(tuned: Base, untuned: Base) -> None:
    """The tuned one knows a token that the untuned one does not, which is never asked for it."""
    add_token(tuned, TOKEN, 2)
    token = f"{TOKEN} {TOKEN}_1"
    terms = terms_of(f"a mug with a {token} logo", NEGATIVE, token, composition("token"))
    assert all(TOKEN not in term.prompt for term in terms if term.untuned)
    together = Composer(tuned, untuned, [terms])
    (_, own, _), (_, others, _) = together.groups
    assert torch.equal(own, encode_prompts(tuned, [f"a mug with a {token} logo", "a mug"]))
    assert torch.equal(others, encode_prompts(untuned, [NEGATIVE, "a mug"]))
