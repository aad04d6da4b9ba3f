"""What a person decided in data/brand/keep_drop.csv: it wins over the machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from stages.common.tables import Row
from stages.common.text_files import listed, read_csv, shown, tell_wrong


def read_decisions(path: Path, say: Callable[[str], None] = lambda line: None) -> dict[str, tuple[str, str]]:
    """sha256 -> (keep or drop, reason); none where there is no file.

    Args:
        path: keep_drop.csv, as `read_csv` reads it.
        say: told what of the file is not read.

    Raises UserError naming all lines that are wrong.
    """
    if not path.exists() and not path.is_symlink():
        return {}
    decisions: dict[str, tuple[str, str]] = {}
    rows, wrong = read_csv(path, ("sha256", "decision"), ("reason",), say)
    for row in rows:
        sha256, decision = row.values["sha256"].lower(), row.values["decision"].lower()
        if decision not in ("keep", "drop") or not re.fullmatch(r"[0-9a-f]{64}", sha256):
            wrong.append((row.number, f"is {shown(sha256, 80)}, {shown(decision)}"))
        elif sha256 in decisions and decisions[sha256][0] != decision:
            wrong.append((row.number, f"{sha256} is told to be kept and to be dropped"))
        else:
            decisions[sha256] = (decision, row.values["reason"])
    tell_wrong(path, "each line needs a sha256 and keep or drop", wrong)
    return decisions


def tell_without_effect(
    path: Path, decisions: dict[str, tuple[str, str]], rows: Iterable[Row], say: Callable[[str], None]
) -> None:
    """Say which decisions are on no picture of the shop, and what could not be kept although a person said so.

    Args:
        path: of the file.
        decisions: as `read_decisions` gives them.
        rows: all of the shop, as `decide` leaves them: `file` is set where a picture is kept.
        say: told, one line for each of both.
    """
    rows = list(rows)
    known = {row["sha256"] for row in rows if row["sha256"]}
    kept = {row["sha256"] for row in rows if row["file"]}
    nowhere = [sha256 for sha256 in decisions if sha256 not in known]
    lost = [sha256 for sha256, (told, _) in decisions.items() if told == "keep" and sha256 in known - kept]
    if nowhere:
        say(f"{path}: decisions on no picture of the shop: {len(nowhere)} ({listed(nowhere)})")
    if lost:
        why = {row["sha256"]: row["drop_reason"] for row in rows}
        told = listed([f"{sha256}: {why[sha256]}" for sha256 in lost])
        say(f"{path}: to be kept, but not usable: {len(lost)} ({told})")
