"""What shops say to robots, and who is meant."""

from __future__ import annotations

import pytest

from stages.scrape.robots import refuses_ai

REFUSED = ["noai", "index, NOAI", "noimageai", "emblem: noai", "otherbot: noindex, emblem: noai", "*: noimageindex"]
ALLOWED = [
    "",
    "all",
    "noindex, nofollow",
    "otherbot: noai, noindex",
    "otherbot: noai, emblem: all",
    "max-image-preview:none",
]


@pytest.mark.parametrize("tags", REFUSED)
def test_use_for_ai_is_refused(tags: str) -> None:
    assert refuses_ai(tags, "emblem/1.0")


@pytest.mark.parametrize("tags", ALLOWED)
def test_use_for_ai_is_not_refused(tags: str) -> None:
    assert not refuses_ai(tags, "emblem/1.0")
