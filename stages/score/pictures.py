"""The pictures that are scored, as arrays: RGB, [height, width, 3] of uint8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.common.errors import UserError

Picture = NDArray[np.uint8]


def load_picture(path: Path) -> Picture:
    """RGB, [height, width, 3] of uint8. Raises UserError where the file is missing or no picture."""
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else 'not a picture'}"
        ) from None
