"""The only training loop. What differs between the methods is in their own files; nothing here asks which one it runs.

Everything random (sample order, latents, noise, timesteps, dropped captions) derives from (seed, update), so that a
run killed at any moment and started again ends with the bytes of a run that was left alone.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from stages.common.diffusion import Base, autocast, encode_prompts, token_ids
from stages.common.errors import UserError
from stages.common.machine import derive_seed
from stages.common.params import Training
from stages.common.progress import progress
from stages.finetune.method import Method
from stages.finetune.pictures import Pictures, encode
from stages.finetune.verify import verify_checkpoint

STATE_FILE = "state.pt"


def train(
    method: Method,
    pictures: Pictures,
    captions: list[str],
    class_pictures: torch.Tensor | None,
    folder: Path,
    metadata: dict[str, str],
    processes: Processes,
) -> list[float]:
    """Train, saving verified checkpoints to folder/model and the state to resume from to folder/state.pt.

    Returns the mean loss of each epoch. Raises UserError, naming update and picture, where a loss is NaN or infinite,
    and SystemExit(143) after saving the state where SIGTERM asked for it.
    """
    base, settings, seed = method.base, method.settings, method.params.seed
    resident = Resident(method, pictures, captions, class_pictures)
    plan = Plan(settings, len(pictures), resident.prior_pool, seed)
    run = Run(method, resident, plan, processes)
    run.resume(folder)
    # Their work is done: on a GPU, training has their memory.
    base.vae.to("cpu")
    if not method.trains_text:
        base.text_encoder.to("cpu")
    with stop_requests() as stop:
        updates = range(run.done, plan.updates)
        for update in progress(updates, f"finetune {metadata['method']}", total=len(updates), unit="step"):
            run.gradients(update)
            run.step(update)
            epoch, ends_epoch = divmod(update + 1, plan.updates_per_epoch)
            if ends_epoch == 0:
                run.check_losses(epoch)
                if epoch % settings.save_every == 0:
                    run.save_checkpoint(folder, epoch, metadata)
                    run.save(folder / STATE_FILE)
                    tell(processes, f"epoch {epoch} of {settings.epochs}: loss {run.epoch_loss(epoch):.5f}, saved")
            # Processes agree on stopping at the end of an epoch: asking each other at every step would cost.
            asked = stop.requested if processes.count == 1 else ends_epoch == 0 and processes.any(stop.requested)
            if asked and update + 1 < plan.updates:
                run.check_losses(epoch + 1)
                run.save(folder / STATE_FILE)
                raise SystemExit(143)
    base.unet.zero_grad(set_to_none=True)
    return [run.epoch_loss(epoch) for epoch in range(1, settings.epochs + 1)]


# --- What is trained on, and in which order -------------------------------------------------------------------------


class Resident:
    """All that a step reads, on the device: the pictures (and the class's, behind them) and their captions."""

    def __init__(
        self, method: Method, pictures: Pictures, captions: list[str], class_pictures: torch.Tensor | None
    ) -> None:
        """Encode the captions, or cut them into tokens where the text encoder learns."""
        base, count = method.base, len(pictures)
        self.names, self.mean, self.std, self.mask = pictures.names, pictures.mean, pictures.std, pictures.mask
        prompts = [method.prompt(caption) for caption in captions]
        self.prior_pool = 0
        if class_pictures is not None:
            self.prior_pool = len(class_pictures)
            side = pictures.mask.shape[-1]
            names = [f"class picture {number}" for number in range(self.prior_pool)]
            prior = encode(names, class_pictures.numpy(), np.ones((self.prior_pool, side, side), dtype=bool), base)
            self.names = [*self.names, *prior.names]
            self.mean, self.std = torch.cat([self.mean, prior.mean]), torch.cat([self.std, prior.std])
            self.mask = torch.cat([self.mask, prior.mask])
            prompts += [method.prompt(method.class_caption())] * self.prior_pool
        self.visible = self.mask.sum(dim=(1, 2, 3)) * self.mean.shape[1]
        unique = list(dict.fromkeys([*prompts, ""]))
        self.text = token_ids(base, unique) if method.trains_text else encode_prompts(base, unique)
        self.text_of = torch.tensor([unique.index(prompt) for prompt in prompts], device=base.device)
        self.empty_text = unique.index("")
        assert len(self.text_of) == count + self.prior_pool


class Plan:
    """Which pictures each update sees, how much each counts, and the learning rate: functions of (seed, update)."""

    def __init__(self, settings: Training, count: int, prior_pool: int, seed: int) -> None:
        """Plan for `count` pictures and `prior_pool` class pictures."""
        self.settings, self.count, self.prior_pool, self.seed = settings, count, prior_pool, seed
        self.per_update = settings.batch_size * settings.gradient_accumulation
        self.per_epoch = count * settings.repeats
        self.updates_per_epoch = math.ceil(self.per_epoch / self.per_update)
        self.updates = self.updates_per_epoch * settings.epochs

    def epoch(self, epoch: int) -> list[tuple[list[int], list[float]]]:
        """The epoch's updates (epochs from 0): numbers of their pictures, and the weight of each one's loss.

        The weights of the training pictures sum to 1, those of class pictures (prior preservation) to `prior_weight`.
        """
        order = [number % self.count for number in self._permutation("epoch", epoch, self.per_epoch)]
        updates = []
        for start in range(0, self.per_epoch, self.per_update):
            chosen = order[start : start + self.per_update]
            weights = [1 / len(chosen)] * len(chosen)
            if self.prior_pool:
                pool = self._permutation("prior", epoch * self.per_epoch + start, self.prior_pool)
                prior = [self.count + pool[number % self.prior_pool] for number in range(len(chosen))]
                prior_weight: float = self.settings.prior_weight  # type: ignore[attr-defined]
                # In turn, so that each part of a split update has its share of both.
                chosen = [picture for pair in zip(chosen, prior, strict=True) for picture in pair]
                weights = [weight for each in weights for weight in (each, prior_weight * each)]
            updates.append((chosen, weights))
        return updates

    def _permutation(self, purpose: str, number: int, size: int) -> list[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, purpose, number))
        order: list[int] = torch.randperm(size, generator=generator).tolist()
        return order

    def rate(self, update: int) -> float:
        """The share of the learning rate at an update: linear warm-up, then constant, linear or cosine to 0."""
        warmup = self.settings.lr_warmup_steps
        if update < warmup:
            return (update + 1) / (warmup + 1)
        left = (self.updates - update) / max(1, self.updates - warmup)
        shapes = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}
        return shapes[self.settings.lr_scheduler]


class NoiseSchedule:
    """The base's forward process: what is added at a timestep, what the UNet must predict, how much it counts."""

    def __init__(self, base: Base, snr_gamma: float) -> None:
        """Take the schedule from the base. Raises UserError for a kind of prediction that isn't known here."""
        alphas = base.scheduler.alphas_cumprod.to(device=base.device, dtype=torch.float64)
        self.signal, self.noise = alphas.sqrt().float(), (1 - alphas).sqrt().float()
        self.steps = len(alphas)
        self.prediction_type: str = base.scheduler.config.prediction_type
        if self.prediction_type not in ("epsilon", "v_prediction"):
            raise UserError(f"{base.folder}/scheduler: prediction_type {self.prediction_type!r} is not known here")
        self.weight = torch.ones_like(self.signal)
        if snr_gamma > 0:  # min-SNR (Hang et al. 2023), equation 5, for noise and for velocity
            snr = alphas / (1 - alphas)
            velocity = self.prediction_type == "v_prediction"
            self.weight = (snr.clamp(max=snr_gamma) / (snr + 1 if velocity else snr)).float()

    def add(
        self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noisy latents at the timesteps, and the target of the prediction; all [n, channels, height, width]."""
        signal, strength = self.signal[timesteps, None, None, None], self.noise[timesteps, None, None, None]
        noisy = signal * latents + strength * noise
        return noisy, signal * noise - strength * latents if self.prediction_type == "v_prediction" else noise


def draw_timesteps(settings: Training, steps: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps of `count` pictures of an update, int64 [count] in [0, steps).

    uniform: each picture's own, evenly (Ho et al. 2020, algorithm 1; diffusers' scripts). logit_normal: steps times the
    sigmoid of a normal number (Esser et al. 2024, section 3.1), so that the middle, where letters take shape, comes
    more often than the ends; one for each count-th part of the distribution, shuffled, so that no update hears of early
    or late steps alone (as the low-discrepancy sampler of Kingma et al. 2021, appendix I.1).
    """
    device = generator.device
    if settings.timesteps == "uniform":
        return torch.randint(steps, (count,), generator=generator, device=device)
    place = torch.rand(count, generator=generator, device=device)
    place = (torch.randperm(count, generator=generator, device=device) + place) / count
    normal = settings.timestep_mean + settings.timestep_std * torch.special.ndtri(place.double())
    timesteps: torch.Tensor = (normal.sigmoid() * steps).long().clamp(0, steps - 1)
    return timesteps


class DenoisingLoss(nn.Module):
    """The loss of each picture: the mean squared error of the prediction over what isn't a transparent margin."""

    def __init__(self, unet: Any, text_encoder: Any) -> None:
        """Hold the models; no text encoder where the captions are encoded already."""
        super().__init__()
        self.unet, self.text_encoder, self.dtype = unet, text_encoder, unet.dtype

    def forward(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: torch.Tensor,
        target: torch.Tensor,
        mask: torch.Tensor,
        visible: torch.Tensor,
    ) -> torch.Tensor:
        """[n] losses; `text` is token numbers [n, tokens] where the text encoder takes part, else its embeddings."""
        if self.text_encoder is not None:
            text = self.text_encoder(text)[0]
        # In a UNet that isn't fp32, nothing is left to be cast: autocast would only cost, up to a third of a step.
        with torch.autocast(noisy.device.type, enabled=False) if self.dtype != torch.float32 else nullcontext():
            prediction = self.unet(noisy.to(self.dtype), timesteps, text.to(self.dtype), return_dict=False)[0]
        error: torch.Tensor = (prediction.float() - target).square() * mask
        return error.sum(dim=(1, 2, 3)) / visible


# --- One run: weights, optimiser, and their state -------------------------------------------------------------------


@dataclass
class Processes:
    """The processes that train together, one a device: their number, this one's, and accelerate's handle on them."""

    count: int = 1
    index: int = 0
    accelerator: Any = None

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in at least one process."""
        if self.accelerator is None:
            return flag
        flags = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, reduction="sum") > 0)


class Run:
    """Weights, optimiser, averaged weights and losses; what a state file holds."""

    def __init__(self, method: Method, resident: Resident, plan: Plan, processes: Processes) -> None:
        """Set up optimiser and loss at the start of training."""
        settings, base = method.settings, method.base
        self.method, self.resident, self.plan, self.processes = method, resident, plan, processes
        self.schedule = NoiseSchedule(base, settings.snr_gamma)
        self.parameters, self.rates = method.parameters, method.rates
        groups = [{"params": [p], "lr": rate} for p, rate in zip(self.parameters, self.rates, strict=True)]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
        self.scaler = torch.amp.GradScaler(base.device.type, enabled=settings.precision == "fp16")
        self.average = [p.detach().clone() for p in self.parameters] if settings.ema_decay else []
        pictures = plan.per_update * (2 if plan.prior_pool else 1)
        self.losses = torch.zeros(plan.updates, pictures, device=base.device)
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
        settings, plan = self.method.settings, self.plan
        pictures, weights = self._batch(update)
        draws = self._draws(update, pictures)
        part_size = settings.batch_size * (2 if plan.prior_pool else 1)
        starts = range(0, len(pictures), part_size)
        for start in starts:
            part = slice(start + self.processes.index, min(start + part_size, len(pictures)), self.processes.count)
            idle = part.start >= part.stop  # more processes than pictures: take part in the sum, with nothing
            part = slice(0, 1) if idle else part
            with nullcontext() if start == starts[-1] or self.processes.count == 1 else self.loss.no_sync():
                with autocast(settings.precision, self.method.base.device):
                    losses = self.loss(*(tensor[part] for tensor in draws.inputs)) * draws.weight[part]
                # Processes average their gradients; times their number, the average is the sum over the pictures.
                total = (losses * weights[part]).sum() * (0 if idle else self.processes.count)
                self.scaler.scale(total).backward()
                if start == starts[-1] or self.processes.count == 1:  # before, the processes' sum is still to come
                    self.method.after_backward()
                if not idle:
                    self.losses[update, part] = losses.detach()

    def step(self, update: int) -> None:
        """Move the weights along the gradients: clipped, at the update's learning rate, averaged where asked for."""
        settings, plan = self.method.settings, self.plan
        self.scaler.unscale_(self.optimizer)
        self._clip_gradients(settings.max_grad_norm)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * plan.rate(update)
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
        epoch, step = divmod(update, self.plan.updates_per_epoch)
        if self._epoch != epoch:
            device = self.losses.device
            self._batches = [
                (torch.tensor(pictures, device=device), torch.tensor(weights, device=device))
                for pictures, weights in self.plan.epoch(epoch)
            ]
            self._epoch = epoch
        return self._batches[step]

    def _draws(self, update: int, pictures: torch.Tensor) -> Draws:
        """Latents, noise, timesteps and captions of the whole update, the same however it is split."""
        resident, settings = self.resident, self.method.settings
        generator = torch.Generator(self.losses.device)
        generator.manual_seed(derive_seed(self.method.params.seed, "update", update))
        shape, device = (len(pictures), *resident.mean.shape[1:]), self.losses.device
        latents = torch.randn(shape, generator=generator, device=device)
        latents = resident.mean[pictures] + resident.std[pictures] * latents
        noise = torch.randn(shape, generator=generator, device=device)
        timesteps = draw_timesteps(settings, self.schedule.steps, len(pictures), generator)
        text_of = resident.text_of[pictures]
        if settings.noise_offset:
            offset = torch.randn((*shape[:2], 1, 1), generator=generator, device=device)
            noise = noise + settings.noise_offset * offset
        if settings.caption_dropout:
            dropped = torch.rand(shape[:1], generator=generator, device=device) < settings.caption_dropout
            text_of = text_of.masked_fill(dropped, resident.empty_text)
        noisy, target = self.schedule.add(latents, noise, timesteps)
        inputs = (noisy, timesteps, resident.text[text_of], target, resident.mask[pictures], resident.visible[pictures])
        return Draws(inputs, self.schedule.weight[timesteps])

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
        update = (epoch - 1) * self.plan.updates_per_epoch + step
        picture = self.resident.names[self.plan.epoch(epoch - 1)[step][0][position]]
        raise UserError(
            f"loss is {float(losses[step, position])} at update {update + 1} (epoch {epoch}), picture {picture}: "
            f"lower the learning rate, or use precision bf16 or fp32; earlier checkpoints are kept"
        )

    def _rows(self, epoch: int) -> slice:
        return slice((epoch - 1) * self.plan.updates_per_epoch, epoch * self.plan.updates_per_epoch)

    def epoch_loss(self, epoch: int) -> float:
        """Mean over the epoch's updates of the loss that was minimised."""
        losses = self.losses[self._rows(epoch)].double().cpu()
        batches = self.plan.epoch(epoch - 1)
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
            partial, target = folder / "partial", folder / "model" / f"epoch-{epoch:02d}"
            shutil.rmtree(partial, ignore_errors=True)
            with self.averaged():
                self.method.save(partial, {**metadata, "epoch": str(epoch)})
                verify_checkpoint(self.method, partial)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            partial.replace(target)
        self.processes.wait()

    def save(self, path: Path) -> None:
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
            partial = path.with_name(path.name + ".partial")
            with partial.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        self.processes.wait()

    def resume(self, folder: Path) -> None:
        """Go on from the folder's state file, where there is one and the checkpoints before it are there too."""
        path, settings = folder / STATE_FILE, self.method.settings
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = range(settings.save_every, state["done"] // self.plan.updates_per_epoch + 1, settings.save_every)
        if not all((folder / "model" / f"epoch-{epoch:02d}").is_dir() for epoch in saved):
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
        tell(self.processes, f"going on from update {self.done} of {self.plan.updates}")


@dataclass
class Draws:
    """What DenoisingLoss takes for each picture of an update, and the weight of its timestep (min-SNR)."""

    inputs: tuple[torch.Tensor, ...]
    weight: torch.Tensor


# --- The world outside ----------------------------------------------------------------------------------------------


@dataclass
class Stop:
    """Whether somebody has asked this process to stop."""

    requested: bool = False


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Note SIGTERM instead of dying of it, so that the loop saves its state between two updates."""
    stop = Stop()

    def note(*_: object) -> None:
        stop.requested = True

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread: nothing to catch there
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def tell(processes: Processes, line: str) -> None:
    """A line for the person who watches, beside the progress bar."""
    if processes.main:
        tqdm.write(line, file=sys.stderr)
