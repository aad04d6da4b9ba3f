"""The only training loop. What differs between the methods is in their own files; nothing here asks which one it runs.

A run killed at any moment and started again ends with the bytes of a run that was left alone: what an update does
depends on (seed, update) and on the weights before it, and these are in the state file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from stages.common.progress import progress
from stages.finetune.batch_schedule import BatchSchedule
from stages.finetune.cached_dataset import CachedDataset
from stages.finetune.method import Method
from stages.finetune.pictures import Pictures
from stages.finetune.processes import Processes, log, stop_requests
from stages.finetune.trainer import STATE_FILE, Trainer


def train(
    method: Method,
    pictures: Pictures,
    captions: list[str],
    class_pictures: torch.Tensor | None,
    folder: Path,
    metadata: dict[str, str],
    processes: Processes,
    on_epoch: Callable[[int, float], object] = lambda epoch, loss: None,
) -> list[float]:
    """Train, saving verified checkpoints to folder/model and the state to resume from to folder/state.pt.

    `on_epoch` is given the number and the mean loss of every epoch that ends; first, of those that a state file has.
    Training ends after `settings.last_epoch`. Returns the mean loss of each epoch up to it.

    Raises UserError, naming update and picture, where a loss is NaN or infinite, and SystemExit(143) after saving the
    state where SIGTERM asked for it.
    """
    base, settings, seed = method.base, method.settings, method.params.seed
    dataset = CachedDataset(method, pictures, captions, class_pictures)
    schedule = BatchSchedule(settings, len(pictures), dataset.prior_pool, seed)
    trainer = Trainer(method, dataset, schedule, processes)
    trainer.resume(folder)
    last = settings.last_epoch
    for epoch in range(1, min(last, trainer.done // schedule.updates_per_epoch) + 1):
        on_epoch(epoch, trainer.epoch_loss(epoch))
    # Their work is done: on a GPU, training has their memory.
    base.vae.to("cpu")
    if not method.trains_text:
        base.text_encoder.to("cpu")
    with stop_requests() as stop:
        end = last * schedule.updates_per_epoch
        updates = range(trainer.done, max(trainer.done, end))  # the state may be that of a run that went further
        for update in progress(updates, f"finetune {metadata['method']}", total=len(updates), unit="step"):
            trainer.gradients(update)
            trainer.step(update)
            epoch, ends_epoch = divmod(update + 1, schedule.updates_per_epoch)
            if ends_epoch == 0:
                trainer.check_losses(epoch)
                on_epoch(epoch, trainer.epoch_loss(epoch))
                if epoch % settings.save_every == 0:
                    trainer.save_checkpoint(folder, epoch, metadata)
                    trainer.save_state(folder / STATE_FILE)
                    log(processes, f"epoch {epoch} of {last}: loss {trainer.epoch_loss(epoch):.5f}, saved")
            # Processes agree on stopping at the end of an epoch: asking each other at every step would cost.
            asked = stop.requested if processes.count == 1 else ends_epoch == 0 and processes.any(stop.requested)
            if asked and update + 1 < end:
                trainer.check_losses(epoch + 1)
                trainer.save_state(folder / STATE_FILE)
                raise SystemExit(143)
    base.unet.zero_grad(set_to_none=True)
    return [trainer.epoch_loss(epoch) for epoch in range(1, last + 1)]
