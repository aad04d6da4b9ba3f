"""Finding one known logo on a photograph without any training: where it might lie, then whether it is the logo.

Three kinds of places are proposed (proposals.py). What decides is the comparison of each with the reference, in four
questions: does it agree as well as the logo itself would at this size, is it nowhere far off, are its colours the
logo's, and is it nearer to the logo than to any look-alike ("HUCO")? Nothing in them is fitted to one brand: what to
expect is measured on drawings of the reference, and the look-alikes are made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from benchmarks.matcher.expectations import Expectation, expect
from benchmarks.matcher.logo_fit import Fit, colours_agree, fit_logo, sides
from benchmarks.matcher.logo_reference import Floats, Reference
from benchmarks.matcher.look_alikes import LookAlikes
from benchmarks.matcher.proposals import LEAST_WIDTH, Features, Pixels, Pyramid, colour_mask, of_blobs

WORKING_SIDE = 900
"""Pixels of the longer side at which pictures are searched; larger ones are scaled down."""


@dataclass(frozen=True)
class Match:
    """Where the logo is and how sure that is: agreement (share of variance explained, at most 1), disagreement at its
    worst place (contrasts), how far towards the nearest look-alike (0 to 1), and what proposed the place."""

    box: tuple[float, float, float, float]
    score: float
    worst: float
    look_alike: float
    source: str


class LogoMatcher:
    """Looks for the logo of one or more reference pictures. Not thread-safe; make one in each process."""

    def __init__(
        self,
        references: Sequence[Reference],
        min_inliers: int,
        look_alike: float,
        expectations: Sequence[Expectation] | None = None,
    ) -> None:
        """Make one.

        Args:
            references: pictures of the logo alone.
            min_inliers: SIFT matches that must agree on one position.
            look_alike: how far towards its nearest look-alike a candidate may lie (`filter.look_alike`).
            expectations: of each reference, where they are known already; measuring them takes seconds.
        """
        known = expectations or [expect(reference) for reference in references]
        self.searches = [
            _Search(reference, min_inliers, look_alike, expectation)
            for reference, expectation in zip(references, known, strict=True)
        ]

    def find(self, image: Image.Image) -> Match | None:
        """The best place of the logo on an RGB picture, None where it is not. The box is in the picture's pixels."""
        scale = min(1.0, WORKING_SIDE / max(image.size))
        if scale < 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        rgb = np.ascontiguousarray(np.asarray(image.convert("RGB")))
        found = [match for search in self.searches if (match := search.find(rgb))]
        if not found:
            return None
        best = max(found, key=lambda match: match.score)
        limits = (*image.size, *image.size)
        x0, y0, x1, y1 = (float(np.clip(v, 0, side) / scale) for v, side in zip(best.box, limits, strict=True))
        return Match((x0, y0, x1, y1), best.score, best.worst, best.look_alike, best.source)


class _Search:
    def __init__(self, reference: Reference, min_inliers: int, look_alike: float, expectation: Expectation) -> None:
        self.reference, self.look_alike, self.expectation = reference, look_alike, expectation
        self.look_alikes = LookAlikes(reference)
        self.pyramid = Pyramid(reference)
        self.features = Features(reference, min_inliers)

    def find(self, rgb: Pixels) -> Match | None:
        for source, quads in self._proposed(rgb):
            found = [match for quad in _different(quads) if (match := self._judged(rgb, quad, source))]
            if found:
                return max(found, key=lambda match: match.score)
        return None

    def _proposed(self, rgb: Pixels) -> Iterator[tuple[str, list[Floats]]]:
        """Places by each of the ways, the cheapest first; the next way is tried where none of them is the logo."""
        mask = colour_mask(self.reference, rgb, 0.5)
        if self.reference.chroma is not None:
            if cv2.countNonZero(mask) < LEAST_WIDTH:  # without its colour there is no logo
                return
            if not self.reference.is_open:
                yield "colour", of_blobs(mask, self.reference.aspect)
                yield "colour", of_blobs(colour_mask(self.reference, rgb, 0.72), self.reference.aspect)
        yield "template", self.pyramid.find(rgb)
        yield "sift", self.features.find(rgb, mask)

    def _judged(self, rgb: Pixels, quad: Floats, source: str) -> Match | None:
        fit = fit_logo(self.reference, rgb, quad)
        if fit is None or not self.expectation.met(fit.side, fit.agreement, fit.worst):
            return None
        if not colours_agree(self.reference, fit.seen):
            return None
        near = self.look_alikes.nearest(fit)
        return _match(fit, near, source) if near < self.look_alike else None


def _different(quads: list[Floats]) -> list[Floats]:
    """The places without those that lie within a thirtieth of their size of an earlier one: they fit alike."""
    kept: list[Floats] = []
    for quad in quads:
        near = sum(sides(quad)) / 2 / 30
        if all(float(np.abs(quad - other).max()) > near for other in kept):
            kept.append(quad)
    return kept


def _match(fit: Fit, near: float, source: str) -> Match:
    (x0, y0), (x1, y1) = fit.corners.min(axis=0), fit.corners.max(axis=0)
    return Match((float(x0), float(y0), float(x1), float(y1)), fit.agreement, fit.worst, near, source)
