"""Recipe, step 6: the detector's start, a YOLOv8n that finds any brand's logo on the renderer's pictures.

Writes demo/weights/detector/detector.safetensors (one class, half precision). From this start the brand's own detector
(stages.train_detector) converges in a few epochs on a CPU: it only has to learn which of the logos is the brand's.
HUGO is not among what is shown here, logos of all sizes are, and a quarter of the pictures have none.

Ultralytics does not resume to the same weights, so a killed run of this step starts again (minutes).

`python -m demo.detector` trains and writes; `python -m demo.detector --measure` prints what the shipped start can do.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save
from tqdm import tqdm

from demo.render import Drawing, draw, sample_scene
from demo.training import WEIGHTS, demo_params
from stages.common.boxes import Box
from stages.common.detector import Detector, load_detector, prepare
from stages.common.files import write_file
from stages.common.scratch import digest, scratch_folder
from stages.measure_detector.detection_metrics import average_precision
from stages.train_detector.training import Training, train_model

TARGET = WEIGHTS / "detector"
HELD_OUT = 1_000_000  # number of the first held-out picture


def draw_picture(seed: int, index: int, settings: dict[str, Any]) -> Drawing:
    """Picture number `index` of the training set: a quarter without a logo, the others with one of any size."""
    rng = np.random.default_rng([seed, 2, index])
    low, high = settings["logo_width"]
    if rng.random() < settings["without_logo"]:
        scene = sample_scene(rng, brand=None)
    else:
        scene = sample_scene(rng, brand="any", logo_width=(low, high))
    return draw(scene, settings["size"], settings["size"])


def logo_boxes(drawing: Drawing) -> list[Box]:
    """The logo's box in pixels, or none."""
    return [drawing.logo_box] if drawing.logo_box else []


def write_dataset(settings: dict[str, Any], seed: int, folder: Path) -> Path:
    """Draw the training set in YOLO's layout; returns its data.yaml."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    side = settings["image_size"]
    for index in tqdm(range(settings["pictures"]), "pictures", mininterval=10):
        drawing = draw_picture(seed, index, settings)
        picture, place = prepare(np.asarray(drawing.image), settings["size"], side)
        Image.fromarray(picture).save(folder / "images" / f"{index:06}.png", compress_level=1)
        lines = []
        for box in logo_boxes(drawing):
            x0, y0, x1, y1 = (value * place.scale / side for value in box)
            lines.append(f"0 {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n")
        (folder / "labels" / f"{index:06}.txt").write_text("".join(lines))
    dataset = folder / "data.yaml"
    dataset.write_text(f'path: "{folder.absolute()}"\ntrain: images\nval: images\nnames: [logo]\n')
    return dataset


def write(model: Any, settings: dict[str, Any], path: Path) -> None:
    """Write the network's tensors in half precision, sorted by name: the same bytes for the same weights."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    header = {"image_size": str(settings["image_size"]), "names": "logo", "resolution": str(settings["size"])}
    write_file(path, save(halves, metadata=header))


def measure(detector: Detector, settings: dict[str, Any], seed: int, count: int = 400) -> dict[str, float]:
    """mAP50 on held-out pictures, and the share of pictures without a logo on which one is seen at 0.5 or more."""
    drawings = [draw_picture(seed, HELD_OUT + index, settings) for index in range(count)]
    found = detector.detect([np.asarray(drawing.image) for drawing in drawings])
    boxes = [logo_boxes(drawing) for drawing in drawings]
    plain = [seen for seen, there in zip(found, boxes, strict=True) if not there]
    false = sum(any(d.confidence >= 0.5 for d in seen) for seen in plain)
    return {"mAP50": average_precision(found, boxes, 0.5), "false_positive_rate": false / len(plain)}


def main() -> None:
    """Draw the pictures, train the detector and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--measure", action="store_true", help="only print what the shipped start can do")
    params = demo_params()
    settings, seed = params["detector"], params["seed"]
    if not parser.parse_args().measure:
        folder = scratch_folder("demo-detector", digest(settings, seed))
        dataset = write_dataset(settings, seed, folder / "dataset")
        losses: list[str] = []

        def report_epoch(epoch: int, of_epoch: dict[str, float]) -> None:
            losses.append("\t".join([str(epoch), *(f"{value:.6f}" for value in of_epoch.values())]))
            (folder / "losses.tsv").write_text("\n".join(["\t".join(["epoch", *of_epoch]), *losses]) + "\n")
            print(f"epoch {epoch}: " + ", ".join(f"{name} {value:.3f}" for name, value in of_epoch.items()), flush=True)

        training = Training(
            start=None,
            epochs=settings["epochs"],
            batch_size=settings["batch_size"],
            image_size=settings["image_size"],
            learning_rate=settings["learning_rate"],
            seed=seed,
        )
        model = train_model(dataset, folder, training, report_epoch)
        write(model, settings, TARGET / "detector.safetensors")
        shutil.rmtree(folder / "dataset")
    for name, value in measure(load_detector(TARGET), settings, seed).items():
        print(f"{name} {value:.3f}")


if __name__ == "__main__":
    main()
