"""What the recipes share: one resumable loop that every network of the demo world is trained with."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from stages.common.command import threads
from stages.common.params import read_yaml
from stages.common.scratch import digest, scratch_folder

DEMO = Path(__file__).parent
WEIGHTS = DEMO / "weights"
SAVE_SECONDS = 60.0


def demo_params() -> dict[str, Any]:
    """The recipe's numbers, demo/params.yaml."""
    params: dict[str, Any] = read_yaml(DEMO / "params.yaml")
    return params


def device() -> torch.device:
    """A GPU where there is one, else the CPU with EMBLEM_THREADS threads."""
    torch.set_num_threads(threads())
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rng_of(seed: int, step: int) -> np.random.Generator:
    """All that is random in step `step` comes from here, so that a resumed run equals an undisturbed one."""
    return np.random.default_rng([seed, step])


def to_tensor(images: NDArray[np.uint8], where: torch.device) -> torch.Tensor:
    """uint8 [N, H, W, 3] to float [N, 3, H, W] in -1 to 1."""
    return torch.from_numpy(images).to(where).permute(0, 3, 1, 2).float() / 127.5 - 1


def warmup_stable_decay(step: int, steps: int, decay_share: float, warmup: int = 100) -> float:
    """Factor of the learning rate: a linear rise, a plateau, a linear fall over the last `decay_share` of the steps."""
    return min(1.0, (step + 1) / warmup, (steps - step) / max(1, math.ceil(steps * decay_share)))


def round_of(step: int, rounds: list[int]) -> tuple[int, int]:
    """Which round (0, 1, ...) a step of a training in rounds lies in, and its number within it."""
    for number, steps in enumerate(rounds):
        if step < steps:
            return number, step
        step -= steps
    raise IndexError(f"step {step} lies past the last round")


def train(
    name: str,
    modules: dict[str, torch.nn.Module],
    loss_of_step: Callable[[int], torch.Tensor],
    *,
    settings: dict[str, Any],
    inputs: list[Any],
    ema: dict[str, torch.nn.Module] | None = None,
    shares: dict[str, float] | None = None,
) -> Path:
    """Train `modules` in place for settings["steps"] steps of AdamW; returns the scratch folder with the losses.

    A list of steps is a training in rounds: the learning rate rises and falls once in each. State is saved every minute
    under a key of settings and inputs (the number of steps is not part of the key, so that a longer run goes on from a
    shorter one); a killed run resumes from it. Losses land in losses.tsv, mean of 50 steps. `shares`: what share of the
    learning rate a module has, where it isn't 1.
    """
    rounds = settings["steps"] if isinstance(settings["steps"], list) else [settings["steps"]]
    steps, rate = sum(rounds), settings["learning_rate"]
    key = digest(name, {k: v for k, v in settings.items() if k not in ("steps", "decay_share")}, *inputs)
    folder = scratch_folder(f"demo-{name}", key)
    weights = [p for m in modules.values() for p in m.parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for p in module.parameters() if p.requires_grad],
            "share": (shares or {}).get(part, 1.0),
        }
        for part, module in modules.items()
    ]
    optimizer = torch.optim.AdamW(groups, rate, weight_decay=0.01, fused=True)
    state_file, start, losses = folder / "state.pt", 0, []
    if state_file.exists():
        state = torch.load(state_file, weights_only=True, map_location="cpu")
        for part, module in modules.items():
            module.load_state_dict(state["modules"][part])
        for part, module in (ema or {}).items():
            module.load_state_dict(state["ema"][part])
        optimizer.load_state_dict(state["optimizer"])
        start, losses = state["step"], state["losses"]

    def save(step: int) -> None:
        content = {
            "modules": {part: module.state_dict() for part, module in modules.items()},
            "ema": {part: module.state_dict() for part, module in (ema or {}).items()},
            "optimizer": optimizer.state_dict(),
            "step": step,
            "losses": losses,
        }
        torch.save(content, folder / "state.partial")
        (folder / "state.partial").replace(state_file)

    saved = time.monotonic()
    running: list[float] = []
    bar = tqdm(range(start, steps), desc=name, initial=start, total=steps, mininterval=10)
    for step in bar:
        number, within = round_of(step, rounds)
        for group in optimizer.param_groups:
            decay = warmup_stable_decay(within, rounds[number], settings.get("decay_share", 0.3))
            group["lr"] = rate * group["share"] * decay
        loss = loss_of_step(step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss of step {step} is {loss.item()}")
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if ema:
            _average(ema, modules, min(settings["ema_decay"], (step + 1) / (step + 10)))
        running.append(loss.item())
        if len(running) == 50:
            losses.append([step + 1, sum(running) / len(running)])
            bar.set_postfix(loss=f"{losses[-1][1]:.4f}", refresh=False)
            running = []
        if time.monotonic() - saved > SAVE_SECONDS:
            save(step + 1)
            saved = time.monotonic()
    save(steps)
    lines = ["step\tloss", *(f"{step}\t{loss:.6f}" for step, loss in losses)]
    (folder / "losses.tsv").write_text("\n".join(lines) + "\n")
    return folder


@torch.no_grad()
def _average(averages: dict[str, torch.nn.Module], modules: dict[str, torch.nn.Module], decay: float) -> None:
    for part, average in averages.items():
        torch._foreach_lerp_(list(average.parameters()), list(modules[part].parameters()), 1 - decay)
