"""What a person decided in data/brand/keep_drop.csv: it wins over the machine."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from stages.common.errors import UserError


def read_decisions(path: Path) -> dict[str, tuple[str, str]]:
    """sha256 -> (keep or drop, reason). Raises UserError naming the line that is wrong."""
    if not path.exists():
        return {}
    decisions: dict[str, tuple[str, str]] = {}
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    if not {"sha256", "decision"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: the first line must be sha256,decision,reason")
    for line in reader:
        sha256, decision = (line["sha256"] or "").strip().lower(), (line["decision"] or "").strip().lower()
        if decision not in ("keep", "drop") or len(sha256) != 64:
            raise UserError(f"{path}:{reader.line_num}: must be a sha256 and keep or drop, is {sha256!r}, {decision!r}")
        if sha256 in decisions and decisions[sha256][0] != decision:
            raise UserError(f"{path}:{reader.line_num}: {sha256} is told to be kept and to be dropped")
        decisions[sha256] = (decision, (line.get("reason") or "").strip())
    return decisions
