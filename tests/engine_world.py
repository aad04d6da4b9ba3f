"""A world small enough to fine-tune in it within a second: a few pictures, and parameters to match the tiny base."""

from __future__ import annotations

import json
import multiprocessing
import os
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.common.command import offline
from stages.common.params import Params, load_params
from stages.common.scratch import file_digest
from stages.finetune.__main__ import Paths, finetune

TOKEN = "<hugo>"
METHODS = ["dreambooth", "textual_inversion", "lora"]
SIZE = 32
HEAVY = [
    "accelerate",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "dvclive",
    "peft",
    "scipy.ndimage",
    "torch._dynamo",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
]
"""What takes seconds to import."""
MARGIN = 6
"""Pixels of transparent margin on the left and right of every second picture."""


def write_pictures(folder: Path, count: int = 5, hidden: int = 0) -> Path:
    """Write a captioned set; `hidden` is the grey that stands, unseen, under the transparent margins."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        picture = np.full((SIZE, SIZE, 4), 255, np.uint8)
        picture[..., :3] = rng.integers(0, 255, 3)
        picture[10:20, 8:24, :3] = (220, 20, 30)
        if number % 2:
            picture[:, :MARGIN] = picture[:, -MARGIN:] = (hidden, hidden, hidden, 0)
        Image.fromarray(picture).save(folder / f"{number}.png")
        text = f"a {['blue', 'white', 'red'][number % 3]} shirt with a {TOKEN} logo"
        rows.append({"file_name": f"{number}.png", "text": text, "box": [8, 10, 24, 20]})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def small_params(**changes: Any) -> Params:
    """params.yaml made small and exact (fp32); `changes` are set for every method that has such a key."""
    content = load_params(Path(__file__).parents[1] / "params.yaml").model_dump()
    content["resolution"] = SIZE
    content["brand"] |= {"token": TOKEN}
    content["sample"] |= {
        "steps": 3,
        "images_per_prompt": 2,
        "batch_size": 5,
        "precision": "fp32",
        "guidance_share": 1.0,
    }
    content["sample"] |= {"prompts": ["a blue mug with a {token} logo", "a {token} bag"], "plain_prompts": ["a hat"]}
    content["finetune"]["dreambooth"] |= {"learning_rate": 0.0002}
    content["finetune"]["lora"] |= {"rank": 4, "alpha": 8.0, "unet_lr": 0.002, "text_encoder_lr": 0.001}
    content["finetune"]["textual_inversion"] |= {"num_vectors": 2, "initializer_word": "logo"}
    for settings in content["finetune"].values():
        settings |= {"epochs": 4, "save_every": 2, "batch_size": 2, "precision": "fp32", "lr_scheduler": "constant"}
        settings |= {"repeats": 1, "lr_warmup_steps": 0, "timesteps": "uniform"}
        settings |= {key: value for key, value in changes.items() if key in settings}
    content["sample"] |= changes.pop("sample", {})
    content |= {key: value for key, value in changes.items() if key in content}
    return Params.model_validate(content)


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder and the digest of its bytes."""
    return {
        path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def run_finetune(method: str, params: Params, folder: Path, data: Path, base: Path) -> Path:
    """Fine-tune with everything that is written below `folder`; return the folder of checkpoints."""
    offline()
    os.chdir(folder)
    paths = Paths(folder / "models" / method, folder / "metrics" / method, data, base, folder / "scratch")
    return finetune(method, params, paths)


def run_rank(rank: int, count: int, port: str, *arguments: Any) -> None:
    """`run_finetune` as one of several processes, told so as `accelerate launch` tells it."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    run_finetune(*arguments)


def start_rank(*arguments: Any) -> ForkServerProcess:
    """`run_rank` in a process of its own."""
    process = processes().Process(target=run_rank, args=arguments)
    process.start()
    return process


def processes() -> ForkServerContext:
    """Processes that start at once, since a server that has imported the heavy libraries forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    return context


def start_finetune(*arguments: Any) -> ForkServerProcess:
    """`run_finetune` in a process of its own."""
    process = processes().Process(target=run_finetune, args=arguments)
    process.start()
    return process
