"""Captions that people wrote, in data/brand/captions.csv."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from stages.common.text_files import listed, read_csv, tell_wrong


def read_captions(path: Path, say: Callable[[str], None] = lambda line: None) -> dict[str, str]:
    """sha256 -> caption with {token}; none where there is no file.

    Args:
        path: captions.csv, as `read_csv` reads it.
        say: told what of the file is not read.

    Raises UserError naming all lines that are wrong.
    """
    if not path.exists() and not path.is_symlink():
        return {}
    captions: dict[str, str] = {}
    rows, wrong = read_csv(path, ("sha256", "caption"), (), say)
    for row in rows:
        sha256, text = row.values["sha256"].lower(), " ".join(row.values["caption"].split())
        trouble = trouble_of(sha256, text)
        if trouble or sha256 in captions:
            wrong.append((row.number, trouble or f"a second caption for {sha256}"))
        captions.setdefault(sha256, text)
    tell_wrong(path, "each line needs a sha256 and a caption with {token} once", wrong)
    return captions


def trouble_of(sha256: str, text: str) -> str:
    """What is wrong with a caption in itself, "" where nothing is."""
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return "no sha256"
    count = text.count("{token}")
    if count != 1:
        return f"has {{token}} {count} times"
    if re.search(r"[{}]", text.replace("{token}", "")):
        return "has a brace beside {token}: nothing else is filled into a caption that a person wrote"
    return ""


def tell_unused(
    path: Path, captions: Iterable[str], known: set[str], used: set[str], say: Callable[[str], None]
) -> None:
    """Say which captions are of no picture of the shop, and which of one that is not trained on.

    Args:
        path: of the file.
        captions: the sha256 of each.
        known: the sha256 of all pictures of the shop.
        used: of those that are trained on.
        say: told, one line for each of both.
    """
    nowhere = [sha256 for sha256 in captions if sha256 not in known]
    idle = [sha256 for sha256 in captions if sha256 in known and sha256 not in used]
    if nowhere:
        say(f"{path}: captions of no picture of the shop: {len(nowhere)} ({listed(nowhere)})")
    if idle:
        say(f"{path}: captions of pictures that are not trained on (data/filtered): {len(idle)} ({listed(idle)})")
