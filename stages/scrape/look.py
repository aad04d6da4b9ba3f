"""What a picture's bytes say of themselves, without a pixel decoded, so that the bytes need not stay in memory."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

from stages.common.images import Header, UnreadableImage, read_header
from stages.scrape.image_urls import is_scaled

PNG_START = 33
"""Bytes of a PNG's signature and its first chunk, which has the size."""
_NO_EXIF = struct.pack(">I", 0) + b"eXIf" + struct.pack(">I", zlib.crc32(b"eXIf"))
"""An empty chunk: Pillow decodes a whole PNG to look for EXIF behind the pixels (1.5 GB for one of 190 KB)."""
LEAST_SIDE = 200
"""Pixels of the longer side below which a picture is a thumbnail, whatever its address says: shops list products at 65
to 180."""
LEAST_SCALED_SIDE = 400
"""The same where the address says that a shop system has scaled it: the smallest pictures of stock product pages are
django-oscar's with 440, PrestaShop's with 452 and OpenCart's with 500; cards of listings have 300."""


@dataclass(frozen=True)
class Look:
    """A picture's bytes, looked at: a header, or the reason why there is none."""

    sha256: str
    size: int
    header: Header | None
    reason: str | None

    @property
    def width(self) -> int:
        """In pixels; 0 for what is no picture."""
        return self.header.width if self.header else 0


def look_at(content: bytes) -> Look:
    """Look at what came for a picture."""
    sha256 = hashlib.sha256(content).hexdigest()
    is_plain_png = content[12:16] == b"IHDR" and b"eXIf" not in content
    shown = content[:PNG_START] + _NO_EXIF + content[PNG_START:] if is_plain_png else content
    try:
        return Look(sha256, len(content), read_header(shown), None)
    except UnreadableImage as error:
        return Look(sha256, len(content), None, str(error))


def is_thumbnail(look: Look, url: str) -> bool:
    """Whether a picture is too small to be what the shop shows of its product, by its size and its address."""
    if look.header is None:
        return False
    side = max(look.header.width, look.header.height)
    return side < (LEAST_SCALED_SIDE if is_scaled(url) else LEAST_SIDE)
