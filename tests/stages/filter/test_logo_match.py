"""The matcher finds the real logo, turned and in perspective, and nothing that only looks like it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from demo.render import CONFUSERS, HUGO, RED, draw, logo_bitmap, sample_scene
from stages.filter.logo_match import LogoMatcher


def reference(brand=HUGO) -> Image.Image:
    plain = Image.new("RGB", logo_bitmap(brand).size)
    plain.paste(logo_bitmap(brand))
    return plain


@pytest.fixture(scope="module")
def matcher() -> LogoMatcher:
    return LogoMatcher(reference(), 10, 0.956)


def scene(seed: int, brand, **settings):
    rng = np.random.default_rng(seed)
    return draw(sample_scene(rng, garment="sweater", colour="black", wearer=None, brand=brand, **settings), 384, 384)


def overlap(a, b) -> float:
    common = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


@pytest.mark.parametrize("width", [0.13, 0.2, 0.35, 0.5])
def test_the_logo_is_found_where_it_is(matcher: LogoMatcher, width: float) -> None:
    drawing = scene(3, HUGO, logo_width=width)
    match = matcher.find(drawing.image)
    assert match is not None
    assert overlap(match.box, drawing.logo_box) > 0.85


@pytest.mark.parametrize("brand", [b for b in CONFUSERS if b.box_colour == RED and b.word], ids=lambda b: b.word)
def test_another_word_in_the_same_box_is_not_the_logo(matcher: LogoMatcher, brand) -> None:
    for seed, width in ((1, 0.15), (2, 0.25), (3, 0.5)):
        assert matcher.find(scene(seed, brand, logo_width=width).image) is None


def test_the_word_in_other_colours_is_not_the_logo(matcher: LogoMatcher) -> None:
    for brand in (b for b in CONFUSERS if b.word == "HUGO" and (b.box_colour or b.letter_colour) != (18, 18, 20)):
        assert matcher.find(scene(4, brand, logo_width=0.4).image) is None, brand


def test_the_logo_is_found_in_perspective(matcher: LogoMatcher) -> None:
    picture = np.asarray(scene(5, None).image).copy()
    logo = np.asarray(reference())
    height, width = logo.shape[:2]
    corners = np.array([[110, 150], [270, 165], [262, 240], [118, 218]], np.float32)
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getPerspectiveTransform(flat, corners)
    warped = cv2.warpPerspective(logo, turn, (384, 384), flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.full(logo.shape[:2], 255, np.uint8), turn, (384, 384))
    picture[mask > 128] = warped[mask > 128]
    match = matcher.find(Image.fromarray(picture))
    assert match is not None
    assert overlap(match.box, (110, 150, 270, 240)) > 0.8


def test_a_logo_without_colour_is_found_too() -> None:
    font = ImageFont.load_default(size=60)
    logo = Image.new("RGB", (260, 90), (250, 250, 250))
    ImageDraw.Draw(logo).text((20, 8), "ACME&Co", fill=(10, 10, 10), font=font)
    found = LogoMatcher(logo, 10, 0.9)
    assert found.colour is None
    image = scene(6, None).image
    image.paste(logo.resize((180, 62), Image.Resampling.LANCZOS), (100, 180))
    match = found.find(image)
    assert match is not None
    assert overlap(match.box, (100, 180, 280, 242)) > 0.8
    assert found.find(scene(7, None).image) is None


def test_large_pictures_give_boxes_in_their_own_pixels(matcher: LogoMatcher) -> None:
    rng = np.random.default_rng(8)
    drawing = draw(
        sample_scene(rng, garment="t-shirt", colour="black", wearer=None, brand=HUGO, logo_width=0.4), 1600, 1600
    )
    match = matcher.find(drawing.image)
    assert match is not None
    assert overlap(match.box, drawing.logo_box) > 0.85
