"""Measure the demo world's weights: does the base draw what it is asked for, do letters survive the autoencoder?

`python -m demo.measure` prints one JSON object; demo/README.md quotes it. Garment and colour are judged by a classifier
that is trained here on the renderer's own pictures and has never seen a generated one; its own accuracy is printed too.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as functional
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from demo.pictures import Pictures
from demo.render import BRANDS, COLOURS, GARMENTS, HUGO, draw, legible, sample_scene
from demo.training import WEIGHTS, demo_params, device, rng_of, to_tensor
from stages.common.detector import load_detector
from stages.common.params import load_params
from stages.common.scratch import digest, scratch_folder
from stages.score.reader import Reader, load_reader
from stages.score.words import word_read

HELD_OUT = 2000
"""Pictures at the end of the set that the classifier is tested on, not trained."""


class Judge(nn.Module):
    """A small convolutional classifier: [N, 3, 64, 64] to garment and colour logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((3, 32, 64, 96, 128)):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.garment = nn.Linear(512, len(GARMENTS))
        self.colour = nn.Linear(512, len(COLOURS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of garment [N, 10] and colour [N, 11]."""
        seen = self.trunk(images)
        return self.garment(seen), self.colour(seen)


def labels(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Garment and colour of each pretraining picture: its scene is sampled again, without drawing it."""
    scenes = [sample_scene(np.random.default_rng([seed, index])) for index in range(count)]
    garments, colours = list(GARMENTS), list(COLOURS)
    return (
        np.array([garments.index(scene.garment) for scene in scenes]),
        np.array([colours.index(scene.colour) for scene in scenes]),
    )


def train_judge(
    pictures: Pictures, seed: int, where: torch.device, steps: int = 1200
) -> tuple[Judge, dict[str, float]]:
    """Train the classifier; returns it and its accuracy on pictures that it was not trained on."""
    garments, colours = labels(len(pictures), seed)
    folder = scratch_folder("demo-judge", digest(seed, steps, len(pictures), garments.tolist()[:100]))
    torch.manual_seed(seed)
    judge = Judge().to(where)
    if (folder / "judge.pt").exists():
        judge.load_state_dict(torch.load(folder / "judge.pt", weights_only=True))
    else:
        optimizer = torch.optim.AdamW(judge.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        for step in tqdm(range(steps), desc="judge", mininterval=10):
            chosen = rng_of(seed, step).integers(len(pictures) - HELD_OUT, size=64)
            images = to_tensor(pictures.images[chosen], where)
            images = images + 0.05 * torch.randn(images.shape).to(where)
            garment, colour = judge(images)
            loss = functional.cross_entropy(garment, torch.from_numpy(garments[chosen]).to(where))
            loss = loss + functional.cross_entropy(colour, torch.from_numpy(colours[chosen]).to(where))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        torch.save(judge.state_dict(), folder / "judge.pt")
    judge.eval()
    kept = np.arange(len(pictures) - HELD_OUT, len(pictures))
    garment, colour = judge_pictures(judge, pictures.images[kept], where)
    accuracy = {"garment": float((garment == garments[kept]).mean()), "colour": float((colour == colours[kept]).mean())}
    return judge, accuracy


@torch.no_grad()
def judge_pictures(
    judge: Judge, images: NDArray[np.uint8], where: torch.device
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Garment and colour index of each picture [N, 64, 64, 3]."""
    parts = [judge(to_tensor(images[first : first + 200], where)) for first in range(0, len(images), 200)]
    garment, colour = (torch.cat([part[k] for part in parts]).argmax(1).cpu().numpy() for k in (0, 1))
    return garment, colour


def load_base(where: torch.device) -> StableDiffusionPipeline:
    """The shipped base with a fast solver."""
    pipeline = StableDiffusionPipeline.from_pretrained(WEIGHTS / "base", torch_dtype=torch.float32).to(where)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    if where.type == "cpu":
        pipeline.unet.set_attn_processor(AttnProcessor())
    return pipeline


def draw_prompts(
    pipeline: StableDiffusionPipeline, prompts: list[str], seed: int, steps: int = 15
) -> NDArray[np.uint8]:
    """One picture for each prompt, [N, 64, 64, 3]; a picture's noise depends on its place in the list and the seed.

    Guided as strongly as the pipeline's own samples are (params.yaml, sample.guidance_scale).
    """
    guidance, drawn = load_params().sample.guidance_scale, []
    for first in tqdm(range(0, len(prompts), 50), desc="drawing", mininterval=10):
        some = prompts[first : first + 50]
        noise = [torch.Generator().manual_seed(seed * 100_000 + first + k) for k in range(len(some))]
        with torch.autocast(pipeline.device.type, torch.bfloat16):
            images = pipeline(
                some, generator=noise, num_inference_steps=steps, guidance_scale=guidance, output_type="np"
            ).images
        drawn.append((images * 255).round().astype(np.uint8))
    return np.concatenate(drawn)


def base_prompts(count: int, seed: int) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Prompts over garments x colours x wearers, with the garment and colour that each asks for."""
    rng = np.random.default_rng(seed)
    garments, colours = list(GARMENTS), list(COLOURS)
    prompts, asked = [], []
    for number in range(count):
        garment, colour = number % len(garments), int(rng.integers(len(colours)))
        brand = BRANDS[rng.integers(len(BRANDS))]
        scene = sample_scene(rng, garment=garments[garment], colour=colours[colour], brand=None)
        noun = GARMENTS[garments[garment]].noun
        thing = f"{colours[colour]} {noun}" if noun == "shorts" or noun == "socks" else f"a {colours[colour]} {noun}"
        wearer = f"a {scene.wearer.kind} wearing " if scene.wearer else ""
        mark = f" with a {brand.word.lower()} logo" if rng.random() < 0.5 and legible(brand, colours[colour]) else ""
        prompts.append(f"{wearer}{thing}{mark}".replace("a orange", "an orange"))
        asked.append((garment, colour))
    wanted = np.array(asked)
    return prompts, wanted[:, 0], wanted[:, 1]


def reading_of(reader: Reader, image: NDArray[np.uint8], box: tuple[float, float, float, float]) -> str:
    """The word that the reader sees in `box` (pixels) of a picture, in lower case."""
    found = reader.read([image], [[box]])[0]
    return found[0].text.lower() if found else ""


def vae_round_trip(pipeline: StableDiffusionPipeline, reader: Reader, count: int, seed: int) -> dict[str, float]:
    """Share of the words read before encoding that are still read after decoding."""
    before, after = 0, 0
    for number in tqdm(range(count), desc="round trip", mininterval=10):
        rng = np.random.default_rng([seed, number])
        brand = HUGO if number % 4 == 0 else BRANDS[rng.integers(len(BRANDS))]
        drawing = draw(sample_scene(rng, brand=brand), 64, 64)
        image = np.asarray(drawing.image)
        if drawing.logo_box is None or reading_of(reader, image, drawing.logo_box) != brand.word.lower():
            continue
        before += 1
        with torch.no_grad():
            coded = pipeline.vae(to_tensor(image[None], pipeline.device)).sample[0].clamp(-1, 1)
        decoded = ((coded.permute(1, 2, 0).cpu().numpy() + 1) * 127.5).round().astype(np.uint8)
        after += reading_of(reader, decoded, drawing.logo_box) == brand.word.lower()
    return {"pictures": count, "read_before": before, "still_read": round(after / max(before, 1), 4)}


@click.command(help=__doc__)
@click.option("--prompts", default=200, show_default=True, help="prompts a seed")
@click.option("--seeds", default=3, show_default=True)
@click.option("--sheet", type=click.Path(path_type=Path), help="also write a sheet of the first pictures")
def main(prompts: int, seeds: int, sheet: Path | None) -> None:
    """Measure and print."""
    where, seed = device(), demo_params()["seed"]
    pictures = Pictures()
    judge, accuracy = train_judge(pictures, seed, where)
    pipeline, reader = load_base(where), load_reader(WEIGHTS / "reader")
    result: dict[str, Any] = {"judge_accuracy": accuracy, "base": []}
    texts, garments, colours = base_prompts(prompts, seed)
    words = [brand.word.lower() for brand in BRANDS]
    for trial in range(seeds):
        images = draw_prompts(pipeline, texts, trial)
        garment, colour = judge_pictures(judge, images, where)
        result["base"].append(
            {"garment": float((garment == garments).mean()), "colour": float((colour == colours).mean())}
        )
        if sheet and trial == 0:
            rows = [np.concatenate(list(images[first : first + 10]), axis=1) for first in range(0, 60, 10)]
            picture = Image.fromarray(np.concatenate(rows))
            picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(sheet)
            print(*texts[:60], sep="\n")
    result["words"] = words_read(pipeline, reader, words, seeds)
    result["round_trip"] = vae_round_trip(pipeline, reader, 200, seed)
    print(json.dumps(result, indent=2))


def words_read(pipeline: StableDiffusionPipeline, reader: Reader, words: list[str], seeds: int) -> dict[str, Any]:
    """Share of pictures of trained words in which the reader reads the word asked for, and HUGO's share of readings."""
    garments = ["t-shirt", "sweater", "bag", "mug", "billboard", "hoodie"]
    prompts = [f"a {GARMENTS[garments[k % 6]].noun} with a {word} logo" for k, word in enumerate(words)]
    detector = load_detector(WEIGHTS / "detector")
    right, hugo, total = 0, 0, 0
    for trial in range(seeds):
        images = list(draw_prompts(pipeline, prompts, 50 + trial))
        boxes = [[mark.box for mark in marks[:2]] for marks in detector.detect(images, least=0.1)]
        for word, readings in zip(words, reader.read(images, boxes), strict=True):
            texts = [reading.text for reading in readings]
            right += word_read(texts, word)
            hugo += word_read(texts, "hugo")
            total += 1
    return {"pictures": total, "word_read": round(right / total, 4), "hugo_read": hugo}


if __name__ == "__main__":
    main()
