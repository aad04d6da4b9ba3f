"""Which pictures an update sees, at which timesteps and learning rate, and how much each counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.common.diffusion import load_base
from stages.finetune.batch_schedule import BatchSchedule
from stages.finetune.noise import NoiseSchedule, draw_timesteps
from tests.engine_world import small_params
from tests.stages.finetune.trainers import CPU


def test_min_snr_weights_are_those_of_the_paper(base: Path) -> None:
    loaded = load_base(base, CPU)
    schedule = NoiseSchedule(loaded, snr_gamma=5.0)
    alphas = loaded.scheduler.alphas_cumprod.double()
    snr = alphas / (1 - alphas)
    assert torch.allclose(schedule.weight.double(), torch.minimum(snr, torch.tensor(5.0)) / snr)
    assert schedule.weight[0] < 0.01
    assert schedule.weight[-1] == 1
    assert torch.equal(NoiseSchedule(loaded, snr_gamma=0.0).weight, torch.ones(1000))


def test_logit_normal_timesteps_have_their_distribution_and_no_update_lacks_early_or_late_ones() -> None:
    settings = small_params(timesteps="logit_normal", timestep_mean=0.5, timestep_std=0.8).finetune.lora
    generator = torch.Generator().manual_seed(0)
    updates = [draw_timesteps(settings, 1000, 10, generator) for _ in range(2000)]
    drawn = torch.stack(updates).double()
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        expected = 1000 * torch.sigmoid(0.5 + 0.8 * torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))
        assert drawn.flatten().quantile(share) == pytest.approx(float(expected), abs=12)
    median = (1000 * torch.sigmoid(torch.tensor(0.5))).floor()
    assert ((drawn < median).sum(dim=1) <= 5).all(), "half of each update's pictures are below the median"
    assert ((drawn > median).sum(dim=1) <= 5).all()
    assert drawn[:, 0].std() > 100, "which picture has which timestep is left to chance"


def test_uniform_timesteps_are_those_of_stock_scripts() -> None:
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    drawn = draw_timesteps(small_params().finetune.lora, 1000, 5, first)
    assert torch.equal(drawn, torch.randint(1000, (5,), generator=second))


@given(
    count=st.integers(1, 60),
    batch=st.integers(1, 70),
    parts=st.integers(1, 3),
    repeats=st.integers(1, 4),
    epoch=st.integers(0, 40),
    prior=st.integers(0, 9),
)
def test_an_epoch_shows_each_picture_as_often_as_the_others(
    count: int, batch: int, parts: int, repeats: int, epoch: int, prior: int
) -> None:
    settings = small_params(
        batch_size=batch, gradient_accumulation=parts, repeats=repeats, prior_weight=0.5, prior_images=9
    )
    schedule = BatchSchedule(settings.finetune.dreambooth, count, prior, seed=20)
    updates = schedule.epoch(epoch)
    assert len(updates) == schedule.updates_per_epoch
    shown = Counter(picture for pictures, _ in updates for picture in pictures if picture < count)
    assert shown == dict.fromkeys(range(count), repeats)
    for pictures, weights in updates:
        of_class = sum(weight for picture, weight in zip(pictures, weights, strict=True) if picture >= count)
        assert sum(weights) - of_class == pytest.approx(1)
        assert of_class == pytest.approx(0.5 if prior else 0)


def test_learning_rate_warms_up_and_falls() -> None:
    def rates(**changes: Any) -> list[float]:
        schedule = BatchSchedule(small_params(epochs=4, batch_size=2, **changes).finetune.lora, 4, 0, seed=0)
        return [round(schedule.rate(update), 6) for update in range(schedule.updates)]

    assert rates() == [1.0] * 8
    assert rates(lr_scheduler="linear") == [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates(lr_warmup_steps=3) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates(lr_scheduler="cosine")[4] == 0.5


def test_an_epoch_shows_every_picture_once_in_another_order_each_time() -> None:
    schedule = BatchSchedule(small_params(batch_size=2).finetune.lora, 5, 0, seed=1)
    epochs = [[number for pictures, _ in schedule.epoch(epoch) for number in pictures] for epoch in range(4)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in epochs)
    assert len({tuple(order) for order in epochs}) > 1
    assert [len(pictures) for pictures, _ in schedule.epoch(0)] == [2, 2, 1]


def test_repeats_show_every_picture_that_often_in_an_epoch() -> None:
    schedule = BatchSchedule(small_params(batch_size=4, repeats=3).finetune.lora, 5, 0, seed=1)
    updates = schedule.epoch(0)
    assert sorted(number for pictures, _ in updates for number in pictures) == sorted(list(range(5)) * 3)
    assert [len(pictures) for pictures, _ in updates] == [4, 4, 4, 3]
    assert schedule.updates == 4 * schedule.settings.epochs
    once = BatchSchedule(small_params(batch_size=4).finetune.lora, 5, 0, seed=1)
    assert sorted(number for pictures, _ in once.epoch(0) for number in pictures) == list(range(5))
