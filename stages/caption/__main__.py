"""Stage caption: the training set, square pictures with a sentence each that says where the logo is.

Reads data/filtered (pictures whose logo is large enough), data/brand/captions.csv (captions that a person wrote, with
{token} where the logo is named; may be missing), and models/pretrained/captioner, an image-to-text model, where
there is one.
Writes data/captioned/<sha256>.png (RGBA, the whole picture on a transparent square: the alpha is the mask that the loss
ignores outside) and data/captioned/metadata.jsonl, which `datasets.load_dataset("imagefolder", data_dir=...)` opens.

Captions come from whom they can be trusted most: a person, then a template filled with what the product's page and the
logo's box tell, then a model that looks at the picture. Only words that are known are said: a caption that guesses
teaches the guess.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.params import Params, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.common.tables import Row, read_table, write_table
from stages.common.tokens import count_token


@dataclass(frozen=True)
class Paths:
    """The stage's files and folders."""

    filtered: Path = Path("data/filtered")
    captions: Path = Path("data/brand/captions.csv")
    captioner: Path = Path("models/pretrained/captioner")
    captioned: Path = Path("data/captioned")
    scratch: Path = SCRATCH_ROOT


PATHS = Paths()


def caption(params: Params, paths: Paths = PATHS) -> list[Row]:
    """Caption every picture that is large enough and publish the set; returns the metadata's rows.

    Raises UserError where there is none, or a caption has the token not exactly once.
    """
    from stages.caption.squares import write_squares
    from stages.caption.written import read_captions, tell_unused

    remove_partials([paths.captioned])
    shop = read_table(paths.filtered / "manifest.jsonl")
    rows = [row for row in shop if row["file"] and row["large_enough"]]
    if not rows:
        raise UserError(f"{paths.filtered}/manifest.jsonl: no picture has a large enough logo (filter.min_logo_width)")
    rows.sort(key=lambda row: str(row["sha256"]))
    written = read_captions(paths.captions, click.echo)
    known, used = ({row["sha256"] for row in some} for some in (shop, rows))
    tell_unused(paths.captions, written, known, used, click.echo)
    key = digest(params.caption.template, params.brand.token, params.resolution, rows, written)
    folder = scratch_folder("caption", key, paths.scratch)
    shutil.rmtree(folder)
    folder.mkdir(parents=True)
    metadata = write_squares(folder, paths.filtered, rows, params.resolution)
    add_captions(metadata, rows, written, params, folder, paths.captioner)
    write_table(folder / "metadata.jsonl", metadata)
    publish(folder, paths.captioned)
    shutil.rmtree(folder)
    sources = [entry["caption_source"] for entry in metadata]
    click.echo(
        f"{len(metadata)} captions: " + ", ".join(f"{sources.count(s)} {s}" for s in ("hand", "template", "model"))
    )
    return metadata


def add_captions(
    metadata: list[Row], rows: list[Row], written: dict[str, str], params: Params, folder: Path, captioner: Path
) -> None:
    """Give each entry its `text`, with the token, and `caption_source`: hand, template or model.

    A person's caption comes first; where no word tells what the product is and there is a captioner, the model's; else
    the template's.
    """
    from stages.caption.products import describe
    from stages.caption.template import fill_template

    model_is_there = captioner.is_dir() and any(captioner.iterdir())
    unknown = []
    for entry, row in zip(metadata, rows, strict=True):
        known = describe(row)
        if row["sha256"] in written:
            entry["text"], entry["caption_source"] = written[row["sha256"]], "hand"
        elif known.garment is None and model_is_there:
            entry["caption_source"] = "model"
            unknown.append(entry)
        else:
            entry["text"], entry["caption_source"] = fill_template(params.caption.template, known), "template"
    if unknown:
        from stages.caption.image_to_text import model_captions, with_logo

        texts = model_captions(captioner, [folder / entry["file_name"] for entry in unknown])
        for entry, text in zip(unknown, texts, strict=True):
            entry["text"] = with_logo(text)
    for entry in metadata:
        entry["text"] = put_token(entry["text"], params.brand.token, entry["sha256"])


def put_token(text: str, token: str, sha256: str) -> str:
    """The caption with the real token. Raises UserError where it is missing or doubled."""
    filled = text.replace("{token}", token)
    count = count_token(filled, token)
    if count != 1 or text.count("{token}") != 1:
        raise UserError(f"caption of {sha256}: must name {token} once, has it {count} times: {filled!r}")
    return filled


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    caption(load_params())


if __name__ == "__main__":
    main()
