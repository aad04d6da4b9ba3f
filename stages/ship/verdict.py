"""metrics/verdict.json, checked: what the report says to ship (its fields: stages/report/summary.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from stages.common.errors import UserError
from stages.common.params import Method
from stages.common.schema import Count, Section, Share

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Checkpoint(Section):
    """A tuned checkpoint of one of the methods."""

    method: Method
    epoch: Count


class Compared(Checkpoint):
    """A checkpoint that cannot be distinguished from the shipped one: shipped minus it in joint success."""

    difference: Finite
    low: Finite
    high: Finite


class Rejected(Checkpoint):
    """A checkpoint that a gate rejected."""

    why: str


class Verdict(Section):
    """What to ship, or why nothing."""

    ship: Checkpoint | None
    reason: str
    confidence: Share
    numbers: dict[str, Finite | int]
    gates_not_applied: list[str]
    not_distinguishable: list[Compared]
    rejected: list[Rejected]


def read_verdict(path: Path) -> Verdict:
    """Read and check a verdict. Raises UserError, in one line, where the file is missing or is none."""
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (has the report stage run?)") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {key or 'content'}: {first['msg']}") from None
