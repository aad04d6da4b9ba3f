"""Weights in a folder: copied where every file has the hash that is listed for it, and none is code or a pickle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from stages.common.errors import UserError
from stages.pretrained.hashes import has_hash, mismatch

CODE_AND_PICKLES = (".py", ".pyc", ".pth", ".pt", ".pkl", ".bin", ".ckpt")


def copy_checked(part: str, source: Path, sums_file: Path, pinned: Mapping[str, str], target: Path) -> None:
    """Copy a part's folder, all of whose files have a hash.

    Args:
        sums_file: a list of hashes that counts for the folders beside it; a folder elsewhere is held to `pinned`.
        pinned: of `pretrained.hashes` what belongs to this part: path in the folder -> hash.

    Raises UserError naming the first file that is missing, another one, without a hash, or code or a pickle.
    """
    if not source.is_dir():
        raise UserError(f"params.yaml: pretrained.{part} = {str(source)!r}: no such folder")
    listed = source.absolute().is_relative_to(sums_file.parent.absolute())
    expected = sums_below(sums_file, source) if listed else dict(pinned)
    for name, value in sorted(expected.items()):
        if not (source / name).is_file():
            raise UserError(f"{source / name} is missing" + (": restore it with git checkout" if listed else ""))
        if not has_hash(source / name, value):
            raise UserError(f"{source / name}: {mismatch(source / name, value)}: the file is damaged, or another one")
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        if file.suffix in CODE_AND_PICKLES:
            raise UserError(f"{file}: weights are read as data, code and pickles are never run; remove the file")
        if file.relative_to(source).as_posix() not in expected:
            raise UserError(f"{file} has no hash in {sums_file if listed else 'pretrained.hashes'}")
    shutil.copytree(source, target)


def sums_below(sums_file: Path, folder: Path) -> dict[str, str]:
    """The hashes of a folder's files in a list: path in the folder -> "sha256:<hex>"."""
    inside = folder.absolute().relative_to(sums_file.parent.absolute())
    return {
        Path(name).relative_to(inside).as_posix(): f"sha256:{value}"
        for name, value in read_sums(sums_file).items()
        if Path(name).is_relative_to(inside)
    }


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
