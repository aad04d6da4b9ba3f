"""The brand's token is found whole, and never as letters of another word."""

from __future__ import annotations

import pytest

from stages.common.tokens import count_token, replace_token


@pytest.mark.parametrize(
    ("text", "token", "count"),
    [
        ("a hugo shirt with a hu logo", "hu", 1),
        ("hu, (hu) hu.", "hu", 3),
        ("a HU shirt", "hu", 1),
        ("shirthu hu_1 hu2 éhu", "hu", 0),
        ("a <hugo> shirt", "<hugo>", 1),
        ("x<hugo>y", "<hugo>", 1),
        ("a hugo shirt", "<hugo>", 0),
        ("a mug with a mug logo", "mug", 2),
        ("a c++ shirt, no c+", "c++", 1),
        ("(a|b) [x] $", "[x]", 1),
    ],
)
def test_a_token_is_counted_whole(text: str, token: str, count: int) -> None:
    assert count_token(text, token) == count


def test_what_replaces_a_token_is_taken_as_it_is() -> None:
    assert replace_token("a hugo with a hu logo", "hu", r"hu \1 hu_1") == r"a hugo with a hu \1 hu_1 logo"
