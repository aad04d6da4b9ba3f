"""What the sections of params.yaml are made of: the base of them all, and the numbers that are in most."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of parameters: unknown keys and loose types are refused, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
