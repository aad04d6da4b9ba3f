"""The shipped checkpoint's model card: which one it is, why it was chosen, its numbers, and how it is loaded."""

from __future__ import annotations

import re

from stages.ship.verdict import Verdict

NUMBERS = {
    "joint_success": "joint success: the word read within a box that the detector found",
    "mean": "mean(OCR, OD), the paper's score",
    "mean_od": "mean_od: the detector's highest confidence",
    "mean_ocr": "mean_ocr: the word read",
    "colour_fidelity": "drawn in the colour asked for",
    "memorised_share": "copies of a training picture",
    "prior_drift": "the logo where it was not asked for",
}
"""The numbers that the card lists, and what they are; README.md defines them."""
FRONT_MATTER = re.compile(r"---\n.*?\n---\n", re.DOTALL)
"""What a hub reads of a card: it has to stay at the top."""


def shipped_card(verdict: Verdict, card: str) -> str:
    """The card of a method (models/<method>/README.md) as that of the one checkpoint that is shipped.

    Raises ValueError where nothing is shipped.
    """
    if verdict.ship is None:
        raise ValueError("nothing is shipped")
    found = FRONT_MATTER.match(card)
    front = found[0] + "\n" if found else ""
    rest = in_this_folder(card[found.end() :] if found else card).lstrip("\n")
    return front + "\n".join([*_head(verdict), *_doubts(verdict), ""]) + "\n" + rest


def unshipped_card(verdict: Verdict) -> str:
    """The card of a folder that holds no checkpoint: why, and what was against each one."""
    lines = ["# Nothing is shipped", "", _line(verdict.reason)]
    if verdict.rejected:
        lines += ["", "| checkpoint | rejected because |", "|---|---|"]
        lines += [f"| {_named(r.method)}, epoch {r.epoch} | {_cell(r.why)} |" for r in verdict.rejected]
    return "\n".join(lines) + "\n"


def in_this_folder(card: str) -> str:
    """The card's text with its `epoch-NN` paths as they are where the checkpoint's files lie beside the card."""
    return card.replace("epoch-NN/", "").replace("epoch-NN", ".")


def _head(verdict: Verdict) -> list[str]:
    """Which checkpoint it is, why it was chosen, and its numbers."""
    assert verdict.ship is not None
    numbers = verdict.numbers
    pictures = f"{numbers['images']:.0f} pictures" if "images" in numbers else "the pictures"
    lines = [
        f"# Shipped: {_named(verdict.ship.method)}, epoch {verdict.ship.epoch}",
        "",
        f"Why this one: {_line(verdict.reason)}",
        f"These are its numbers on {pictures} that had no say in the choice; intervals are {verdict.confidence:.0%}.",
        "",
        "| | |",
        "|---|---|",
    ]
    return lines + [f"| {text} | {_value(numbers, key)} |" for key, text in NUMBERS.items()]


def _doubts(verdict: Verdict) -> list[str]:
    """What the choice could not look at, and which checkpoints are as good as far as the pictures tell."""
    lines = [f"Gate not applied: {_line(text)}." for text in verdict.gates_not_applied]
    if verdict.not_distinguishable:
        names = "; ".join(f"{_named(c.method)}, epoch {c.epoch}" for c in verdict.not_distinguishable)
        lines.append(f"Not distinguishable from it in joint success on those pictures: {names}.")
    return ["", *lines] if lines else []


def _value(numbers: dict[str, float], key: str) -> str:
    """A number with its interval, "unavailable" where there is none."""
    if key not in numbers:
        return "unavailable"
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    return f"{numbers[key]:.2f}" + (f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else "")


def _named(method: str) -> str:
    return method.replace("_", " ")


def _line(text: str) -> str:
    """A text from outside as a part of one line."""
    return " ".join(text.split())


def _cell(text: str) -> str:
    """A text from outside as a cell of a table."""
    return _line(text).replace("|", "\\|")
