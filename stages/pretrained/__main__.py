"""Stage pretrained: collect every weight that the pipeline starts from, so that all later stages work offline.

Reads   demo/weights, or what params.yaml pins: repositories of a model hub by commit, files by URL and hash, folders.
Writes  models/pretrained: base/ (a Stable Diffusion pipeline in diffusers' layout), captioner/ and clip/ (in
        transformers' layout; empty where none is named), detector/ (YOLOv8n's start) and reader/ (EasyOCR's recogniser,
        and its text detector where one is named).

Every file's hash is compared before it is used: with demo/weights/SHA256SUMS, with `pretrained.hashes`, else with the
one that the hub names for the pinned commit. Weights are published as plain tensors: what comes as a pickle is turned
into safetensors here, and nothing of the output is ever unpickled or imported. A killed run continues; what is complete
is not fetched again. The result is in DVC's cache: a hub that removes a model breaks nobody who has run this stage, or
has pulled it, once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from stages.common.command import stage_main
from stages.common.params import Pretrained, load_params
from stages.common.scratch import SCRATCH_ROOT, digest, publish, remove_partials, scratch_folder
from stages.pretrained.folders import copy_checked
from stages.pretrained.hashes import hashes_by_part

PARTS = ("base", "captioner", "clip", "detector", "reader")
OPTIONAL = ("captioner", "clip")
"""Parts that may be named "": then their folder is empty."""


@dataclass(frozen=True)
class Paths:
    """The stage's files and folders."""

    sums: Path = Path("demo/weights/SHA256SUMS")
    pretrained: Path = Path("models/pretrained")
    scratch: Path = SCRATCH_ROOT


PATHS = Paths()


def pretrained(params: Pretrained, paths: Paths = PATHS) -> Path:
    """Collect the checked weights named by `params`, a folder each part.

    Raises UserError, in one line, for what is missing, damaged, another file than the pinned one, or out of reach.
    """
    targets = {part: paths.pretrained / part for part in PARTS}
    remove_partials(targets.values())
    scratch = scratch_folder("pretrained", digest(params.model_dump()), paths.scratch)
    collected = scratch / "parts"
    shutil.rmtree(collected, ignore_errors=True)
    hashes = hashes_by_part(params.hashes, PARTS)
    elsewhere = []
    for part in PARTS:
        named = getattr(params, part)
        if not named and part in OPTIONAL:
            (collected / part).mkdir(parents=True)
        elif params.source == "demo" or Path(named).is_dir():
            copy_checked(part, Path(named), paths.sums, hashes[part], collected / part)
        else:
            elsewhere.append(part)
    if elsewhere:
        fetch_parts(elsewhere, params, scratch / "downloads", collected, hashes)
    for part, target in targets.items():
        publish(collected / part, target)
    return paths.pretrained


def fetch_parts(
    parts: list[str], params: Pretrained, downloads: Path, target: Path, hashes: Mapping[str, Mapping[str, str]]
) -> None:
    """Fetch parts over the network, which `stage_main` keeps stages off, into a folder each below `target`."""
    os.environ["HF_HUB_OFFLINE"] = "0"  # before huggingface_hub is imported, which looks once
    from stages.pretrained.conversion import fetch_detector, fetch_reader
    from stages.pretrained.repositories import fetch_base, fetch_captioner, fetch_clip

    for part in parts:
        places = (downloads / part, target / part, hashes[part])
        if part == "base":
            fetch_base(params.base, params.base_revision, *places)
        elif part == "captioner":
            fetch_captioner(params.captioner, params.captioner_revision, *places)
        elif part == "clip":
            fetch_clip(params.clip, params.clip_revision, *places)
        elif part == "detector":
            fetch_detector(params.detector, *places)
        else:
            fetch_reader(params.reader, params.text_detector, *places)


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    pretrained(load_params().pretrained)


if __name__ == "__main__":
    main()
