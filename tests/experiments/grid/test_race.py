"""Who climbs a race's rungs, and what that saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.grid.plan import Model, full, grid_models
from experiments.grid.race import Cost, Standing, climbers, ladder, planned_cost, step_cost
from stages.common.errors import UserError
from stages.common.params import Params, load_params

PARAMS = load_params(Path(__file__).parents[3] / "params.yaml")
RACE = PARAMS.race


def standing(rank: int, mean: float, half: float = 0.2, od: float = 0.0, distance: float = 0.5) -> Standing:
    numbers = {
        "mean": mean,
        "mean_low": mean - half,
        "mean_high": mean + half,
        "mean_od": od,
        "edit_distance": distance,
    }
    return Standing(Model("lora", (("rank", rank),)), 9, numbers)


def ranks(models: list[Model]) -> list[Any]:
    return [dict(model.combination)["rank"] for model in models]


def with_grid(**lists: list[Any]) -> Params:
    return PARAMS.model_copy(update={"grid": PARAMS.grid.model_copy(update={"lora": {"save_every": [3], **lists}})})


def test_the_best_share_climbs() -> None:
    standings = [standing(rank, rank / 100) for rank in range(12)]
    assert ranks(climbers(standings, RACE, 0)) == [11, 10, 9, 8, 7, 6]
    assert ranks(climbers(standings[:6], RACE, 1)) == [5, 4]
    assert ranks(climbers(standings[:1], RACE, 1)) == [0], "one always does"


def test_who_is_surely_worse_than_the_leader_does_not_climb() -> None:
    standings = [standing(1, 0.9, half=0.1), standing(2, 0.65, half=0.1), standing(3, 0.75, half=0.1), standing(4, 0.0)]
    assert ranks(climbers(standings, RACE, 0)) == [1, 3]
    standings[2] = standing(3, 0.65, half=0.1)
    assert ranks(climbers(standings, RACE, 0)) == [1], "0.75 is its upper bound, and 0.8 the leader's lower one"


def test_where_nothing_is_learned_yet_what_is_near_it_decides() -> None:
    standings = [
        standing(1, 0.0, distance=0.9),
        standing(2, 0.0, distance=0.3),
        standing(3, 0.0, distance=0.6),
        standing(4, 0.0, od=0.1, distance=0.9),
        standing(5, 0.0, distance=0.9),
        standing(6, 0.0, distance=0.9),
    ]
    assert ranks(climbers(standings, RACE, 0)) == [4, 2, 3]
    assert ranks(climbers([standings[i] for i in (0, 4, 5)], RACE, 0)) == [1, 5], "of equals, the earlier ones"


def test_a_race_of_twelve_models_takes_half_the_epochs_and_a_quarter_of_the_pictures() -> None:
    params = with_grid(unet_lr=[0.001, 0.002, 0.003], rank=[4, 8, 16, 32])
    models = grid_models(params, ["lora"])
    raced = planned_cost(params, models, exhaustive=False)["lora"]
    whole = planned_cost(params, models, exhaustive=True)["lora"]
    assert whole == Cost(12, 12 * 30, 12 * 10 * 8 * 8), "six prompts and two plain ones, eight seeds, ten checkpoints"
    assert raced.epochs <= 0.55 * whole.epochs
    assert raced.pictures <= 0.25 * whole.pictures
    assert raced.experiments == 12 + 6 + 2


def test_a_rung_costs_what_it_adds() -> None:
    (model,) = grid_models(with_grid(rank=[4]), ["lora"])["lora"]
    first, second, _ = RACE.rungs
    assert step_cost(PARAMS, model, None, first) == Cost(1, 9, 3 * 8 * 1)
    assert step_cost(PARAMS, model, first, second) == Cost(1, 9, 6 * 8 * 2 - 3 * 8 * 1)


def test_few_models_are_trained_in_full() -> None:
    models = grid_models(with_grid(rank=list(range(1, RACE.smallest))), ["lora"])["lora"]
    assert ladder(PARAMS, models, exhaustive=False) == [full(PARAMS, models[0])]
    models = grid_models(with_grid(rank=list(range(1, RACE.smallest + 1))), ["lora"])["lora"]
    assert ladder(PARAMS, models, exhaustive=False) == RACE.rungs
    assert ladder(PARAMS, models, exhaustive=True) == [full(PARAMS, models[0])]


def test_rungs_that_are_no_part_of_the_training_are_refused() -> None:
    models = grid_models(with_grid(rank=list(range(1, 9)), epochs=[27]), ["lora"])["lora"]
    with pytest.raises(UserError, match=r"race\.rungs: the last one must be the whole training of lora: epochs = 27, "):
        ladder(PARAMS, models, exhaustive=False)
