"""How models, their parameters and the places of these in the grid are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.leaderboard import number, paper_parameters
from experiments.results import Experiment
from stages.report.labels import title_of


def model_name(method: str, parameters: Mapping[str, Any]) -> str:
    """A model's name: the paper's `UNet5e-06TE0_0001dim16` for LoRA, the method and its rate for the others.

    The paper's names are Python's text of a rate with an underscore for the point (5.3, Figures 9 to 11).
    """
    if method != "lora":
        return f"{title_of(method)} {number(parameters['learning_rate'])}"
    return f"{pair_name(parameters)}dim{parameters['rank']}"


def pair_name(parameters: Mapping[str, Any]) -> str:
    """The name of a pair of LoRA's learning rates, of any rank: `UNet5e-05TE5e-06` (paper, Figure 11)."""
    unet, text_encoder = (str(float(parameters[name])).replace(".", "_") for name in ("unet_lr", "text_encoder_lr"))
    return f"UNet{unet}TE{text_encoder}"


def written(method: str, parameters: Mapping[str, Any]) -> str:
    """The values of the paper's parameters: "5e-06, 0.0001, 16"."""
    return ", ".join(number(parameters[name]) for name in paper_parameters(method))


def values_of(experiments: Iterable[Experiment], parameter: str) -> list[Any]:
    """A parameter's values among the models, ascending."""
    return sorted({experiment.parameters[parameter] for experiment in experiments})


def place(value: Any, values: Sequence[Any]) -> str:
    """Where a value stands among the grid's, which are ascending: "highest of 6", "2nd lowest of 5"."""
    if len(values) == 1:
        return "the only one"
    index, size = list(values).index(value), len(values)
    if index in (0, size - 1):
        return f"{'lowest' if index == 0 else 'highest'} of {size}"
    if 2 * index == size - 1:
        return f"middle of {size}"
    from_end, side = (index, "lowest") if 2 * index < size - 1 else (size - 1 - index, "highest")
    return f"{ {1: '2nd', 2: '3rd'}.get(from_end, f'{from_end + 1}th') } {side} of {size}"


def in_lower_half(value: Any, values: Sequence[Any]) -> bool:
    """Whether a value stands below the middle of the grid's values, which are ascending."""
    return 2 * list(values).index(value) < len(values) - 1


def in_upper_half(value: Any, values: Sequence[Any]) -> bool:
    """Whether a value stands above the middle of the grid's values, which are ascending."""
    return 2 * list(values).index(value) > len(values) - 1
