"""Which checkpoint to ship, by a rule that is written down, and why each of the others was not taken.

The rule
 1. A checkpoint is out where, over all its pictures, the share of memorised ones is above
    `report.gates.max_memorised_share`, the share drawn in the colour asked for is below
    `report.gates.min_colour_fidelity`, or the share whose own prompt CLIP prefers to the others is below
    `report.gates.min_prompt_fidelity`. A gate whose number is unavailable is not applied, and that is said.
 2. Of the rest, the one with the highest lower bound of joint success (Wilson) on the pictures of even seeds is
    shipped: the lower bound, so that few pictures or little luck do not win. Equal bounds: the higher mean(OCR, OD),
    then the earlier epoch.
 3. Its numbers are those of the odd seeds, which had no say in the choice. Candidates that a paired bootstrap on those
    seeds cannot tell from it are named.
 4. Where no checkpoint drew one readable logo on the even seeds, nothing is shipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.common.checkpoints import by_epoch, compare, split_by_seed, summarise
from stages.common.params import Gates
from stages.common.statistics import Estimate
from stages.common.tables import Row


@dataclass(frozen=True)
class Candidate:
    """A tuned checkpoint: its numbers on all seeds, on those that select, and on those that report."""

    method: str
    epoch: int
    every: Row
    selection: Row
    report: Row
    rejected: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[float, float, int]:
        """Sorts the better candidate first."""
        return -self.selection["joint_success_low"], -self.selection["mean"], self.epoch


@dataclass(frozen=True)
class Rival:
    """A candidate beside the shipped one: shipped minus rival in joint success, on the reporting seeds."""

    candidate: Candidate
    difference: Estimate | None


@dataclass(frozen=True)
class Verdict:
    """What to ship, or why nothing."""

    shipped: Candidate | None
    reason: str
    passed: tuple[Candidate, ...]
    rejected: tuple[Candidate, ...]
    rivals: tuple[Rival, ...] = field(default=())

    @property
    def equals(self) -> list[Rival]:
        """The rivals that a paired bootstrap cannot distinguish from the shipped one."""
        return [r for r in self.rivals if r.difference and r.difference.verdict == "not distinguishable"]


RULE = tuple(" ".join(part.split()) for part in re.split(r"\n \d\. ", __doc__.replace("`", ""))[1:])
"""The rule's sentences, for the report."""


def decide(scores: Mapping[str, Sequence[Row]], *, gates: Gates, confidence: float, samples: int, seed: int) -> Verdict:
    """Apply the rule to every tuned checkpoint of every method.

    Args:
        scores: each method's scored pictures (data/scores/<method>.jsonl).
        gates: `report.gates`.
        confidence, samples, seed: of the intervals.
    """
    options: dict[str, Any] = {"confidence": confidence, "samples": samples, "seed": seed}
    candidates = []
    for method, rows in scores.items():
        for epoch, of_epoch in by_epoch(rows).items():
            if epoch > 0:
                chosen, reported = split_by_seed(of_epoch)
                every = summarise(of_epoch, **options)
                failed, unchecked = _gates(every, gates)
                numbers = (every, summarise(chosen, **options), summarise(reported, **options))
                candidates.append(Candidate(method, epoch, *numbers, rejected=failed, unchecked=unchecked))
    passed = tuple(sorted((c for c in candidates if not c.rejected), key=lambda c: c.order))
    rejected = tuple(sorted((c for c in candidates if c.rejected), key=lambda c: c.order))
    if not passed:
        return Verdict(None, "No checkpoint passes the gates.", passed, rejected)
    best = passed[0]
    if best.selection["joint_success"] == 0:
        return Verdict(None, "No checkpoint that passes the gates drew a readable logo.", passed, rejected)
    rivals = tuple(_rival(scores, best, other, options) for other in passed[1:])
    return Verdict(
        best, "The highest lower bound of joint success among those that pass the gates.", passed, rejected, rivals
    )


def _gates(every: Row, gates: Gates) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Why a checkpoint with these numbers is out, and which gates could not be applied."""
    failed, unchecked = [], []
    missing = every.get("unavailable", {})
    for name, subject, sign, limit, reason in (
        (
            "memorised_share",
            "memorisation",
            -1,
            gates.max_memorised_share,
            "copies training pictures: {share:.0%} of its own, allowed {limit:.0%}",
        ),
        (
            "colour_fidelity",
            "colour",
            1,
            gates.min_colour_fidelity,
            "wrong colour: {share:.0%} in the colour asked for, needed {limit:.0%}",
        ),
        (
            "clip_prompt_accuracy",
            "prompt",
            1,
            gates.min_prompt_fidelity,
            "wrong things: {share:.0%} are nearest to their own prompt, needed {limit:.0%}",
        ),
    ):
        if name not in every:
            unchecked.append(f"{subject}: {missing.get(name, 'unavailable')}")
        elif sign * (every[name] - limit) < 0:
            failed.append(reason.format(share=every[name], limit=limit))
    return tuple(failed), tuple(unchecked)


def _rival(scores: Mapping[str, Sequence[Row]], best: Candidate, other: Candidate, options: dict[str, Any]) -> Rival:
    first = split_by_seed(row for row in scores[best.method] if row["epoch"] == best.epoch)[1]
    second = split_by_seed(row for row in scores[other.method] if row["epoch"] == other.epoch)[1]
    return Rival(other, compare(first, second, value=lambda row: float(row["joint"]), **options))
