"""What is read on a picture, and whether it is the brand's word (paper 4.2).

Text is looked for in three places: in the boxes of the brand's detector; in those of EasyOCR's text detector, where its
weights are there; in those of a generic logo detector (the detector's start, which finds any logo), where the brand's
detector saw none. The paper's OCR has its own say on whether the word is there, whatever the detector found.
"""

from __future__ import annotations

from collections.abc import Sequence

from stages.common.boxes import Box, Detection, overlap
from stages.common.detector import Detector
from stages.common.tables import Row
from stages.score.pictures import Picture
from stages.score.reader import Reader, Reading
from stages.score.words import edit_distance, word_read

READ_FROM = 0.05
"""Confidence from which a box of the brand's detector is read, far below `score.threshold`, so that what the OCR says
does not depend on it. On the demo's 1,024 pictures the word stood in 5 of 62 boxes of 0.05 to 0.2."""
READ_AT_MOST = 3
"""Boxes read of each detector's, a picture. The demo's 1,024 pictures have at most two of 0.05 and more; three bound
what a picture full of them costs."""
GENERIC_FROM = 0.25
"""Confidence from which a box of the generic logo detector is read: ultralytics' own default for predictions (`conf`).
On 352 of the demo's pictures the word stood in none of the 18 boxes below, and in 128 of the 315 above."""
SAME_PLACE = 0.7
"""Overlap (intersection over union) from which a box of the generic logo detector is one that has been read already.
Where both detectors found something on the demo's pictures, 209 of 218 boxes overlap by more, none by 0.6 to 0.7."""


def read_pictures(
    reader: Reader,
    pictures: Sequence[Picture],
    detections: Sequence[Sequence[Detection]],
    margin: float,
    generic_logo_detector: Detector | None = None,
) -> list[list[Row]]:
    """All that is read on each picture, as rows of text, confidence, box and `detected`.

    Args:
        reader: the OCR.
        pictures: RGB, each [height, width, 3] of uint8.
        detections: those of the brand's detector on each picture, the highest confidence first.
        margin: share of a detector's box added on each side before it is read (`score.margin`).
        generic_logo_detector: finds any logo; None where it is not asked for.

    Returns:
        For each picture its readings; `detected` is the confidence of the brand's detector in the box that was read,
        None where the box is another's.
    """
    ours = [[d for d in found if d.confidence >= READ_FROM][:READ_AT_MOST] for found in detections]
    out: list[list[Row]] = [[] for _ in pictures]
    for index, number, reading in _numbered(reader, pictures, [[d.box for d in found] for found in ours], margin):
        out[index].append(_reading_row(reading, ours[index][number].confidence))
    if reader.finds_text:
        for index, _, reading in _numbered(reader, pictures, reader.find(pictures), 0.0):
            out[index].append(_reading_row(reading, None))
    if generic_logo_detector:
        places = [
            [d.box for d in logos if d.confidence >= GENERIC_FROM and not _read_already(d.box, found)][:READ_AT_MOST]
            for logos, found in zip(generic_logo_detector.detect(pictures), ours, strict=True)
        ]
        for index, _, reading in _numbered(reader, pictures, places, margin):
            out[index].append(_reading_row(reading, None))
    return out


def reading_columns(readings: list[Row], word: str, threshold: float) -> Row:
    """The paper's OCR score, and whether detector and OCR agree on one box."""
    texts = [r["text"] for r in readings]
    within = [r["text"] for r in readings if r["detected"] is not None and r["detected"] >= threshold]
    return {
        "readings": readings,
        "ocr": int(word_read(texts, word)),
        "joint": int(word_read(within, word)),
        "edit_distance": round(edit_distance(texts, word), 6),
    }


def _read_already(box: Box, found: Sequence[Detection]) -> bool:
    return bool(found) and bool(overlap([box], [d.box for d in found]).max() > SAME_PLACE)


def _numbered(
    reader: Reader, pictures: Sequence[Picture], boxes: Sequence[Sequence[Box]], margin: float
) -> list[tuple[int, int, Reading]]:
    """Read every box as a picture of its own, so that each reading is known by its picture's and its box's number."""
    places = [(index, number) for index, of_picture in enumerate(boxes) for number in range(len(of_picture))]
    read = reader.read([pictures[i] for i, _ in places], [[boxes[i][n]] for i, n in places], margin)
    return [(i, n, found[0]) for (i, n), found in zip(places, read, strict=True) if found]


def _reading_row(reading: Reading, detected: float | None) -> Row:
    return {
        "text": reading.text,
        "confidence": reading.confidence,
        "box": [round(v, 3) for v in reading.box],
        "detected": detected,
    }
