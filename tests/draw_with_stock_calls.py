"""Draw what a manifest lists with stock diffusers calls, in a process that knows nothing of this project."""

import json
from pathlib import Path

import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel


def main(path: Path) -> None:
    torch.set_num_threads(1)
    work = json.loads(path.read_text())
    settings = work["sample"]
    for job in work["jobs"]:
        for number, row in enumerate(job["rows"]):
            pipe = StableDiffusionPipeline.from_pretrained(work["base"], torch_dtype=torch.float32)
            pipe.set_progress_bar_config(disable=True)
            pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
            if row["epoch"]:
                load(pipe, job["kind"], Path(job["checkpoint"]))
            picture = pipe(
                row["prompt"],
                negative_prompt=settings["negative_prompt"],
                num_inference_steps=settings["steps"],
                guidance_scale=settings["guidance_scale"],
                height=work["size"],
                width=work["size"],
                generator=torch.Generator("cpu").manual_seed(row["seed"]),
            ).images[0]
            picture.save(path.parent / f"{job['kind']}-{number}.png")


def load(pipe: StableDiffusionPipeline, kind: str, checkpoint: Path) -> None:
    if kind == "dreambooth":
        pipe.unet = UNet2DConditionModel.from_pretrained(checkpoint / "unet", torch_dtype=torch.float32)
    elif kind == "textual_inversion":
        pipe.load_textual_inversion(checkpoint / "learned_embeds.safetensors")
    elif kind == "lora":
        pipe.load_lora_weights(checkpoint, weight_name="pytorch_lora_weights.safetensors")
    else:
        pipe.load_lora_weights(next(checkpoint.glob("*_kohya.safetensors")))
