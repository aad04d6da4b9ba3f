"""Pictures of every kind that a shop may serve come out upright, 8-bit and sRGB, or with one reason why not."""

from __future__ import annotations

import io
import resource

import numpy as np
import pytest
from PIL import Image, ImageCms

from stages.common.images import Cell, UnreadableImage, box_on_square, contact_sheet, decode, read_header, square
from tests.hostile_shop import huge_png
from tests.shop_server import picture


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Colours near the corners: top left, top right, bottom left, bottom right."""
    w, h = image.size
    return [image.getpixel(xy) for xy in ((3, 3), (w - 4, 3), (3, h - 4), (w - 4, h - 4))]  # type: ignore[misc]


def four_colours(width: int = 60, height: int = 40) -> Image.Image:
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    image.paste((0, 0, 255), (0, height // 2, width // 2, height))
    image.paste((255, 255, 0), (width // 2, height // 2, width, height))
    return image


def close(a: object, b: object, most: int = 12) -> bool:
    return bool(np.abs(np.array(a, int) - np.array(b, int)).max() <= most)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation: int) -> None:
    stored = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # the transpose that EXIF will undo
    image = four_colours()
    turned = image if stored is None else image.transpose(Image.Transpose(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(turned, "JPEG", exif=exif, quality=95, subsampling=0)
    assert read_header(content).exif_orientation == orientation
    assert close(corners(decode(content, 10)), corners(image), 20)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_common_formats(kind: str) -> None:
    content = encoded(four_colours(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert close(corners(decode(content, 10)), corners(four_colours()), 2)


def test_cmyk_becomes_rgb() -> None:
    content = encoded(four_colours().convert("CMYK"), "JPEG", quality=95)
    assert close(corners(decode(content, 10)), corners(four_colours()), 20)


def test_16_bit_grey_keeps_its_tones() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None, :].repeat(8, axis=0)
    found = np.asarray(decode(encoded(Image.fromarray(ramp), "PNG"), 10))[0, :, 0]
    assert close(found, np.arange(256), 1)


def test_transparency_lies_on_white_also_in_a_palette() -> None:
    clear = four_colours().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    assert close(corners(decode(encoded(clear, "PNG"), 10)), [(255, 255, 255)] * 4, 0)
    palette = four_colours().convert("P", palette=Image.Palette.ADAPTIVE)
    content = encoded(palette, "PNG", transparency=palette.getpixel((3, 3)))
    assert corners(decode(content, 10))[0] == (255, 255, 255)


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert close(decode(content, 10).getpixel((5, 5)), (250, 0, 0), 4)


def test_an_icc_profile_is_applied() -> None:
    """A profile whose red and blue primaries are exchanged makes red what is stored as blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")).replace(b"sRGB", b"test")
    content = encoded(Image.new("RGB", (10, 10), (10, 20, 240)), "PNG", icc_profile=swapped)
    assert close(decode(content, 10).getpixel((1, 1)), (240, 20, 10), 12)


def test_a_broken_or_unfitting_icc_profile_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey = Image.new("RGB", (10, 10), (120, 130, 140))
    for profile in (lab, b"nonsense"):
        assert decode(encoded(grey, "PNG", icc_profile=profile), 10).getpixel((1, 1)) == (120, 130, 140)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html></html>", "HTML, not a picture"),
        (b"\xef\xbb\xbf\n <html>", "HTML, not a picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG, not a photograph"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture of a known format"),
        (b"\x00" * 1000, "not a picture of a known format"),
        (picture(1)[:3000], "truncated file"),
        (picture(1, kind="PNG")[:3000], "truncated file"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        decode(content, 10)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    content, before = huge_png(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableImage, match="100 megapixels, more than 50"):
        decode(content, 50)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_random_damage_never_raises_anything_else() -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        content = bytearray(picture(number, 60, 60, ("JPEG", "PNG", "WEBP", "GIF")[number % 4]))
        for place in rng.integers(0, len(content), 12):
            content[place] = int(rng.integers(256))
        try:
            assert decode(bytes(content), 1).mode == "RGB"
        except UnreadableImage as error:
            told = str(error)
            assert "\n" not in told  # noqa: PT017


def test_the_square_holds_the_whole_picture_and_clear_margins() -> None:
    canvas, place = square(four_colours(60, 40), 64)
    alpha = np.asarray(canvas)[..., 3]
    assert canvas.size == (64, 64)
    assert set(np.unique(alpha)) == {0, 255}
    assert (alpha[:, 0] == 255).sum() == 43
    assert (alpha[0] == 255).sum() == 0
    assert close(canvas.getpixel((2, 32 - 18)), (255, 0, 0, 255))
    assert close(canvas.getpixel((61, 32 + 18)), (255, 255, 0, 255))
    assert box_on_square((0, 0, 60, 40), place) == pytest.approx([0, 10, 64, 52.67], abs=0.5)


def test_a_contact_sheet_shows_every_cell() -> None:
    sheet = contact_sheet(
        [("kept", [Cell(four_colours(), "a", [(0, 0, 30, 20)])] * 3), ("dropped", [Cell(None, "b")])], cell=50
    )
    assert sheet.width > 3 * 50
    assert sheet.height > 2 * 50
