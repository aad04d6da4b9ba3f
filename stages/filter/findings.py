"""What the machine found on each file: is it a picture, where is the logo, which picture does it look like?"""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import cv2

from stages.common.command import threads
from stages.common.images import UnreadableImage, decode
from stages.common.params import Filter
from stages.common.progress import progress
from stages.filter.finding import Finding
from stages.filter.logo_match import load_matcher
from stages.filter.near_duplicates import colours_of, difference_hash

LEAST_PER_PROCESS = 16
"""Pictures for which starting a process pays: one takes a second to import OpenCV, as long as these take it."""
_worker: dict[str, Any] = {}
"""What a process keeps between two pictures: its matcher and the limit of a picture's size."""


def find_logos(settings: Filter, files: dict[str, Path], reference: Path) -> dict[str, Finding]:
    """Look at every different file, in as many processes as EMBLEM_THREADS allows."""
    arguments = (reference, settings.min_inliers, settings.min_letter_match, settings.max_megapixels)
    load_matcher(*arguments[:3])  # a bad reference is reported here, once
    tasks = [(sha256, path) for sha256, path in sorted(files.items())]
    workers = min(threads(), max(1, len(tasks) // LEAST_PER_PROCESS))
    if workers == 1:
        _start_worker(*arguments)
        findings = [_look_at(task) for task in progress(tasks, "filter", len(tasks), "picture")]
    else:
        with multiprocessing.get_context("spawn").Pool(workers, _start_worker, arguments) as pool:
            findings = list(progress(pool.imap(_look_at, tasks, chunksize=4), "filter", len(tasks), "picture"))
    return {entry.sha256: entry for entry in findings}


def _start_worker(reference: Path, min_inliers: int, min_letter_match: float, max_megapixels: float) -> None:
    cv2.setNumThreads(1)
    _worker.update(matcher=load_matcher(reference, min_inliers, min_letter_match), max_megapixels=max_megapixels)


def _look_at(task: tuple[str, Path]) -> Finding:
    sha256, path = task
    try:
        image = decode(path.read_bytes(), _worker["max_megapixels"])
    except UnreadableImage as error:
        return Finding(sha256, str(error))
    match = _worker["matcher"].find(image)
    box = tuple(round(v, 1) for v in match.box) if match else None
    score = round(match.score, 4) if match else 0.0
    return Finding(sha256, None, image.width, image.height, box, score, difference_hash(image), colours_of(image))
