"""Which checkpoint to draw with: the workspace's, a commit's or experiment's, an artifact's, or any folder's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException

from stages.common.errors import UserError
from stages.common.params import METHODS, read_yaml
from stages.common.revisions import find_revisions
from stages.common.scratch import digest, scratch_folder
from stages.common.weights import EMBEDDINGS_FILE, LORA_FILE, UNET_FILE

FILES = {"lora": LORA_FILE, "textual_inversion": EMBEDDINGS_FILE, "dreambooth": UNET_FILE}
"""The file by which a method's checkpoint is known; LoRA's first, whose folder may hold embeddings too."""


@dataclass(frozen=True)
class Checkpoint:
    """What is put into the base: a folder of a method's weights; no folder is the untuned base."""

    method: str
    epoch: int
    folder: Path | None
    revision: str = ""

    @property
    def name(self) -> str:
        """For the file's name and metadata."""
        revision = f"{self.revision.replace('/', '-')}-" if self.revision else ""
        return f"{revision}{self.method}-epoch-{self.epoch:02d}"


def find_checkpoint(method: str, epoch: int | None, models: Path, scores: Path) -> Checkpoint:
    """A checkpoint of this workspace, the best where no epoch is asked for.

    Args:
        models: the folder of all methods' checkpoints (models).
        scores: the folder of all methods' scores (metrics/score).

    Raises:
        UserError: it isn't there.
    """
    if epoch is None:
        file = scores / f"{method}.json"
        epoch = best_epoch(file.read_text(encoding="utf-8") if file.is_file() else None, str(file))
    if epoch == 0:
        return Checkpoint(method, 0, None)
    folder = models / method / f"epoch-{epoch:02d}"
    if not folder.is_dir():
        there = sorted(path.name.removeprefix("epoch-") for path in folder.parent.glob("epoch-*"))
        raise UserError(
            f"{folder}: no such checkpoint; there are {', '.join(there) or 'none (dvc repro, or dvc pull)'}"
        )
    return Checkpoint(method, epoch, folder)


def best_epoch(text: str | None, source: str) -> int:
    """The best epoch that a metrics file names. Raises UserError where it names none."""
    try:
        return int(json.loads(text or "")["best_epoch"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{source}: names no best epoch: give --epoch, or run dvc repro first") from None


def find_at_revision(
    method: str, epoch: int | None, revision: str, models: Path, scores: Path, scratch: Path
) -> Checkpoint:
    """A checkpoint of a commit or experiment, from DVC's cache or remote; `models` and `scores` as in the workspace.

    Raises UserError where it is out of reach.
    """
    commit = find_revisions([revision])[0].commit
    try:
        files = DVCFileSystem(rev=commit)
        if epoch is None:
            file = (scores / f"{method}.json").as_posix()
            epoch = best_epoch(files.read_text(file) if files.exists(file) else None, f"{revision}:{file}")
        if epoch == 0:
            return Checkpoint(method, 0, None, revision)
        source = (models / method / f"epoch-{epoch:02d}").as_posix()
        if not files.exists(source):
            raise UserError(f"{revision} has no {source}")
        folder = scratch_folder("generate", digest(commit, source), scratch) / "checkpoint"
        files.get(source, str(folder), recursive=True)
    except (DvcException, OSError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{models / method} of {revision} is in no cache or remote in reach: {said}") from None
    return Checkpoint(method, epoch, folder, revision)


def find_artifact(name: str, pipeline: Path) -> Path:
    """The path of an entry of dvc.yaml's `artifacts:`. Raises UserError for an unknown one."""
    artifacts = read_yaml(pipeline).get("artifacts") or {}
    path = (artifacts.get(name) or {}).get("path")
    if not path:
        raise UserError(f"{pipeline}: no artifact {name!r}; there are {', '.join(artifacts) or 'none'}")
    return Path(path)


def method_of(models: Path) -> str | None:
    """The method whose models are in a folder, by its name; None where it is no method's."""
    return next((part for part in models.parts if part in METHODS), None)


def read_checkpoint(folder: Path) -> Checkpoint:
    """A checkpoint anywhere on disk; its files say which method made it. Raises UserError where they don't."""
    for method, file in FILES.items():
        if (folder / file).is_file():
            number = folder.name.removeprefix("epoch-")
            return Checkpoint(method, int(number) if number.isdigit() else 0, folder)
    raise UserError(f"{folder}: no checkpoint: none of {', '.join(FILES.values())} is in it")
