"""Laying a piece of a photograph flat onto a reference, and how well the two then agree.

The piece is aligned to a fraction of a pixel (the enhanced correlation coefficient of Evangelidis and Psarakis, PAMI
2008, first coarse and affine, then fine and in perspective); what light and camera did to it is estimated (a gain and
an offset for each channel, a slope of the light, a softness); what is left is the disagreement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.matcher.logo_reference import COLOURFUL, Flat, Floats, Reference

LEAST_SIDE = 8.0
"""Pixels, geometric mean of the sides, below which there is nothing to compare."""
COARSE, FINEST = 26.0, 80.0
"""Pixels, geometric mean of the sides: where the alignment starts, and the most at which pictures are compared."""
TURNS = (-14, -7, 0, 7, 14)
"""Degrees by which a start is turned: the alignment finds its way from half of such a step."""
SOFTNESSES = (0.0, 0.6, 1.0, 1.5, 2.2)
"""Standard deviations tried, pixels of the flat picture."""


@dataclass(frozen=True)
class Fit:
    """A candidate after its alignment.

    corners: of the logo in the photograph, pixels, in reading order. side: geometric mean of its sides, pixels.
    agreement: share of the photograph's variance that the logo explains, at most 1. worst: root mean square of the
    disagreement where it is largest, in contrasts of the logo. seen: the reference's colours as the photograph shows
    them. The rest is what a comparison with look-alikes needs.
    """

    corners: NDArray[np.float64]
    side: float
    agreement: float
    worst: float
    seen: Floats
    flat: Flat
    softness: float
    blur: float
    gain: Floats
    background: Floats
    residual: Floats


def sides(corners: NDArray[np.floating]) -> tuple[float, float]:
    """Mean width and height of four corners in reading order."""
    top, right = np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[1])
    bottom, left = np.linalg.norm(corners[2] - corners[3]), np.linalg.norm(corners[3] - corners[0])
    return float(top + bottom) / 2, float(left + right) / 2


def fit_logo(reference: Reference, rgb: NDArray[np.uint8], corners: NDArray[np.floating]) -> Fit | None:
    """Align a reference with a photograph around four corners.

    Args:
        rgb: the photograph [height, width, 3].
        corners: about where the logo is: top left, top right, bottom right, bottom left, pixels.

    Returns:
        None where the logo would be too small, or the alignment does not hold.
    """
    width, height = sides(corners)
    side = math.sqrt(width * height)
    if side < LEAST_SIDE:
        return None
    grow = 0.5 * max(width, height)
    x0, y0 = (max(0, int(v)) for v in np.floor(corners.min(axis=0) - grow))
    x1, y1 = (min(most, int(v)) for v, most in zip(np.ceil(corners.max(axis=0) + grow), rgb.shape[1::-1], strict=True))
    if x1 - x0 < 6 or y1 - y0 < 6:
        return None
    piece = rgb[y0:y1, x0:x1].astype(np.float32)
    found = _align(reference, piece, (corners - (x0, y0)).astype(np.float32), side)
    if found is None:
        return None
    flat, softness, matrix, at = found
    patch = _warped(_reduced(piece, side / flat.side), matrix, flat.size)
    return _compare(reference, flat, softness, patch, at + 0.5 + (x0, y0), side)


def colours_agree(reference: Reference, seen: Floats) -> bool:
    """Whether the reference's colours are seen as its colours: a red as a red, a grey as a grey, light over dark.

    Light takes strength from a colour and lends a tint to a grey, and JPEG lets a small logo's colours run into each
    other: a third of the strength is asked for, within 37 degrees of its direction (a cosine of 0.8); a grey may have
    the tint of the logo's own strongest colour up to half of that. The demo's orange is 46 degrees from its red.
    """
    wanted = reference.colours
    tint = reference.chroma
    strongest = max((float(_chroma(c) @ tint) for c in seen), default=0.0) if tint is not None else 0.0
    for one, other in zip(seen, wanted, strict=True):
        chroma, asked = _chroma(one), _chroma(other)
        strength, needed = float(np.linalg.norm(chroma)), float(np.linalg.norm(asked))
        if needed > COLOURFUL:
            if strength < 0.35 * needed or chroma @ asked < 0.8 * strength * needed:
                return False
        else:
            own = float(chroma @ tint) if tint is not None else 0.0
            rest = chroma - own * tint if tint is not None else chroma
            if np.linalg.norm(rest) > COLOURFUL + 5 or own > 0.5 * strongest + COLOURFUL:
                return False
    for i in range(len(wanted)):
        for j in range(i):
            apart = wanted[i] - wanted[j]
            if (seen[i] - seen[j]) @ apart < 0.3 * (apart @ apart):
                return False
    return True


def _chroma(colour: Floats) -> Floats:
    return np.asarray(colour - colour.mean(), np.float32)


def _reduced(piece: Floats, shrink: float) -> Floats:
    """The piece, blurred so that laying it flat `shrink` times smaller does not alias."""
    return np.asarray(cv2.GaussianBlur(piece, (0, 0), 0.42 * shrink) if shrink > 1.3 else piece, np.float32)


def _warped(piece: Floats, matrix: NDArray[np.floating], size: tuple[int, int]) -> Floats:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(piece, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _align(
    reference: Reference, piece: Floats, corners: Floats, side: float
) -> tuple[Flat, float, NDArray[np.float64], NDArray[np.float64]] | None:
    """(flat, its softness, matrix from flat to piece, corners on the piece) of the best alignment."""
    fine = float(np.clip(round(side * 1.25 / 4) * 4, COARSE, FINEST))
    levels = [COARSE] if fine < 1.3 * COARSE else [COARSE, fine]
    matrix: NDArray[np.float64] | None = None
    at: NDArray[np.float64] | None = None
    for level in levels:
        softness = min(1.0, side / level)
        flat = reference.flat(level, softness)
        reduced = _reduced(piece, side / level)
        if at is None:
            matrix = _coarse(flat, piece, reduced, corners, side / level)
            if matrix is None:
                return None
            motions = [cv2.MOTION_AFFINE]
        else:
            matrix = cv2.getPerspectiveTransform(flat.corners, at.astype(np.float32))
            motions = []
        if level == levels[-1] and side >= 18:  # fewer pixels don't hold the two numbers that perspective adds
            motions.append(cv2.MOTION_HOMOGRAPHY)
        at = _placed(flat, matrix, corners, reference.aspect)
        if at is None:
            return None
        for motion in motions:
            step = _ecc(flat, reduced, matrix, motion, 3, 25)
            moved = _placed(flat, step[1], corners, reference.aspect) if step else None
            if step and moved is not None:
                matrix, at = step[1], moved
    assert matrix is not None
    assert at is not None
    return flat, softness, matrix, at


def _coarse(flat: Flat, piece: Floats, reduced: Floats, corners: Floats, shrink: float) -> NDArray[np.float64] | None:
    """The best of the alignments from turned starts, all blurred."""
    centre = corners.mean(axis=0)
    starts = []
    for degrees in TURNS:
        turn = math.radians(degrees)
        turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]], np.float32)
        matrix = cv2.getPerspectiveTransform(flat.corners, ((corners - centre) @ turned.T + centre - 0.5))
        patch = cv2.GaussianBlur(_warped(reduced, matrix, flat.size), (0, 0), 1.2)
        drawn = cv2.GaussianBlur(_drawn(flat, patch), (0, 0), 1.2)
        starts.append((_correlation(patch, drawn, flat.compared > 0), matrix))
    starts.sort(key=lambda start: -start[0])
    soft = np.asarray(cv2.GaussianBlur(piece, (0, 0), 1.3 * shrink), np.float32)
    best: tuple[float, NDArray[np.float64]] | None = None
    for correlation, matrix in starts[:3]:
        # A correlation of a tenth is no more than chance gives; the alignment is the costly part.
        step = _ecc(flat, soft, matrix, cv2.MOTION_AFFINE, 7, 15) if correlation >= 0.1 else None
        if step and (best is None or step[0] > best[0]):
            best = step
    return best[1] if best else None


def _drawn(flat: Flat, patch: Floats) -> Floats:
    return np.asarray(flat.colour + (1 - flat.alpha[..., None]) * flat.background(patch), np.float32)


def _correlation(a: Floats, b: Floats, mask: NDArray[np.bool_]) -> float:
    a, b = a[mask], b[mask]
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return float((a * b).sum() / math.sqrt(float((a * a).sum()) * float((b * b).sum()) + 1e-6))


def _ecc(
    flat: Flat, piece: Floats, matrix: NDArray[np.float64], motion: int, blur: int, steps: int
) -> tuple[float, NDArray[np.float64]] | None:
    patch = _warped(piece, matrix, flat.size)
    whole = np.full(patch.shape[:2], 255, np.uint8)
    rows = 3 if motion == cv2.MOTION_HOMOGRAPHY else 2
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-4)
    try:
        found, warp = cv2.findTransformECCWithMask(
            _drawn(flat, patch),
            patch,
            flat.compared * 255,
            whole,
            np.eye(rows, 3, dtype=np.float32),
            motion,
            criteria,
            blur,
        )
    except cv2.error:  # it says so where it does not converge
        return None
    warp = warp if rows == 3 else np.vstack([warp, [0, 0, 1]])
    return float(found), np.asarray(matrix @ warp, np.float64)


def _placed(flat: Flat, matrix: NDArray[np.float64], corners: Floats, aspect: float) -> NDArray[np.float64] | None:
    """The logo's corners on the piece; None where they cannot be the logo at an angle, or lie far off."""
    at = cv2.perspectiveTransform(flat.corners.reshape(-1, 1, 2).astype(np.float64), matrix).reshape(4, 2)
    if not np.isfinite(at).all() or not cv2.isContourConvex(at.astype(np.float32)):
        return None
    (width, height), (before, high) = sides(at), sides(corners)
    near = 0.6 < width / before < 1.7 and 0.6 < height / high < 1.7
    # Seen from the side a logo may be half as wide or as high as it is.
    return at if near and 0.5 < width / height / aspect < 2.0 else None


def _compare(
    reference: Reference,
    flat: Flat,
    softness: float,
    patch: Floats,
    corners: NDArray[np.float64],
    side: float,
) -> Fit:
    background = flat.background(patch)
    mask = flat.compared > 0
    y, x = (v.astype(np.float64) / flat.side for v in np.mgrid[: flat.size[1], : flat.size[0]])
    both = np.dstack([flat.colour, flat.alpha])
    best: tuple[float, float, float, Floats, NDArray[np.float64], Floats] | None = None
    for blur in SOFTNESSES:
        soft = cv2.GaussianBlur(both, (0, 0), blur) if blur else both
        drawn = np.asarray(soft[..., :3] + (1 - soft[..., 3:]) * background, np.float32)
        left, total, numbers, residual = _lit(patch, drawn, x, y, mask)
        if best is None or left < best[0]:
            best = (left, total, blur, drawn, numbers, residual)
    assert best is not None
    left, total, blur, drawn, numbers, residual = best
    gain = numbers[:, 1].astype(np.float32)
    contrast = float(np.mean([(gain[c] * drawn[..., c])[mask].var() for c in range(3)]))
    level = numbers[:, 0] + numbers[:, 2] * x[mask].mean() + numbers[:, 3] * y[mask].mean()
    seen = np.asarray(level + numbers[:, 1] * reference.colours, np.float32)
    disagreement = _local(patch, drawn, numbers, x, y, flat)
    return Fit(
        corners=corners,
        side=side,
        agreement=1 - left / total,
        worst=math.sqrt(float(disagreement[mask].max()) / max(contrast, 1.0)),
        seen=seen,
        flat=flat,
        softness=round(softness, 1),
        blur=blur,
        gain=gain,
        background=background,
        residual=residual,
    )


def _lit(
    patch: Floats, drawn: Floats, x: NDArray[np.float64], y: NDArray[np.float64], mask: NDArray[np.bool_]
) -> tuple[float, float, NDArray[np.float64], Floats]:
    """Least squares of the patch by the drawing under some light.

    Returns (squares left, squares in all, [3, 4] numbers: offset, gain, slopes, what is left [height, width, 3]).
    """
    left = total = 0.0
    numbers, residual = np.zeros((3, 4)), np.zeros_like(patch)
    for channel in range(3):
        shown = patch[..., channel][mask].astype(np.float64)
        terms = np.stack([np.ones(len(shown)), drawn[..., channel][mask], x[mask], y[mask]], axis=1)
        # A little ridge: a channel without contrast has no gain of its own.
        numbers[channel] = np.linalg.solve(terms.T @ terms + np.diag([1e-3, 25.0, 1.0, 1.0]), terms.T @ shown)
        off = shown - terms @ numbers[channel]
        residual[..., channel][mask] = off
        left += float(off @ off)
        total += float(((shown - shown.mean()) ** 2).sum()) + 9.0 * len(shown)  # 3 levels of noise
    return left, total, numbers, residual


def _local(
    patch: Floats,
    drawn: Floats,
    numbers: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    flat: Flat,
) -> Floats:
    """Mean square of the disagreement around each pixel, the least over shifts by a pixel: cloth creases."""
    weight = flat.compared.astype(np.float32)
    reach = max(1.0, 0.07 * flat.side)
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), reach), 0.15)
    light = numbers[:, 0] + numbers[:, 2] * x[..., None] + numbers[:, 3] * y[..., None]
    least: Floats | None = None
    for down in (0, -1, 1):
        for right in (0, -1, 1):
            shifted = np.roll(drawn, (down, right), axis=(0, 1))
            off = patch - (light + numbers[:, 1] * shifted)
            around = cv2.GaussianBlur(((off**2).mean(axis=2) * weight).astype(np.float32), (0, 0), reach) / share
            least = around if least is None else np.minimum(least, around)
    assert least is not None
    return np.asarray(least, np.float32)
