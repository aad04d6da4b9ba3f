"""Attend-and-Excite: diffusers' own pipeline, finite differences, and the same picture alone and in a batch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.pipelines.deprecated.stable_diffusion_attend_and_excite.pipeline_stable_diffusion_attend_and_excite import (  # noqa: E501
    StableDiffusionAttendAndExcitePipeline,
)

from stages.common.attend_and_excite import Exciter, attention_layers, membership, word_positions
from stages.common.diffusion import Base, Sampling, Steering, draw, encode_prompts, initial_noise, load_base
from stages.common.sampler_params import AttendAndExcite
from stages.common.weights import add_token, spell_out
from tests.sd_shaped_base import write_sd_shaped_base
from tests.tiny_base import write_tiny_base

STEPS, SIZE, SEEDS, TOKEN = 4, 32, [3, 4], "<hugo>"
PROMPTS = ["a blue shirt with a red logo", "a white mug"]
WORDS = [[[2], [3], [6], [7]], [[2], [3]]]
"""Positions of blue, shirt, red, logo; white, mug: each is one text token of the tiny base."""
STRONG = 200.0
"""Step size: the random UNet's attention is nearly even, and moves little."""
TIMESTEP = torch.tensor(600)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(folder: Path) -> Base:
    return load_base(folder, torch.device("cpu"))


def settings(**changes: Any) -> AttendAndExcite:
    values: dict[str, Any] = {
        "step_size": STRONG,
        "share": 1.0,
        "refine_at": [],
        "thresholds": [],
        "max_refinements": 20,
    }
    return AttendAndExcite.model_validate(values | {"attention_share": 0.25, "sharpness": 100.0} | changes)


def exciter(base: Base, prompts: list[str] = PROMPTS, **changes: Any) -> Exciter:
    text = encode_prompts(base, prompts)
    groups = [word_positions(base, prompt, TOKEN) for prompt in prompts]
    return Exciter(base, text, membership(groups, text.shape[1]), settings(**changes), STEPS)


def pictures(base: Base, steering: Steering | None, prompts: list[str] = PROMPTS, seeds: list[int] = SEEDS) -> Any:
    *text, negative = encode_prompts(base, [*prompts, "a red bag"])
    drawn = draw(base, torch.stack(text), negative, seeds, Sampling("ddim", STEPS, 3.0), SIZE, steering=steering)
    return drawn.numpy().astype(int)


# --- Against others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refined", [[], [0, 1]])
def test_it_draws_what_diffusers_pipeline_draws(refined: list[int], base: Base, folder: Path) -> None:
    """Up to a float's last digits. Thresholds are never met here: behind them Algorithm 1 and the code differ."""
    pipe = StableDiffusionAttendAndExcitePipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    drawn = pipe(
        PROMPTS,
        [[place for (place,) in words] for words in WORDS],
        height=SIZE,
        width=SIZE,
        num_inference_steps=STEPS,
        guidance_scale=3.0,
        negative_prompt=["a red bag"] * len(PROMPTS),
        latents=initial_noise(base, SEEDS, SIZE),
        max_iter_to_alter=2,
        thresholds=dict.fromkeys(refined, 1.0),
        scale_factor=STRONG,
        attn_res=(4, 4),
        output_type="np",
    ).images
    refinement = {"refine_at": [step / STEPS for step in refined], "thresholds": [1.0 for _ in refined]}
    found = pictures(base, Steering(excite=exciter(base, share=0.5, **refinement)))
    assert np.abs(found - np.round(drawn * 255)).max() <= 1
    assert np.abs(found - pictures(base, None)).max() > 10


def loss_by_loops(base: Base, latents: torch.Tensor, prompt: str, words: list[list[int]]) -> float:
    """L of one picture in float64, from the inputs of the layers' own query and key projections, a word at a time."""
    seen: dict[str, torch.Tensor] = {}
    unet = base.unet
    names = [name.removesuffix(".processor") for name in attention_layers(unet, latents.shape[-1], 0.25)[0]]
    hooks = []
    for name in names:
        for part in ("to_q", "to_k"):

            def keep(_: Any, __: Any, output: torch.Tensor, key: str = f"{name}.{part}") -> None:
                seen[key] = output[0]

            hooks.append(unet.get_submodule(f"{name}.{part}").register_forward_hook(keep))
    with torch.no_grad():
        text = encode_prompts(base, [prompt]).double()
        unet(latents[None], TIMESTEP, encoder_hidden_states=text)
    for hook in hooks:
        hook.remove()
    maps = []
    for name in names:
        layer = unet.get_submodule(name)
        query, key = seen[f"{name}.to_q"], seen[f"{name}.to_k"]
        width = query.shape[1] // layer.heads
        for head in range(layer.heads):
            part = slice(head * width, (head + 1) * width)
            maps.append(torch.softmax(query[:, part] @ key[:, part].T / math.sqrt(width), dim=1))
    mean = sum(maps) / len(maps)
    sharp = torch.softmax(100 * mean[:, 1:-1], dim=1)
    side = math.isqrt(len(sharp))
    losses = []
    for places in words:
        best = 0.0
        for place in places:
            image = np.pad(sharp[:, place - 1].reshape(side, side).numpy(), 1, mode="reflect")
            weights = np.exp(-np.add.outer(np.arange(-1, 2) ** 2, np.arange(-1, 2) ** 2).astype(float))
            weights /= weights.sum()
            smooth = [(image[y : y + 3, x : x + 3] * weights).sum() for y in range(side) for x in range(side)]
            best = max(best, *smooth)
        losses.append(max(0.0, 1 - best))
    return max(losses)


def test_loss_and_gradient_are_the_formulas(base: Base, folder: Path) -> None:
    exact = load_base(folder, torch.device("cpu"))
    exact.unet.double()
    latents = initial_noise(base, SEEDS, SIZE)
    losses, gradients = exciter(base).loss_and_gradient(TIMESTEP, latents, torch.arange(2))
    generator = torch.Generator().manual_seed(0)
    for number, prompt in enumerate(PROMPTS):
        point, words = latents[number].double(), WORDS[number]
        assert float(losses[number]) == pytest.approx(loss_by_loops(exact, point, prompt, words), abs=1e-5)
        steepest = gradients[number].double() / gradients[number].norm()
        for direction in (steepest, torch.randn(point.shape, generator=generator).double()):
            ahead, behind = (loss_by_loops(exact, point + by * direction, prompt, words) for by in (1e-4, -1e-4))
            along = float((gradients[number].double() * direction).sum())
            assert (ahead - behind) / 2e-4 == pytest.approx(along, rel=0.01, abs=1e-3 * float(gradients[number].norm()))


# --- Moving the latents -------------------------------------------------------------------------------------------


def test_a_pictures_move_does_not_depend_on_the_others_of_its_batch(base: Base) -> None:
    """Each has its own loss and its own end of the refinement, whatever the other one's prompt is."""
    latents = initial_noise(base, SEEDS, SIZE)
    start = exciter(base).loss_and_gradient(TIMESTEP, latents, torch.arange(2))[0]
    between = 1 - float(start.mean())  # met by one picture from the start, by the other after some moves
    changes = {"refine_at": [0.0], "thresholds": [between]}
    together = exciter(base, **changes)(0, TIMESTEP, latents)
    for number, prompt in enumerate(PROMPTS):
        alone = exciter(base, [prompt], **changes)(0, TIMESTEP, latents[number : number + 1])
        assert torch.allclose(together[number], alone[0], rtol=1e-3, atol=1e-4)
    once = exciter(base)(0, TIMESTEP, latents)
    same = [torch.allclose(together[number], once[number], atol=1e-5) for number in range(2)]
    assert same == [bool(loss <= start.mean()) for loss in start]


def test_refinement_goes_on_until_the_threshold_or_the_last_move(base: Base) -> None:
    latents, everyone = initial_noise(base, SEEDS, SIZE), torch.arange(2)
    plain = exciter(base)
    start = plain.loss_and_gradient(TIMESTEP, latents, everyone)[0]
    losses = []
    for moves in (0, 5, 20):
        move = exciter(base, refine_at=[0.0], thresholds=[1.0], max_refinements=moves)(0, TIMESTEP, latents)
        losses.append(plain.loss_and_gradient(TIMESTEP, latents + move, everyone)[0])
    assert bool((losses[0] < start).all())
    assert bool((losses[1] < losses[0]).all())
    assert bool((losses[2] < losses[1]).all())
    least = 1 - float(losses[1].max())
    move = exciter(base, refine_at=[0.0], thresholds=[least])(0, TIMESTEP, latents)
    assert bool((plain.loss_and_gradient(TIMESTEP, latents + move, everyone)[0] <= 1 - least).all())


def test_the_steps_size_falls_and_the_last_steps_move_nothing(base: Base) -> None:
    ours = exciter(base, share=0.5, refine_at=[0.0, 0.3], thresholds=[0.1, 0.4])
    assert [ours.step_size(number) for number in range(STEPS)] == pytest.approx(
        [STRONG * math.sqrt(scale) for scale in np.linspace(1, 0.5, STEPS)]
    )
    assert [ours.threshold(number) for number in range(STEPS)] == [0.1, 0.4, None, None]
    latents = initial_noise(base, SEEDS, SIZE)
    moves = [float(ours(number, TIMESTEP, latents).norm()) > 0 for number in range(STEPS)]
    assert moves == [True, True, False, False]


def test_a_prompt_without_a_word_that_means_something_moves_nothing(base: Base) -> None:
    latents = initial_noise(base, SEEDS, SIZE)
    move = exciter(base, ["with a", PROMPTS[1]])(0, TIMESTEP, latents)
    assert float(move[0].norm()) == 0
    assert float(move[1].norm()) > 0
    assert float(exciter(base, ["a", "with"])(0, TIMESTEP, latents).norm()) == 0


def test_the_unet_is_afterwards_what_it_was(base: Base) -> None:
    before = dict(base.unet.attn_processors)
    pictures(base, Steering(excite=exciter(base)))
    assert base.unet.attn_processors == before
    assert all(isinstance(processor, AttnProcessor2_0) for processor in before.values())
    assert not any(weight.requires_grad or weight.grad is not None for weight in base.unet.parameters())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_works_in_the_unets_precision(precision: torch.dtype, base: Base) -> None:
    base.unet.to(precision)
    move = exciter(base)(0, TIMESTEP, initial_noise(base, SEEDS, SIZE))
    assert move.dtype == torch.float32
    assert bool(torch.isfinite(move).all())
    assert float(move.norm()) > 0


# --- Words and layers ---------------------------------------------------------------------------------------------


def test_a_word_is_all_of_its_text_tokens(base: Base) -> None:
    assert [word_positions(base, prompt, TOKEN) for prompt in PROMPTS] == WORDS
    pieces = base.tokenizer.tokenize("sweater")
    assert len(pieces) > 1
    assert word_positions(base, "a blue sweater, red", TOKEN) == [
        [2],
        list(range(3, 3 + len(pieces))),
        [4 + len(pieces)],
    ]


def test_a_textual_inversion_token_is_one_word_of_its_vectors(base: Base) -> None:
    add_token(base, TOKEN, 3)
    spelled, token = spell_out(f"a blue {TOKEN} shirt", TOKEN, 3), spell_out(TOKEN, TOKEN, 3)
    groups = word_positions(base, spelled, token)
    assert groups == [[2], [3, 4, 5], [6]]
    belongs = membership([groups, groups[:1]], 40)
    assert belongs.shape == (2, 3, 40)
    assert belongs.sum(dim=2).tolist() == [[1, 3, 1], [1, 0, 0]]
    with torch.no_grad():
        base.text_encoder.get_input_embeddings().weight[-3:] = torch.randn(3, 32)
    point, text = initial_noise(base, [1], SIZE), encode_prompts(base, [spelled])
    ours = Exciter(base, text, membership([groups], 40), settings(), STEPS)
    loss = float(ours.loss_and_gradient(TIMESTEP, point, torch.arange(1))[0])
    base.unet.double()
    assert loss == pytest.approx(loss_by_loops(base, point[0].double(), spelled, groups), abs=1e-5)
    assert loss <= loss_by_loops(base, point[0].double(), spelled, [[2], [3], [6]]) + 1e-5


def test_the_coarsest_attention_of_a_quarter_of_the_side_is_looked_at(base: Base, tmp_path: Path) -> None:
    """Of Stable Diffusion's shape these are diffusers' 16 x 16 at 512 pixels, found there by the length of a query."""
    shaped = load_base(write_sd_shaped_base(tmp_path), torch.device("cpu"))
    names, side = attention_layers(shaped.unet, 64, 0.25)
    assert side == 16
    assert [name.split(".attentions")[0] for name in names] == ["down_blocks.2"] * 2 + ["up_blocks.1"] * 3
    assert attention_layers(shaped.unet, 64, 0.1)[1] == 8
    assert attention_layers(shaped.unet, 64, 1.0)[1] == 64
    assert attention_layers(shaped.unet, 8, 0.1)[1] == 2, "a side of 1 shows nothing"
    assert attention_layers(base.unet, 8, 0.25)[1] == 4, "this UNet has no 2 x 2"
    assert len(attention_layers(base.unet, 8, 0.25)[0]) == len({*attention_layers(base.unet, 8, 0.25)[0]}) > 1
