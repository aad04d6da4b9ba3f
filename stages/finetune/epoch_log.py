"""What is logged of a training, while it runs, for `dvc exp show`, `dvc plots` and the VS Code extension."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dvclive import Live

from stages.common.files import write_file, write_json


class EpochLog:
    """The loss of each epoch by dvclive, on disk as soon as it is logged; no times in any of it.

    Files: metrics.json (the last epoch's loss), plots/metrics/loss.tsv (all of them, step = epoch), coverage.json.
    """

    def __init__(self, folder: Path) -> None:
        """Begin in `folder` with nothing in it: what an earlier run logged there, this one logs again."""
        shutil.rmtree(folder, ignore_errors=True)
        self._live = Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None, monitor_system=False)

    def log_epoch(self, epoch: int, loss: float) -> None:
        """Log an epoch's mean loss, and signal the extension that a step has ended (it asks for `next_step`)."""
        self._live.step = epoch
        self._live.log_metric("loss", loss, timestamp=False)
        self._live.next_step()

    def close(self) -> None:
        """End the log."""
        self._live.end()


def write_coverage(folder: Path, coverage: list[dict[str, Any]]) -> None:
    """Write of how many pictures a transparent margin cuts into the logo, and which (`pictures.logo_coverage`)."""
    shares = [row["logo_share_in_loss"] for row in coverage]
    summary = {"pictures_with_box": len(shares), "least_logo_share_in_loss": min(shares, default=None)}
    write_json(folder / "coverage.json", {**summary, "cut": [row for row in coverage if row["logo_share_in_loss"] < 1]})


def write_nothing(folder: Path) -> None:
    """The same files of a method that is left out."""
    write_json(folder / "metrics.json", {})
    write_file(folder / "plots" / "metrics" / "loss.tsv", "step\tloss\n")
    write_coverage(folder, [])
