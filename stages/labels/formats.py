"""The tools whose files are read and written, by the name that the command line knows them by.

The readers are our own: of tests/stages/labels/foreign.py's cases datumaro 1.13 read 79 of 120 right, supervision
0.31 60 of 96, label-studio-sdk 2.1 27 of 38. Each made negatives of labelled pictures without a word (5, 7 and 4), for
none of them tells its caller what it left out; and the last datumaro that this lock's Pillow 13 admits is 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from stages.labels.coco import read_coco, write_coco
from stages.labels.cvat import read_cvat, write_cvat
from stages.labels.label_studio import read_label_studio, write_label_studio
from stages.labels.reading import Box, Reading, Size, SizeOf
from stages.labels.voc import read_voc, write_voc
from stages.labels.yolo import read_yolo, write_yolo

READERS: dict[str, Callable[[Path, SizeOf], Reading]] = {
    "yolo": read_yolo,
    "coco": read_coco,
    "label-studio": read_label_studio,
    "cvat": read_cvat,
    "voc": read_voc,
}
WRITERS: dict[str, Callable[[Path, Mapping[str, tuple[Size, list[Box]]]], None]] = {
    "yolo": write_yolo,
    "coco": write_coco,
    "label-studio": write_label_studio,
    "cvat": write_cvat,
    "voc": write_voc,
}
