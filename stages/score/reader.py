"""The OCR: EasyOCR's recogniser on boxes of our own, offline, batched, the same reading whatever else is in the batch.

The weights (see `stages.score.recogniser`) are a recogniser of one's own, such as the demo's, or EasyOCR's English one.
With CRAFT's beside them text is found in whole pictures too.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import easyocr
import numpy as np
import torch
from easyocr.detection import get_textbox
from easyocr.recognition import get_text
from numpy.typing import NDArray

from stages.common.boxes import Box
from stages.score.recogniser import Recogniser, load_recogniser, load_text_detector

Picture = NDArray[np.uint8]

ENLARGE_TO = 96
"""Pixels: a text box's height after bicubic enlargement, before EasyOCR's own resize to the recogniser's height. A box
of 12 pixels that is enlarged once, smoothly, keeps strokes that EasyOCR's Lanczos would ring around."""
BATCH = 64
"""Crops read at once; chosen by hand."""


@dataclass(frozen=True)
class Reading:
    """One text: what it says, EasyOCR's confidence 0 to 1, and its box (x0, y0, x1, y1) in pixels of the picture."""

    text: str
    confidence: float
    box: Box


class Reader:
    """EasyOCR's recogniser, and its text detector where the weights for it are there."""

    def __init__(self, recogniser: Recogniser, text_detector: Any | None = None) -> None:
        self._recogniser = recogniser
        self._height = recogniser.height
        self._text_detector = text_detector
        self.finds_text = text_detector is not None

    def read(
        self, pictures: Sequence[Picture], boxes: Sequence[Sequence[Box]], margin: float = 0.1
    ) -> list[list[Reading]]:
        """Read every box of every picture.

        Args:
            pictures: RGB, each [height, width, 3] of uint8.
            boxes: for each picture its boxes in pixels.
            margin: share of the box's sides added all round before reading (the detector's boxes are tight).

        Returns:
            For each picture its readings, in the order of its boxes; a box that is empty after clipping has none.
        """
        crops: dict[int, list[tuple[int, int, Box, Picture]]] = defaultdict(list)
        for index, (picture, of_picture) in enumerate(zip(pictures, boxes, strict=True)):
            for number, box in enumerate(of_picture):
                grown = grow_box(box, margin, picture.shape[1], picture.shape[0])
                crop = self._crop(picture, grown) if grown else None
                if grown and crop is not None:
                    # EasyOCR pads to a multiple of the height: crops of one padded width make a batch, so that a
                    # reading does not depend on what else is read.
                    crops[math.ceil(crop.shape[1] / self._height)].append((index, number, grown, crop))
        found: list[dict[int, Reading]] = [{} for _ in pictures]
        for widths, group in sorted(crops.items()):
            for start in range(0, len(group), BATCH):
                batch = group[start : start + BATCH]
                texts = self._recognise([crop for *_, crop in batch], widths * self._height)
                for (index, number, box, _), (text, confidence) in zip(batch, texts, strict=True):
                    found[index][number] = Reading(text, confidence, box)
        return [[numbered[number] for number in sorted(numbered)] for numbered in found]

    def find(self, pictures: Sequence[Picture]) -> list[list[Box]]:
        """Boxes of all text in each picture, by EasyOCR's text detector (CRAFT): seconds a picture on a CPU.

        Raises ValueError where `finds_text` is false.
        """
        if not self.finds_text:
            raise ValueError("the text detector's weights are not there")
        # What easyocr.Reader.detect uses of a Reader: making a whole one unpickles its weights.
        parts = SimpleNamespace(detector=self._text_detector, get_textbox=get_textbox, device=self._recogniser.device)
        found = []
        for picture in pictures:
            horizontal, free = easyocr.Reader.detect(parts, np.ascontiguousarray(picture[..., ::-1]))
            straight = [(float(x0), float(y0), float(x1), float(y1)) for x0, x1, y0, y1 in horizontal[0]]
            slanted = [_bounds(corners) for corners in free[0]]
            found.append(straight + slanted)
        return found

    def _crop(self, picture: Picture, box: Box) -> Picture | None:
        """The box as a grey picture of the recogniser's height, or None where nothing is left of it."""
        x0, y0, x1, y1 = (round(value) for value in box)
        crop = (
            cv2.cvtColor(np.ascontiguousarray(picture[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
            if x1 > x0 and y1 > y0
            else None
        )
        if crop is None:
            return None
        if crop.shape[0] < ENLARGE_TO:
            factor = ENLARGE_TO / crop.shape[0]
            size = (max(1, round(crop.shape[1] * factor)), ENLARGE_TO)
            crop = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
        width = max(1, round(crop.shape[1] * self._height / crop.shape[0]))
        return np.asarray(cv2.resize(crop, (width, self._height), interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def _recognise(self, crops: list[Picture], width: int) -> list[tuple[str, float]]:
        listed = [(number, crop) for number, crop in enumerate(crops)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            # contrast_ths = 0 stops a second pass over uncertain boxes, which doubles the time.
            rows = get_text(
                self._recogniser.characters,
                self._height,
                width,
                self._recogniser.network,
                self._recogniser.converter,
                listed,
                batch_size=BATCH,
                contrast_ths=0.0,
                workers=0,
                device=self._recogniser.device,
            )
        return [(str(text), round(float(confidence), 6)) for _, text, confidence in rows]


def load_reader(folder: Path, text_detector: bool = False) -> Reader:
    """Load the OCR from `folder` with no download, and nothing in the folder is run.

    Args:
        folder: models/pretrained/reader.
        text_detector: also load CRAFT, where its weights are in the folder (see `Reader.finds_text`).

    Raises:
        UserError: the folder holds no recogniser, one that does not fit together, or code or pickles.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recogniser = load_recogniser(folder, device)
    return Reader(recogniser, load_text_detector(folder, device) if text_detector else None)


def grow_box(box: Sequence[float], margin: float, width: int, height: int) -> Box | None:
    """The box with `margin` of its sides added all round, cut to the picture; None where nothing is left."""
    x0, y0, x1, y1 = box
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    grown = (max(0.0, x0 - dx), max(0.0, y0 - dy), min(float(width), x1 + dx), min(float(height), y1 + dy))
    return grown if grown[2] > grown[0] and grown[3] > grown[1] else None


def _bounds(corners: Sequence[Sequence[float]]) -> Box:
    points = np.asarray(corners, dtype=float)
    x0, y0 = points.min(axis=0)
    x1, y1 = points.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
