"""Planted models: pictures and a manifest as `sample` writes them, and a detector and an OCR that need no weights.

The stand-ins are for what stands around them: a "model" that copies, one that draws the wrong colour, and so on. The
real detector and OCR have tests of their own.
"""

import json
import string
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from easyocr.model.vgg_model import Model
from safetensors.torch import save_file

from demo.render import HUGO, Brand
from stages.common.detector import Detection, new_model, save_detector
from stages.common.params import Params, load_params
from stages.common.scratch import file_digest
from stages.common.tables import write_table
from stages.score.reader import Reading
from stages.score.recogniser import CUSTOM, DESCRIBED, DESCRIPTION
from tests.pictures import boxes, photograph, pixels, training_pictures

PROMPTS = (
    ("a blue sweater with a <hugo> logo", "sweater", "blue"),
    ("a green t-shirt with a <hugo> logo", "t-shirt", "green"),
    ("a bag with a <hugo> logo", "bag", None),
    ("a mug with a <hugo> logo", "mug", None),
)
PLAIN = ("a blue sweater", "sweater", "blue")
EMPTY_BOX = Brand("", HUGO.box_colour, HUGO.letter_colour, aspect=2.4)

Draw = Callable[[int, str, str | None, int], np.ndarray]


def demo_params() -> Params:
    return load_params(Path(__file__).parents[1] / "params.yaml")


def good_model(seed: int, garment: str, colour: str | None, _: int) -> np.ndarray:
    return pixels(photograph(seed, garment, colour))


def write_captioned(folder: Path, count: int = 30) -> Path:
    """data/captioned as `caption` writes it."""
    folder.mkdir(parents=True)
    rows = []
    for number, drawing in enumerate(training_pictures(count)):
        drawing.image.convert("RGBA").save(folder / f"{number:03}.png")
        rows.append({"file_name": f"{number:03}.png", "text": "a <hugo> logo", "box": boxes(drawing)[0]})
    write_table(folder / "metadata.jsonl", rows)
    return folder


def write_samples(folder: Path, method: str, epochs: dict[int, Draw], seeds: int = 4) -> Path:
    """data/samples/<method> as `sample` writes it: every prompt and seed by the model of each epoch."""
    rows = []
    for epoch, draw in epochs.items():
        (folder / method / f"epoch-{epoch:02d}").mkdir(parents=True)
        for index, (prompt, garment, colour) in enumerate((*PROMPTS, PLAIN)):
            for seed in range(seeds):
                plain = index == len(PROMPTS)
                number = 10_000 + 100 * index + seed
                drawn = (
                    pixels(photograph(number, garment, colour, None)) if plain else draw(number, garment, colour, seed)
                )
                file = f"epoch-{epoch:02d}/p{index:02d}-s{seed:02d}.png"
                cv2.imwrite(str(folder / method / file), drawn[..., ::-1])
                rows.append(
                    {
                        "method": method,
                        "epoch": epoch,
                        "prompt_index": index,
                        "prompt": prompt,
                        "plain": plain,
                        "seed_index": seed,
                        "seed": 1000 + seed,
                        "file": file,
                    }
                )
    write_table(folder / method / "manifest.jsonl", rows)
    return folder


class RedBoxDetector:
    """A detector that any large red box satisfies, with or without letters (at the top edge it is red hair)."""

    def detect(self, pictures: list[np.ndarray]) -> list[list[Detection]]:
        return [self._find(picture) for picture in pictures]

    def _find(self, picture: np.ndarray) -> list[Detection]:
        levels = picture.astype(int)
        red = (levels[..., 0] > 105) & (levels[..., 1] < 90) & (levels[..., 2] < 95)
        closed = cv2.morphologyEx(red.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(closed)
        found = [
            (x, y, w, h)
            for x, y, w, h, _ in sorted(stats[1:].tolist(), key=lambda s: -s[4])
            if y > 0 and w >= 12 and 5 <= h <= 26 and red[y : y + h, x : x + w].mean() >= 0.3
        ]
        return [Detection((float(x), float(y), float(x + w), float(y + h)), 0.9) for x, y, w, h in found[:1]]


class BrightLetterReader:
    """An OCR for a world in which HUGO is the only word: it reads HUGO where a box holds light letters."""

    finds_text = False

    def read(self, pictures: list[np.ndarray], of_each: list[list], margin: float) -> list[list[Reading]]:
        out = []
        for picture, listed in zip(pictures, of_each, strict=True):
            texts = []
            for box in listed:
                x0, y0, x1, y1 = (round(v) for v in box)
                dx, dy = (x1 - x0) // 6, (y1 - y0) // 4  # what lies beside a turned box may be light
                bright = picture[y0 + dy : y1 - dy, x0 + dx : x1 - dx].min(axis=2) > 110
                texts.append(Reading("HUGO" if bright.mean() > 0.1 else "", 0.9, box))
            out.append(texts)
        return out


def write_untrained_weights(folder: Path) -> tuple[Path, Path]:
    """A YOLOv8n and an EasyOCR recogniser with random weights, as files: their two folders."""
    torch.manual_seed(0)
    save_detector(new_model(), folder / "detector", 128, 64)
    reader, characters = folder / "reader", string.digits + string.ascii_letters
    reader.mkdir(parents=True)
    sizes = {"input_channel": 1, "output_channel": 32, "hidden_size": 32}
    lines = {"imgH": 32, "lang_list": ["en"], "character_list": characters, "network_params": sizes}
    (reader / DESCRIPTION).write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items()))
    model = Model(num_class=len(characters) + 1, **sizes)
    save_file(model.state_dict(), reader / CUSTOM, metadata={DESCRIBED: file_digest(reader / DESCRIPTION)})
    return folder / "detector", reader


def scored_rows(
    method: str,
    success: dict[int, float],
    *,
    prompts: int = 6,
    seeds: int = 8,
    memorised: float = 0.0,
    colour: float = 1.0,
) -> list[dict]:
    """Scored pictures of a method, a share of which succeeds at each epoch; the last prompt has no token."""
    rng = np.random.default_rng(sorted(method.encode()))
    rows = []
    for epoch, share in success.items():
        for prompt in range(prompts + 1):
            plain = prompt == prompts
            for seed in range(seeds):
                hit = not plain and rng.random() < share
                od = round(float(rng.uniform(0.75, 0.98)), 6) if hit else 0.0
                right = None if prompt > 1 or plain else bool(rng.random() < colour)
                text = "HUGO" if hit else "HUCO"
                similarity = round(float(rng.uniform(0.3, 0.9)), 6)
                rows.append(
                    {
                        "method": method,
                        "epoch": epoch,
                        "prompt_index": prompt,
                        "plain": plain,
                        "seed_index": seed,
                        "prompt": "a blue sweater" if plain else f"a blue thing {prompt} with a <hugo> logo",
                        "seed": seed,
                        "file": f"epoch-{epoch:02d}/p{prompt:02d}-s{seed:02d}.png",
                        "confidence": od or 0.3,
                        "od": od,
                        "box": [20, 20, 44, 30],
                        "ocr": int(hit),
                        "joint": int(hit),
                        "readings": [{"text": text, "confidence": 0.9, "box": [20, 20, 44, 30], "detected": od or 0.3}],
                        "edit_distance": 0.0 if hit else 0.25,
                        "colour_asked": None if right is None else "blue",
                        "colour_drawn": "blue" if right else "black",
                        "colour_right": right,
                        "similarity": similarity,
                        "nearest": "000.png",
                        "similarity_masked": similarity,
                        "nearest_masked": "001.png",
                        "memorised": bool(rng.random() < memorised),
                        "diversity": 0.5,
                    }
                )
    return rows
