"""What a step of fine-tuning computes: checked against the same step written with stock calls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from peft import LoraConfig

from stages.common.machine import derive_seed
from stages.common.params import Params
from stages.finetune.pictures import read_picture, read_rows
from tests.engine_world import METHODS, SIZE, TOKEN, small_params
from tests.stages.finetune.trainers import gradients, relative, start, weights


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
    return [
        f"{name}.{inner}"
        for name, block in unet.named_modules()
        if isinstance(block, (Transformer2DModel, ResnetBlock2D, Downsample2D, Upsample2D))
        for inner, layer in block.named_modules()
        if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d))
    ]


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
    pictures, weights = run.schedule.epoch(0)[0]
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
