"""Captions that people wrote, in data/brand/captions.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from stages.common.errors import UserError


def read_captions(path: Path) -> dict[str, str]:
    """sha256 -> caption with {token}. Raises UserError naming all lines that are wrong."""
    if not path.exists():
        return {}
    captions: dict[str, str] = {}
    wrong: list[str] = []
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    if not {"sha256", "caption"} <= set(reader.fieldnames or ()):
        raise UserError(f"{path}: the first line must be sha256,caption")
    for line in reader:
        sha256, text = (line["sha256"] or "").strip().lower(), " ".join((line["caption"] or "").split())
        count = text.count("{token}")
        if len(sha256) != 64 or count != 1:
            what = "no sha256" if len(sha256) != 64 else f"has {{token}} {count} times"
            wrong.append(f"line {reader.line_num}: {what}")
        elif sha256 in captions:
            wrong.append(f"line {reader.line_num}: a second caption for {sha256}")
        captions.setdefault(sha256, text)
    if wrong:
        raise UserError(f"{path}: each line needs a sha256 and a caption with {{token}} once; {'; '.join(wrong)}")
    return captions
