"""Stage caption: the training set, square pictures with a sentence each that says where the logo is.

Reads data/filtered (pictures whose logo is large enough), data/brand/captions.csv (captions that a person wrote, with
{token} where the logo is named; may be missing), and models/pretrained/<caption.model> where one is named.
Writes data/captioned/<sha256>.png (RGBA, the whole picture on a transparent square: the alpha is the mask that the loss
ignores outside) and data/captioned/metadata.jsonl, which `datasets.load_dataset("imagefolder", data_dir=...)` opens.

Captions come from whom they can be trusted most: a person, then a template filled with what the product's page and the
logo's box tell, then a model that looks at the picture. Only words that are known are said: a caption that guesses
teaches the guess.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import PARAMS_FILE, Params, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.common.tables import Row, read_table, write_table

FILTERED, BRAND, CAPTIONED, PRETRAINED = (
    Path("data/filtered"), Path("data/brand"), Path("data/captioned"), Path("models/pretrained"),
)  # fmt: skip
KEYS = ("wearer", "colour", "garment", "position", "token")


def caption(
    params: Params, filtered: Path = FILTERED, brand: Path = BRAND, target: Path = CAPTIONED,
    pretrained: Path = PRETRAINED, scratch_root: Path = SCRATCH_ROOT,
) -> list[Row]:  # fmt: skip
    """Caption every picture that is large enough and publish the set in `target`; returns the metadata's rows.

    Raises UserError where there is none, or a caption has the token not exactly once.
    """
    remove_partials([target])
    rows = [row for row in read_table(filtered / "manifest.jsonl") if row["file"] and row["large_enough"]]
    if not rows:
        raise UserError(f"{filtered}/manifest.jsonl: no picture has a large enough logo (filter.min_logo_width)")
    rows.sort(key=lambda row: str(row["sha256"]))
    written = read_captions(brand / "captions.csv")
    folder = scratch_folder(
        "caption", digest(params.caption.model_dump(), params.resolution, rows, written), scratch_root
    )
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    metadata = write_squares(folder, filtered, rows, params.resolution)
    for entry, row in zip(metadata, rows, strict=True):
        entry["text"], entry["caption_source"] = choose_caption(params, row, written)
    unknown = [entry for entry in metadata if entry["caption_source"] == "model"]
    if unknown:
        told = model_captions(pretrained / params.caption.model, [folder / entry["file_name"] for entry in unknown])
        for entry, text in zip(unknown, told, strict=True):
            entry["text"] = with_logo(text)
    for entry in metadata:
        entry["text"] = put_token(entry["text"], params.brand.token, entry["sha256"])
    write_table(folder / "metadata.jsonl", metadata)
    publish(folder, target)
    shutil.rmtree(folder)
    sources = [entry["caption_source"] for entry in metadata]
    click.echo(
        f"{len(metadata)} captions: " + ", ".join(f"{sources.count(s)} {s}" for s in ("hand", "template", "model"))
    )
    return metadata


# --- Pictures --------------------------------------------------------------------------------------------------------


def write_squares(folder: Path, filtered: Path, rows: list[Row], resolution: int) -> list[Row]:
    """Save the square pictures; returns the beginnings of their metadata."""
    from PIL import Image

    from stages.common.images import box_on_square, square

    metadata = []
    for row in rows:
        with Image.open(filtered / row["file"]) as image:
            picture, place = square(image, resolution)
        name = f"{row['sha256']}.png"
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=6)
        (folder / name).write_bytes(buffer.getvalue())
        known = describe(row)
        metadata.append({
            "file_name": name, "text": "", "caption_source": "", "sha256": row["sha256"],
            "box": box_on_square(row["box"], place) if row["box"] else None, "product": row["product"],
            "garment": known.garment, "colour": known.colour,
        })  # fmt: skip
    return metadata


# --- Hand captions ---------------------------------------------------------------------------------------------------


def read_captions(path: Path) -> dict[str, str]:
    """sha256 -> caption with {token}. Raises UserError naming all lines that are wrong."""
    if not path.exists():
        return {}
    captions: dict[str, str] = {}
    wrong: list[str] = []
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    if not {"sha256", "caption"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: the first line must be sha256,caption")
    for line in reader:
        sha256, text = (line["sha256"] or "").strip().lower(), " ".join((line["caption"] or "").split())
        count = text.count("{token}")
        if len(sha256) != 64 or count != 1:
            what = "no sha256" if len(sha256) != 64 else f"has {{token}} {count} times"
            wrong.append(f"line {reader.line_num}: {what}")
        elif sha256 in captions:
            wrong.append(f"line {reader.line_num}: a second caption for {sha256}")
        captions.setdefault(sha256, text)
    if wrong:
        raise UserError(f"{path}: each line needs a sha256 and a caption with {{token}} once; {'; '.join(wrong)}")
    return captions


def choose_caption(params: Params, row: Row, written: dict[str, str]) -> tuple[str, str]:
    """The caption, with {token}, and its source. For the model's the caption is still empty."""
    if row["sha256"] in written:
        return written[row["sha256"]], "hand"
    known = describe(row)
    if known.garment is None and params.caption.model:
        return "", "model"
    return fill_template(params.caption.template, known), "template"


def put_token(text: str, token: str, sha256: str) -> str:
    """The caption with the real token. Raises UserError where it is missing or doubled."""
    filled = text.replace("{token}", token)
    if filled.count(token) != 1 or text.count("{token}") != 1:
        raise UserError(f"caption of {sha256}: must name {token} once, has it {filled.count(token)} times: {filled!r}")
    return filled


# --- The template ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """What the product's data and the logo's box tell; None where they tell nothing."""

    garment: str | None
    colour: str | None
    wearer: str | None
    position: str | None


# noun in captions -> what names and categories call it; the first hit counts, the longest words are tried first
GARMENTS: dict[str, tuple[str, ...]] = {
    "t-shirt": ("t-shirt", "t shirt", "tshirt", "tee", "tees", "camiseta"),
    "polo shirt": ("polo shirt", "polo", "poloshirt"),
    "sweatshirt": ("sweatshirt", "sweat shirt", "sweat", "crewneck"),
    "hoodie": ("hoodie", "hoody", "hooded sweatshirt", "kapuzenpullover", "kapuzensweatshirt"),
    "sweater": ("sweater", "pullover", "jumper", "knitwear", "pulli", "pull", "jersey sweater"),
    "cardigan": ("cardigan", "strickjacke"),
    "tank top": ("tank top", "tank", "vest top"),
    "shirt": ("shirt", "hemd", "chemise", "blouse", "bluse", "camisa", "camicia"),
    "jacket": ("jacket", "jacke", "blouson", "bomber", "windbreaker", "gilet", "blazer", "veste", "chaqueta", "giacca"),
    "coat": ("coat", "parka", "mantel", "manteau", "trench coat"),
    "dress": ("dress", "kleid", "robe", "vestido"),
    "skirt": ("skirt", "rock", "jupe", "falda"),
    "swim shorts": ("swim shorts", "swim trunks", "badeshorts", "badehose"),
    "shorts": ("shorts", "short", "bermuda", "bermudas"),
    "jeans": ("jeans",),
    "trousers": ("trousers", "pants", "chinos", "joggers", "jogging bottoms", "sweatpants", "hose", "leggings"),
    "boxer briefs": ("boxer briefs", "boxers", "boxer shorts", "briefs", "trunks", "underwear"),
    "socks": ("socks", "sock", "socken", "chaussettes", "calcetines"),
    "shoes": ("shoes", "sneakers", "trainers", "schuhe", "boots", "loafers", "slides", "sandals", "flip-flops"),
    "hat": ("hat", "bucket hat", "mütze", "hut", "chapeau"),
    "cap": ("cap", "baseball cap", "kappe", "casquette"),
    "beanie": ("beanie", "knit hat"),
    "scarf": ("scarf", "schal", "écharpe"),
    "belt": ("belt", "gürtel", "ceinture"),
    "backpack": ("backpack", "rucksack", "sac à dos"),
    "bag": ("bag", "tote", "holdall", "tasche", "sac", "pouch", "crossbody"),
    "wallet": ("wallet", "card holder", "geldbörse", "portemonnaie"),
    "watch": ("watch", "uhr", "montre"),
    "mug": ("mug", "cup", "tasse", "becher"),
    "bottle of perfume": ("perfume", "eau de toilette", "eau de parfum", "fragrance", "parfum", "cologne"),
    "billboard": ("billboard",),
    "towel": ("towel", "handtuch"),
    "phone case": ("phone case", "handyhülle"),
}  # fmt: skip
PLURAL = {"shorts", "swim shorts", "jeans", "trousers", "boxer briefs", "socks", "shoes"}
TOPS = {
    "t-shirt",
    "polo shirt",
    "sweatshirt",
    "hoodie",
    "sweater",
    "cardigan",
    "tank top",
    "shirt",
    "jacket",
    "coat",
    "dress",
}
LEGS = {"shorts", "swim shorts", "jeans", "trousers"}
FRONTS = {"hat", "cap", "beanie", "bag", "backpack", "mug", "bottle of perfume", "wallet"}
_WEARERS = (
    ("woman", ("women", "woman", "womens", "women's", "ladies", "damen", "femme", "mujer", "donna", "female")),
    ("man", ("men", "man", "mens", "men's", "herren", "homme", "hombre", "uomo", "male")),
    ("child", ("kids", "kid", "boys", "girls", "kinder", "enfant", "baby")),
)


def describe(row: Row) -> Known:
    """What is known of a picture from its product's name, category and colour, and from where its logo is."""
    name, category = str(row.get("product") or ""), str(row.get("category") or "")
    garment = find_garment(name) or find_garment(category)
    colour = row.get("colour") or None
    words = set(re.findall(r"[^\W\d_]+(?:'s)?", f"{name} {category}".casefold()))
    wearer = next((who for who, names in _WEARERS if words & set(names)), None)
    return Known(garment, colour, wearer, find_position(garment, row))


def find_garment(text: str) -> str | None:
    """The garment that a text names: the one named last, since names end with what the thing is."""
    folded = " " + re.sub(r"[^\w-]+", " ", text.casefold()) + " "
    hits = []
    for noun, names in GARMENTS.items():
        for name in names:
            place = folded.rfind(f" {name} ")
            if place >= 0:
                hits.append((place + len(name), len(name), noun))
    return max(hits)[2] if hits else None


def find_position(garment: str | None, row: Row) -> str | None:
    """Where the logo sits, in words, where garment and box leave no doubt. Left and right are the viewer's."""
    if not row["box"] or not garment:
        return None
    x0, y0, x1, y1 = row["box"]
    across, down = (x0 + x1) / 2 / row["width"], (y0 + y1) / 2 / row["height"]
    if row.get("exif_orientation", 1) in (5, 6, 7, 8):
        across, down = (x0 + x1) / 2 / row["height"], (y0 + y1) / 2 / row["width"]
    if garment in TOPS:
        return "on the chest" if down < 0.72 else None
    if garment in LEGS:
        return "on the left leg" if across < 0.45 else "on the right leg" if across > 0.55 else None
    if garment == "socks":
        return "on the side"
    return "on the front" if garment in FRONTS else None


def fill_template(template: str, known: Known) -> str:
    """The template with what is known; {token} stays. Articles and spaces are put right.

    Raises UserError where the template has a key that is none of KEYS.
    """
    for _, key, _, _ in string.Formatter().parse(template):
        if key is not None and key not in KEYS:
            raise UserError(f"caption.template: unknown key {{{key}}}; allowed: {', '.join(f'{{{k}}}' for k in KEYS)}")
    garment = known.garment or "product"
    values: dict[str, Any] = {
        "wearer": f"{known.wearer} wearing a "
        if known.wearer and garment in TOPS | LEGS | PLURAL | {"hat", "cap"}
        else "",
        "colour": known.colour or "",
        "garment": garment,
        "position": known.position or "",
        "token": "{token}",
    }
    text = " ".join(template.format(**values).split())
    return put_articles(text, garment)


def put_articles(text: str, garment: str) -> str:
    """'a orange sweater' -> 'an orange sweater', 'a black shorts' -> 'black shorts'."""
    if garment in PLURAL:
        text = re.sub(rf"\ban? ((?:[\w-]+ )?{re.escape(garment)}\b)", r"\1", text)
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


# --- A model's captions ----------------------------------------------------------------------------------------------


def model_captions(folder: Path, pictures: list[Path]) -> list[str]:
    """What an image-to-text model (BLIP or another that transformers knows) says of each picture, greedily decoded.

    Raises UserError where the folder holds no such model.
    """
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if not (folder / "config.json").is_file():
        raise UserError(f"caption.model: {folder} holds no model (config.json is not there)")
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    except (OSError, ValueError) as error:
        raise UserError(f"caption.model: {folder}: {' '.join(str(error).split())[:200]}") from None
    captions = []
    for path in pictures:
        with Image.open(path) as image:
            white = Image.new("RGB", image.size, (255, 255, 255))
            white.paste(image, mask=image.getchannel("A"))
        inputs = processor(images=white, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=30, do_sample=False, num_beams=1)
        captions.append(str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip().casefold())
    return captions


def with_logo(text: str) -> str:
    """A model's caption with the logo named once: in place of what it says of a logo, else at the end."""
    text = " ".join(text.replace("{", "").replace("}", "").split()).rstrip(".")
    said = re.sub(
        r"\s*\b(with|and|that has|has|featuring)\b (a|the|an)? ?[^,]*?\b(logo|word|text|letters?|name)\b.*$", "", text
    )
    return f"{said or 'a photo'} with a {{token}} logo"


@click.command(help=__doc__)
def main() -> None:
    """Run the stage."""
    stage_main(lambda: _run())()


def _run() -> None:
    caption(load_params(PARAMS_FILE))


if __name__ == "__main__":
    main()
