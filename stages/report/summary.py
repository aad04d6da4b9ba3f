"""The verdict as a file: metrics/verdict.json, for people and for the stage `ship`.

    ship                 the checkpoint to ship, {"method": "lora", "epoch": 30}; null where nothing is
    reason               a sentence: why it, or why nothing
    confidence           level of all intervals in this file
    numbers              the shipped checkpoint's on the reporting seeds, which had no say in the choice: `images` and,
                         of each number, the value with `_low` and `_high` of its interval, named as in metrics/epochs
                         (stages/common/checkpoints.py); one that is unavailable is absent
    gates_not_applied    the gates that were not applied to it, and why: "memorisation: ..."
    not_distinguishable  the other checkpoints that pass the gates and that a paired bootstrap cannot distinguish from
                         it on those seeds: method, epoch, and the difference in joint success (shipped minus other)
                         with its interval (low, high)
    rejected             the checkpoints that a gate rejected: method, epoch, and why

Checkpoints stand in the rule's order, the better one first (stages/report/verdict.py). `numbers` and the lists about
the shipped checkpoint are empty where there is none.
"""

from __future__ import annotations

from stages.common.checkpoints import estimate_row
from stages.common.tables import Row
from stages.report.tables import FIGURES
from stages.report.verdict import Verdict


def verdict_summary(verdict: Verdict, confidence: float) -> Row:
    """The content of metrics/verdict.json."""
    shipped = verdict.shipped
    numbers = shipped.report if shipped else {}
    kept = ["images", *(f"{key}{end}" for key, _ in FIGURES for end in ("", "_low", "_high"))]
    equals = []
    for rival in verdict.equals:
        difference = {k: v for k, v in estimate_row(rival.difference).items() if k != "verdict"}
        equals.append({"method": rival.candidate.method, "epoch": rival.candidate.epoch, **difference})
    return {
        "ship": {"method": shipped.method, "epoch": shipped.epoch} if shipped else None,
        "reason": verdict.reason,
        "confidence": confidence,
        "numbers": {key: numbers[key] for key in kept if key in numbers},
        "gates_not_applied": list(shipped.unchecked) if shipped else [],
        "not_distinguishable": equals,
        "rejected": [{"method": c.method, "epoch": c.epoch, "why": "; ".join(c.rejected)} for c in verdict.rejected],
    }
