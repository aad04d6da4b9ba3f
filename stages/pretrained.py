"""Stage pretrained: collect every weight that the pipeline starts from, so that all later stages work offline.

Reads demo/weights (or, in other worlds, what params.yaml pins on a hub); writes models/pretrained: base/ (a Stable
Diffusion pipeline in diffusers' layout), clip/, detector/ (YOLOv8n's start) and reader/ (an EasyOCR recogniser). Each
file's sha256 is compared with demo/weights/SHA256SUMS before it is used: a damaged or exchanged weight stops here.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from stages.lib.command import stage_main
from stages.lib.errors import UserError
from stages.lib.params import Pretrained, load_params
from stages.lib.scratch import digest, file_digest, publish, scratch_folder

SUMS = Path("demo/weights/SHA256SUMS")
OUTPUT = Path("models/pretrained")


def read_sums(path: Path) -> dict[str, str]:
    """Read a sha256sum file: relative path -> hex digest. Raises UserError where it is missing or a path leaves it."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file: the list of the weights' hashes is missing") from None
    sums = {}
    for line in lines:
        value, _, name = line.partition("  ")
        if len(value) != 64 or Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(f"{path}: not a line of a sha256 list: {line!r}")
        sums[name] = value
    return sums


def check_sums(folder: Path, sums: dict[str, str]) -> None:
    """Compare the files below `folder` with their hashes. Raises UserError naming the first missing or differing one."""
    for name, expected in sums.items():
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing: restore it with git checkout")
        found = file_digest(folder / name)
        if found != expected:
            raise UserError(f"{folder / name}: sha256 is {found[:12]}..., should be {expected[:12]}...: the file is damaged")


def pretrained(params: Pretrained, sums_file: Path = SUMS, output: Path = OUTPUT) -> Path:
    """Copy the checked weights named by `params` to `output`. Raises UserError for a missing or damaged file."""
    sums = read_sums(sums_file)
    check_sums(sums_file.parent, sums)
    scratch = scratch_folder("pretrained", digest(params.model_dump(), sums))
    for part in ("base", "clip", "detector", "reader"):
        source = Path(getattr(params, part))
        if not source.is_dir():
            raise UserError(f"params.yaml: pretrained.{part} = {str(source)!r}: no such folder")
        shutil.copytree(source, scratch / part, dirs_exist_ok=True)
    publish(scratch, output)
    return output


@click.command(help=__doc__)
@stage_main
def main() -> None:
    """Run the stage on params.yaml."""
    pretrained(load_params().pretrained)


if __name__ == "__main__":
    main()
