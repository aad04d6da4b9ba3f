"""What the parameters of `sample` switch on: nothing by default, byte for byte; and errors that say what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stages.common.diffusion import (
    Base,
    Sampling,
    Steering,
    decode,
    draw,
    encode_prompts,
    initial_noise,
    load_base,
    scheduler_for,
)
from stages.common.errors import UserError
from stages.common.params import Params, check_params
from stages.common.steering import Steerer
from stages.common.tables import read_table
from stages.common.weights import write_unet
from stages.generate.checkpoint import Checkpoint
from stages.generate.drawing import draw_prompt
from stages.sample.__main__ import Paths, sample
from tests.engine_world import TOKEN, small_params
from tests.tiny_base import write_tiny_base

SIZE, SEEDS = 32, [3, 4]
PROMPTS = [f"a blue mug with a {TOKEN} logo", "a hat"]
CHANGES: dict[str, dict[str, Any]] = {
    "attend_and_excite": {"step_size": 50.0},
    "parts": {"mode": "parts"},
    "token": {"mode": "token"},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(folder: Path) -> Base:
    return load_base(folder, torch.device("cpu"))


def changed(**sections: dict[str, Any]) -> Params:
    """Small parameters with other values in the sections of `sample`."""
    settings = small_params().sample.model_dump()
    return small_params(sample={name: settings[name] | values for name, values in sections.items()})


def switched_on(kind: str) -> Params:
    section = "attend_and_excite" if kind == "attend_and_excite" else "composition"
    return changed(**{section: CHANGES[kind]})


# --- Off ----------------------------------------------------------------------------------------------------------


def test_the_shipped_parameters_steer_nothing(base: Base, folder: Path) -> None:
    params = small_params()
    steerer = Steerer.of(base, folder, params.sample, TOKEN)
    assert steerer.untuned is base
    assert steerer.steer(PROMPTS, encode_prompts(base, PROMPTS), 1) is None


@pytest.mark.parametrize(("scale", "share"), [(3.0, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("name", ["dpm++", "ddim", "euler"])
def test_off_every_step_is_classifier_free_guidance_to_the_last_bit(
    name: str, scale: float, share: float, base: Base
) -> None:
    """The loop that was there before there were other samplers: the same calls of the UNet, and the same bytes."""
    *listed, negative = encode_prompts(base, [*PROMPTS, "a red bag"])
    text, calls = torch.stack(listed), []

    def unet(*arguments: Any, **options: Any) -> Any:
        calls.append((arguments[0].clone(), options["encoder_hidden_states"].clone()))
        return base.unet(*arguments, **options)

    drawn = draw(base, text, negative, SEEDS, Sampling(name, 4, scale, share), SIZE, unet)
    scheduler = scheduler_for(name, base)
    scheduler.set_timesteps(4)
    latents = initial_noise(base, SEEDS, SIZE) * scheduler.init_noise_sigma
    with torch.no_grad():
        for number, timestep in enumerate(scheduler.timesteps):
            guided = scale > 1 and number < share * 4
            context = torch.cat([negative.expand_as(text), text]) if guided else text
            given = scheduler.scale_model_input(torch.cat([latents, latents]) if guided else latents, timestep)
            assert torch.equal(calls[number][0], given)
            assert torch.equal(calls[number][1], context)
            said = base.unet(given, timestep, encoder_hidden_states=context, return_dict=False)[0].float()
            if guided:
                away, towards = said.chunk(2)
                said = away + scale * (towards - away)
            latents = scheduler.step(said, timestep, latents, return_dict=False)[0]
    assert len(calls) == 4
    assert torch.equal(drawn, decode(base, latents))


# --- On -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dpm++", "ddim", "euler"])
def test_a_move_is_made_in_the_latents_that_the_unet_is_given(name: str, base: Base) -> None:
    """Euler keeps its latents larger than the UNet is given them; the paper's z_t is what it is given."""
    text, shown, given = encode_prompts(base, PROMPTS), [], []
    move = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))

    def excite(number: int, _: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        shown.append(latents.clone())
        return (number + 1) * move

    def unet(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        given.append(latents.clone())
        return base.unet(latents, *arguments, **options)

    draw(base, text, text[0], SEEDS, Sampling(name, 3, 1.0), SIZE, unet, Steering(excite=excite))
    for number in range(3):
        assert torch.allclose(given[number], shown[number] + (number + 1) * move, atol=1e-5)


def write_models(folder: Path, base: Path) -> Path:
    unet = load_base(base, torch.device("cpu")).unet
    weights = {name: tensor * 1.2 for name, tensor in unet.state_dict().items()}
    write_unet(folder / "epoch-02", unet, weights, {})
    return folder


@pytest.mark.parametrize("kind", CHANGES)
def test_a_stage_draws_so_and_generate_draws_the_same(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    models, drawn = write_models(tmp_path / "models", folder), {}
    for name, params in (("off", small_params()), ("on", switched_on(kind))):
        paths = [tmp_path / name / part for part in ("base", "samples", "sheet.png", "scratch")]
        sample("base", params, Paths(models, paths[0], paths[2], paths[0], folder, paths[3]))
        drawn[name] = sample("dreambooth", params, Paths(models, paths[1], paths[2], paths[0], folder, paths[3]))
    row = read_table(drawn["on"] / "manifest.jsonl")[0]
    on, off = (np.asarray(Image.open(drawn[name] / row["file"]), dtype=int) for name in ("on", "off"))
    assert np.abs(on - off).max() > 1
    checkpoint = Checkpoint("dreambooth", 2, models / "epoch-02")
    with torch.no_grad():
        generated = draw_prompt(
            row["prompt"], checkpoint, switched_on(kind), [row["seed"]], folder, torch.device("cpu")
        )
        assert np.abs(next(iter(generated))[1].astype(int) - on).max() <= 1


def test_the_untuned_base_is_loaded_a_second_time_only_to_draw_with_a_tuned_one(base: Base, folder: Path) -> None:
    settings = switched_on("token").sample
    second = Steerer.of(base, folder, settings, TOKEN).untuned
    assert second.unet is not base.unet
    assert all(torch.equal(a, b) for a, b in zip(second.unet.parameters(), base.unet.parameters(), strict=True))
    assert Steerer.of(base, folder, settings, TOKEN, tuned=False).untuned is base
    assert Steerer.of(base, folder, switched_on("parts").sample, TOKEN).untuned is base


def test_both_samplers_work_together(base: Base, folder: Path) -> None:
    params = changed(attend_and_excite=CHANGES["attend_and_excite"], composition=CHANGES["parts"])
    text = encode_prompts(base, PROMPTS)
    steering = Steerer.of(base, folder, params.sample, TOKEN).steer(PROMPTS, text, 1)
    assert steering is not None
    drawn = draw(base, text, text[0], SEEDS, Sampling("dpm++", 3, 2.0), SIZE, steering=steering)
    assert drawn.shape == (2, SIZE, SIZE, 3)


# --- Mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        ("attend_and_excite", {"step_size": -1.0}, "attend_and_excite.step_size = -1.0: must be greater than or equal"),
        ("attend_and_excite", {"share": 1.5}, "attend_and_excite.share = 1.5: must be less than or equal to 1"),
        ("attend_and_excite", {"refine_at": [0.0]}, "refine_at has 1 values, thresholds 3: must be as many"),
        ("attend_and_excite", {"refine_at": [0.2, 0.1, 0.4]}, r"refine_at = \[0.2, 0.1, 0.4\] must rise"),
        ("attend_and_excite", {"refine_at": [0.0, 0.2, 0.5]}, "must be less than share = 0.5"),
        ("attend_and_excite", {"attention_share": 0.0}, "attention_share = 0.0: must be greater than 0"),
        (
            "attend_and_excite",
            {"steps": 3},
            "sample.attend_and_excite.steps = 3: unknown key; .*did you mean step_size",
        ),
        ("composition", {"mode": "part"}, "sample.composition.mode = 'part': must be 'none', 'parts' or 'token'"),
        ("composition", {"token_weight": "high"}, "composition.token_weight = 'high': must be a valid number"),
    ],
)
def test_a_mistake_is_one_line(section: str, values: dict[str, Any], said: str) -> None:
    content = small_params().model_dump()
    content["sample"][section] |= values
    with pytest.raises(UserError, match=said) as error:
        check_params(content, "params.yaml")
    assert "\n" not in str(error.value)
