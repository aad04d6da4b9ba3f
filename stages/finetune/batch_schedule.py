"""Which pictures each update sees, how much each counts, and at which share of the learning rate."""

from __future__ import annotations

import math

import torch

from stages.common.machine import derive_seed
from stages.common.params import Training


class BatchSchedule:
    """The batches of a training and the learning rate's course: functions of (seed, update) alone."""

    def __init__(self, settings: Training, count: int, prior_pool: int, seed: int) -> None:
        """Schedule `count` pictures and `prior_pool` class pictures."""
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
