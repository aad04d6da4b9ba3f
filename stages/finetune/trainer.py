"""Weights, optimizer, averaged weights and losses of a training: one update, one checkpoint, the state to resume from.

Everything random (latents, noise, timesteps, dropped captions) derives from (seed, update).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stages.common.diffusion import autocast
from stages.common.errors import UserError
from stages.common.files import replacing
from stages.common.machine import derive_seed
from stages.finetune.batch_schedule import BatchSchedule
from stages.finetune.cached_dataset import CachedDataset
from stages.finetune.loss import DenoisingLoss
from stages.finetune.method import Method
from stages.finetune.noise import NoiseSchedule, draw_timesteps
from stages.finetune.processes import Processes, log
from stages.finetune.verify import verify_checkpoint

STATE_FILE = "state.pt"


def checkpoint_folder(folder: Path, epoch: int) -> Path:
    """Where in a scratch folder an epoch's checkpoint lies."""
    return folder / "model" / f"epoch-{epoch:02d}"


@dataclass
class Batch:
    """What DenoisingLoss takes for each picture of an update, and the weight of its timestep (min-SNR)."""

    inputs: tuple[torch.Tensor, ...]
    weight: torch.Tensor


class Trainer:
    """Weights, optimiser, averaged weights and losses; what a state file holds."""

    def __init__(self, method: Method, dataset: CachedDataset, schedule: BatchSchedule, processes: Processes) -> None:
        """Set up optimiser and loss at the start of training."""
        settings, base = method.settings, method.base
        self.method, self.dataset, self.schedule, self.processes = method, dataset, schedule, processes
        self.noise = NoiseSchedule(base, settings.snr_gamma)
        self.parameters, self.rates = method.parameters, method.rates
        groups = [{"params": [p], "lr": rate} for p, rate in zip(self.parameters, self.rates, strict=True)]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
        self.scaler = torch.amp.GradScaler(base.device.type, enabled=settings.precision == "fp16")
        self.average = [p.detach().clone() for p in self.parameters] if settings.ema_decay else []
        pictures = schedule.per_update * (2 if schedule.prior_pool else 1)
        self.losses = torch.zeros(schedule.updates, pictures, device=base.device)
        self.done = 0
        self._epoch = -1
        self._batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        loss = DenoisingLoss(base.unet, base.text_encoder if method.trains_text else None)
        self.loss: Any = torch.compile(loss, dynamic=False) if settings.compile else loss
        if processes.accelerator is not None:
            # It is where it must be: a move would take its weights out of their blocks.
            self.loss = processes.accelerator.prepare(self.loss, device_placement=[False])

    def gradients(self, update: int) -> None:
        """Compute the gradients of the update's loss, in `gradient_accumulation` parts of `batch_size` pictures."""
        settings, schedule = self.method.settings, self.schedule
        pictures, weights = self._batch(update)
        batch = self.make_batch(update, pictures)
        part_size = settings.batch_size * (2 if schedule.prior_pool else 1)
        starts = range(0, len(pictures), part_size)
        for start in starts:
            part = slice(start + self.processes.index, min(start + part_size, len(pictures)), self.processes.count)
            idle = part.start >= part.stop  # more processes than pictures: take part in the sum, with nothing
            part = slice(0, 1) if idle else part
            with nullcontext() if start == starts[-1] or self.processes.count == 1 else self.loss.no_sync():
                with autocast(settings.precision, self.method.base.device):
                    losses = self.loss(*(tensor[part] for tensor in batch.inputs)) * batch.weight[part]
                # Processes average their gradients; times their number, the average is the sum over the pictures.
                total = (losses * weights[part]).sum() * (0 if idle else self.processes.count)
                self.scaler.scale(total).backward()
                if start == starts[-1] or self.processes.count == 1:  # before, the processes' sum is still to come
                    self.method.after_backward()
                if not idle:
                    self.losses[update, part] = losses.detach()

    def step(self, update: int) -> None:
        """Move the weights along the gradients: clipped, at the update's learning rate, averaged where asked for."""
        settings, schedule = self.method.settings, self.schedule
        self.scaler.unscale_(self.optimizer)
        self._clip_gradients(settings.max_grad_norm)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * schedule.rate(update)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.after_update()
        if self.average:
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - settings.ema_decay)
        self.done = update + 1

    def _clip_gradients(self, limit: float) -> None:
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients, foreach=True)
        if norm.is_cuda or norm > limit:  # a GPU would have to be waited for, to save it a little work
            nn.utils.clip_grads_with_norm_(self.parameters, limit, norm, foreach=True)

    def _batch(self, update: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The update's picture numbers and loss weights on the device, sent there once an epoch."""
        epoch, step = divmod(update, self.schedule.updates_per_epoch)
        if self._epoch != epoch:
            device = self.losses.device
            self._batches = [
                (torch.tensor(pictures, device=device), torch.tensor(weights, device=device))
                for pictures, weights in self.schedule.epoch(epoch)
            ]
            self._epoch = epoch
        return self._batches[step]

    def make_batch(self, update: int, pictures: torch.Tensor) -> Batch:
        """Latents, noise, timesteps and captions of the whole update, the same however it is split."""
        dataset, settings = self.dataset, self.method.settings
        generator = torch.Generator(self.losses.device)
        generator.manual_seed(derive_seed(self.method.params.seed, "update", update))
        shape, device = (len(pictures), *dataset.mean.shape[1:]), self.losses.device
        latents = torch.randn(shape, generator=generator, device=device)
        latents = dataset.mean[pictures] + dataset.std[pictures] * latents
        noise = torch.randn(shape, generator=generator, device=device)
        timesteps = draw_timesteps(settings, self.noise.steps, len(pictures), generator)
        text_of = dataset.text_of[pictures]
        if settings.noise_offset:
            offset = torch.randn((*shape[:2], 1, 1), generator=generator, device=device)
            noise = noise + settings.noise_offset * offset
        if settings.caption_dropout:
            dropped = torch.rand(shape[:1], generator=generator, device=device) < settings.caption_dropout
            text_of = text_of.masked_fill(dropped, dataset.empty_text)
        noisy, target = self.noise.add(latents, noise, timesteps)
        inputs = (noisy, timesteps, dataset.text[text_of], target, dataset.mask[pictures], dataset.visible[pictures])
        return Batch(inputs, self.noise.weight[timesteps])

    def check_losses(self, epoch: int) -> None:
        """Stop where a loss of the epoch isn't finite: a step later the weights are worthless."""
        if self.processes.accelerator is not None and self.processes.count > 1:
            rows = self._rows(epoch)
            self.losses[rows] = self.processes.accelerator.reduce(self.losses[rows].clone(), reduction="sum")
        losses = self.losses[self._rows(epoch)].cpu()
        bad = (~torch.isfinite(losses)).nonzero()
        if not len(bad):
            return
        step, position = (int(number) for number in bad[0])
        update = (epoch - 1) * self.schedule.updates_per_epoch + step
        picture = self.dataset.names[self.schedule.epoch(epoch - 1)[step][0][position]]
        raise UserError(
            f"loss is {float(losses[step, position])} at update {update + 1} (epoch {epoch}), picture {picture}: "
            f"lower the learning rate, or use precision bf16 or fp32; earlier checkpoints are kept"
        )

    def _rows(self, epoch: int) -> slice:
        return slice((epoch - 1) * self.schedule.updates_per_epoch, epoch * self.schedule.updates_per_epoch)

    def epoch_loss(self, epoch: int) -> float:
        """Mean over the epoch's updates of the loss that was minimised."""
        losses = self.losses[self._rows(epoch)].double().cpu()
        batches = self.schedule.epoch(epoch - 1)
        updates = [
            float((row[: len(weights)] * torch.tensor(weights, dtype=torch.float64)).sum())
            for row, (_, weights) in zip(losses, batches, strict=True)
        ]
        return sum(updates) / len(updates)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the trained weights are their running averages, where those are kept (EMA)."""
        if not self.average:
            yield
            return
        live = [p.detach().clone() for p in self.parameters]
        for parameter, average in zip(self.parameters, self.average, strict=True):
            parameter.data.copy_(average)
        try:
            yield
        finally:
            for parameter, value in zip(self.parameters, live, strict=True):
                parameter.data.copy_(value)

    def save_checkpoint(self, folder: Path, epoch: int, metadata: dict[str, str]) -> None:
        """Write folder/model/epoch-NN, load it as a user would, compare, and only then give it its name."""
        if self.processes.main:
            partial, target = folder / "partial", checkpoint_folder(folder, epoch)
            shutil.rmtree(partial, ignore_errors=True)
            with self.averaged():
                self.method.write_checkpoint(partial, {**metadata, "epoch": str(epoch)})
                verify_checkpoint(self.method, partial)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            partial.replace(target)
        self.processes.wait()

    def save_state(self, path: Path) -> None:
        """Write all that `resume` needs, atomically and synced to disk."""
        if self.processes.main:
            state = {
                "done": self.done,
                "weights": [p.detach().cpu() for p in self.parameters],
                "average": [p.cpu() for p in self.average],
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "losses": self.losses.cpu(),
            }
            with replacing(path) as file:
                torch.save(state, file)
        self.processes.wait()

    def resume(self, folder: Path) -> None:
        """Go on from the folder's state file, where there is one and the checkpoints before it are there too."""
        path, settings = folder / STATE_FILE, self.method.settings
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = range(settings.save_every, state["done"] // self.schedule.updates_per_epoch + 1, settings.save_every)
        if not all(checkpoint_folder(folder, epoch).is_dir() for epoch in saved):
            return
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, state["weights"], strict=True):
                parameter.copy_(weight)
            for average, weight in zip(self.average, state["average"], strict=True):
                average.copy_(weight)
            self.losses.copy_(state["losses"])
        self.method.after_resume()
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.done = state["done"]
        log(self.processes, f"going on from update {self.done} of {self.schedule.updates}")
