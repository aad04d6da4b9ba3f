"""Recipe, step 5: the reader, an EasyOCR custom recogniser that reads the words on logos, also on 64-pixel pictures.

Writes demo/weights/reader (reader.pth, reader.py, reader.yaml: what EasyOCR wants of a custom model). The score asks
whether the word HUGO is read, so the reader must not guess it: HUGO is 1 of 70 training words, words one letter away
from it, on the same red box in the same font, are four times as frequent, and most words are random letters.

Marks are drawn once by the renderer; every step prints them anew on cloth (size, turn, light, blur, grain, JPEG), cuts
them out as a detector's box with a margin would, and enlarges them as EasyOCR and stages.score.reader do. In the
second round a quarter of the crops are cut from 64-pixel pictures that went through the world's autoencoder
(demo/weights/base/vae), as every generated picture does: it bends letters in ways that blur does not imitate.

`python -m demo.reader` trains and writes; `python -m demo.reader --measure` prints what the shipped weights can do.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from easyocr.model.vgg_model import Model
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from demo.render import BRANDS, COLOURS, HUGO, Brand, draw, logo_bitmap, sample_scene
from demo.training import WEIGHTS, demo_params, device, rng_of, round_of, to_tensor, train
from stages.common.files import write_file
from stages.common.scratch import digest
from stages.score.reader import load_reader, word_read

TARGET = WEIGHTS / "reader"
VAE = WEIGHTS / "base" / "vae"
CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VOWELS, CONSONANTS = "AEIOU", "BCDFGHJKLMNPQRSTVWXZ"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "STIXGeneralBolIta", "cmb10", "cmr10", "cmss10", "cmtt10",
)  # fmt: skip
MARK_WIDTH = 128  # pixels of a drawn mark
HEIGHT = 32  # pixels of what the network sees
WINDOW = (32, 48)  # height and width, pixels, of what is kept around a mark on a 64-pixel picture
LEAST_CONTRAST = 45  # grey levels of 255 between letters and their ground
LOOK_ALIKE = {"H": "NMKA", "U": "VDOJ", "G": "CQOD", "O": "DQCG"}

Grey = NDArray[np.uint8]


# --- Words -----------------------------------------------------------------------------------------------------------


def random_word(rng: np.random.Generator) -> str:
    """A word that means nothing: half of them random letters, half syllables, one in sixteen with digits."""
    kind = rng.random()
    if kind < 0.03:
        return _letters(rng, "0123456789", rng.integers(2, 7))
    if kind < 0.06:  # 0 and 1 beside letters would be a guess between 0 and O, 1 and I
        return _letters(rng, LETTERS + "23456789", rng.integers(3, 7))
    if kind < 0.50:
        return _letters(rng, LETTERS, rng.choice((2, 3, 4, 5, 6, 7), p=(0.08, 0.17, 0.25, 0.25, 0.17, 0.08)))
    pattern = ("CVCV", "CVCCV", "CVCVC", "CCVC", "CCVCV", "VCVC", "VCCVC", "CVCVCV", "CVC", "CVCCVC")[rng.integers(10)]
    return "".join(_letters(rng, VOWELS if slot == "V" else CONSONANTS, 1) for slot in pattern)


def near_miss(rng: np.random.Generator, word: str) -> str:
    """The word with one letter replaced (half of the times by one that looks alike), left out, doubled or swapped."""
    while True:
        place, kind = int(rng.integers(len(word))), rng.random()
        before, letter, after = word[:place], word[place], word[place + 1 :]
        if kind < 0.72:
            pool = LOOK_ALIKE.get(letter, LETTERS) if rng.random() < 0.5 else LETTERS
            missed = before + _letters(rng, pool, 1) + after
        elif kind < 0.82:
            missed = before + after
        elif kind < 0.88:
            missed = before + 2 * letter + after
        else:
            missed = before + after[:1] + letter + after[1:]
        if missed != word:
            return missed


def sample_brand(rng: np.random.Generator) -> Brand:
    """A logo to learn from: HUGO, a near miss of it, a known brand, a near miss of one, or (83 %) a random word."""
    kind = rng.random()
    if kind < 0.015:
        return HUGO
    if kind < 0.075:
        return replace(HUGO, word=near_miss(rng, HUGO.word))
    known = BRANDS[rng.integers(len(BRANDS))]
    if kind < 0.12:
        return known
    if kind < 0.17:
        return replace(known, word=near_miss(rng, known.word))
    word = random_word(rng)
    style = HUGO if rng.random() < 0.15 else known
    if rng.random() < 0.6:
        return replace(style, word=word)
    return Brand(
        word,
        known.box_colour,
        known.letter_colour,
        FONTS[rng.integers(len(FONTS))],
        ("rectangle", "rounded", "pill", "framed")[rng.integers(4)],
        ("upper", "upper", "lower", "title")[rng.integers(4)],
        None if rng.random() < 0.4 else float(rng.uniform(1.6, 3.2)),
    )


def _letters(rng: np.random.Generator, pool: str, count: int | np.integer) -> str:
    return "".join(pool[i] for i in rng.integers(len(pool), size=count))


# --- Crops to learn from ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """A drawn mark: `ink` [H, W, 2] is its coverage and the letters' share of it, 0 to 255; the colours are grey."""

    text: str
    ink: Grey
    box_grey: float | None
    letter_grey: float


@dataclass(frozen=True)
class Smeared:
    """A window of a 64-pixel picture after the autoencoder, grey, with the box of its mark in pixels of the window."""

    text: str
    picture: Grey
    box: tuple[float, float, float, float]


def draw_mark(brand: Brand) -> Mark:
    """Let the renderer draw the mark, in black and white so that every step may colour it."""
    boxed = brand.box_colour is not None
    plain = replace(brand, box_colour=(0, 0, 0) if boxed else None, letter_colour=(255, 255, 255))
    drawn = np.asarray(logo_bitmap(plain, MARK_WIDTH))
    ink = np.stack([drawn[..., 3], drawn[..., 0]], axis=-1)
    return Mark(brand.text, ink, _grey(brand.box_colour) if brand.box_colour else None, _grey(brand.letter_colour))


def _grey(colour: tuple[int, int, int]) -> float:
    return float(np.dot(colour, (0.299, 0.587, 0.114)))


def print_mark(rng: np.random.Generator, mark: Mark) -> Grey:
    """Print the mark on cloth, photograph it and cut it out: what EasyOCR would be given, [HEIGHT, W]."""
    height, width = mark.ink.shape[:2]
    scale = _logo_width(rng, len(mark.text)) / width
    stretch = float(rng.uniform(0.92, 1.08))
    angle = math.radians(rng.uniform(-12, 12) if rng.random() < 0.35 else rng.normal(0, 3))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = turn @ np.array([[1.0, rng.normal(0, 0.03)], [0.0, stretch]])
    corners = np.abs(turn) @ (width / 2, height / 2)  # half the sides of the upright box
    sides = np.ceil(3.2 * corners + 4).astype(int)
    centre = sides / 2 + rng.uniform(-0.5, 0.5, 2)
    sharper = 4 if scale * width < 48 else 2
    picture = _composite(rng, mark, turn * sharper, centre * sharper, sides * sharper)
    small = cv2.resize(picture, tuple(int(s) for s in sides), interpolation=cv2.INTER_AREA)
    taken = _photograph(rng, small.astype(np.float32))
    margins = np.clip(rng.normal(0.1, 0.05, 4), -0.02, 0.3) * 2
    box = np.concatenate([centre - corners * (1 + margins[:2]), centre + corners * (1 + margins[2:])])
    return _cut(rng, taken, box)


def _logo_width(rng: np.random.Generator, letters: int) -> float:
    """Pixels: mostly a mark on a 64-pixel picture (22 to 36), never less than what its letters need."""
    low, high = ((20, 36), (34, 70), (70, 150))[rng.choice(3, p=(0.62, 0.25, 0.13))]
    return max(float(rng.uniform(low, high)), 4.6 * letters + 2)


def _composite(
    rng: np.random.Generator,
    mark: Mark,
    turn: NDArray[np.float64],
    centre: NDArray[np.float64],
    sides: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Cloth with the mark on it, float32 [H, W] of grey levels."""
    height, width = mark.ink.shape[:2]
    shift = centre - turn @ (width / 2, height / 2)
    size = (int(sides[0]), int(sides[1]))
    ink = (
        cv2.warpAffine(mark.ink, np.column_stack([turn, shift]), size, flags=cv2.INTER_LINEAR).astype(np.float32) / 255
    )
    boxed = mark.box_grey is not None
    if rng.random() < 0.5:
        box, letter = mark.box_grey or 0.0, mark.letter_grey
    else:
        letter = float(rng.uniform(0, 255))
        box = _other_grey(rng, letter, LEAST_CONTRAST)
    cloth = _other_grey(rng, box if boxed else letter, 10 if boxed else LEAST_CONTRAST)
    picture = np.full((size[1], size[0]), cloth, np.float32)
    if rng.random() < 0.3:  # the garment ends near the mark
        edge, other, near = int(rng.integers(4)), float(rng.uniform(0, 255)), float(rng.uniform(0.02, 0.2))
        lines = picture if edge % 2 else picture.T
        span = int(near * len(lines))
        lines[slice(0, span) if edge < 2 else slice(len(lines) - span, None)] = other
    for _ in range(int(rng.integers(1, 3)) if rng.random() < 0.3 else 0):  # seams and cords
        (x0, x1), (y0, y1) = rng.integers(size[0], size=2), rng.integers(size[1], size=2)
        dark, thick = cloth * float(rng.uniform(0.5, 0.9)), int(rng.integers(1, 5))
        cv2.line(picture, (int(x0), int(y0)), (int(x1), int(y1)), dark, thick)
    coverage, share = ink[..., 0], ink[..., 1]
    colour = box + (letter - box) * share if boxed else letter
    picture += coverage * (colour - picture)
    return picture


def _other_grey(rng: np.random.Generator, grey: float, least: float) -> float:
    """A grey at least `least` levels away."""
    while True:
        other = float(rng.uniform(0, 255))
        if abs(other - grey) >= least:
            return other


def _photograph(rng: np.random.Generator, picture: NDArray[np.float32]) -> Grey:
    """Light, folds, an autoencoder's smear, grain, JPEG: uint8 [H, W]."""
    height, width = picture.shape
    folds = rng.normal(1, rng.uniform(0, 0.12), (int(rng.integers(2, 5)), int(rng.integers(2, 6)))).astype(np.float32)
    picture = picture * cv2.resize(folds, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.15:  # letters that a generator drew a little askew
        field = rng.normal(0, 1, (3, 6, 2)).astype(np.float32)
        bend = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC) * float(rng.uniform(0.1, 0.45))
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        picture = cv2.remap(
            picture, x + bend[..., 0], y + bend[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.25, 0.75)))
    if rng.random() < 0.3:  # contrast and brightness
        picture = (picture - 128) * float(rng.uniform(0.6, 1.2)) + 128 + float(rng.uniform(-25, 25))
    grain = rng.standard_normal(picture.shape, dtype=np.float32) * float(rng.uniform(0, 7))
    taken = np.clip(picture + grain, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        _, coded = cv2.imencode(".jpg", taken, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 96))])
        taken = np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)
    return taken


def cut_smeared(rng: np.random.Generator, smeared: Smeared) -> Grey:
    """Cut a mark out of a picture that the autoencoder has drawn, [HEIGHT, W]."""
    contrast, brightness = float(rng.uniform(0.8, 1.15)), float(rng.uniform(-15, 15))
    grain = rng.standard_normal(smeared.picture.shape, dtype=np.float32) * float(rng.uniform(0, 3))
    picture = (smeared.picture - np.float32(128)) * contrast + 128 + brightness + grain
    x0, y0, x1, y1 = smeared.box
    margins = np.clip(rng.normal(0.1, 0.05, 4), -0.02, 0.3) * (x1 - x0, y1 - y0, x1 - x0, y1 - y0)
    return _cut(rng, np.clip(picture, 0, 255).astype(np.uint8), np.array(smeared.box) + margins * (-1, -1, 1, 1))


def _cut(rng: np.random.Generator, picture: Grey, box: NDArray[np.float64]) -> Grey:
    """Cut the box (x0, y0, x1, y1) out at HEIGHT pixels: as stages.score.reader does, as EasyOCR, or enlarged first."""
    way = rng.random()
    if way > 0.7:
        factor = (2, 4)[rng.integers(2)]
        method = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[rng.integers(3)]
        picture, box = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=method), box * factor
    x0, y0, x1, y1 = np.round(box).astype(int)
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), max(x1, x0 + 2), max(y1, y0 + 2)
    crop = picture[y0:y1, x0:x1]
    ratio = crop.shape[1] / crop.shape[0]
    size = (max(8, round(HEIGHT * ratio)), HEIGHT)
    if way < 0.25:  # EasyOCR's "LANCZOS" is Pillow's number for it, which OpenCV takes as linear
        return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    if crop.shape[0] < 96:
        crop = cv2.resize(crop, (max(1, round(96 * ratio)), 96), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)


@torch.no_grad()
def draw_smeared(settings: dict[str, Any], seed: int, vae: AutoencoderKL, where: torch.device) -> list[Smeared]:
    """Draw pictures with logos at the size of the generated ones, and let the autoencoder encode and decode them.

    A little noise on the latent, of a strength up to `latent_noise`, stands for what a generator gets wrong.
    """
    smeared: list[Smeared] = []
    batch, (height, width) = 50, WINDOW
    for first in tqdm(range(0, settings["smeared"], batch), "smeared", mininterval=10):
        texts, windows, boxes = [], [], []
        for index in range(first, first + batch):
            rng = np.random.default_rng([seed, 3, index])
            brand = sample_brand(rng)
            least = min(max(0.36, (4.6 * len(brand.text) + 2) / 64), 0.54)
            scene = sample_scene(rng, brand=brand, logo_width=(least, 0.54))
            drawing = draw(scene, 64, 64)
            if drawing.logo_box is None or not _readable_in_grey(brand, COLOURS[scene.colour]):
                continue
            x0, y0, x1, y1 = drawing.logo_box
            left = int(np.clip(round((x0 + x1 - width) / 2), 0, 64 - width))
            top = int(np.clip(round((y0 + y1 - height) / 2), 0, 64 - height))
            windows.append(np.asarray(drawing.image)[top : top + height, left : left + width])
            boxes.append((x0 - left, y0 - top, x1 - left, y1 - top))
            texts.append(brand.text)
        latents = vae.encode(to_tensor(np.stack(windows), where)).latent_dist.mean
        rng = np.random.default_rng([seed, 4, first])
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32)).to(where)
        strength = torch.from_numpy(rng.uniform(0, settings["latent_noise"], (len(texts), 1, 1, 1)).astype(np.float32))
        drawn = vae.decode(latents + strength.to(where) * latents.std() * noise).sample.clamp(-1, 1)
        pixels = ((drawn + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        grey = [np.asarray(cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2GRAY), np.uint8) for p in pixels]
        smeared += [Smeared(*parts) for parts in zip(texts, grey, boxes, strict=True)]
    return smeared


# --- Training --------------------------------------------------------------------------------------------------------


def build(settings: dict[str, Any]) -> Model:
    """EasyOCR's second-generation network, narrower, with the initial weights of its own trainer."""
    model = Model(num_class=len(CHARACTERS) + 1, **network_params(settings))
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return model


def network_params(settings: dict[str, Any]) -> dict[str, int]:
    """The arguments of EasyOCR's Model."""
    return {"input_channel": 1, "output_channel": settings["channels"], "hidden_size": settings["hidden_size"]}


def batches(crops: list[Grey], texts: list[str]) -> Iterator[tuple[Tensor, list[str]]]:
    """Crops of about one width together, padded to a multiple of the height with their last column, as EasyOCR does.

    Yields pictures [N, 1, HEIGHT, W] in -1 to 1 and their texts.
    """
    narrow = [crop.shape[1] <= 2 * HEIGHT for crop in crops]
    if min(sum(narrow), len(narrow) - sum(narrow)) < 8:  # too few for the batch normalisation
        narrow = [False] * len(crops)
    for wanted in (True, False):
        chosen = [i for i, is_narrow in enumerate(narrow) if is_narrow == wanted]
        if not chosen:
            continue
        width = HEIGHT * math.ceil(max(crops[i].shape[1] for i in chosen) / HEIGHT)
        padded = np.stack([np.pad(crops[i], ((0, 0), (0, width - crops[i].shape[1])), "edge") for i in chosen])
        yield torch.from_numpy(padded[:, None]).float() / 127.5 - 1, [texts[i] for i in chosen]


def ctc_loss(model: Model, pictures: Tensor, texts: list[str]) -> Tensor:
    """Sum over the texts of connectionist temporal classification (Graves et al. 2006), blank 0, per letter."""
    where = pictures.device
    with torch.autocast(where.type, torch.bfloat16):
        seen = model.FeatureExtraction(pictures)
    columns = seen.float().mean(2).permute(0, 2, 1)
    logits = model.Prediction(model.SequenceModeling(columns))
    labels = torch.tensor([CHARACTERS.index(c) + 1 for text in texts for c in text])
    lengths = torch.tensor([len(text) for text in texts])
    steps = torch.full((len(texts),), logits.shape[1])
    loss = nn.functional.ctc_loss(
        logits.log_softmax(2).permute(1, 0, 2), labels, steps, lengths, reduction="none", zero_infinity=True
    )
    return (loss / lengths.to(where)).sum()


def trained_brands(params: dict[str, Any]) -> Iterator[Brand]:
    """The logos of all marks to learn from; number i depends on the seed and i only."""
    return (sample_brand(np.random.default_rng([params["seed"], 1, i])) for i in range(params["reader"]["marks"]))


def trained_words(params: dict[str, Any]) -> set[str]:
    """All words that are trained on, in upper case."""
    smeared = (sample_brand(np.random.default_rng([params["seed"], 3, i])) for i in range(params["reader"]["smeared"]))
    return {brand.word.upper() for brand in itertools.chain(trained_brands(params), smeared)}


def write(model: Model, settings: dict[str, Any], folder: Path) -> None:
    """Write what EasyOCR loads: half-precision tensors (they are read into float32) and the network's description."""
    halves = {f"module.{name}": t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    content = io.BytesIO()
    torch.save({name: tensor.cpu().contiguous() for name, tensor in halves.items()}, content)
    lines = [f"imgH: {HEIGHT}", "lang_list: [en]", f'character_list: "{CHARACTERS}"', "network_params:"]
    lines += [f"  {name}: {value}" for name, value in network_params(settings).items()]
    write_file(folder / "reader.pth", content.getvalue())
    write_file(folder / "reader.yaml", ("\n".join(lines) + "\n").encode())
    write_file(folder / "reader.py", b"from easyocr.model.vgg_model import Model  # noqa: F401\n")


# --- What it can do --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A rendered picture, the box of its logo (pixels) and the word printed there."""

    picture: Grey
    box: tuple[float, float, float, float]
    word: str


def held_out(kind: str, count: int, size: int, known: set[str] | None = None, seed: int = 99) -> list[Sample]:
    """Rendered pictures with words that were not trained on, in the styles of the world's brands.

    kind: "words" (random ones of 3 to 6 letters; the world's own have 4 or 5), "long words" (7 letters), "brands" (the
        world's own), "hugo", or "near misses" (of HUGO, on the same red box).
    size: pixels of the picture; the same seed gives the same scenes at every size.
    known: words to leave out.
    """
    samples: list[Sample] = []
    for index in itertools.count():
        if len(samples) == count:
            return samples
        rng = np.random.default_rng([seed, index])
        style = BRANDS[rng.integers(len(BRANDS))]
        lengths = (7,) if kind == "long words" else (3, 4, 5, 6)
        word = random_word(rng)
        while len(word) not in lengths or not word.isalpha() or (known and word in known):
            word = random_word(rng)
        brand = {
            "words": replace(style, word=word),
            "long words": replace(style, word=word),
            "brands": style,
            "hugo": HUGO,
            "near misses": replace(HUGO, word=near_miss(rng, HUGO.word)),
        }[kind]
        scene = sample_scene(rng, brand=brand)
        drawing = draw(scene, size, size)
        if drawing.logo_box and _readable_in_grey(brand, COLOURS[scene.colour]):
            samples.append(Sample(np.asarray(drawing.image), drawing.logo_box, brand.text))
    raise AssertionError("unreachable")


def _readable_in_grey(brand: Brand, cloth: tuple[int, int, int]) -> bool:
    """Whether the letters stand out in grey, all that EasyOCR sees: red letters on blue cloth vanish."""
    ground = brand.box_colour or cloth
    return abs(_grey(brand.letter_colour) - _grey(ground)) >= LEAST_CONTRAST


def read(samples: list[Sample], folder: Path = TARGET) -> list[str]:
    """What the shipped reader reads in each sample's box, through the pipeline's own reader."""
    reader = load_reader(folder)
    readings = reader.read([s.picture for s in samples], [[s.box] for s in samples])
    return [" ".join(reading.text for reading in of_picture) for of_picture in readings]


def accuracy(samples: list[Sample], readings: list[str]) -> float:
    """Share of samples whose word was read, by the score's own rule (upper or lower case, 0 accepted for o)."""
    return sum(word_read(r, s.word) for s, r in zip(samples, readings, strict=True)) / len(samples)


def measure(count: int = 500) -> None:
    """Print the share of words read, by kind and picture size, and how often HUGO is read where it is not."""
    params = demo_params()
    known = trained_words(params)
    for kind in ("words", "long words", "brands", "hugo", "near misses"):
        for size in (256, 128, 64):
            samples = held_out(kind, count, size, known)
            readings = read(samples)
            line = f"{kind:12} {size:4} px: {accuracy(samples, readings):.1%} read"
            if kind != "hugo":
                line += f", {sum(word_read(r, HUGO.word) for r in readings) / len(readings):.1%} read as HUGO"
            print(line)


def main() -> None:
    """Train the reader and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
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
