"""The colours of the demo world: cloth, skin, hair, and the inks of the marks."""

from __future__ import annotations

RGB = tuple[int, int, int]


COLOURS: dict[str, RGB] = {
    "black": (27, 27, 30),
    "white": (240, 240, 237),
    "grey": (132, 135, 139),
    "blue": (38, 86, 196),
    "green": (36, 140, 68),
    "red": (178, 28, 42),
    "yellow": (241, 206, 52),
    "brown": (108, 68, 42),
    "pink": (241, 152, 184),
    "purple": (112, 56, 152),
    "orange": (237, 126, 36),
}


SKINS: tuple[RGB, ...] = (
    (246, 218, 196),
    (236, 196, 166),
    (222, 176, 138),
    (198, 146, 106),
    (166, 114, 78),
    (132, 86, 58),
    (96, 62, 44),
    (70, 46, 36),
)
HAIRS: tuple[RGB, ...] = (
    (24, 20, 20),
    (52, 34, 24),
    (92, 58, 34),
    (142, 84, 40),
    (206, 164, 92),
    (232, 206, 146),
    (150, 56, 30),
    (150, 150, 152),
)


WHITE, BLACK, RED = (250, 250, 248), (18, 18, 20), (206, 18, 34)
BLUE, GREEN, YELLOW, ORANGE = ((24, 70, 178), (20, 122, 62), (250, 208, 40), (240, 120, 24))
PURPLE, PINK, TEAL, CREAM, BROWN = ((104, 44, 146), (240, 130, 170), (16, 134, 140), (246, 234, 206), (92, 54, 30))
