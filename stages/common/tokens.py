"""Where the brand's token stands in a text: whole, never as letters within another word."""

from __future__ import annotations

import re
from functools import cache


@cache
def whole(token: str) -> re.Pattern[str]:
    """A pattern that finds a token as the text encoder meets it.

    A token that begins or ends with a letter, a digit or an underscore must stand by itself: "hu" isn't in "hugo", nor
    in "hu_1", the name of its second vector. One between signs is found anywhere, as tokenizers do: "<hugo>" in
    "x<hugo>y". Upper and lower case are the same: CLIP's tokenizer lowers all text.
    """
    found = re.escape(token)
    return re.compile(rf"(?<!\w){found}(?!\w)" if is_word(token) else found, re.IGNORECASE)


def is_word(token: str) -> bool:
    """Whether a token could be taken for a part of a longer word: it begins or ends like one."""
    return re.search(r"^\w|\w$", token) is not None


def count_token(text: str, token: str) -> int:
    """How often the token stands in a text."""
    return len(whole(token).findall(text))


def replace_token(text: str, token: str, replacement: str) -> str:
    """The text with something else in place of each token."""
    return whole(token).sub(lambda _: replacement, text)
