"""What addresses of pictures say, in the ways in which shop systems write them."""

from __future__ import annotations

import pytest

from stages.scrape.image_urls import ORIGINAL, UNMARKED, larger_guesses, parse_srcset, picture_key, width_in_url

SCALED = {
    "https://s.test/up/mug-300x400.jpg": ("https://s.test/up/mug.jpg", 300),
    "https://s.test/cdn/mug_180x.jpg?v=17": ("https://s.test/cdn/mug.jpg?v=2", 180),
    "https://s.test/cdn/mug.jpg?width=360&v=17": ("https://s.test/cdn/mug.jpg?v=17", 360),
    "https://s.test/thumb/mug.jpg": ("https://s.test/large/mug.jpg", 100),
    "https://s.test/mug_large.webp": ("https://s.test/mug.jpg", 900),
    "https://s.test/small_default/mug.jpg": ("https://s.test/mug.jpg", 98),
    "https://s.test/cache/0123456789abcdef0123/mug.jpg": ("https://s.test/mug.jpg", UNMARKED),
    "https://s.test/original/mug.jpg": ("https://s.test/mug.jpg", ORIGINAL),
}


@pytest.mark.parametrize("scaled", SCALED)
def test_a_scaled_address_tells_its_width_and_its_picture(scaled: str) -> None:
    other, width = SCALED[scaled]
    assert width_in_url(scaled) == width
    assert picture_key(scaled) == picture_key(other)


def test_pictures_that_are_different_have_different_keys() -> None:
    names = ["mug-1.jpg", "mug-2.jpg", "mug.jpg?id=1", "mug.jpg?id=2", "red/mug.jpg", "blue/mug.jpg"]
    assert len({picture_key(f"https://s.test/{name}") for name in names}) == len(names)


def test_a_larger_copy_is_guessed_only_of_what_is_scaled() -> None:
    assert "https://s.test/up/mug.jpg" in larger_guesses("https://s.test/up/mug-300x400.jpg")
    assert "https://s.test/image/p0.jpg" in larger_guesses("https://s.test/image/cache/p0-500x500.jpg")
    assert larger_guesses("https://s.test/up/mug.jpg") == []


def test_a_srcset_may_have_commas_in_its_addresses() -> None:
    text = "https://c.test/w_300,h_300/a.jpg 300w,https://c.test/w_600,h_600/a.jpg 600w, /a.jpg 2x, /b.jpg"
    assert parse_srcset(text) == [
        ("https://c.test/w_300,h_300/a.jpg", 300),
        ("https://c.test/w_600,h_600/a.jpg", 600),
        ("/a.jpg", 200),
        ("/b.jpg", 100),
    ]
