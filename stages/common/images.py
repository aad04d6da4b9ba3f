"""Pictures of unknown origin: decoding them safely, putting them on a square, and contact sheets to look at them.

A shop's files are whatever its staff uploaded: CMYK, 16-bit, palettes, animations, rotated phone pictures, wide-gamut
profiles; and what a server calls a picture may be a web page, half a file or a bomb. `decode` gives one upright 8-bit
sRGB picture, or raises `UnreadableImage` with one reason.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms, ImageDraw, ImageFont

Image.MAX_IMAGE_PIXELS = None  # `decode` has its own limit, checked before any pixel is decoded
FORMATS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "AVIF": "avif",
    "TIFF": "tif",
    "BMP": "bmp",
}
"""What is decoded, with the file extension. Formats that run programs or load files (EPS, SVG) are not among them."""
EXIF_ORIENTATION = 0x0112


class UnreadableImage(Exception):
    """A file that is not used as a picture, and the reason."""


@dataclass(frozen=True)
class Header:
    """What a picture file says of itself, read without decoding a pixel."""

    extension: str
    width: int
    height: int
    mode: str
    exif_orientation: int


def read_header(content: bytes) -> Header:
    """Read a file's header. Raises UnreadableImage where it is no picture of a known format."""
    with _open(content) as image:
        return Header(FORMATS[image.format or ""], image.width, image.height, image.mode, _orientation(image))


def decode(content: bytes, max_megapixels: float) -> Image.Image:
    """One upright 8-bit sRGB picture (mode RGB; transparency on white; an animation's first frame).

    Raises UnreadableImage: no picture, too large, truncated or damaged.
    """
    with _open(content) as image:
        megapixels = image.width * image.height / 1e6
        if megapixels > max_megapixels:
            raise UnreadableImage(f"{megapixels:.0f} megapixels, more than {max_megapixels:g}")
        orientation = _orientation(image)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image.load()
                plain = _to_srgb(image)
        except Exception as error:  # decoders raise many kinds for damaged files
            reason = "truncated file" if "truncated" in str(error).lower() else f"damaged file ({_one_line(error)})"
            raise UnreadableImage(reason) from None
        return _upright(plain, orientation)


def _open(content: bytes) -> Image.Image:
    if not content:
        raise UnreadableImage("empty file")
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<(!doctype|html|head|body|\?xml|svg|!--|script)", start):
        raise UnreadableImage("SVG, not a photograph" if b"<svg" in start else "HTML, not a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name != "MPO"])
    except Exception:  # decoders raise many kinds for what they cannot read
        raise UnreadableImage("not a picture of a known format") from None


def _orientation(image: Image.Image) -> int:
    try:
        value = int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # damaged EXIF is common and harmless
        return 1
    return value if 1 <= value <= 8 else 1


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else image


def _to_srgb(image: Image.Image) -> Image.Image:
    """Mode RGB in sRGB: depths, palettes, profiles and transparency resolved."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("1", "PA", "La", "RGBa", "RGBX", "HSV", "YCbCr"):
        image = image.convert({"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(image.mode, "RGB"))
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    if alpha is not None:
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    converted = _through_profile(image, profile)
    if alpha is not None:
        white = Image.new("RGB", converted.size, (255, 255, 255))
        white.paste(converted, mask=alpha)
        converted = white
    return converted


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or floating point, as 8 bits over the format's range."""
    values = np.asarray(image).astype(np.float64)
    top = (
        1.0 if image.mode == "F" and values.max(initial=0) <= 1 else 255.0 if values.max(initial=0) <= 255 else 65535.0
    )
    if image.mode.startswith("I;16"):
        top = 65535.0
    return Image.fromarray(np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8))


def _through_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert by the embedded ICC profile; a damaged or unfitting one is ignored."""
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                done = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                return cast(Image.Image, done)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__


# --- Squares ---------------------------------------------------------------------------------------------------------


def square(image: Image.Image, side: int) -> tuple[Image.Image, tuple[float, float, float]]:
    """The whole picture, scaled to fit and centred on a transparent square; never cropped.

    Returns the RGBA square, alpha exactly 255 on the picture and 0 in the margins, and (scale, left, top), with which
    a point (x, y) of the picture lies at (left + scale * x, top + scale * y). Margins repeat no colour: they are black.
    """
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    canvas = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    canvas.paste(small.convert("RGBA"), (left, top))
    return canvas, (scale, float(left), float(top))


def box_on_square(box: Sequence[float], place: tuple[float, float, float]) -> list[float]:
    """A box (x0, y0, x1, y1) in pixels of the picture, in pixels of the square that `square` made of it."""
    scale, left, top = place
    return [round(v * scale + (left if i % 2 == 0 else top), 2) for i, v in enumerate(box)]


# --- Contact sheets --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One picture of a contact sheet, with a line below it and boxes (x0, y0, x1, y1) in pixels of the picture."""

    image: Image.Image | None
    label: str = ""
    boxes: Sequence[Sequence[float]] = ()
    colour: tuple[int, int, int] = (200, 200, 200)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Cell]]], cell: int = 96, columns: int | None = None, nearest: bool = False
) -> Image.Image:
    """A sheet of pictures: each row has a title on its left, its cells follow and wrap at `columns`.

    cell: pixels, side of a picture's square. nearest: enlarge small pictures without smoothing.
    """
    font = ImageFont.load_default(size=11)
    columns = columns or max((len(cells) for _, cells in rows), default=1)
    columns = max(columns, 1)
    label_height = 14 if any(c.label for _, cells in rows for c in cells) else 0
    style, gutter, step = _Style(cell, nearest, font, label_height), 4, cell + label_height + 4
    margin = 12 + max((int(font.getlength(title)) for title, _ in rows), default=0)
    lines = [max(1, math.ceil(len(cells) / columns)) for _, cells in rows]
    sheet = Image.new("RGB", (margin + columns * (cell + gutter) + 4, max(1, sum(lines)) * step + 8), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    y = 4
    for (title, cells), height in zip(rows, lines, strict=True):
        pen.text((4, y + 2), title, fill=(0, 0, 0), font=font)
        for index, entry in enumerate(cells):
            left, top = margin + index % columns * (cell + gutter), y + index // columns * step
            _paint_cell(sheet, pen, entry, (left, top), style)
        y += height * step
    return sheet


@dataclass(frozen=True)
class _Style:
    """How a sheet's cells look: pixels of a square's side, whether it is enlarged without smoothing, its lettering."""

    cell: int
    nearest: bool
    font: Any
    label_height: int


def _paint_cell(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, entry: Cell, corner: tuple[int, int], style: _Style
) -> None:
    (left, top), cell = corner, style.cell
    pen.rectangle((left - 1, top - 1, left + cell, top + cell), outline=entry.colour)
    if entry.image is None:
        pen.line((left, top, left + cell - 1, top + cell - 1), fill=entry.colour)
        pen.line((left, top + cell - 1, left + cell - 1, top), fill=entry.colour)
    else:
        scale = cell / max(entry.image.size)
        size = (max(1, round(entry.image.width * scale)), max(1, round(entry.image.height * scale)))
        how = Image.Resampling.NEAREST if style.nearest else Image.Resampling.LANCZOS
        x, y = left + (cell - size[0]) // 2, top + (cell - size[1]) // 2
        sheet.paste(entry.image.convert("RGB").resize(size, how), (x, y))
        for x0, y0, x1, y1 in entry.boxes:
            pen.rectangle((x + x0 * scale, y + y0 * scale, x + x1 * scale, y + y1 * scale), outline=(0, 220, 90))
    if style.label_height and entry.label:
        text = entry.label
        while text and style.font.getlength(text) > cell:
            text = text[:-1]
        pen.text((left, top + cell), text, fill=(70, 70, 70), font=style.font)
