"""How fast fine-tuning and sampling are, beside the plain recipe of diffusers' example scripts.

The plain recipe reads and encodes pictures and captions at every step (DataLoader, VAE, text encoder), trains in fp32
with AdamW over what the example script gives it, and samples with one pipeline load and one call per checkpoint and
prompt. Both train the same model on the same pictures with the same batch, and draw the same number of pictures with
the same steps. Each measurement is a process of its own, ours and plain in turn; the best of `--rounds` counts.

    python -m benchmarks.engine                       # the demo base, this machine, params.yaml's batches
    python -m benchmarks.engine --batch 8             # with this training batch for every method
    python -m benchmarks.engine --batch 8 --compile   # ours compiled (compiling is not timed; it takes a minute each)
    python -m benchmarks.engine --sd15                # a base of Stable Diffusion 1.5's size, random weights (GPU)
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from stages.common.params import METHODS, Params, load_params

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16, from the makers' data sheets


@click.command()
@click.option("--base", type=Path, default=Path("demo/weights/base"), help="base model, in Stable Diffusion's layout")
@click.option("--data", type=Path, default=None, help="captioned pictures (default: 49 made-up ones)")
@click.option("--params", "params_file", type=Path, default=Path("params.yaml"))
@click.option("--steps", default=21, help="training steps that are timed")
@click.option("--rounds", default=2)
@click.option("--batch", type=int, default=None, help="training batch of every method (default: params.yaml's)")
@click.option("--compile", "compiled", is_flag=True, help="train with torch.compile, which the plain recipe does not")
@click.option("--sd15", is_flag=True, help="a base of Stable Diffusion 1.5's size with random weights")
@click.option("--child", default="", hidden=True)
def main(
    base: Path,
    data: Path | None,
    params_file: Path,
    steps: int,
    rounds: int,
    batch: int | None,
    compiled: bool,
    sd15: bool,
    child: str,
) -> None:
    """Measure ours and the plain recipe, and print a table of ratios."""
    if child:
        task = json.loads(child)
        print(json.dumps(measure(task, changed(load_settled(Path(task["params"])), task["changes"]))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        params = load_settled(params_file)
        base = write_sd15_sized_base(folder / "base") if sd15 else base
        data = data or write_pictures(folder / "data", params.resolution, params.brand.token)
        changes = ({"batch_size": batch} if batch else {}) | ({"compile": True} if compiled else {})
        for method in METHODS:  # here, so that they are in the memory of neither
            checkpoints(method, changed(params, changes), base, folder)
        tasks = [
            {"what": what, "who": who, "method": method}
            for method in METHODS
            for what in ("train", "sample")
            for who in ("ours", "plain")
        ]
        results: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for _ in range(rounds):
            for task in tasks:
                paths = {"base": str(base), "data": str(data), "params": str(params_file), "folder": temporary}
                command = [sys.executable, "-W", "ignore", "-m", "benchmarks.engine"]
                arguments = ["--child", json.dumps({**task, **paths, "steps": steps, "changes": changes})]
                done = subprocess.run([*command, *arguments], capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{task}: {done.stderr[-2000:]}")
                result = json.loads(done.stdout.splitlines()[-1])
                results.setdefault((task["what"], task["method"], task["who"]), []).append(result)
                print(task, result, file=sys.stderr)
        print_table(results)


def load_settled(path: Path) -> Params:
    """The parameters, `auto` replaced with the precision that the stages take on this machine."""
    from stages.common.machine import native_bf16, prepare_machine

    params, best = load_params(path), "bf16" if native_bf16(prepare_machine())[0] else "fp32"
    for method in METHODS:
        if params.training(method).precision == "auto":
            params = params.changed(f"finetune.{method}", precision=best)
    return params


def changed(params: Params, changes: dict[str, Any]) -> Params:
    """The parameters with other settings for the training of every method."""
    for method in METHODS:
        params = params.changed(f"finetune.{method}", **changes)
    return params


def print_table(results: dict[tuple[str, str, str], list[dict[str, Any]]]) -> None:
    """A line for each method: pictures a second of both, their ratio, peak memory of both, share of the peak."""
    heads = ["what", "method", "ours, pictures/s", "plain, pictures/s", "ratio", "ours, MB", "plain, MB", "TFLOP/s"]
    print("| " + " | ".join([*heads, "share of peak"]) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for what in ("train", "sample"):
        for method in METHODS:
            ours, plain = (max(results[what, method, who], key=lambda r: r["rate"]) for who in ("ours", "plain"))
            share = f"{ours['share']:.0%}" if ours.get("share") else "unknown"
            cells = [what, method, f"{ours['rate']:.1f}", f"{plain['rate']:.1f}", f"{ours['rate'] / plain['rate']:.2f}"]
            cells += [f"{ours['megabytes']:.0f}", f"{plain['megabytes']:.0f}", f"{ours.get('tflops', 0):.2f}", share]
            print("| " + " | ".join(cells) + " |")


def measure(task: dict[str, Any], params: Params) -> dict[str, Any]:
    """Run one task in this process: pictures a second (set-up that is done once left out), peak memory."""
    import torch

    from stages.common.command import offline, threads

    offline()
    torch.set_num_threads(threads())
    function: Callable[..., dict[str, Any]] = globals()[f"{task['what']}_{task['who']}"]
    result = function(task["method"], params, Path(task["base"]), Path(task["data"]), task)
    return {"megabytes": peak_megabytes(), **result}


def peak_megabytes() -> float:
    """The most memory that this process has had at once: the GPU's where there is one, else the host's."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss is never less than what the process that started this one had
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def timed(step: Callable[[int], Any], count: int, pictures: int) -> dict[str, Any]:
    """Pictures a second over `count` steps after two to warm up."""
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    step(0)
    step(1)
    wait()
    before = time.perf_counter()
    for number in range(2, 2 + count):
        step(number)
    wait()
    seconds = time.perf_counter() - before
    return {"rate": count * pictures / seconds, "seconds": seconds}


# --- Training --------------------------------------------------------------------------------------------------------


def train_ours(method: str, params: Params, base: Path, data: Path, task: dict[str, Any]) -> dict[str, Any]:
    """The loop's own steps, as `finetune` runs them."""
    from stages.common.diffusion import load_base
    from stages.common.machine import prepare_machine
    from stages.finetune.batch_schedule import BatchSchedule
    from stages.finetune.cached_dataset import CachedDataset
    from stages.finetune.method import load_method
    from stages.finetune.pictures import read_pictures, read_rows
    from stages.finetune.processes import Processes
    from stages.finetune.trainer import Trainer

    loaded = load_base(base, prepare_machine())
    settings = getattr(params.finetune, method)
    chosen = load_method(method)(loaded, params)
    rows = read_rows(data)
    pictures = read_pictures(rows, data, loaded, params.resolution)
    dataset = CachedDataset(chosen, pictures, chosen.captions(rows), None)
    trainer = Trainer(chosen, dataset, BatchSchedule(settings, len(rows), 0, params.seed), Processes())

    def step(number: int) -> None:
        trainer.gradients(number)
        trainer.step(number)

    result = {**timed(step, task["steps"], settings.batch_size), "megabytes": peak_megabytes()}
    from torch.utils.flop_counter import FlopCounterMode  # after the peak is read: it brings much along

    with FlopCounterMode(display=False) as counter:
        trainer.gradients(0)
    flops = counter.get_total_flops() * task["steps"] / result["seconds"]
    return {**result, "tflops": flops / 1e12, "share": share_of_peak(flops)}


def share_of_peak(flops: float) -> float | None:
    """Of the device's dense bf16 peak; None where that is not known."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((flops / peak for key, peak in PEAK_FLOPS.items() if key in name), None)


def train_plain(method: str, params: Params, base: Path, data: Path, task: dict[str, Any]) -> dict[str, Any]:
    """A step as in diffusers' examples/{dreambooth,textual_inversion,text_to_image}: nothing cached, fp32."""
    import torch
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from PIL import Image
    from torch.nn import functional
    from torchvision import transforms

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, safety_checker=None).to(device)
    unet, text_encoder, vae, tokenizer = pipe.unet, pipe.text_encoder, pipe.vae, pipe.tokenizer
    for part in (unet, text_encoder, vae):
        part.requires_grad_(False)
    settings, token = getattr(params.finetune, method), params.brand.token
    original = text_encoder.get_input_embeddings().weight.detach().clone()
    if method == "dreambooth":
        trained: Any = unet.requires_grad_(True).parameters()
    elif method == "lora":
        from peft import LoraConfig

        from stages.finetune.lora import UNET_ATTENTION, UNET_OTHERS

        layers = UNET_ATTENTION + (UNET_OTHERS if settings.convolutions else [])
        shape = {"r": settings.rank, "lora_alpha": settings.strength, "init_lora_weights": "gaussian"}
        unet.add_adapter(LoraConfig(**shape, target_modules=layers))
        text_encoder.add_adapter(LoraConfig(**shape, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]))
        trained = [p for part in (unet, text_encoder) for p in part.parameters() if p.requires_grad]
    else:
        tokenizer.add_tokens([token])
        text_encoder.resize_token_embeddings(len(tokenizer))
        trained = [text_encoder.get_input_embeddings().weight.requires_grad_(True)]
    trained = list(trained)
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    schedule = DDPMScheduler.from_config(pipe.scheduler.config)
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]

    class Pictures(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, number: int) -> dict[str, Any]:
            picture = Image.open(data / rows[number]["file_name"]).convert("RGB")
            length = {"padding": "max_length", "max_length": tokenizer.model_max_length, "truncation": True}
            ids = tokenizer(rows[number]["text"], return_tensors="pt", **length).input_ids[0]
            return {"pixels": prepare(picture), "ids": ids}

    loader = torch.utils.data.DataLoader(Pictures(), batch_size=settings.batch_size, shuffle=True)

    def forever() -> Iterator[dict[str, Any]]:
        while True:
            yield from loader

    batches = forever()

    def step(_: int) -> None:
        batch = next(batches)
        latents = vae.encode(batch["pixels"].to(device)).latent_dist.sample() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),), device=device)
        noisy = schedule.add_noise(latents, noise, timesteps)
        prediction = unet(noisy, timesteps, text_encoder(batch["ids"].to(device))[0]).sample
        loss = functional.mse_loss(prediction.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if method == "textual_inversion":
            with torch.no_grad():
                text_encoder.get_input_embeddings().weight[: len(original)] = original
        loss.item()  # the example scripts show it at every step

    return timed(step, task["steps"], settings.batch_size)


# --- Sampling --------------------------------------------------------------------------------------------------------


def checkpoints(method: str, params: Params, base: Path, folder: Path) -> Path:
    """Two checkpoints of a method, untrained: what they hold costs the same."""
    import torch

    from stages.common.diffusion import load_base
    from stages.finetune.method import load_method

    models = folder / f"models-{method}"
    if not models.exists():
        loaded = load_base(base, torch.device("cpu"))
        chosen = load_method(method)(loaded, params)
        for epoch in (1, 2):
            chosen.write_checkpoint(models / f"epoch-{epoch:02d}", {})
    return models


def sample_ours(method: str, params: Params, base: Path, data: Path, task: dict[str, Any]) -> dict[str, Any]:
    """The stages, base and two checkpoints, loading and writing pictures included (imports are in neither's time)."""
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from stages.sample.__main__ import Paths, sample

    del AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel, CLIPTextModel, CLIPTokenizer

    folder = Path(task["folder"])
    models = checkpoints(method, params, base, folder)
    with tempfile.TemporaryDirectory(dir=folder) as run:
        target = Path(run)
        before = time.perf_counter()
        rest = (target / "sheet.png", target / "base", base, target / "scratch")
        untuned = sample("base", params, Paths(models, target / "base", *rest))
        drawn = sample(method, params, Paths(models, target / "samples", *rest))
        seconds = time.perf_counter() - before
        pictures = sum(len(list(folder.rglob("*.png"))) for folder in (untuned, drawn))
    return {"rate": pictures / seconds, "seconds": seconds}


def sample_plain(method: str, params: Params, base: Path, data: Path, task: dict[str, Any]) -> dict[str, Any]:
    """One pipeline load and one call for each checkpoint and prompt, as a script around the examples does."""
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    models = checkpoints(method, params, base, Path(task["folder"]))
    settings = params.sample
    prompts = [prompt.replace("{token}", params.brand.token) for prompt in settings.prompts] + settings.plain_prompts
    pictures = 0
    before = time.perf_counter()
    for checkpoint in (None, models / "epoch-01", models / "epoch-02"):
        for prompt in prompts:
            pipe = StableDiffusionPipeline.from_pretrained(base, torch_dtype=torch.float32, safety_checker=None)
            pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
            pipe.set_progress_bar_config(disable=True)
            if checkpoint is not None and method == "dreambooth":
                pipe.unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", torch_dtype=torch.float32)
            elif checkpoint is not None and method == "lora":
                pipe.load_lora_weights(checkpoint, weight_name="pytorch_lora_weights.safetensors")
            elif checkpoint is not None:
                pipe.load_textual_inversion(checkpoint / "learned_embeds.safetensors")
            drawn = pipe.to(device)(
                prompt,
                num_images_per_prompt=settings.images_per_prompt,
                num_inference_steps=settings.steps,
                guidance_scale=settings.guidance_scale,
                height=params.resolution,
                width=params.resolution,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(settings.images_per_prompt)],
            ).images
            for number, picture in enumerate(drawn):
                picture.save(Path(task["folder"]) / f"plain-{number}.png")
            pictures += len(drawn)
    seconds = time.perf_counter() - before
    return {"rate": pictures / seconds, "seconds": seconds}


# --- What is measured on ---------------------------------------------------------------------------------------------


def write_pictures(folder: Path, size: int, token: str, count: int = 49) -> Path:
    """Made-up captioned pictures: their content costs nothing and changes nothing here."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "text": f"a blue shirt with a {token} logo"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_sd15_sized_base(folder: Path) -> Path:
    """A base with Stable Diffusion 1.5's configuration and random weights: 860 M parameters in the UNet."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests.tiny_base import write_tiny_base

    write_tiny_base(folder)
    text = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        eos_token_id=json.loads((folder / "text_encoder/config.json").read_text())["eos_token_id"],
    )
    widths = (320, 640, 1280, 1280)
    torch.manual_seed(0)
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
    ).save_pretrained(folder / "vae")
    UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=widths
    ).save_pretrained(folder / "unet")
    return folder


if __name__ == "__main__":
    main()
