"""Captions from a template: the words in braces come from what is known of the product."""

from __future__ import annotations

import re
import string
from typing import Any

from stages.caption.products import LEGS, PLURAL, TOPS, Known
from stages.common.errors import UserError

KEYS = ("wearer", "colour", "garment", "position", "token")


def fill_template(template: str, known: Known) -> str:
    """The template with what is known; {token} stays. Articles and spaces are put right.

    Raises UserError where the template has a key that is none of KEYS.
    """
    allowed = ", ".join(f"{{{key}}}" for key in KEYS)
    try:
        keys = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"caption.template = {template!r}: {error}; allowed: {allowed}") from None
    for _, key, spec, conversion in keys:
        if key is not None and (key not in KEYS or spec or conversion):
            raise UserError(f"caption.template: unknown key {{{key}}}; allowed: {allowed}, as they stand here")
    garment = known.garment or "product"
    values: dict[str, Any] = {
        "wearer": f"{known.wearer} wearing a "
        if known.wearer and garment in TOPS | LEGS | PLURAL | {"hat", "cap"}
        else "",
        "colour": known.colour or "",
        "garment": garment,
        "position": known.position or "",
        "token": "{token}",
    }
    text = " ".join(template.format(**values).split())
    return put_articles(text, garment)


def put_articles(text: str, garment: str) -> str:
    """'a orange sweater' -> 'an orange sweater', 'a black shorts' -> 'black shorts'."""
    if garment in PLURAL:
        text = re.sub(rf"\ban? ((?:[\w-]+ )?{re.escape(garment)}\b)", r"\1", text)
    return re.sub(r"\ba (?=[aeiou])", "an ", text)
