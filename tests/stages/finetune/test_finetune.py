"""What a step of fine-tuning computes: checked against the same step written with stock calls, and known answers."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from stages.common.diffusion import load_base
from stages.common.errors import UserError
from stages.common.machine import derive_seed
from stages.common.params import Params
from stages.common.weights import read_metadata
from stages.finetune import finetune, method_class
from stages.finetune.loop import NoiseSchedule, Plan, Processes, Resident, Run, draw_timesteps
from stages.finetune.pictures import logo_coverage, opaque_cells, read_picture, read_pictures, read_rows, weigh_logos
from tests.engine_world import MARGIN, METHODS, SIZE, TOKEN, digests, run_finetune, small_params, write_pictures
from tests.tiny_base import write_tiny_base

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "captioned")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def start(method: str, params: Params, data: Path, base_folder: Path) -> Run:
    base = load_base(base_folder, CPU)
    chosen = method_class(method)(base, params)
    rows = read_rows(data)
    pictures = read_pictures(rows, data, base, params.resolution)
    resident = Resident(chosen, pictures, chosen.captions(rows), chosen.draw_class_pictures())
    plan = Plan(chosen.settings, len(pictures), resident.prior_pool, params.seed)
    return Run(chosen, resident, plan, Processes())


def weights(run: Run) -> torch.Tensor:
    """What is trained, matrix by matrix, in the order of their names in the model."""
    return torch.cat([tensor.detach().flatten() for tensor in run.method.trained.values()])


def gradients(run: Run) -> torch.Tensor:
    """The gradients of `weights`, in the same order: they lie where the weights do in the gradients' own memory."""
    of_block = {p.untyped_storage().data_ptr(): p.grad for p in run.parameters}
    found = []
    for tensor in run.method.trained.values():
        gradient = of_block[tensor.untyped_storage().data_ptr()]
        assert gradient is not None
        found.append(gradient.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).flatten())
    return torch.cat(found)


# --- One step equals the step written with stock calls ---------------------------------------------------------------


def stock_step(
    method: str, params: Params, data: Path, base_folder: Path, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients and weights after the first step, by diffusers, peft and torch, on the loop's random numbers."""
    pipeline = StableDiffusionPipeline.from_pretrained(base_folder)
    pipeline.to(dtype=dtype)
    unet, text_encoder, vae, tokenizer = pipeline.unet, pipeline.text_encoder, pipeline.vae, pipeline.tokenizer
    for part in (unet, text_encoder, vae):
        part.requires_grad_(False)
    rows = read_rows(data)
    captions = [row["text"] for row in rows]
    rows_before = text_encoder.get_input_embeddings().weight.detach().clone()
    if method == "dreambooth":
        captions = [f"a {TOKEN} logo"] * len(rows)
        unet.requires_grad_(True)
        trained = [{"params": list(unet.parameters()), "lr": params.finetune.dreambooth.learning_rate}]
    elif method == "lora":
        from peft import LoraConfig

        settings = params.finetune.lora
        shape = {"r": settings.rank, "lora_alpha": settings.strength, "init_lora_weights": "gaussian"}
        torch.manual_seed(derive_seed(params.seed, "lora"))
        layers = ["to_q", "to_k", "to_v", "to_out.0"]
        if settings.convolutions:
            layers = stock_layers(unet)
        unet.add_adapter(LoraConfig(**shape, target_modules=layers))
        text_encoder.add_adapter(LoraConfig(**shape, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]))
        trained = [
            {"params": [p for p in part.parameters() if p.requires_grad], "lr": rate}
            for part, rate in ((unet, settings.unet_lr), (text_encoder, settings.text_encoder_lr))
        ]
    else:
        count = params.finetune.textual_inversion.num_vectors
        names = [TOKEN, *(f"{TOKEN}_{number}" for number in range(1, count))]
        tokenizer.add_tokens(names)
        text_encoder.resize_token_embeddings(len(tokenizer))
        table = text_encoder.get_input_embeddings().weight
        logo = tokenizer("logo", add_special_tokens=False).input_ids[0]
        table.data[len(rows_before) :] = table.data[logo]
        table.requires_grad_(True)
        captions = [pipeline.maybe_convert_prompt(caption, tokenizer) for caption in captions]
        trained = [{"params": [table], "lr": params.finetune.textual_inversion.learning_rate}]

    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(derive_seed(params.seed, "epoch", 0)))
    chosen = order[: getattr(params.finetune, method).batch_size].tolist()
    generator = torch.Generator().manual_seed(derive_seed(params.seed, "update", 0))
    pictures = [read_picture(data / rows[number]["file_name"], SIZE) for number in chosen]
    pixels = torch.stack([torch.from_numpy(colour).permute(2, 0, 1) for colour, _ in pictures]) / 127.5 - 1
    latents = vae.encode(pixels.to(dtype)).latent_dist
    latents = latents.mean + latents.std * torch.randn(latents.mean.shape, generator=generator)
    latents = latents * vae.config.scaling_factor
    noise = torch.randn(latents.shape, generator=generator).to(dtype)
    timesteps = torch.randint(1000, (len(chosen),), generator=generator)
    noisy = DDPMScheduler.from_config(pipeline.scheduler.config).add_noise(latents, noise, timesteps)
    ids = tokenizer(
        [captions[number] for number in chosen],
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    prediction = unet(noisy, timesteps, text_encoder(ids)[0]).sample
    losses = []
    for error, (_, opaque) in zip((prediction - noise).square(), pictures, strict=True):
        scale = SIZE // error.shape[-1]
        cells = [
            (y, x)
            for y in range(error.shape[1])
            for x in range(error.shape[2])
            if opaque[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale].all()
        ]
        losses.append(torch.stack([error[:, y, x] for y, x in cells]).mean())
    torch.stack(losses).mean().backward()

    parameters = [p for group in trained for p in group["params"]]
    grads = [p.grad[len(rows_before) :] if method == "textual_inversion" else p.grad for p in parameters]
    gradient = torch.cat([grad.detach().clone().flatten() for grad in grads])
    if method == "textual_inversion":
        return gradient, torch.empty(0)
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    torch.optim.AdamW(trained, weight_decay=getattr(params.finetune, method).weight_decay, foreach=False).step()
    return gradient, torch.cat([p.detach().flatten() for p in parameters])


def stock_layers(unet: torch.nn.Module) -> list[str]:
    """Names of every linear and convolution inside the blocks that kohya's tools adapt, attention's with them."""
    from diffusers.models.downsampling import Downsample2D
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.transformers.transformer_2d import Transformer2DModel
    from diffusers.models.upsampling import Upsample2D

    return [
        f"{name}.{inner}"
        for name, block in unet.named_modules()
        if isinstance(block, (Transformer2DModel, ResnetBlock2D, Downsample2D, Upsample2D))
        for inner, layer in block.named_modules()
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))
    ]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("method", "convolutions"), [*((method, True) for method in METHODS), ("lora", False)])
def test_a_step_is_the_step_of_stock_diffusers_and_peft(
    method: str, convolutions: bool, data: Path, base: Path
) -> None:
    params = small_params(batch_size=4, convolutions=convolutions)
    gradient, _ = stock_step(method, params, data, base, torch.float64)  # rounded nowhere
    _, expected = stock_step(method, params, data, base)
    run = start(method, params, data, base)
    run.gradients(0)
    assert relative(gradients(run), gradient) < 1e-6
    run.step(0)
    if method != "textual_inversion":
        # Both in fp32, and Adam's first step divides each gradient by its own size: of those near 0, rounding is left,
        # and the order of sums is the processor's (2.5e-6 with AVX2, below 1e-6 with AVX-512).
        assert relative(weights(run), expected) < 2e-5


@pytest.mark.parametrize("method", METHODS)
def test_gathering_steps_changes_nothing_but_memory(method: str, data: Path, base: Path) -> None:
    whole = start(method, small_params(batch_size=4, gradient_accumulation=1), data, base)
    parts = start(method, small_params(batch_size=2, gradient_accumulation=2), data, base)
    whole.gradients(0)
    parts.gradients(0)
    assert relative(gradients(parts), gradients(whole)) < 1e-5
    assert torch.allclose(parts.losses[0], whole.losses[0], atol=1e-5)


def test_prior_preservation_adds_the_weighted_loss_of_class_pictures(data: Path, base: Path) -> None:
    params = small_params(prior_weight=0.5, prior_images=3, prior_steps=2)
    run = start("dreambooth", params, data, base)
    pictures, weights = run.plan.epoch(0)[0]
    assert [number >= 5 for number in pictures] == [False, True, False, True]
    assert weights == [0.5, 0.25, 0.5, 0.25]
    run.gradients(0)
    together = gradients(run)
    alone = []
    for keep in ([0, 2], [1, 3]):
        run.optimizer.zero_grad()
        run._batches[0] = (torch.tensor(pictures), torch.tensor([w * (i in keep) for i, w in enumerate(weights)]))
        run.gradients(0)
        alone.append(gradients(run))
    assert relative(alone[0] + alone[1], together) < 1e-5
    assert float(alone[1].norm()) > 0


def test_min_snr_weights_are_those_of_the_paper(base: Path) -> None:
    loaded = load_base(base, CPU)
    schedule = NoiseSchedule(loaded, snr_gamma=5.0)
    alphas = loaded.scheduler.alphas_cumprod.double()
    snr = alphas / (1 - alphas)
    assert torch.allclose(schedule.weight.double(), torch.minimum(snr, torch.tensor(5.0)) / snr)
    assert schedule.weight[0] < 0.01
    assert schedule.weight[-1] == 1
    assert torch.equal(NoiseSchedule(loaded, snr_gamma=0.0).weight, torch.ones(1000))


def test_logit_normal_timesteps_have_their_distribution_and_no_update_lacks_early_or_late_ones() -> None:
    settings = small_params(timesteps="logit_normal", timestep_mean=0.5, timestep_std=0.8).finetune.lora
    generator = torch.Generator().manual_seed(0)
    updates = [draw_timesteps(settings, 1000, 10, generator) for _ in range(2000)]
    drawn = torch.stack(updates).double()
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        expected = 1000 * torch.sigmoid(0.5 + 0.8 * torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))
        assert drawn.flatten().quantile(share) == pytest.approx(float(expected), abs=12)
    median = (1000 * torch.sigmoid(torch.tensor(0.5))).floor()
    assert ((drawn < median).sum(dim=1) <= 5).all(), "half of each update's pictures are below the median"
    assert ((drawn > median).sum(dim=1) <= 5).all()
    assert drawn[:, 0].std() > 100, "which picture has which timestep is left to chance"


def test_the_precision_that_was_taken_is_in_the_checkpoint_and_decides_what_is_resumed(
    data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` on a processor with bf16 and on one without are two runs, each in a scratch folder of its own."""
    for native, taken in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr("stages.common.machine.native_bf16", lambda _, native=native: (native, "pretended"))
        models = run_finetune("textual_inversion", small_params(epochs=2, precision="auto"), tmp_path, data, base)
        assert read_metadata(models / "epoch-02" / "learned_embeds.safetensors")["precision"] == taken
        assert f"| precision | `{taken}` |" in (models / "README.md").read_text()
    assert len(list((tmp_path / "scratch").iterdir())) == 2
    # The same precision by name is the same run: nothing is trained again.
    run_finetune("textual_inversion", small_params(epochs=2, precision="bf16"), tmp_path, data, base)
    assert len(list((tmp_path / "scratch").iterdir())) == 2


def test_uniform_timesteps_are_those_of_stock_scripts() -> None:
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    drawn = draw_timesteps(small_params().finetune.lora, 1000, 5, first)
    assert torch.equal(drawn, torch.randint(1000, (5,), generator=second))


@given(
    count=st.integers(1, 60), batch=st.integers(1, 70), parts=st.integers(1, 3), repeats=st.integers(1, 4),
    epoch=st.integers(0, 40), prior=st.integers(0, 9),
)  # fmt: skip
def test_an_epoch_shows_each_picture_as_often_as_the_others(
    count: int, batch: int, parts: int, repeats: int, epoch: int, prior: int
) -> None:
    settings = small_params(batch_size=batch, gradient_accumulation=parts, repeats=repeats, prior_weight=0.5)
    plan = Plan(settings.finetune.dreambooth, count, prior, seed=20)
    updates = plan.epoch(epoch)
    assert len(updates) == plan.updates_per_epoch
    shown = Counter(picture for pictures, _ in updates for picture in pictures if picture < count)
    assert shown == dict.fromkeys(range(count), repeats)
    for pictures, weights in updates:
        of_class = sum(weight for picture, weight in zip(pictures, weights, strict=True) if picture >= count)
        assert sum(weights) - of_class == pytest.approx(1)
        assert of_class == pytest.approx(0.5 if prior else 0)


@pytest.mark.parametrize("method", METHODS)
def test_the_memory_layout_changes_no_step(method: str, data: Path, base: Path) -> None:
    """In fp32: in bf16 each layout rounds its own way, and how much that is depends on the processor."""
    results = []
    for channels_last in (False, True):
        run = start(method, small_params(channels_last=channels_last, snr_gamma=5.0), data, base)
        for update in range(3):
            run.gradients(update)
            run.step(update)
        results.append(weights(run))
    assert relative(*results) < 1e-3


@pytest.mark.parametrize("method", ["dreambooth", "lora"])
def test_the_unet_computes_on_rounded_weights_and_exact_ones_are_trained(method: str, data: Path, base: Path) -> None:
    run = start(method, small_params(precision="bf16", learning_rate=1e-7, unet_lr=1e-7), data, base)
    assert run.method.base.unet.dtype == torch.bfloat16
    before = {name: tensor.detach().clone() for name, tensor in run.method.trained.items()}
    for update in range(2):
        run.gradients(update)
        assert {p.grad.dtype for p in run.parameters if p.grad is not None} == {torch.float32}
        assert all(weight.grad is None for weight in run.method.base.unet.parameters())
        run.step(update)
    # Updates far below what bf16 can tell from the weights are kept all the same.
    moved = {name for name, tensor in run.method.trained.items() if not torch.equal(tensor, before[name])}
    assert moved >= {name for name in run.method.trained if "lora_A" not in name}
    assert {p.dtype for p in run.parameters} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_on_from_its_state_as_if_it_had_not_stopped(
    method: str, precision: str, data: Path, base: Path, tmp_path: Path
) -> None:
    params = small_params(precision=precision, ema_decay=0.9)
    undisturbed, stopped, resumed = (start(method, params, data, base) for _ in range(3))
    for run, updates in ((undisturbed, range(4)), (stopped, range(2))):
        for update in updates:
            run.gradients(update)
            run.step(update)
    stopped.save(tmp_path / "state.pt")
    resumed.resume(tmp_path)
    for update in range(2, 4):
        resumed.gradients(update)
        resumed.step(update)
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.parameters, resumed.parameters, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.average, resumed.average, strict=True))
    assert torch.equal(undisturbed.losses, resumed.losses)


def test_learning_rate_warms_up_and_falls() -> None:
    def rates(**changes: Any) -> list[float]:
        plan = Plan(small_params(epochs=4, batch_size=2, **changes).finetune.lora, 4, 0, seed=0)
        return [round(plan.rate(update), 6) for update in range(plan.updates)]

    assert rates() == [1.0] * 8
    assert rates(lr_scheduler="linear") == [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates(lr_warmup_steps=3) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates(lr_scheduler="cosine")[4] == 0.5


def test_an_epoch_shows_every_picture_once_in_another_order_each_time() -> None:
    plan = Plan(small_params(batch_size=2).finetune.lora, 5, 0, seed=1)
    epochs = [[number for pictures, _ in plan.epoch(epoch) for number in pictures] for epoch in range(4)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in epochs)
    assert len({tuple(order) for order in epochs}) > 1
    assert [len(pictures) for pictures, _ in plan.epoch(0)] == [2, 2, 1]


def test_repeats_show_every_picture_that_often_in_an_epoch() -> None:
    plan = Plan(small_params(batch_size=4, repeats=3).finetune.lora, 5, 0, seed=1)
    updates = plan.epoch(0)
    assert sorted(number for pictures, _ in updates for number in pictures) == sorted(list(range(5)) * 3)
    assert [len(pictures) for pictures, _ in updates] == [4, 4, 4, 3]
    assert plan.updates == 4 * plan.settings.epochs
    once = Plan(small_params(batch_size=4).finetune.lora, 5, 0, seed=1)
    assert sorted(number for pictures, _ in once.epoch(0) for number in pictures) == list(range(5))


def test_averaged_weights_are_what_is_saved(data: Path, base: Path, tmp_path: Path) -> None:
    run = start("textual_inversion", small_params(ema_decay=0.75), data, base)
    expected = run.parameters[0].detach().clone()
    for update in range(3):
        run.gradients(update)
        run.step(update)
        expected = 0.75 * expected + 0.25 * run.parameters[0].detach()
    live = run.parameters[0].detach().clone()
    run.save_checkpoint(tmp_path, 1, {"method": "textual_inversion"})
    saved = load_file(tmp_path / "model/epoch-01/learned_embeds.safetensors")[TOKEN]
    assert torch.allclose(saved, expected, atol=1e-7)
    assert torch.equal(run.parameters[0], live)


def test_dropped_captions_are_empty_ones(data: Path, base: Path) -> None:
    dropped = start("lora", small_params(caption_dropout=1.0), data, base)
    draws = dropped._draws(0, torch.tensor([0, 1]))
    assert torch.equal(draws.inputs[2][0], draws.inputs[2][1])
    assert torch.equal(draws.inputs[2][0], dropped.resident.text[dropped.resident.empty_text])


# --- Transparent margins ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "dreambooth"])
def test_what_stands_under_transparent_margins_changes_not_a_byte(method: str, base: Path, tmp_path: Path) -> None:
    results = []
    for hidden in (0, 255):
        folder = tmp_path / str(hidden)
        data = write_pictures(folder / "data", count=2, hidden=hidden)
        run = start(method, small_params(), data, base)
        run.gradients(0)
        results.append(gradients(run))
    assert torch.equal(*results)


def test_margins_have_no_part_in_the_loss(data: Path, base: Path) -> None:
    run = start("dreambooth", small_params(), data, base)
    noisy, timesteps, text, target, mask, visible = run._draws(0, torch.tensor([1])).inputs
    cells = MARGIN // 4 + 1  # a cell that the margin touches is out, 6 pixels touch two cells of four
    assert mask[0, 0, 0].tolist() == [0] * cells + [1] * (8 - 2 * cells) + [0] * cells
    with torch.no_grad():
        plain = run.loss(noisy, timesteps, text, target, mask, visible)
        changed = run.loss(noisy, timesteps, text, target + 100 * (1 - mask), mask, visible)
        prediction = run.method.base.unet(noisy, timesteps, text).sample
    assert torch.equal(plain, changed)
    seen = (prediction - target)[..., cells:-cells].square().mean()
    assert float(plain) == pytest.approx(float(seen), rel=1e-5)


def test_a_cell_counts_only_if_all_its_pixels_are_opaque() -> None:
    opaque = np.ones((8, 8), dtype=bool)
    opaque[0, 0] = opaque[5, 7] = False
    assert opaque_cells(opaque, 4).tolist() == [[False, True], [True, False]]


def test_coverage_tells_how_much_of_a_logo_the_margins_take() -> None:
    mask = torch.ones(3, 1, 8, 8)
    mask[1, :, :, :4] = 0
    rows = [{"file_name": "whole", "box": [8, 10, 24, 20]}, {"file_name": "half", "box": [8, 10, 24, 20]}]
    rows.append({"file_name": "no box", "box": None})
    report = logo_coverage(rows, mask, scale=4)
    assert report == [
        {"file_name": "whole", "logo_share_in_loss": 1.0},
        {"file_name": "half", "logo_share_in_loss": 0.5},
    ]


def test_the_cells_of_a_logo_weigh_more_and_margins_still_nothing() -> None:
    mask = torch.ones(2, 1, 4, 4)
    mask[0, :, :, 0] = 0
    rows = [{"file_name": "logo", "box": [0, 4, 10, 8]}, {"file_name": "none", "box": None}]
    weighed = weigh_logos(rows, mask, scale=4, weight=5.0)
    assert weighed[0, 0].tolist() == [[0, 1, 1, 1], [0, 5, 3, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    assert torch.equal(weighed[1], mask[1])
    assert torch.equal(weigh_logos(rows, mask, scale=4, weight=1.0), mask)


def test_a_wholly_transparent_picture_is_an_error_that_names_it(base: Path, tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", count=2)
    Image.new("RGBA", (SIZE, SIZE)).save(data / "1.png")
    with pytest.raises(UserError, match=r"1\.png.*opaque"):
        start("lora", small_params(), data, base)


# --- What is left alone ----------------------------------------------------------------------------------------------


def test_textual_inversion_leaves_every_other_token_as_it_was(data: Path, base: Path) -> None:
    before = load_file(base / "text_encoder/model.safetensors")["embeddings.token_embedding.weight"]
    run = start("textual_inversion", small_params(weight_decay=0.1), data, base)
    start_vectors = run.parameters[0].detach().clone()
    for update in range(3):
        run.gradients(update)
        run.step(update)
    after = run.method.base.text_encoder.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    assert len(after) == len(before) + 2
    assert not torch.equal(run.parameters[0], start_vectors)
    assert [p.numel() for p in run.parameters] == [2 * 32]


def test_vectors_keep_the_norms_of_the_vocabulary(data: Path, base: Path) -> None:
    run = start("textual_inversion", small_params(learning_rate=5.0), data, base)
    table = load_file(base / "text_encoder/model.safetensors")["embeddings.token_embedding.weight"]
    run.gradients(0)
    run.step(0)
    assert float(run.parameters[0].norm(dim=1).max()) <= float(table.norm(dim=1).max())


@pytest.mark.parametrize("method", METHODS)
def test_a_run_publishes_checkpoints_and_leaves_the_base_untouched(
    method: str, data: Path, base: Path, tmp_path: Path
) -> None:
    before = digests(base)
    models = run_finetune(method, small_params(), tmp_path, data, base)
    assert digests(base) == before
    files = {
        "dreambooth": {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"},
        "textual_inversion": {"learned_embeds.safetensors"},
        "lora": {"pytorch_lora_weights.safetensors", "hugo_kohya.safetensors"},
    }[method]
    published = set(digests(models))
    assert published == {"README.md"} | {f"epoch-{epoch}/{file}" for epoch in ("02", "04") for file in files}
    weights = next(file for file in sorted(published) if file.endswith(".safetensors"))
    header = read_metadata(models / weights)
    assert header["base_revision"] == "demo"
    assert len(header["params_digest"]) == len(header["data_digest"]) == 64
    assert header["epoch"] == "2"
    losses = (tmp_path / "metrics" / method / "plots/metrics/loss.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in losses] == ["step", "1", "2", "3", "4"]
    assert all(math.isfinite(float(line.split("\t")[1])) for line in losses[1:])
    text = "".join(path.read_text() for path in (tmp_path / "metrics").rglob("*") if path.is_file())
    assert str(tmp_path) not in text
    assert str(tmp_path) not in (models / "README.md").read_text()
    # What is finished is published again from scratch, the same, after DVC has deleted it.
    again = run_finetune(method, small_params(), tmp_path, data, base)
    assert digests(again) == digests(models)


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_naming_update_and_picture(
    data: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"loss is (nan|inf) at update \d+ \(epoch 1\), picture \d\.png"):
        run_finetune("dreambooth", small_params(learning_rate=1e30), tmp_path, data, base)
    assert not (tmp_path / "models").exists()


def test_a_checkpoint_that_draws_something_else_is_not_published(
    data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.finetune.lora import LoRA

    honest = LoRA.save

    def forget_the_alpha(self: LoRA, folder: Path, metadata: dict[str, str]) -> None:
        honest(self, folder, metadata)
        file = folder / "pytorch_lora_weights.safetensors"
        save_file(load_file(file), file)

    monkeypatch.setattr(LoRA, "save", forget_the_alpha)
    with pytest.raises(UserError, match="draws something else when it is loaded"):
        run_finetune("lora", small_params(unet_lr=0.1, text_encoder_lr=0.1), tmp_path, data, base)
    assert not list((tmp_path / "scratch").rglob("epoch-*"))


def test_lora_with_both_rates_zero_is_refused_and_with_one_trains_the_other(data: Path, base: Path) -> None:
    with pytest.raises(UserError, match="both 0"):
        start("lora", small_params(unet_lr=0.0, text_encoder_lr=0.0), data, base)
    run = start("lora", small_params(text_encoder_lr=0.0), data, base)
    assert {name.split(".")[0] for name in run.method.trained} == {"unet"}
    assert not run.method.trains_text


def test_an_initialiser_that_is_no_word_of_the_base_is_refused(data: Path, base: Path) -> None:
    with pytest.raises(UserError, match=r"initializer_word = 'zzz'"):
        start("textual_inversion", small_params(initializer_word="zzz"), data, base)


def test_missing_data_and_missing_base_are_one_line_each(data: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        run_finetune("lora", small_params(), tmp_path, tmp_path / "nothing", base)
    with pytest.raises(UserError, match="no model in Stable Diffusion's layout"):
        finetune("lora", small_params(), data, tmp_path / "nothing", scratch=tmp_path / "scratch")
