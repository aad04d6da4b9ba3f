"""Recipe, step 5: the reader, a recogniser for EasyOCR that reads the words on logos, also on 64-pixel pictures.

Writes demo/weights/reader (reader.safetensors and reader.yaml, see `stages.score.recogniser`). The score asks whether
the word HUGO is read, so the reader must not guess it: HUGO is 1 of 70 training words, words one letter away from it,
on the same red box in the same font, are four times as frequent, and most words are random letters.

Marks are drawn once by the renderer; every step prints them anew on cloth (size, turn, light, blur, grain, JPEG), cuts
them out as a detector's box with a margin would, and enlarges them as EasyOCR and `stages.score.reader` do. In the
second round a quarter of the crops are cut from 64-pixel pictures that went through the world's autoencoder.

`python -m demo.reader` trains and writes; `python -m demo.reader --measure` prints what the shipped weights can do.
"""

from __future__ import annotations

import argparse

import cv2
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import tqdm

from demo.reader.crops import cut_smeared, draw_mark, draw_smeared, print_mark
from demo.reader.measure import TARGET, measure
from demo.reader.network import batches, build, ctc_loss, write
from demo.reader.words import trained_brands
from demo.training import WEIGHTS, demo_params, device, rng_of, round_of, train
from stages.common.scratch import digest

VAE = WEIGHTS / "base" / "vae"


def main() -> None:
    """Train the reader and write it."""
    parser = argparse.ArgumentParser("python -m demo.reader", description=main.__doc__)
    parser.add_argument("--measure", action="store_true", help="only print what the shipped reader can do")
    if parser.parse_args().measure:
        return measure()
    params = demo_params()
    settings, seed, where = params["reader"], params["seed"], device()
    cv2.setNumThreads(1)
    brands = tqdm(trained_brands(params), "marks", settings["marks"], mininterval=10)
    marks = [draw_mark(brand) for brand in brands]
    vae = AutoencoderKL.from_pretrained(VAE, torch_dtype=torch.float32).to(where).eval()
    smeared = draw_smeared(settings, seed, vae, where)
    torch.manual_seed(seed)
    model = build(settings).to(where, memory_format=torch.channels_last)

    def loss_of_step(step: int) -> Tensor:
        rng = rng_of(seed, step)
        share = settings["smeared_share"][round_of(step, settings["steps"])[0]]
        of_smeared = round(settings["batch_size"] * share)
        chosen = [marks[i] for i in rng.integers(len(marks), size=settings["batch_size"] - of_smeared)]
        drawn = [smeared[i] for i in rng.integers(len(smeared), size=of_smeared)]
        crops = [print_mark(rng, mark) for mark in chosen] + [cut_smeared(rng, picture) for picture in drawn]
        texts = [part.text for part in (*chosen, *drawn)]
        losses = [
            ctc_loss(model, pictures.to(where, memory_format=torch.channels_last), of_pictures)
            for pictures, of_pictures in batches(crops, texts)
        ]
        return torch.stack(losses).sum() / len(crops)

    train("reader", {"reader": model}, loss_of_step, settings=settings, inputs=[seed, digest(VAE)])
    write(model, settings, TARGET)
    return None


if __name__ == "__main__":
    main()
