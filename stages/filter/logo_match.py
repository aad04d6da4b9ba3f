"""Finding one known logo on a photograph without any training: colour, then shape, then letter by letter.

Candidates come from two sides: blobs of the logo's own colour, taken as the logo's outline, and SIFT features that
agree on one position. Both only propose where the logo might lie. What decides is the comparison: the candidate is laid
flat onto the reference, aligned to a fraction of a pixel, and compared in whole and letter by letter, because a logo
with one other letter ("HUCO") shares most of its features with the real one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from stages.common.errors import UserError
from stages.common.images import UnreadableImage, decode

WORKING_SIDE = 900
"""Pixels of the longer side at which pictures are searched; larger ones are scaled down."""
FLAT_WIDTH = 160
"""Pixels of the largest width at which a candidate is compared."""
LEAST_WIDTH = 16
"""Pixels below which a candidate has no letters that could be compared."""
LEAST_HEIGHT = 5
"""The same of a height: five rows are the fewest in which an E has all of its strokes."""


@dataclass(frozen=True)
class Match:
    """Where the logo is and how sure that is: correlation over all, and of the worst letter, each -1 to 1."""

    box: tuple[float, float, float, float]
    score: float
    worst_letter: float
    source: str


class LogoMatcher:
    """Looks for the logo of a reference picture. Not thread-safe; make one in each process."""

    def __init__(self, reference: Image.Image, min_inliers: int, min_letter_match: float) -> None:
        """reference: the logo alone, upright, cut to its edges. min_inliers: SIFT matches that must agree.
        min_letter_match: correlation that every letter must reach, see `accepts`.
        """
        self.min_inliers, self.min_letter_match = min_inliers, min_letter_match
        width = 480  # three times FLAT_WIDTH: only ever reduced, with enough detail for SIFT
        height = max(8, round(width * reference.height / reference.width))
        plain = reference.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        self.rgb = np.asarray(plain)
        self.aspect = width / height
        self.grey = cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)
        self.colour = _signature_colour(self.rgb)
        self.letters = _letter_columns(self.grey)
        self.coloured = cv2.erode(self.colour_mask(self.rgb, 0.5), np.ones((9, 9), np.uint8)) > 0
        self.sift = cv2.SIFT_create(  # type: ignore[attr-defined]
            nfeatures=1500, contrastThreshold=0.02
        )
        self.keypoints, self.descriptors = self.sift.detectAndCompute(self.grey, None)

    def find(self, image: Image.Image) -> Match | None:
        """The best place of the logo on an RGB picture, None where it is not. The box is in the picture's pixels."""
        scale = min(1.0, WORKING_SIDE / max(image.size))
        if scale < 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        rgb = np.ascontiguousarray(np.asarray(image.convert("RGB")))
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        mask, strict = self.colour_mask(rgb, 0.5), self.colour_mask(rgb, 0.72)
        best = self._best(rgb, grey, mask, self._quads_of_blobs(mask), "colour")
        best = best or self._best(rgb, grey, mask, self._quads_of_blobs(strict), "colour")
        best = best or self._best(rgb, grey, mask, self._quads_of_features(grey, mask), "sift")
        if best is None:
            return None
        box = tuple(
            float(np.clip(v / scale, 0, side / scale))
            for v, side in zip(best.box, (*image.size, *image.size), strict=True)
        )
        return Match((box[0], box[1], box[2], box[3]), best.score, best.worst_letter, best.source)

    # -- Where might it be? ------------------------------------------------------------------------------------------

    def colour_mask(self, rgb: np.ndarray, saturation_share: float) -> np.ndarray:
        """Where the picture has the logo's most telling colour, (height, width) of 0 and 255.

        saturation_share: how strong the colour must be, of the reference's. Light and shadow take some of it away.
        """
        if self.colour is None:
            return np.full(rgb.shape[:2], 255, np.uint8)
        hue, saturation, value = (
            channel.astype(np.int16) for channel in cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
        )
        distance = np.abs((hue - self.colour[0] + 90) % 180 - 90)
        # Within 18 degrees of hue (the demo's orange is 32 from its red), three tenths as bright: chosen by hand.
        good = (distance <= 9) & (saturation >= saturation_share * self.colour[1]) & (value >= 0.3 * self.colour[2])
        return np.asarray(good * 255, np.uint8)

    def _quads_of_blobs(self, mask: np.ndarray) -> list[np.ndarray]:
        """Outlines of coloured blobs as four corners, in the two ways up that a lying rectangle may be read."""
        if self.colour is None:
            return []
        quads = []
        for size in (1, 3, 7):
            closed = mask if size == 1 else cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
            if size != 7:
                closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
            contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:12]:  # bounds the time
                corners = cv2.boxPoints(cv2.minAreaRect(contour))
                width, height = _sides(corners)
                long, short = max(width, height), min(width, height)
                filled = cv2.contourArea(contour) / max(long * short, 1)
                # A turned rectangle of about the logo's shape, mostly filled: perspective shortens a side by a third.
                if (
                    long < LEAST_WIDTH
                    or not 0.6 < long / max(short, 1) / max(self.aspect, 1 / self.aspect) < 1.6
                    or filled < 0.6
                ):
                    continue
                quads.append(self._reading_order(corners))
                tight = cv2.approxPolyDP(contour, 0.06 * cv2.arcLength(contour, True), True).reshape(-1, 2)
                if len(tight) == 4 and cv2.isContourConvex(tight):
                    quads.append(self._reading_order(tight.astype(np.float32)))
        return quads

    def _reading_order(self, corners: np.ndarray) -> np.ndarray:
        """Corners as top left, top right, bottom right, bottom left, for a logo turned by less than 60 degrees."""
        centre = corners.mean(axis=0)
        angles = np.arctan2(corners[:, 1] - centre[1], corners[:, 0] - centre[0])
        ordered = corners[np.argsort(angles)]
        best, least = ordered, np.inf
        for turn in range(4):
            turned = np.roll(ordered, turn, axis=0)
            width, height = _sides(turned)
            across = turned[1] - turned[0]
            tilt = abs(np.degrees(np.arctan2(across[1], across[0])))
            wrong = tilt + 90 * ((width > height) != (self.aspect > 1))
            if wrong < least:
                best, least = turned, wrong
        return best.astype(np.float32)

    def _quads_of_features(self, grey: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
        """Where SIFT features of the reference agree on one position, searched around the logo's colour."""
        if self.descriptors is None or len(self.descriptors) < self.min_inliers:
            return []
        quads = []
        for x0, y0, x1, y1 in self._regions(mask):
            crop = grey[y0:y1, x0:x1]
            # About the reference's own size, since SIFT's finest octave needs letters of some pixels; 4 times at most.
            zoom = float(np.clip(420 / max(crop.shape), 1.0, 4.0))
            large = cv2.resize(crop, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
            keypoints, descriptors = self.sift.detectAndCompute(large, None)
            if descriptors is None or len(descriptors) < self.min_inliers:
                continue
            pairs = cv2.BFMatcher().knnMatch(descriptors, self.descriptors, k=2)
            # 0.8: Lowe's ratio (IJCV 2004, section 7.1).
            good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.8 * pair[1].distance]
            if len(good) < self.min_inliers:
                continue
            source = np.array([self.keypoints[m.trainIdx].pt for m in good], np.float32)
            target = np.array([keypoints[m.queryIdx].pt for m in good], np.float32)
            matrix, inliers = cv2.findHomography(source, target, cv2.RANSAC, 4.0, maxIters=1000, confidence=0.995)
            if matrix is None or int(inliers.sum()) < self.min_inliers:
                continue
            height, width = self.grey.shape
            outline = np.array([[[0, 0]], [[width, 0]], [[width, height]], [[0, height]]], np.float32)
            quad = cv2.perspectiveTransform(outline, matrix).reshape(4, 2) / zoom + (x0, y0)
            if _plausible(quad, grey.shape, self.aspect):
                quads.append(quad.astype(np.float32))
        return quads

    def _regions(self, mask: np.ndarray) -> list[tuple[int, int, int, int]]:
        """Parts of the picture to search for features: around coloured blobs, or all for a logo without colour."""
        height, width = mask.shape
        if self.colour is None:
            return [(0, 0, width, height)]
        joined = cv2.dilate(
            cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)), np.ones((7, 7), np.uint8)
        )
        _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
        regions = []
        for x, y, w, h, area in sorted(stats[1:].tolist(), key=lambda s: -s[4])[:4]:  # bounds the time
            if max(w, h) < LEAST_WIDTH or area < 80:  # LEAST_WIDTH by LEAST_HEIGHT pixels
                continue
            grow = round(0.25 * max(w, h)) + 4
            regions.append((max(0, x - grow), max(0, y - grow), min(width, x + w + grow), min(height, y + h + grow)))
        return regions

    # -- Is it really? -----------------------------------------------------------------------------------------------

    def _best(
        self, rgb: np.ndarray, grey: np.ndarray, mask: np.ndarray, quads: list[np.ndarray], source: str
    ) -> Match | None:
        """The best of the candidates that pass."""
        best: Match | None = None
        for quad in quads:
            compared = self.compare(grey, quad)
            if compared is None:
                continue
            score, worst, corners = compared
            if not accepts(score, worst, _sides(corners)[0], self.min_letter_match) or not self._has_colours(
                rgb, mask, corners
            ):
                continue
            if best is None or score > best.score:
                (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
                best = Match((float(x0), float(y0), float(x1), float(y1)), score, worst, source)
        return best

    def _has_colours(self, rgb: np.ndarray, mask: np.ndarray, corners: np.ndarray) -> bool:
        """Whether the candidate is coloured where the reference is, and its letters differ in the same channels."""
        size = (96, max(8, round(96 / self.aspect)))
        flat = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], np.float32)
        to_picture = cv2.getPerspectiveTransform(flat, corners.astype(np.float32))
        # Three fifths of the coloured part, and a correlation of a half in channels with any contrast: chosen by hand,
        # loose enough for folds and shadows, since the letters decide.
        if self.colour is not None:
            coloured = cv2.resize(self.coloured.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
            if coloured.any() and float(_warp(mask, to_picture, size)[coloured].mean()) < 0.6 * 255:
                return False
        patch, reference = _warp(rgb, to_picture, size), cv2.resize(self.rgb, size, interpolation=cv2.INTER_AREA)
        for channel in range(3):
            wanted = reference[..., channel].astype(np.float32)
            if wanted.std() > 25 and _correlation(patch[..., channel], wanted) < 0.5:
                return False
        return True

    def compare(self, grey: np.ndarray, quad: np.ndarray) -> tuple[float, float, np.ndarray] | None:
        """Lay a candidate flat and compare it with the reference.

        Returns (correlation over all, correlation of the worst letter, corners after alignment); None where it is too
        small to compare.
        """
        width, height = _sides(quad)
        if width < LEAST_WIDTH or height < LEAST_HEIGHT:
            return None
        flat_width = int(np.clip(round(width), 32, FLAT_WIDTH))
        flat_height = max(8, round(flat_width / self.aspect))
        reference = cv2.resize(self.grey, (flat_width, flat_height), interpolation=cv2.INTER_AREA).astype(np.float32)
        if width < flat_width:  # as soft as the candidate is
            small = cv2.resize(self.grey, (max(8, round(width)), max(4, round(height))), interpolation=cv2.INTER_AREA)
            reference = cv2.resize(small, (flat_width, flat_height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        flat = np.array([[0, 0], [flat_width, 0], [flat_width, flat_height], [0, flat_height]], np.float32) - 0.5
        to_picture = cv2.getPerspectiveTransform(flat, quad.astype(np.float32) - 0.5)
        picture = grey
        shrink = width / flat_width
        if shrink > 1.5:  # so that scaling down does not alias
            picture = cv2.GaussianBlur(grey, (0, 0), 0.45 * shrink)
        # Too far off for the alignment to find its way, which is the costly part; chosen by hand.
        if _correlation(_warp(picture, to_picture, (flat_width, flat_height)), reference) < 0.2:
            return None
        to_picture = self._align(picture, reference, to_picture)
        patch = _warp(picture, to_picture, (flat_width, flat_height))
        corners = cv2.perspectiveTransform(flat.reshape(-1, 1, 2), to_picture).reshape(4, 2) + 0.5
        score = _correlation(patch, reference)
        worst = min(self._letter(patch, reference, columns, flat_width) for columns in self.letters)
        return score, worst, corners

    def _align(self, picture: np.ndarray, reference: np.ndarray, to_picture: np.ndarray) -> np.ndarray:
        """Improve where the candidate lies, to a fraction of a pixel, by maximising the correlation (ECC, affine)."""
        height, width = reference.shape
        pad = max(3, round(0.12 * width))
        shift = np.array([[1, 0, -pad], [0, 1, -pad], [0, 0, 1]], np.float64)
        wide = _warp(picture, to_picture @ shift, (width + 2 * pad, height + 2 * pad))
        start = np.array([[1, 0, pad], [0, 1, pad]], np.float32)
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-4)
        try:
            _, warp = cv2.findTransformECC(reference, wide, start, cv2.MOTION_AFFINE, criteria, None, 3)
        except cv2.error:
            return to_picture
        return np.asarray(to_picture @ shift @ np.vstack([warp, [0, 0, 1]]))

    def _letter(self, patch: np.ndarray, reference: np.ndarray, columns: tuple[float, float], width: int) -> float:
        """Correlation of one letter's columns, over the best shift of up to a few hundredths of the width."""
        x0, x1 = int(columns[0] * width), max(int(np.ceil(columns[1] * width)), int(columns[0] * width) + 3)
        wanted = reference[:, x0:x1]
        reach = max(1, round(0.015 * width))
        padded = cv2.copyMakeBorder(patch, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
        window = padded[:, x0 : x1 + 2 * reach]
        return float(cv2.matchTemplate(window, np.ascontiguousarray(wanted), cv2.TM_CCOEFF_NORMED).max())


def accepts(score: float, worst_letter: float, width: float, min_letter_match: float) -> bool:
    """Whether a comparison proves the logo. Small candidates are blurred, so a little less is asked of their letters.

    Measured on 900 logos and 900 red boxes with other words of the demo world: from 48 pixels of width on, the logo's
    worst letter correlates at 0.954 or more in 99 of 100 (0.93 from 36 pixels on), HUGQ's at 0.953 at most, HUGD's at
    0.91, HUCO's at 0.83.
    """
    ease = 0.0 if width >= 48 else 0.012 if width >= 36 else 0.025
    return score >= min_letter_match - 0.06 and worst_letter >= min_letter_match - ease


def _warp(picture: np.ndarray, to_picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(picture, to_picture, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _sides(quad: np.ndarray) -> tuple[float, float]:
    """Mean width and height of four corners in reading order."""
    top, right = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[1])
    bottom, left = np.linalg.norm(quad[2] - quad[3]), np.linalg.norm(quad[3] - quad[0])
    return float(top + bottom) / 2, float(left + right) / 2


def _plausible(quad: np.ndarray, shape: tuple[int, ...], aspect: float) -> bool:
    """Whether four corners can be the logo seen at an angle: convex, not turned inside out, mostly on the picture."""
    if not np.isfinite(quad).all() or not cv2.isContourConvex(quad.astype(np.float32)):
        return False
    width, height = _sides(quad)
    # Seen from the side a logo may be half as wide or as high as it is: 1 / 2.2 to 2.2 times its shape.
    if width < LEAST_WIDTH or height < LEAST_HEIGHT or not 0.45 < width / height / aspect < 2.2:
        return False
    sides = np.array([shape[1], shape[0]])
    return (
        bool((quad > -0.1 * sides).all() and (quad < 1.1 * sides).all())
        and cv2.contourArea(quad.astype(np.float32), True) > 0
    )


def _signature_colour(rgb: np.ndarray) -> tuple[int, int, int] | None:
    """Hue (0 to 179), saturation and value of the logo's most frequent strong colour; None where it has none."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV).reshape(-1, 3)
    strong = hsv[(hsv[:, 1] > 90) & (hsv[:, 2] > 50)]
    if len(strong) < 0.08 * len(hsv):
        return None
    counts = np.bincount(strong[:, 0], minlength=180).astype(float)
    smooth = sum(np.roll(counts, step) for step in range(-5, 6))
    hue = int(np.argmax(smooth))
    near = strong[np.abs((strong[:, 0].astype(int) - hue + 90) % 180 - 90) <= 8]
    return hue, int(np.median(near[:, 1])), int(np.median(near[:, 2]))


def _letter_columns(grey: np.ndarray) -> list[tuple[float, float]]:
    """The letters' columns as fractions of the width: gaps between shapes of the rarer of the two tones."""
    _, dark = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    border = np.concatenate([dark[0], dark[-1], dark[:, 0], dark[:, -1]]).mean()
    ink = 1 - dark if border > 0.5 else dark
    width = grey.shape[1]
    columns = ink.sum(axis=0) > 0.02 * grey.shape[0]
    found, start = [], None
    for x, inked in enumerate([*columns, False]):
        if inked and start is None:
            start = x
        elif not inked and start is not None:
            if x - start > 0.03 * width:
                found.append((max(0, start - 0.012 * width) / width, min(width, x + 0.012 * width) / width))
            start = None
    if len(found) < 2:
        return [(i / 4, (i + 1) / 4) for i in range(4)]
    return found


def load_matcher(reference: Path, min_inliers: int, min_letter_match: float) -> LogoMatcher:
    """A matcher for a reference picture. Raises UserError where it cannot be read or shows nothing."""
    try:
        image = decode(reference.read_bytes(), 50.0)
    except FileNotFoundError:
        raise UserError(f"{reference}: no such file: put the logo, cut to its edges, there") from None
    except UnreadableImage as error:
        raise UserError(f"{reference}: {error}") from None
    if np.asarray(image.convert("L")).std() < 4:
        raise UserError(f"{reference}: shows nothing: all pixels have one tone")
    return LogoMatcher(image, min_inliers, min_letter_match)
