"""Which of the things that people drew are the logo, and what a picture's entries come to together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from stages.labels.reading import Box, Drawn, Entry, Reading, Size


@dataclass
class Logos:
    """What one entry says about the logo.

    Attributes:
        boxes: around each logo.
        doubts: what may be a logo and has no box; with one of them, the picture is no label.
        others: whether things of other classes were drawn. Without a logo's box the picture is then no negative: who
            drew them may not have looked for the logo, or the logo may be in a class that was not named.
    """

    boxes: list[Box] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    others: bool = False


def classes_of(reading: Reading) -> Counter[str]:
    """Every class that is declared or drawn, and how often it was drawn."""
    counts: Counter[str] = Counter(dict.fromkeys(reading.classes, 0))
    for entry in reading.entries:
        for drawn in entry.drawn:
            counts.update(drawn.labels)
    return counts


def logo_classes(reading: Reading, wanted: Sequence[str]) -> tuple[set[str] | None, str]:
    """(the classes that are the logo, None where the file knows no classes; the question where that is not clear).

    One class is taken. Of several, `wanted` names the logo's, as they are written or but for their case.
    """
    counts = classes_of(reading)
    listed = ", ".join(f"{name} ({count} drawn)" for name, count in counts.most_common(30))
    listed += f" and {len(counts) - 30} more" if len(counts) > 30 else ""
    if wanted:
        chosen: set[str] = set()
        for name in wanted:
            same = [c for c in counts if c == name] or [c for c in counts if c.strip().casefold() == name.casefold()]
            if not same:
                return set(), f"no class is called {name!r}, there are: {listed or 'none'}"
            chosen.update(same)
        return chosen, ""
    if not counts or not any(entry.drawn for entry in reading.entries):
        return None, ""
    if len(counts) > 1:
        return set(), f"several classes: {listed}; which one is the logo? Say --label NAME"
    name = next(iter(counts))
    if not reading.named and name != "0":
        return set(), f"only class {name} is drawn and no list of names is there; --label {name} takes it for the logo"
    return {name}, ""


def logos_of(entry: Entry, chosen: set[str] | None, size: Size) -> Logos:
    """What an entry says about the logo.

    Args:
        chosen: the classes that are the logo, None where the file knows no classes.
        size: of the picture; a turned shape whose middle lies in it is cut at its edges.
    """
    found = Logos()
    said: list[str] = []
    for drawn in entry.drawn:
        if chosen is not None and drawn.labels and not chosen.intersection(drawn.labels):
            found.others = True
        elif drawn.whole:
            said.append(_told(drawn))
        elif drawn.box is None:
            found.doubts.append(_told(drawn))
        elif chosen is not None and not drawn.labels:
            found.doubts.append(f"{drawn.where}: has no class")
        else:
            found.boxes.append(_cut(drawn.box, size) if drawn.turned else drawn.box)
    if not found.boxes:
        found.doubts += said
    return found


def _told(drawn: Drawn) -> str:
    return f"{drawn.where}: {drawn.trouble}"


def _cut(box: Box, size: Size) -> Box:
    x0, y0, x1, y1 = box
    width, height = size
    if not (0 <= (x0 + x1) / 2 <= width and 0 <= (y0 + y1) / 2 <= height):
        return box
    return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)


def same_boxes(first: list[list[float]], second: list[list[float]]) -> bool:
    """Whether two people drew the same boxes, to within a pixel."""
    return len(first) == len(second) and all(
        any(max(abs(a - b) for a, b in zip(box, other, strict=True)) <= 1 for other in second) for box in first
    )
