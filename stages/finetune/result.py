"""The result of a run: its checkpoints up to the last epoch that was asked for, with their card, and their digests.

A training that `stop_after` ends before its schedule does keeps its state: one that is asked for more epochs goes on
from there, and has the bytes of one that never stopped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from stages.common.files import write_file, write_json
from stages.common.scratch import file_digest, link_or_copy
from stages.finetune.trainer import STATE_FILE, checkpoint_folder


def result_folder(folder: Path, last_epoch: int) -> Path:
    """Where in a scratch folder the result of a training to an epoch lies."""
    return folder / f"result-{last_epoch:02d}"


def finish(
    folder: Path, saved: list[int], card: str, losses: list[float], coverage: list[dict[str, Any]], done: bool
) -> None:
    """Put the checkpoints of the epochs `saved` together with their card, and note the digest of each file.

    `losses` are of all epochs up to the last one. Where training is `done` its state is no longer needed, and goes.
    """
    result = result_folder(folder, len(losses))
    partial = folder / "result.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(result, ignore_errors=True)
    for epoch in saved:
        shutil.copytree(checkpoint_folder(folder, epoch), partial / f"epoch-{epoch:02d}", copy_function=link_or_copy)
    write_file(partial / "README.md", card)
    partial.replace(result)
    files = sorted(path for path in result.rglob("*") if path.is_file())
    digests = {path.relative_to(result).as_posix(): file_digest(path) for path in files}
    write_json(_note(folder, len(losses)), {"files": digests, "losses": losses, "coverage": coverage})
    if done:
        for path in (*folder.glob(f"{STATE_FILE}*"), *folder.glob(f".{STATE_FILE}*")):
            path.unlink()


def finished(folder: Path, last_epoch: int) -> dict[str, Any] | None:
    """What `finish` noted, where this very run has finished before and its files are still what they were then."""
    result = result_folder(folder, last_epoch)
    try:
        noted: dict[str, Any] = json.loads(_note(folder, last_epoch).read_text(encoding="utf-8"))
        whole = all(file_digest(result / name) == known for name, known in noted["files"].items())
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None
    return noted if whole else None


def _note(folder: Path, last_epoch: int) -> Path:
    return folder / f"finished-{last_epoch:02d}.json"
