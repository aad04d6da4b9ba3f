"""Whether a run has finished before: its result's digests, beside it in the scratch folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.common.files import write_json
from stages.common.scratch import file_digest
from stages.finetune.trainer import STATE_FILE

FINISHED = "finished.json"


def finish(folder: Path, losses: list[float], coverage: list[dict[str, Any]]) -> None:
    """Note the digest of each file of the result, and what was logged, then drop the state that is no longer needed."""
    files = sorted(path for path in (folder / "model").rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    write_json(folder / FINISHED, {"files": digests, "losses": losses, "coverage": coverage})
    for path in (*folder.glob(f"{STATE_FILE}*"), *folder.glob(f".{STATE_FILE}*")):
        path.unlink()


def finished(folder: Path) -> dict[str, Any] | None:
    """What `finish` noted, where this very run has finished before and its files are still what they were then."""
    try:
        noted: dict[str, Any] = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
        whole = all(file_digest(folder / name) == known for name, known in noted["files"].items())
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None
    return noted if whole else None
