"""The sections of params.yaml that say how `sample` draws beyond classifier-free guidance."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.common.schema import NonNegative, Positive, Section, Share


class AttendAndExcite(Section):
    """How latents are moved before a step so that no word is overlooked (stages/common/attend_and_excite.py)."""

    step_size: NonNegative
    share: Share
    refine_at: list[Share]
    thresholds: list[Share]
    max_refinements: Annotated[int, Field(ge=0)]
    attention_share: Annotated[float, Field(gt=0, le=1)]
    sharpness: Positive

    @model_validator(mode="after")
    def _each_refinement_has_its_threshold(self) -> AttendAndExcite:
        if len(self.refine_at) != len(self.thresholds):
            raise ValueError(
                f"refine_at has {len(self.refine_at)} values, thresholds {len(self.thresholds)}: must be as many"
            )
        if any(low >= high for low, high in itertools.pairwise(self.refine_at)):
            raise ValueError(f"refine_at = {self.refine_at} must rise")
        if self.refine_at and self.refine_at[-1] >= self.share:
            raise ValueError(f"refine_at = {self.refine_at} must be less than share = {self.share}")
        return self


class Composition(Section):
    """How the parts of a prompt guide one by one (stages/common/composition.py)."""

    mode: Literal["none", "parts", "token"]
    plain_weight: NonNegative
    token_weight: NonNegative
