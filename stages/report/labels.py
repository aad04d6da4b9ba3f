"""How the report writes things: names of methods, numbers with their intervals."""

from __future__ import annotations

from stages.common.params import UNTUNED
from stages.common.tables import Row

TITLES = {"dreambooth": "DreamBooth", "textual_inversion": "Textual inversion", "lora": "LoRA", UNTUNED: "Untuned base"}


def title_of(method: str) -> str:
    """A method's name as people write it."""
    return TITLES.get(method, method.replace("_", " "))


def with_interval(row: Row, name: str, digits: int = 2) -> str:
    """ "0.52 (0.38 to 0.66)", or "unavailable"."""
    if name not in row:
        return "unavailable"
    text = f"{row[name]:.{digits}f}"
    return text + (
        f" ({row[name + '_low']:.{digits}f} to {row[name + '_high']:.{digits}f})" if f"{name}_low" in row else ""
    )
