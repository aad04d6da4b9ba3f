"""How much what is in a box looks like the brand's reference, for marks that have no letters to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.matcher.logo_fit import colours_agree, fit_logo
from benchmarks.matcher.logo_reference import Reference, read_references
from stages.common.boxes import Box


class LogoShape:
    """Compares boxes with the brand's references."""

    def __init__(self, references: Sequence[Reference]) -> None:
        """references: at least one."""
        self.references = list(references)

    def match(self, picture: NDArray[np.uint8], box: Box) -> float:
        """How well a box holds the logo: the share of its variance that the logo explains, 0 to 1.

        0 where no alignment holds, or the colours are others.

        Args:
            picture: RGB [height, width, 3].
            box: (x0, y0, x1, y1) in its pixels, about the logo's edges.
        """
        x0, y0, x1, y1 = box
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
        best = 0.0
        for reference in self.references:
            fit = fit_logo(reference, picture, corners)
            if fit and colours_agree(reference, fit.seen):
                best = max(best, fit.agreement)
        return float(min(best, 1.0))


def load_logo_shape(reference: Path, more: Path) -> LogoShape:
    """The references of data/brand. Raises UserError where one cannot be read or shows nothing."""
    return LogoShape(read_references(reference, more))
