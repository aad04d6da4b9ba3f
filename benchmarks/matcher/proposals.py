"""Where on a photograph a logo might lie: blobs of its colour, a pyramid of small templates, features that agree.

None of them decides anything. Blobs are cheap and find a turned box of the logo's colour; the pyramid finds any logo,
turned by up to 30 degrees; features (SIFT) find a large one that is turned further.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from benchmarks.matcher.logo_fit import sides
from benchmarks.matcher.logo_reference import SIDE, Floats, Reference

LEAST_WIDTH, LEAST_HEIGHT = 16, 5
"""Pixels below which a candidate has nothing that could be compared: five rows are the fewest in which an E has all of
its strokes."""

Pixels = NDArray[np.uint8]


def colour_mask(reference: Reference, rgb: Pixels, strength: float) -> Pixels:
    """Where a picture has the reference's strongest colour, [height, width] of 0 and 255; everywhere for a grey one.

    strength: how strong the colour must be, of the reference's. Light and shadow take some of it away.
    """
    if reference.chroma is None:
        return np.full(rgb.shape[:2], 255, np.uint8)
    of_own = reference.colours[int(np.argmax(reference.colours @ reference.chroma))]
    own = cv2.cvtColor(of_own.round().clip(0, 255).astype(np.uint8).reshape(1, 1, 3), cv2.COLOR_RGB2HSV)[0, 0]
    hue, saturation, value = (channel.astype(np.int16) for channel in cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)))
    distance = np.abs((hue - int(own[0]) + 90) % 180 - 90)
    # Within 18 degrees of hue (the demo's orange is 32 from its red), three tenths as bright: chosen by hand.
    good = (distance <= 9) & (saturation >= strength * own[1]) & (value >= 0.3 * own[2])
    return np.asarray(good * 255, np.uint8)


def of_blobs(mask: Pixels, aspect: float) -> list[Floats]:
    """Outlines of coloured blobs as four corners, for a logo that is a filled shape of one colour."""
    quads = []
    for size in (1, 3, 7):
        closed = mask if size == 1 else cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
        if size != 7:
            closed = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:12]:  # bounds the time
            corners = cv2.boxPoints(cv2.minAreaRect(contour))
            width, height = sides(corners)
            long, short = max(width, height), min(width, height)
            filled = cv2.contourArea(contour) / max(long * short, 1)
            # A turned rectangle of about the logo's shape, mostly filled: perspective shortens a side by a third.
            if long < LEAST_WIDTH or not 0.6 < long / max(short, 1) / max(aspect, 1 / aspect) < 1.6 or filled < 0.6:
                continue
            quads.append(_reading_order(corners, aspect))
            tight = cv2.approxPolyDP(contour, 0.06 * cv2.arcLength(contour, True), True).reshape(-1, 2)
            if len(tight) == 4 and cv2.isContourConvex(tight):
                quads.append(_reading_order(tight.astype(np.float32), aspect))
    return quads


def _reading_order(corners: NDArray[np.floating], aspect: float) -> Floats:
    """Corners as top left, top right, bottom right, bottom left, for a logo turned by less than 60 degrees."""
    centre = corners.mean(axis=0)
    angles = np.arctan2(corners[:, 1] - centre[1], corners[:, 0] - centre[0])
    ordered = corners[np.argsort(angles)]
    best, least = ordered, np.inf
    for turn in range(4):
        turned = np.roll(ordered, turn, axis=0)
        width, height = sides(turned)
        across = turned[1] - turned[0]
        tilt = abs(np.degrees(np.arctan2(across[1], across[0])))
        wrong = tilt + 90 * ((width > height) != (aspect > 1))
        if wrong < least:
            best, least = turned, wrong
    return np.asarray(best, np.float32)


@dataclass(frozen=True)
class Template:
    """The logo turned by an angle: a kernel for each axis (None where it has no contrast there), and its support."""

    degrees: float
    support: Floats
    kernels: tuple[Floats | None, ...]


class Pyramid:
    """Small templates of a logo, compared with a picture at every scale, in brightness and along the logo's own colour.

    The comparison is the share of the picture's variance, under the template, that the template explains.
    """

    STEP = 1.22
    """From one scale to the next: a template of 20 pixels is then off by two at its ends."""
    ANGLES = (-24, -12, 0, 12, 24)
    """Degrees."""
    SOFT = 0.9
    """Pixels of blur on both: widens what a template finds. HUGO's box among the first 16 places in 70 of 75 pictures,
    in 61 of 75 without (benchmarks/matcher.py's kind)."""
    PLACES = 16
    """Places that are looked at; the logo was among the first six in nine of ten."""

    def __init__(self, reference: Reference) -> None:
        self.axes = [np.full(3, 1 / math.sqrt(3), np.float32)]
        if reference.chroma is not None:
            self.axes.append(reference.chroma)
        self.single = len(reference.colours) == 1
        """A shape of one colour is told by its edge alone, light on dark or dark on light."""
        # 12 pixels, and 8 at least of the shorter side: fewer hold no letters.
        self.side = max(12.0, 8 * math.sqrt(max(reference.aspect, 1 / reference.aspect)))
        scale = self.side / SIDE
        self.size = tuple(max(4, round(v * scale)) for v in reference.alpha.shape[::-1])
        self.templates = [self._template(reference, degrees) for degrees in self.ANGLES]

    def find(self, rgb: Pixels) -> list[Floats]:
        """Corners of the likeliest places, the best first."""
        height, width = rgb.shape[:2]
        channels = [rgb.astype(np.float32) @ axis for axis in self.axes]
        channels = [channel - channel.mean() for channel in channels]
        largest = max(max(t.support.shape) for t in self.templates)
        found: list[tuple[float, float, float, float, float]] = []
        zoom = 1.2  # the smallest logo that is found is a sixth smaller than the template
        while min(w := round(width * zoom), h := round(height * zoom)) >= largest:
            how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
            scaled = [cv2.GaussianBlur(cv2.resize(c, (w, h), interpolation=how), (0, 0), self.SOFT) for c in channels]
            explained, which = self._explained(scaled, h, w)
            peaks = (explained >= cv2.dilate(explained, np.ones((7, 7), np.uint8))) & (explained > 0.2)
            rows, columns = np.nonzero(peaks)
            values = explained[rows, columns]
            for index in np.argsort(-values, kind="stable")[: self.PLACES]:
                y, x = rows[index], columns[index]
                degrees = self.templates[which[y, x]].degrees
                found.append((float(values[index]), x / zoom, y / zoom, 1 / zoom, degrees))
            zoom /= self.STEP
        found.sort(reverse=True)
        kept: list[tuple[float, float, float, float, float]] = []
        for one in found:
            if not any(self._same(one, other) for other in kept):
                kept.append(one)
            if len(kept) == self.PLACES:
                break
        return [self._corners(*one[1:]) for one in kept]

    def _same(self, one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        near = math.hypot(one[1] - other[1], one[2] - other[2]) < 0.35 * self.side * max(one[3], other[3])
        return near and 0.66 < one[3] / other[3] < 1.5

    def _corners(self, x: float, y: float, scale: float, degrees: float) -> Floats:
        width, height = self.size[0] * scale, self.size[1] * scale
        turn = math.radians(-degrees)
        turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        box = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) * (width, height)
        return np.asarray(box @ turned.T + (x + 0.5, y + 0.5), np.float32)

    def _explained(self, channels: list[Floats], height: int, width: int) -> tuple[Floats, NDArray[np.int8]]:
        """The share explained by the best template around each pixel, and that template's number."""
        shape = [scipy.fft.next_fast_len(v + 24, real=True) for v in (height, width)]
        spectra = [scipy.fft.rfft2(c, shape) for c in channels]
        squares = [scipy.fft.rfft2(c * c, shape) for c in channels]
        best, which = np.zeros((height, width), np.float32), np.zeros((height, width), np.int8)

        def correlated(spectrum: NDArray[np.complexfloating], kernel: Floats) -> Floats:
            product = spectrum * np.conj(scipy.fft.rfft2(kernel, shape))
            middle = (kernel.shape[0] // 2, kernel.shape[1] // 2)
            return np.roll(scipy.fft.irfft2(product, shape), middle, (0, 1))[:height, :width].astype(np.float32)

        for number, template in enumerate(self.templates):
            count = float(template.support.sum())
            part, whole = np.zeros((2, height, width), np.float32)
            for spectrum, square, kernel in zip(spectra, squares, template.kernels, strict=True):
                if kernel is None:
                    continue
                mean = correlated(spectrum, template.support) / count
                variance = correlated(square, template.support) / count - mean * mean
                whole += count * (np.maximum(variance, 0) + 16)  # 4 levels of noise
                along = correlated(spectrum, kernel)
                part += along**2 if self.single else np.maximum(along, 0) ** 2
            share = part / np.maximum(whole, 1e-6)
            better = share > best
            best[better], which[better] = share[better], number
        return best, which

    def _template(self, reference: Reference, degrees: float) -> Template:
        width, height = self.size
        fine = 4
        both = np.dstack([reference.colour, reference.alpha])
        both = cv2.resize(both, (width * fine, height * fine), interpolation=cv2.INTER_AREA)
        margin = max(1, round(0.16 * self.side)) * fine if self.single else 0
        both = cv2.copyMakeBorder(both, *(margin,) * 4, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        support = np.ones(both.shape[:2], np.float32) if self.single else both[..., 3]
        planes = [np.ascontiguousarray(both[..., i]) for i in range(4)] + [np.ascontiguousarray(support)]
        h, w = support.shape
        matrix = cv2.getRotationMatrix2D((w / 2 - 0.5, h / 2 - 0.5), degrees, 1)
        cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
        # An odd number of template pixels, so that it has a middle one.
        nw, nh = (math.ceil(v / (2 * fine)) * 2 * fine + fine for v in (w * cos + h * sin, w * sin + h * cos))
        matrix[0, 2] += (nw - w) / 2
        matrix[1, 2] += (nh - h) / 2
        turned = [cv2.warpAffine(plane, matrix, (nw, nh)) for plane in planes]
        turned = [cv2.resize(p, (nw // fine, nh // fine), interpolation=cv2.INTER_AREA) for p in turned]
        where = (turned[4] > 0.6).astype(np.float32)
        border = cv2.BORDER_DEFAULT if reference.is_open else cv2.BORDER_REPLICATE
        red, green, blue, alpha = (cv2.GaussianBlur(p, (0, 0), self.SOFT, borderType=border) for p in turned[:4])
        kernels: list[Floats | None] = []
        for axis in self.axes:
            value = (red * axis[0] + green * axis[1] + blue * axis[2]) / np.maximum(alpha, 0.3)
            kernel = 100 * alpha if self.single else np.where(alpha > 0.3, value, 0)
            kernel = (kernel - (kernel * where).sum() / where.sum()) * where
            size = float(np.linalg.norm(kernel))
            # Of six levels and less there is no contrast along this axis.
            kernels.append((kernel / size).astype(np.float32) if size / math.sqrt(where.sum()) > 6 else None)
        return Template(degrees, where, tuple(kernels))


class Features:
    """Where features (SIFT) of a reference agree on one position."""

    def __init__(self, reference: Reference, min_inliers: int) -> None:
        """min_inliers: matches that must agree."""
        self.min_inliers = min_inliers
        grey = float(reference.colours.mean())
        behind = 230.0 if grey < 128 else 25.0  # what a logo without a box stands on, so that its edges show
        opaque = reference.colour + (1 - reference.alpha[..., None]) * behind
        large = cv2.resize(opaque, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
        plain = cv2.cvtColor(large, cv2.COLOR_RGB2GRAY)
        self.size = plain.shape[1::-1]
        self.aspect = reference.aspect
        self.sift = cv2.SIFT_create(nfeatures=1500, contrastThreshold=0.02)  # type: ignore[attr-defined]
        self.keypoints, self.descriptors = self.sift.detectAndCompute(plain, None)

    def find(self, rgb: Pixels, mask: Pixels) -> list[Floats]:
        """Corners of each place, searched around the mask's blobs."""
        if self.descriptors is None or len(self.descriptors) < self.min_inliers:
            return []
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        quads = []
        for x0, y0, x1, y1 in _regions(mask):
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
            width, height = self.size
            outline = np.array([[[0, 0]], [[width, 0]], [[width, height]], [[0, height]]], np.float32)
            quad = cv2.perspectiveTransform(outline, matrix).reshape(4, 2) / zoom + (x0, y0)
            if _plausible(quad, grey.shape, self.aspect):
                quads.append(np.asarray(quad, np.float32))
        return quads


def _regions(mask: Pixels) -> list[tuple[int, int, int, int]]:
    """Parts of the picture to search for features: around the mask's blobs, or all where it is full."""
    height, width = mask.shape
    if mask.all():
        return [(0, 0, width, height)]
    joined = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    joined = cv2.dilate(joined, np.ones((7, 7), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    regions = []
    for x, y, w, h, area in sorted(stats[1:].tolist(), key=lambda s: -s[4])[:4]:  # bounds the time
        if max(w, h) < LEAST_WIDTH or area < LEAST_WIDTH * LEAST_HEIGHT:
            continue
        grow = round(0.25 * max(w, h)) + 4
        regions.append((max(0, x - grow), max(0, y - grow), min(width, x + w + grow), min(height, y + h + grow)))
    return regions


def _plausible(quad: NDArray[np.floating], shape: tuple[int, ...], aspect: float) -> bool:
    """Whether four corners can be the logo seen at an angle: convex, not turned inside out, mostly on the picture."""
    if not np.isfinite(quad).all() or not cv2.isContourConvex(quad.astype(np.float32)):
        return False
    width, height = sides(quad)
    # Seen from the side a logo may be half as wide or as high as it is: 1 / 2.2 to 2.2 times its shape.
    if width < LEAST_WIDTH or height < LEAST_HEIGHT or not 0.45 < width / height / aspect < 2.2:
        return False
    extent = np.array([shape[1], shape[0]])
    on_it = bool((quad > -0.1 * extent).all() and (quad < 1.1 * extent).all())
    return on_it and cv2.contourArea(quad.astype(np.float32), True) > 0
