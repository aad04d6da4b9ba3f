"""Training a YOLOv8n through ultralytics' own trainer, on a set that was augmented before."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from stages.common.command import threads
from stages.common.detector import ARCHITECTURE, NAMES, WEIGHTS, class_tensors, new_model
from stages.common.params import Params
from stages.common.progress import counted

# Ultralytics asks the network when it is imported, unless the modules above have been.
from ultralytics.models.yolo.detect import DetectionTrainer  # isort: skip

UNCHANGED = {
    **dict.fromkeys(("mosaic", "mixup", "copy_paste", "erasing", "fliplr", "flipud"), 0.0),
    **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale"), 0.0),
    "close_mosaic": 0,
}
"""Ultralytics' own augmentations, all off: the set is augmented beforehand, reproducibly; they would mirror text."""
CLASS_WEIGHT = 2.0
"""Of the loss of a box's class, four times ultralytics' own: the letters decide, not the place."""


@dataclass(frozen=True)
class Training:
    """How a detector is trained.

    start: weights to start from, None for random ones. image_size: pixels, side of the set's pictures. classes: how
    many of `stages.common.detector.NAMES` the data.yaml has. precision: fp32 or bf16, of the convolutions; the weights
    are kept in fp32.
    """

    start: Path | None
    epochs: int
    batch_size: int
    image_size: int
    learning_rate: float
    seed: int
    classes: int = 1
    precision: str = "fp32"


class Trainer(DetectionTrainer):  # type: ignore[misc]
    """Ultralytics' trainer, which trains a network of ours and leaves measuring and saving to the stage."""

    def __init__(self, training: Training, **overrides: Any) -> None:
        self.recipe = training
        super().__init__(overrides=overrides)

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        """The network that is trained."""
        return new_model(self.recipe.start, self.recipe.classes, self.recipe.precision)

    def build_optimizer(self, *arguments: Any, **named: Any) -> Any:
        """Ultralytics' optimizer, with one kernel for all weights: they are many and small."""
        optimizer = super().build_optimizer(*arguments, **named)
        for group in optimizer.param_groups:
            group["fused"] = True
        return optimizer

    def validate(self) -> Any:
        """Nothing: held-out pictures are measured by a stage of their own."""
        return {}, 0.0

    def final_eval(self) -> None:
        """Nothing: it would reload a checkpoint that is never read here."""

    def save_model(self) -> bool:
        """Nothing: it would be a pickle with a date and paths; the weights are published as safetensors."""
        return False


def train_model(
    dataset: Path,
    folder: Path,
    training: Training,
    report_epoch: Callable[[int, dict[str, float]], object] | None = None,
    report_step: Callable[[], object] | None = None,
) -> Any:
    """Train a YOLOv8n through ultralytics' trainer; returns the averaged (EMA) model.

    With two classes, look-alikes are one of their own while it trains: to name them, the network must learn the
    letters that tell them apart, which pictures without any box hardly teach. What is returned knows the logo alone.

    Args:
        dataset: a YOLO data.yaml.
        folder: where ultralytics may write.
        report_epoch: called after each epoch with (epoch from 1, losses by name).
        report_step: called after each batch.
    """
    trainer = Trainer(
        training,
        model=ARCHITECTURE,
        data=str(dataset),
        epochs=training.epochs,
        batch=training.batch_size,
        imgsz=training.image_size,
        seed=training.seed,
        project=str(folder.absolute()),  # a relative one lands in the runs folder of ultralytics' settings
        name="run",
        exist_ok=True,
        device="0" if torch.cuda.is_available() else "cpu",
        optimizer="AdamW",
        lr0=training.learning_rate,
        lrf=0.01,  # the learning rate ends at a hundredth, ultralytics' own
        cos_lr=True,
        warmup_epochs=0.5,  # of ultralytics' own three, which are more than half of the demo's five
        nbs=training.batch_size,  # no accumulation: the batch is what is asked for
        workers=0,
        cache="ram",
        deterministic=True,
        amp=False,
        pretrained=False,
        plots=False,
        val=False,
        save=False,
        verbose=False,
        patience=0,
        cls=CLASS_WEIGHT,
        **UNCHANGED,
    )
    trainer.add_callback("on_train_start", lambda _: torch.set_num_threads(threads()))
    if report_step:
        trainer.add_callback("on_train_batch_end", lambda _: report_step())
    if report_epoch:
        trainer.add_callback(
            "on_train_epoch_end",
            lambda t: report_epoch(t.epoch + 1, {k: float(v) for k, v in t.label_loss_items(t.tloss).items()}),
        )
    with redirect_stdout(io.StringIO()):  # a bar of its own, in control characters
        trainer.train()
    model = first_class(trainer.ema.ema.float())
    # Left as training makes them, the weights still require gradients and half of them are shared views.
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    torch.use_deterministic_algorithms(False)
    return model


def first_class(model: Any) -> Any:
    """The model without its other classes: what it says of the first one stays as it is."""
    state, alone = model.state_dict(), new_model()
    for name in class_tensors(model):
        state[name] = state[name][:1]
    alone.load_state_dict(state)
    return alone.eval()


def fit(dataset: Path, folder: Path, start: Path, params: Params, pictures: int) -> Any:
    """Train through ultralytics, from the start where there is one; progress and an epoch's losses go to stderr."""
    settings = params.detector
    weights = start / WEIGHTS
    if not weights.exists():
        print(f"{weights}: no such file; the detector trains from random weights", file=sys.stderr)

    def report_epoch(epoch: int, losses: dict[str, float]) -> None:
        listed = ", ".join(f"{name.removeprefix('train/')} {value:.3f}" for name, value in losses.items())
        tqdm.write(f"epoch {epoch} of {settings.epochs}: {listed}", file=sys.stderr)

    training = Training(
        start=weights if weights.exists() else None,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        image_size=settings.crop,
        learning_rate=settings.learning_rate,
        seed=params.seed,
        classes=len(NAMES),
        precision=settings.precision,
    )
    steps = settings.epochs * math.ceil(pictures / settings.batch_size)
    with counted("train detector", steps, "step") as advance:
        return train_model(dataset, folder, training, report_epoch, lambda: advance(1))
