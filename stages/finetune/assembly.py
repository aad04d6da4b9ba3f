"""Base, pictures and method put together and trained: everything between the inputs and a finished scratch folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from stages.common.diffusion import load_base, too_long
from stages.common.params import Params
from stages.common.weights import known_as
from stages.finetune.epoch_log import EpochLog
from stages.finetune.loop import train
from stages.finetune.method import load_method
from stages.finetune.model_card import model_card
from stages.finetune.pictures import logo_coverage, read_pictures, read_rows, weigh_logos
from stages.finetune.processes import Processes
from stages.finetune.result import finish


def fine_tune(
    params: Params,
    about: dict[str, str],
    data: Path,
    base_folder: Path,
    folder: Path,
    log: EpochLog | None,
    processes: Processes,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Train the method that `about` names; the checkpoints and their card are in folder/model after it.

    Args:
        about: what is written into every checkpoint and the card: method, precision, digests.
        log: where each epoch is logged, None in processes that log nothing.

    Returns how much of each logo the loss sees (`pictures.logo_coverage`).
    """
    rows = read_rows(data)
    base = load_base(base_folder, device)
    pictures = read_pictures(rows, data, base, params.resolution)
    coverage = logo_coverage(rows, pictures.mask, base.latent_scale)
    settings = params.training(about["method"])
    pictures.mask = weigh_logos(rows, pictures.mask, base.latent_scale, settings.logo_weight)
    known = known_as(base, params.brand.token)
    method = load_method(about["method"])(base, params)  # textual inversion refuses a token that is known
    captions = method.captions(rows)
    cut = too_long(base, [method.prompt(caption) for caption in captions])
    if processes.main:
        if known:
            told = f"brand.token = {params.brand.token!r} is in the base's vocabulary ({known!r})"
            print(
                f"warning: {told}: what the base draws for it will change; a token of its own is safer", file=sys.stderr
            )
        if cut:
            print(f"warning: {len(cut)} captions are longer than the text encoder reads: {cut[0]!r}", file=sys.stderr)
        report_coverage(coverage)
    class_pictures = method.draw_class_pictures()
    on_epoch = log.log_epoch if log else lambda epoch, loss: None
    losses = train(method, pictures, captions, class_pictures, folder, about, processes, on_epoch)
    if processes.main:
        saved = list(range(settings.save_every, settings.last_epoch + 1, settings.save_every))
        card = model_card(method, about, len(rows), losses)
        finish(folder, saved, card, losses, coverage, done=settings.last_epoch == settings.epochs)
    processes.wait()
    return coverage


def report_coverage(coverage: list[dict[str, Any]]) -> None:
    """Say of which pictures the loss doesn't see the whole logo, because a transparent margin cuts into it."""
    lost = [row for row in coverage if row["logo_share_in_loss"] < 0.9]
    for row in sorted(lost, key=lambda row: row["logo_share_in_loss"])[:10]:
        share = f"{row['logo_share_in_loss']:.0%}"
        print(f"warning: {row['file_name']}: the loss sees {share} of the logo", file=sys.stderr)
    if lost:
        cut = f"{len(lost)} of {len(coverage)}"
        print(f"warning: a transparent margin cuts into the logo of {cut} pictures", file=sys.stderr)
