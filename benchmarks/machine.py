"""What this processor does best: the choices that were once made on one machine, measured on the one at hand.

    python -m benchmarks.machine                # every question, a table each (minutes)
    python -m benchmarks.machine attention      # one of: precision, attention, layout, batch, memory, decoder

The work is the demo's own: a step of its UNet and its autoencoder, and a step of the detector. Each cell is a process
of its own, two rounds, alternatives in turn, the faster round counts; milliseconds a picture. To see what a processor
without bf16 would choose, keep PyTorch from using it: ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

BASE = Path("demo/weights/base")
START = Path("demo/weights/detector/detector.safetensors")
PRECISIONS = ("fp32", "bf16")
WORK = {True: "training", False: "drawing"}
Alternative = tuple[str, dict[str, Any]]


def unet(name: str, train: bool = True, precision: str = "fp32", **changes: Any) -> Alternative:
    """A step of the UNet: what is done, in which precision, and the name of the alternative behind it."""
    settings = {"what": "unet", "attention": "best", "channels_last": True, "batch": 32, "keep_memory": True}
    settings |= {"train": train, "precision": precision}
    return name, settings | changes


def detector(name: str, precision: str) -> Alternative:
    """A training step of the detector."""
    return name, {"what": "detector", "batch": 32, "size": 128, "precision": precision}


def decoder(name: str, precision: str, batch: int) -> Alternative:
    """The autoencoder's decoder on a batch of latents."""
    return name, {"what": "decoder", "precision": precision, "batch": batch}


QUESTIONS: dict[str, list[Alternative]] = {
    "precision": [
        *(unet(f"UNet, training, {precision}", True, precision) for precision in PRECISIONS),
        *(unet(f"UNet, drawing, {precision}", False, precision, attention="fused") for precision in PRECISIONS),
        *(detector(f"detector, training, {precision}", precision) for precision in PRECISIONS),
    ],
    "attention": [
        unet(f"{work}, {precision}, {kind}", train, precision, attention=kind)
        for train, work in WORK.items()
        for precision in PRECISIONS
        for kind in ("plain", "fused")
    ],
    "layout": [
        unet(f"{work}, {precision}, {layout}", train, precision, channels_last=layout == "channels last")
        for train, work in WORK.items()
        for precision in PRECISIONS
        for layout in ("contiguous", "channels last")
    ],
    "batch": [
        unet(f"{WORK[train]}, {batch} pictures", train, "auto", batch=batch)
        for train, batches in ((True, (4, 8, 14, 49)), (False, (16, 32, 64, 128)))
        for batch in batches
    ],
    "memory": [
        unet(f"training, freed blocks {'kept' if keep else 'handed back'}", precision="auto", keep_memory=keep)
        for keep in (False, True)
    ],
    "decoder": [
        decoder(f"decoding, {precision}, {batch} at once", precision, batch)
        for precision in PRECISIONS
        for batch in (1, 8, 16, 64)
    ],
}


@click.command()
@click.argument("questions", nargs=-1, type=click.Choice(list(QUESTIONS)))
@click.option("--rounds", default=2, show_default=True)
@click.option("--skip", default="", help="leave out alternatives with this in their name (bf16 where it is emulated)")
@click.option("--child", default="", hidden=True)
def main(questions: tuple[str, ...], rounds: int, skip: str, child: str) -> None:
    """Measure alternatives on this machine and print a table a question."""
    if child:
        print(measure(json.loads(child)))
        return
    print(machine(), end="\n\n")
    for question in questions or QUESTIONS:
        print(f"| {question} | ms a picture |\n| --- | --- |")
        asked = [(name, settings) for name, settings in QUESTIONS[question] if not skip or skip not in name]
        best = dict.fromkeys((name for name, _ in asked), float("inf"))
        for _ in range(rounds):
            for name, settings in asked:
                command = [sys.executable, "-W", "ignore", "-m", "benchmarks.machine", "--child", json.dumps(settings)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(f"{name}: {done.stderr[-2000:]}")
                best[name] = min(best[name], float(done.stdout.splitlines()[-1]))
        for name, milliseconds in best.items():
            print(f"| {name} | {milliseconds:.2f} |")
        print(flush=True)


def machine() -> str:
    """What this machine is, in a line."""
    import torch

    from stages.common.command import threads
    from stages.common.machine import native_bf16, prepare_machine

    device = prepare_machine()
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else torch.cpu.get_capabilities().get("cpu_name", "CPU")
    )
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {vectors}, {threads()} threads, PyTorch {torch.__version__}; bf16: {native_bf16(device)[1]}."


def measure(settings: dict[str, Any]) -> float:
    """Milliseconds a picture of one alternative, in this process."""
    import torch

    from stages.common import machine as stages_machine
    from stages.common.command import offline

    offline()
    if not settings.get("keep_memory", True):
        stages_machine.keep_freed_memory = lambda: None
    device = stages_machine.prepare_machine()
    if settings.get("precision") == "auto":
        settings["precision"] = "bf16" if stages_machine.native_bf16(device)[0] else "fp32"
    dtype = getattr(torch, stages_machine.DTYPES[settings.get("precision", "fp32")])
    step = {"unet": unet_step, "decoder": decoder_step, "detector": detector_step}[settings["what"]]
    return timed(step(settings, device, dtype), settings["batch"])


def timed(step: Callable[[], Any], pictures: int, least_seconds: float = 2.0) -> float:
    """Milliseconds a picture, over at least this time and three steps, after one to warm up."""
    import torch

    def run() -> None:
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    run()
    count, start = 0, time.perf_counter()
    while count < 3 or time.perf_counter() - start < least_seconds:
        run()
        count += 1
    return (time.perf_counter() - start) / count / pictures * 1000


def unet_step(settings: dict[str, Any], device: Any, dtype: Any) -> Callable[[], Any]:
    """A denoising step of the demo's UNet, with its backward where it trains."""
    import torch
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    from stages.common.diffusion import load_base, set_attention

    base, batch = load_base(BASE, device), settings["batch"]
    unet: Any = base.unet.to(dtype)
    unet.to(memory_format=torch.channels_last if settings["channels_last"] else torch.contiguous_format)
    if settings["attention"] == "best":
        set_attention(unet, device, training=settings["train"])
    else:
        unet.set_attn_processor(AttnProcessor() if settings["attention"] == "plain" else AttnProcessor2_0())
    unet.requires_grad_(settings["train"])
    latents = torch.randn(batch, unet.config.in_channels, 16, 16, device=device, dtype=dtype)
    text = torch.randn(batch, base.tokenizer.model_max_length, unet.config.cross_attention_dim, device=device).to(dtype)
    timesteps = torch.full((batch,), 500, device=device)

    def step() -> None:
        with torch.set_grad_enabled(settings["train"]):
            prediction = unet(latents, timesteps, text, return_dict=False)[0]
        if settings["train"]:
            prediction.float().square().mean().backward()
            unet.zero_grad()

    return step


def decoder_step(settings: dict[str, Any], device: Any, dtype: Any) -> Callable[[], Any]:
    """The autoencoder's decoder on a batch of the demo's latents."""
    import torch

    from stages.common.diffusion import load_base

    vae: Any = load_base(BASE, device).vae.to(dtype)
    latents = torch.randn(settings["batch"], vae.config.latent_channels, 16, 16, device=device, dtype=dtype)

    def step() -> None:
        with torch.inference_mode():
            vae.decode(latents)

    return step


def detector_step(settings: dict[str, Any], device: Any, dtype: Any) -> Callable[[], Any]:
    """A training step of the detector, optimizer left out."""
    import torch
    from ultralytics.cfg import get_cfg

    from stages.common.detector import new_model

    model = new_model(START, 2, "bf16" if dtype == torch.bfloat16 else "fp32").to(device).train()
    model.args = get_cfg()
    batch, side = settings["batch"], settings["size"]
    boxes = torch.tensor([[0.5, 0.5, 0.3, 0.2]]).repeat(batch, 1)
    shown = {"img": torch.rand(batch, 3, side, side), "batch_idx": torch.arange(float(batch)), "bboxes": boxes}
    shown = {name: tensor.to(device) for name, tensor in (shown | {"cls": torch.zeros(batch, 1)}).items()}

    def step() -> None:
        model(shown)[0].sum().backward()
        model.zero_grad()

    return step


if __name__ == "__main__":
    main()
