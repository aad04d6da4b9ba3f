"""Which experiments a grid is made of: their settings, their names, and what of dvc.yaml they run.

A name is a digest of everything that decides an experiment's numbers: parameters, code and inputs. So one that is
finished is never run again, and one whose parameters or code changed has another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.results import parse_yaml
from stages.common.errors import UserError
from stages.common.params import METHODS, Method, Params, Rung
from stages.common.scratch import digest

TARGET = "score"
"""The stage of dvc.yaml that an experiment ends with."""
PIPELINE = Path("dvc.yaml")


@dataclass(frozen=True)
class Model:
    """A combination of a grid: a method and the values of its parameters."""

    method: Method
    combination: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        shown = (
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in self.combination
        )
        return f"{self.method} {' '.join(shown)}"


@dataclass(frozen=True)
class Task:
    """An experiment: a model, trained to an epoch, of which some pictures of each prompt are drawn."""

    name: str
    model: Model
    rung: Rung
    settings: tuple[str, ...]
    """What `dvc exp run -S` sets, as it is written there."""
    targets: tuple[str, ...]


def grid_models(params: Params, methods: Sequence[Method] = METHODS) -> dict[Method, list[Model]]:
    """The models of each method's grid, in the order of params.yaml; methods without any are left out.

    Raises UserError where params.yaml leaves out a method that its grid is of, where values do not go together, and
    where no method has a grid.
    """
    models: dict[Method, list[Model]] = {}
    for method in methods:
        combinations = params.grid.combinations(method)
        if combinations and method not in params.methods:
            raise UserError(f"finetune.{method}.epochs = 0 leaves out a method that `grid:` is of")
        for combination in combinations:
            params.with_model(method, combination)
        if combinations:
            models[method] = [Model(method, tuple(combination.items())) for combination in combinations]
    if not models:
        raise UserError(f"params.yaml: `grid:` lists nothing for {', '.join(methods)}")
    return models


@dataclass(frozen=True)
class Planner:
    """Names experiments of params.yaml and dvc.yaml as they are in the workspace."""

    params: Params
    pipeline: Path = PIPELINE

    def task(self, model: Model, rung: Rung) -> Task:
        """The experiment of a model on a rung."""
        method, settings = model.method, dict(model.combination)
        trained = self.params.with_model(method, settings).training(method)
        stop = 0 if rung.epochs >= trained.epochs else rung.epochs
        if stop % trained.save_every:
            raise UserError(f"race.rungs: epochs = {stop}: no multiple of {method}'s save_every = {trained.save_every}")
        chosen = {f"finetune.{method}.{key}": value for key, value in settings.items()}
        chosen |= {f"finetune.{method}.stop_after": stop, "sample.images_per_prompt": rung.images_per_prompt}
        decisive = trained.model_copy(update={"stop_after": stop}).model_dump()
        name = f"grid-{digest(self.shared[method], method, decisive, rung.images_per_prompt)[:12]}"
        targets = tuple(f"{stage}@{method}" for stage, about in self.stages[method].items() if "matrix" in about)
        return Task(name, model, rung, tuple(f"{key}={written(value)}" for key, value in chosen.items()), targets)

    @cached_property
    def stages(self) -> dict[Method, dict[str, Any]]:
        """Of each method, the stages of dvc.yaml that its scores depend on, as the method has them."""
        return {method: read_stages(self.pipeline, method) for method in METHODS}

    @cached_property
    def shared(self) -> dict[Method, str]:
        """Of each method, a digest of what all its experiments have in common, code and data in git included."""
        found: dict[Method, str] = {}
        for method, stages in self.stages.items():
            content = self.params.model_dump(exclude={"grid", "race", "report", "finetune"})
            del content["sample"]["images_per_prompt"]
            run = {
                name: {key: value for key, value in stage.items() if key != "desc"} for name, stage in stages.items()
            }
            files = [(path.as_posix(), digest(path)) for path in sources(stages) if path.exists()]
            found[method] = digest(content, run, files)
        return found

    def common_stages(self, methods: Sequence[Method]) -> tuple[str, ...]:
        """The stages that all experiments of the methods share: made once, before."""
        return tuple(
            dict.fromkeys(
                name for method in methods for name, stage in self.stages[method].items() if "matrix" not in stage
            )
        )

    def inputs(self, method: Method) -> tuple[str, ...]:
        """Those of the common stages whose outputs a method's own stages read."""
        own = [stage for stage in self.stages[method].values() if "matrix" in stage]
        read = {dep for stage in own for dep in stage.get("deps", [])}
        common = self.common_stages([method])
        return tuple(name for name in common if any(is_made(dep, self.stages[method][name]) for dep in read))

    def sources(self, methods: Sequence[Method]) -> list[Path]:
        """What the experiments read that no stage makes: code, data, parameters, and the pipeline itself."""
        of_methods = {path for method in methods for path in sources(self.stages[method])}
        return sorted(of_methods | {self.pipeline, self.pipeline.with_suffix(".lock")})


def written(value: Any) -> str:
    """A parameter's value as `dvc exp run -S` takes it: 5e-06, 0.001, 16, true, rank."""
    return (
        repr(value).lower()
        if isinstance(value, bool)
        else repr(value)
        if isinstance(value, (int, float))
        else str(value)
    )


def full(params: Params, model: Model) -> Rung:
    """The rung of a model that is trained to its end, with all pictures drawn."""
    epochs = params.with_model(model.method, dict(model.combination)).training(model.method).epochs
    return Rung(epochs=epochs, images_per_prompt=params.sample.images_per_prompt)


def read_stages(pipeline: Path, method: str) -> dict[str, Any]:
    """The stages of dvc.yaml that a method's scores depend on, as the method has them."""
    stages = parse_yaml(pipeline.read_text(encoding="utf-8").replace("${item.method}", method))["stages"]
    needed, waiting = set(), [TARGET]
    while waiting:
        needed.add(name := waiting.pop())
        deps = stages[name].get("deps", [])
        waiting += [other for other in stages.keys() - needed if any(is_made(dep, stages[other]) for dep in deps)]
    return {name: stage for name, stage in stages.items() if name in needed}


def sources(stages: Mapping[str, Any]) -> list[Path]:
    """What the stages read that none of them makes: code, data, and files of parameters beside params.yaml."""
    read = {dep for stage in stages.values() for dep in stage.get("deps", [])}
    for stage in stages.values():
        read.update(*(entry for entry in stage.get("params", []) if isinstance(entry, Mapping)))
    return [Path(path) for path in sorted(read) if not any(is_made(path, stage) for stage in stages.values())]


def is_made(path: str, stage: Mapping[str, Any]) -> bool:
    """Whether a stage of dvc.yaml writes a path, or a folder that it is in."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    made = [next(iter(entry)) if isinstance(entry, Mapping) else entry for entry in entries]
    return any(path == output or path.startswith(f"{output}/") for output in made)
