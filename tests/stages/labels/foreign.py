"""Files as labelling tools and people leave them, and what an import of each must come to.

Pictures A and B are 200 x 100; C is stored 200 x 100 and 100 x 200 upright. BOX is a logo in A.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

A, B, C = (hashlib.sha256(text).hexdigest() for text in (b"a", b"b", b"c"))
BOX = [80.0, 40.0, 120.0, 60.0]
LINE = "0 0.5 0.5 0.2 0.2\n"

Rows = dict[str, list[list[float]]]


@dataclass(frozen=True)
class Foreign:
    """A case: its files (one called "" is the file itself), options, the rows that it comes to or what is told."""

    name: str
    format_: str
    files: dict[str, bytes]
    rows: Rows | None = None
    told: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    leave_out: bool = False
    said: tuple[str, ...] = field(default=())


CASES: list[Foreign] = []


def yolo(name: str, files: dict[str, str | bytes], rows: Rows | None = None, *told: str, **options: Any) -> None:
    content = {k: v.encode() if isinstance(v, str) else v for k, v in files.items()}
    CASES.append(Foreign(name, "yolo", content, rows, told, **options))


def one(format_: str, name: str, content: Any, rows: Rows | None = None, *told: str, **options: Any) -> None:
    """One file: bytes and text as they are, else as JSON."""
    text = content if isinstance(content, (bytes, str)) else json.dumps(content)
    raw = text.encode() if isinstance(text, str) else text
    CASES.append(Foreign(name, format_, {"": raw}, rows, told, **options))


TXT = f"{A}.txt"
GOOD: Rows = {A: [BOX]}

# --- YOLO -------------------------------------------------------------------------------------------------------------
yolo("plain", {TXT: LINE}, GOOD)
yolo("an empty file is a negative", {TXT: ""}, {A: []})
yolo("blank lines, CRLF, tabs", {TXT: "\r\n0\t0.5\t0.5\t0.2\t0.2  \r\n\r\n"}, GOOD)
yolo("byte order mark", {TXT: b"\xef\xbb\xbf" + LINE.encode()}, GOOD)
yolo("UTF-16", {TXT: LINE.encode("utf-16")}, GOOD)
yolo("UTF-16 big end first, no mark", {TXT: LINE.encode("utf-16-be")}, GOOD)
yolo("UTF-32", {TXT: LINE.encode("utf-32")}, GOOD)
yolo("a picture under a text file's name", {TXT: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff"}, None, TXT)
yolo("names in Windows-1252", {TXT: LINE, "classes.txt": "Zeichen-\xfc\n".encode("cp1252")}, GOOD)
yolo("commas between columns", {TXT: "0, 0.5, 0.5, 0.2, 0.2\n"}, GOOD)
yolo("commas for points", {TXT: "0 0,5 0,5 0,2 0,2\n"}, GOOD)
yolo("semicolons, commas for points", {TXT: "0;0,5;0,5;0,2;0,2\n"}, GOOD)
yolo("commas for both", {TXT: "0,0,5,0,5,0,2,0,2\n"}, None, f"{TXT}:1")
yolo("a sixth column", {TXT: "0 0.5 0.5 0.2 0.2 0.93\n"}, None, f"{TXT}:1", "6 columns")
yolo("too few columns", {TXT: LINE + "0 0.5 0.5 0.2\n"}, None, f"{TXT}:2")
yolo("a header line", {TXT: "class cx cy w h\n" + LINE}, None, f"{TXT}:1")
yolo("nan", {TXT: "0 nan 0.5 0.2 0.2\n"}, None, f"{TXT}:1")
yolo("pixels", {TXT: "0 100 50 40 20\n"}, None, f"{TXT}:1", "pixels")
yolo("polygon", {TXT: "0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6 0.5 0.5\n"}, GOOD)
yolo("four corners", {TXT: "0 0.4 0.4 0.6 0.4 0.6 0.6 0.4 0.6\n"}, GOOD)
yolo(
    "keypoints",
    {TXT: "0 0.5 0.5 0.2 0.2 0.45 0.45 0.55 0.55\n", "data.yaml": "names: [logo]\nkpt_shape: [2, 2]\n"},
    GOOD,
)
yolo("readmes and lists of names", {TXT: LINE, "README.roboflow.txt": "hi\n", "labels.txt": "logo\n"}, GOOD)
yolo("a list of pictures", {TXT: LINE, "train.txt": f"images/{A}.png\n"}, GOOD)
yolo("a label of no picture", {TXT: LINE, "holiday.txt": LINE}, None, "holiday.txt", "no picture of the shop")
yolo("a label of no picture, left out", {TXT: LINE, "holiday.txt": LINE}, GOOD, leave_out=True, said=("holiday",))
yolo("a negative of no picture of the shop", {TXT: LINE, f"{'f' * 64}.txt": ""}, None, "f" * 64)
TWO = {TXT: LINE + "1 0.25 0.5 0.4 0.9\n"}
yolo("two classes without names", TWO, None, "0 (1 drawn), 1 (1 drawn)", "--label")
yolo("two classes without names, asked for by number", TWO, GOOD, labels=("0",))
yolo("two classes", TWO | {"classes.txt": "logo\nperson\n"}, None, "logo (1 drawn), person (1 drawn)", "--label")
yolo("two classes, asked for", TWO | {"classes.txt": "logo\nperson\n"}, GOOD, labels=("Logo",))
yolo("two classes, a third is asked for", TWO | {"classes.txt": "logo\nperson\n"}, None, "person", labels=("hat",))
yolo("one class is drawn, two are there", {TXT: LINE, "data.yaml": "names: [person, logo]\n"}, None, "--label")
yolo("one class, not the first, no names", {TXT: "1" + LINE[1:]}, None, "--label 1")
yolo("a class that has no name", {TXT: "7" + LINE[1:], "classes.txt": "logo\n"}, None, f"{TXT}:1", "class 7")
yolo("a class that is a word", {TXT: "logo" + LINE[1:]}, None, f"{TXT}:1", "logo")
yolo("names by number", {TXT: LINE, "data.yaml": "nc: 1\nnames:\n  0: logo\n"}, GOOD)
yolo("lists of names that differ", {TXT: LINE, "classes.txt": "a\n", "data.yaml": "names: [b]\n"}, None, "differ")
yolo("names without an end", {TXT: LINE, "data.yaml": "names: &a\n- *a\n"}, None, "data.yaml")
yolo("data.yaml that is none", {TXT: LINE, "data.yaml": "names: [a\n"}, None, "data.yaml")
PERSON = {TXT: LINE, f"{B}.txt": "1 0.25 0.5 0.4 0.9\n", "classes.txt": "logo\nperson\n"}
yolo("only another class is no negative", PERSON, GOOD, labels=("logo",), said=("other classes", B))
yolo("train and val, one empty", {f"train/{TXT}": LINE, f"val/{TXT}": ""}, GOOD, said=("twice",))
yolo("train and val, the first empty", {f"a/{TXT}": "", f"b/{TXT}": LINE}, GOOD)
yolo("train and val, the same", {f"a/{TXT}": LINE, f"b/{TXT}": LINE}, GOOD)
yolo("train and val, other boxes", {f"a/{TXT}": LINE, f"b/{TXT}": "0 .2 .2 .1 .1"}, None, A, f"a/{TXT}", f"b/{TXT}")
yolo("an upper-case suffix", {TXT.replace("txt", "TXT"): LINE}, GOOD)
yolo("macOS's shadows", {TXT: LINE, f"._{TXT}": b"\0\5\26\7", f".ipynb_checkpoints/{TXT}": ""}, GOOD, said=("hidden",))
yolo("another tool's file", {TXT: LINE, "boxes.json": "{}"}, GOOD, said=("another format", "boxes.json"))
yolo("no file at all", {"notes.md": "x"}, None, "no labelled picture")

# --- COCO -------------------------------------------------------------------------------------------------------------
IMAGE = {"id": 1, "file_name": f"{A}.png", "width": 200, "height": 100}
MARK = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [80, 40, 40, 20], "iscrowd": 0}
LOGO, OTHER = {"id": 1, "name": "logo"}, {"id": 2, "name": "person"}
COCO: dict[str, Any] = {"images": [IMAGE], "annotations": [MARK], "categories": [LOGO]}


def coco(name: str, changes: dict[str, Any], rows: Rows | None = None, *told: str, **options: Any) -> None:
    one("coco", name, COCO | changes, rows, *told, **options)


def mark(**changes: Any) -> dict[str, Any]:
    return {"annotations": [MARK | changes]}


RUNS = [80 * 100 + 40] + [20, 80] * 39 + [20, 40 + 80 * 100]
coco("plain", {}, GOOD)
coco("no annotation is a negative", {"annotations": []}, {A: []})
coco("annotations: null", {"annotations": None}, None, "annotations")
one("coco", "annotations missing", {"images": [IMAGE], "categories": [LOGO]}, None, "annotations must be a list")
coco("annotations of no object", {"annotations": [3]}, None, "annotations")
coco("images by name", {"images": {"1": IMAGE}}, None, "images")
one("coco", "a list of results", [MARK], None, "must be an object")
one("coco", "null", "null", None, "images")
one("coco", "byte order mark", b"\xef\xbb\xbf" + json.dumps(COCO).encode(), GOOD)
one("coco", "UTF-16", json.dumps(COCO).encode("utf-16"), GOOD)
one("coco", "half a file", json.dumps(COCO, indent=1)[:-40], None, "line ")
one("coco", "a key twice", json.dumps(COCO)[:-1] + ', "annotations": []}', None, "twice")
one("coco", "nested without an end", "[" * 100_000, None, "no JSON")
one("coco", "an archive", b"PK\x03\x04abc", None, "zip", "unpack")
coco("ids as text", mark(image_id="1"), GOOD)
coco("an annotation of no image", mark(image_id=9), None, "annotation 5", "no image")
coco("an unknown class", mark(category_id=9), None, "annotation 5", "class")
coco("two classes", {"categories": [LOGO, OTHER]}, None, "logo (1 drawn), person (0 drawn)")
coco("two classes, asked for", {"categories": [LOGO, OTHER]}, GOOD, labels=("logo",))
coco("Roboflow's class of all", {"categories": [LOGO | {"supercategory": "p"}, {"id": 0, "name": "p"}]}, GOOD)
coco("a crowd", mark(iscrowd=1), None, "annotation 5", "crowd")
coco(
    "a crowd, left out",
    {
        "images": [IMAGE, IMAGE | {"id": 2, "file_name": f"{B}.png"}],
        "annotations": [MARK, MARK | {"id": 6, "image_id": 2, "iscrowd": 1}],
    },
    GOOD,
    leave_out=True,
    said=("crowd",),
)
coco("polygon and no box", mark(bbox=None, segmentation=[[80, 40, 120, 40, 120, 60, 80, 60]]), GOOD)
coco("polygon and a box of zeros", mark(bbox=[0, 0, 0, 0], segmentation=[[80, 40, 120, 40, 120, 60]]), GOOD)
coco("mask and no box", mark(bbox=[], segmentation={"size": [100, 200], "counts": RUNS}), GOOD)
TEXT = "P51h20WO0eN0;0TO060N0R10nN0d10lN0;0UO0[10a20`L0R10SO060S9"  # by pycocotools, whose box is 5, 4, 25, 25
coco("mask as text", mark(bbox=[], segmentation={"size": [30, 40], "counts": TEXT}), {A: [[5, 4, 30, 29]]})
coco("a mask that is none", mark(bbox=[], segmentation={"size": [100, 200], "counts": "!!"}), None, "annotation 5")
coco("neither", mark(bbox=None), None, "annotation 5")
coco("five numbers", mark(bbox=[100, 50, 40, 20, 0.3]), None, "annotation 5")
coco("a turned box of CVAT's", mark(bbox=[90, 30, 20, 40], attributes={"rotation": 90.0}), GOOD)
coco("numbers that are text", mark(bbox=["80", "40", "40", "20"]), GOOD)
coco("a number of 400 digits", mark(bbox=[10**400, 1, 1, 1]), None, "annotation 5")
coco("corners for sizes", mark(bbox=[80, 40, 120, 160]), None, "leaves the picture")
coco("an image twice by id", {"images": [IMAGE, IMAGE]}, None, "twice")
coco("an image twice by name", {"images": [IMAGE, IMAGE | {"id": 2}]}, GOOD)
coco("an image of no size", {"images": [IMAGE | {"width": "wide"}]}, None, "image 1", "size")
coco("a picture of nobody", {"images": [IMAGE, {"id": 2, "file_name": "x.png"}]}, None, "x.png")
coco("a name of several lines", {"images": [IMAGE | {"file_name": "a\nb\ud800.png"}]}, None, "no picture of the shop")
coco("stored orientation", {"images": [IMAGE | {"file_name": f"{C}.jpg"}]}, None, "orientation")

# --- Label Studio -----------------------------------------------------------------------------------------------------
VALUE = {"x": 40, "y": 40, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["logo"]}
SIDES = {"original_width": 200, "original_height": 100}
RESULT = {"id": "r", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "value": VALUE, **SIDES}
DATA = {"image": f"/data/upload/1/ab12cd34-{A}.png"}


def studio(name: str, results: Any, rows: Rows | None = None, *told: str, **options: Any) -> None:
    data = options.pop("data", DATA)
    task = {"id": 3, "data": data, "annotations": [{"id": 1, "result": results}]}
    one("label-studio", name, [task], rows, *told, **options)


def tasks(name: str, content: Any, rows: Rows | None = None, *told: str, **options: Any) -> None:
    one("label-studio", name, content, rows, *told, **options)


def shape(kind: str, **value: Any) -> dict[str, Any]:
    return RESULT | {"type": kind, "value": value}


studio("plain", [RESULT], GOOD)
studio("finished without a box", [], {A: []})
studio("several fields", [RESULT], GOOD, data={"sku": "A-1", "image": f"{A}.png"})
studio("a field of another name", [RESULT], GOOD, data={"sku": "A-1", "photo": f"s3://b/{A}.png"})
studio("local files", [RESULT], GOOD, data={"image": f"/data/local-files/?d=shop/{A}.png"})
studio("a signature behind it", [RESULT], GOOD, data={"image": f"https://h/{A}.png?sig={B}"})
studio("the sku names another picture", [RESULT], GOOD, data={"sku": B, "image": f"{A}.png"})
studio("two pictures, the box on one", [RESULT], GOOD, data={"image": f"{A}.png", "image2": f"{B}.png"})
studio("two pictures, on neither", [RESULT | {"to_name": "x"}], None, "task 3", data={"a": A, "b": B})
studio("several pictures in a field", [RESULT], None, "several pictures", data={"image": [f"{A}.png", f"{B}.png"]})
studio("a field without a picture", [RESULT], None, "no picture of the shop", data={"image": "x.png"})
studio("no data", [RESULT], None, "task 3", data={})
CORNERS = [[40, 40], [60, 40], [60, 60], [40, 60]]
studio("polygon", [shape("polygonlabels", points=CORNERS, polygonlabels=["logo"])], GOOD)
studio("ellipse", [shape("ellipselabels", x=50, y=50, radiusX=10, radiusY=10, ellipselabels=["logo"])], GOOD)
studio("turned", [shape("rectanglelabels", **VALUE | {"x": 60, "width": 10, "height": 40, "rotation": 90})], GOOD)
studio("mask", [shape("brushlabels", format="rle", rle=[0], brushlabels=["logo"])], None, "task 3", "brushlabels")
studio("point", [shape("keypointlabels", x=50, y=50, width=1, keypointlabels=["logo"])], None, "keypointlabels")
studio("mask beside a box", [RESULT, shape("brushlabels", brushlabels=["logo"]) | {"id": "s"}], None, "brushlabels")
studio("an unknown shape", [shape("blob", x=1)], None, "blob")
CHOICE = {"id": "c", "type": "choices", "to_name": "image", "value": {"choices": ["logo seen"]}}
studio("a choice and no box", [CHOICE], None, "logo seen")
studio("a choice and a box", [RESULT, CHOICE], GOOD)
studio(
    "shape and labels apart",
    [
        shape("rectangle", **{k: v for k, v in VALUE.items() if k != "rectanglelabels"}),
        shape("labels", **VALUE | {"labels": ["logo"]}),
    ],
    GOOD,
)
studio(
    "two classes",
    [RESULT, shape("rectanglelabels", **VALUE | {"rectanglelabels": ["hat"]}) | {"id": "s"}],
    None,
    "hat (1 drawn)",
    "logo (1 drawn)",
)
studio(
    "a box with two classes",
    [shape("rectanglelabels", **VALUE | {"rectanglelabels": ["logo", "hat"]})],
    GOOD,
    labels=("logo",),
)
studio("a box without numbers", [shape("rectanglelabels", **VALUE | {"x": None})], None, "task 3")
studio("the view was turned", [RESULT | {"image_rotation": 90}], None, "turned by 90")
studio("result: null", None, None, "result")
tasks("JSON_MIN", [{"id": 3, "image": f"{A}.png", "label": [VALUE | SIDES]}], None, "JSON_MIN")
tasks("completions", [{"id": 3, "data": DATA, "completions": [{"result": [RESULT]}]}], GOOD)
tasks("annotations: null", [{"id": 3, "data": DATA, "annotations": None}], None, "annotations")
tasks("annotations by number", [{"id": 3, "data": DATA, "annotations": [7]}], None, "annotations")
tasks("an object", {"id": 3, "data": DATA}, None, "list of tasks")
tasks("nobody has looked", [{"id": 3, "data": DATA, "annotations": []}], None, "nobody has finished")
tasks(
    "a machine has looked",
    [{"id": 3, "data": DATA, "annotations": [], "predictions": [{"result": [RESULT]}]}],
    None,
    "nobody has finished",
)
FULL, EMPTY = {"id": 1, "result": [RESULT]}, {"id": 2, "result": []}
AWAY = {"id": 2, "result": [shape("rectanglelabels", **VALUE | {"x": 0})]}
tasks("two people, one drew nothing", [{"id": 3, "data": DATA, "annotations": [FULL, EMPTY]}], GOOD)
tasks("two people, other boxes", [{"id": 3, "data": DATA, "annotations": [FULL, AWAY]}], None, "twice with other boxes")
tasks(
    "two people, one is the truth",
    [{"id": 3, "data": DATA, "annotations": [FULL | {"ground_truth": True}, AWAY]}],
    GOOD,
)
tasks("skipped", [{"id": 3, "data": DATA, "annotations": [EMPTY | {"was_cancelled": True}]}], None, "nobody")

# --- CVAT -------------------------------------------------------------------------------------------------------------
META = "<meta><task><labels><label><name>{}</name></label></labels></task></meta>"


def cvat(name: str, inner: str, rows: Rows | None = None, *told: str, **options: Any) -> None:
    head = options.pop("head", "")
    image = f'<image id="0" name="front/{A}.png" width="200" height="100">\n{inner}\n</image>'
    one("cvat", name, f"<annotations>{head}\n{image}</annotations>", rows, *told, **options)


DRAWN = '<box label="logo" xtl="80" ytl="40" xbr="120" ybr="60"><attribute name="a">b</attribute></box>'
cvat("plain", DRAWN, GOOD)
cvat("nothing drawn", "<!-- seen -->", {A: []})
cvat("polygon", '<polygon label="logo" points="80,40;120,40;120,60;80,60"/>', GOOD)
cvat("polyline", '<polyline label="logo" points="80,40;120,40;120,60;80,60"/>', GOOD)
cvat("ellipse", '<ellipse label="logo" cx="100" cy="50" rx="20" ry="10"/>', GOOD)
cvat("mask", '<mask label="logo" rle="1" left="80" top="40" width="40" height="20"/>', GOOD)
cvat("turned", '<box label="logo" xtl="90" ytl="30" xbr="110" ybr="70" rotation="90"/>', GOOD)
cvat(
    "turned over the edge",
    '<box label="logo" xtl="0" ytl="40" xbr="20" ybr="60" rotation="45"/>',
    {A: [[0, 35.86, 24.14, 64.14]]},
)
cvat("point", '<points label="logo" points="80,40"/>', None, "file:3", "<points>")
cvat("skeleton", '<skeleton label="logo"><points label="1" points="80,40"/></skeleton>', None, "<skeleton>")
cvat("an unknown shape", '<blob label="logo"/>', None, "<blob>")
cvat("a tag", '<tag label="logo"/>', None, "<tag>")
cvat("a tag and a box", f'<tag label="logo"/>{DRAWN}', GOOD)
cvat("a box without numbers", '<box label="logo" xtl="80" ytl="forty" xbr="120" ybr="60"/>', None, "file:3")
cvat("two classes", DRAWN + DRAWN.replace("logo", "hat"), None, "hat (1 drawn)", "--label")
cvat("two classes, one drawn", DRAWN, None, "--label", head=META.format("logo") + META.format("hat"))
cvat("two classes, asked for", DRAWN, GOOD, head=META.format("logo") + META.format("hat"), labels=("logo",))
one("cvat", "a video", '<annotations><track label="logo"><box frame="0"/></track></annotations>', None, "video")
one("cvat", "VOC's", "<annotation/>", None, "<annotation>")
one("cvat", "no XML", "hello", None, "no XML")
ROOT = f'<annotations><image id="0" name="{A}.png" width="200" height="100">{DRAWN}</image></annotations>'
one("cvat", "UTF-16 that calls itself UTF-8", f'<?xml version="1.0" encoding="utf-8"?>{ROOT}'.encode("utf-16"), GOOD)
one("cvat", "byte order mark", b"\xef\xbb\xbf" + f'<?xml version="1.0" encoding="utf-8"?>{ROOT}'.encode(), GOOD)
one("cvat", "an image twice", ROOT.replace("</image>", f'</image><image id="1" name="{A}.png"/>'), GOOD)
one(
    "cvat",
    "an image twice, other boxes",
    ROOT.replace("</image>", f'</image><image id="1" name="{A}.png">{DRAWN}</image>').replace(
        'xtl="80"', 'xtl="10"', 1
    ),
    None,
    "twice with other boxes",
)

# --- Pascal VOC -------------------------------------------------------------------------------------------------------


def voc(name: str, inner: str, rows: Rows | None = None, *told: str, **options: Any) -> None:
    filename = options.pop("filename", f"{A}.png")
    size = "<size><width>200</width><height>100</height></size>"
    text = f"<annotation><filename>{filename}</filename>\n{size}\n{inner}</annotation>"
    files = {f"{options.pop('stem', A)}.xml": text.encode()} | options.pop("more", {})
    CASES.append(Foreign(name, "voc", files, rows, told, **options))


THING = (
    "<object><name>logo</name><bndbox><xmin>80</xmin><ymin>40</ymin><xmax>120</xmax><ymax>60</ymax></bndbox></object>"
)
voc("plain", THING, GOOD)
voc("nothing drawn", "", {A: []})
voc("a file that was renamed", THING, GOOD, filename="IMG_1.png")
voc("another picture's name", THING, None, "another picture", filename=f"{B}.png")
voc(
    "polygon",
    "<object><name>logo</name><polygon><x1>80</x1><y1>40</y1><x2>120</x2><y2>40</y2><x3>120</x3><y3>60</y3>"
    "</polygon></object>",
    GOOD,
)
voc("turned", "<object><name>logo</name><robndbox><cx>1</cx></robndbox></object>", None, "<robndbox>", f"{A}.xml:3")
voc("two classes", THING + THING.replace("logo", "hat"), None, "hat (1 drawn)")
voc("a foreign XML", THING, None, "<project>", more={"x.xml": b"<project/>"})
voc(
    "twice, once without an object",
    THING,
    GOOD,
    more={f"val/{A}.xml": f"<annotation><filename>{A}.png</filename></annotation>".encode()},
)
