"""Ultralytics, kept off the network and out of the user's home: import it after this module, or from it.

Unprepared it looks up hosts on import and in training, downloads a font, reports usage, installs packages, and its DVC
callback rewrites dvc.yaml in the middle of a stage (measured with ultralytics 8.4).
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import matplotlib

SWITCHED_OFF = (
    "sync",
    "dvc",
    "mlflow",
    "comet",
    "clearml",
    "raytune",
    "vscode_msg",
    "wandb",
    "neptune",
    "hub",
    "tensorboard",
)
"""Its settings that report usage, or write into other tools' files."""


def set_up(folder: Path = Path(".emblem")) -> None:
    """Set by environment and files what ultralytics reads when it is first imported; its settings lie in `folder`."""
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="False", YOLO_VERBOSE="False", ULTRALYTICS_SAFE_LOAD="1")
    configured = Path(os.environ.setdefault("YOLO_CONFIG_DIR", str(folder / "ultralytics"))).absolute()
    os.environ["YOLO_CONFIG_DIR"] = str(configured)
    fonts = configured / "Ultralytics"
    fonts.mkdir(parents=True, exist_ok=True)
    if not (fonts / "Arial.ttf").exists():
        shutil.copyfile(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), fonts / "Arial.ttf")


set_up()
from ultralytics import settings  # noqa: E402 (what it reads on import is there now)
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils import LOGGER, patches  # noqa: E402
from ultralytics.utils.nms import non_max_suppression  # noqa: E402

__all__ = ["DetectionModel", "non_max_suppression", "set_up", "settings"]

# Ultralytics replaces PIL.Image.open by one that installs a package where a file is no picture.
patches._pil_plugins_registered = True
with suppress(KeyError, TypeError):
    settings.update({key: False for key in SWITCHED_OFF if settings.get(key)})
LOGGER.setLevel("ERROR")
