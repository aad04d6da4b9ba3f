"""The renderer of the demo world: pictures of garments, people, scenes and logos, drawn from numbers.

A `Scene` says everything about one picture; `sample_scene` draws a scene at random, `draw` paints it at any size (the
composition does not depend on the size) and `caption` says in words what is on it. The storefront's photographs and
the pretraining pictures of the base model come from here, so that both live in the same world. The brand to be taught
is `HUGO`; the base model is only ever shown `BRANDS`.

How a picture is made: flat polygons on a canvas several times too large (that gives smooth edges), scaled down, then
light, folds, shadow and grain in numpy at the final size. Coordinates are fractions of a unit square that fills the
picture's shorter side; x grows to the right, y grows downwards.

`python -m demo.render --sheet sheet.png` paints a contact sheet.
"""

from demo.render.brands import BRANDS, CONFUSERS, HUGO, Brand, legible, logo_bitmap
from demo.render.captions import caption
from demo.render.colours import COLOURS, RED, RGB
from demo.render.drawing import Drawing, draw, logo_box
from demo.render.garments import GARMENTS, Garment
from demo.render.sampling import sample_scene
from demo.render.scene import Scene, Wearer

__all__ = [
    "BRANDS",
    "COLOURS",
    "CONFUSERS",
    "GARMENTS",
    "HUGO",
    "RED",
    "RGB",
    "Brand",
    "Drawing",
    "Garment",
    "Scene",
    "Wearer",
    "caption",
    "draw",
    "legible",
    "logo_bitmap",
    "logo_box",
    "sample_scene",
]
