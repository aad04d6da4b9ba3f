"""A trainer on the tiny base, and what it trains as one tensor."""

from __future__ import annotations

from pathlib import Path

import torch

from stages.common.diffusion import load_base
from stages.common.params import Params
from stages.finetune.batch_schedule import BatchSchedule
from stages.finetune.cached_dataset import CachedDataset
from stages.finetune.method import load_method
from stages.finetune.pictures import read_pictures, read_rows
from stages.finetune.processes import Processes
from stages.finetune.trainer import Trainer

CPU = torch.device("cpu")


def start(method: str, params: Params, data: Path, base_folder: Path) -> Trainer:
    base = load_base(base_folder, CPU)
    chosen = load_method(method)(base, params)
    rows = read_rows(data)
    pictures = read_pictures(rows, data, base, params.resolution)
    dataset = CachedDataset(chosen, pictures, chosen.captions(rows), chosen.draw_class_pictures())
    schedule = BatchSchedule(chosen.settings, len(pictures), dataset.prior_pool, params.seed)
    return Trainer(chosen, dataset, schedule, Processes())


def weights(run: Trainer) -> torch.Tensor:
    """What is trained, matrix by matrix, in the order of their names in the model."""
    return torch.cat([tensor.detach().flatten() for tensor in run.method.trained.values()])


def gradients(run: Trainer) -> torch.Tensor:
    """The gradients of `weights`, in the same order: they lie where the weights do in the gradients' own memory."""
    of_block = {p.untyped_storage().data_ptr(): p.grad for p in run.parameters}
    found = []
    for tensor in run.method.trained.values():
        gradient = of_block[tensor.untyped_storage().data_ptr()]
        assert gradient is not None
        found.append(gradient.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).flatten())
    return torch.cat(found)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())
