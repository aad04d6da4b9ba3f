"""What an experiment was run with and what it scored, read from its commit; which experiments count.

An experiment counts only where its numbers belong to its parameters: dvc.lock must name both. Of the experiments of one
model (a race has it trained on, rung by rung) the one that went furthest counts; it holds what the others found.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from experiments.outputs import Outputs
from stages.common.errors import UserError
from stages.common.revisions import Experiment as Derived
from stages.common.revisions import Revision, read_at
from stages.common.tables import Row


@dataclass(frozen=True)
class Experiment:
    """A revision's parameters of a method, and its checkpoints' numbers, the tuned ones and the untuned base's."""

    revision: Revision
    parameters: dict[str, Any]
    epochs: tuple[Row, ...]
    prompts: tuple[str, ...]
    method: str = "lora"
    untuned: Row | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """All of its params.yaml."""

    @property
    def model(self) -> dict[str, Any]:
        """The parameters that decide what is trained: how far it goes (`stop_after`) is not among them."""
        return {name: value for name, value in self.parameters.items() if name != "stop_after"}

    @property
    def last_epoch(self) -> int:
        """The epoch of the last checkpoint."""
        return int(self.epochs[-1]["epoch"])

    @property
    def images(self) -> int:
        """Pictures of prompts with the token that its last checkpoint drew."""
        return int(self.epochs[-1].get("images", 0))

    @property
    def finished(self) -> bool:
        """Whether it was trained to the last of its epochs; a race lets most models stop before."""
        return self.last_epoch >= int(self.parameters.get("epochs", 0))

    @property
    def in_grid(self) -> bool:
        """Whether it is a model of the `grid:` that its own params.yaml lists."""
        grid = self.params.get("grid")
        lists = grid.get(self.method) if isinstance(grid, Mapping) else None
        if not isinstance(lists, Mapping) or not lists:
            return False
        return all(self.parameters.get(name) in values for name, values in lists.items())


def read_experiments(
    revisions: Sequence[Revision], method: str, repository: Path
) -> tuple[list[Experiment], list[tuple[str, str]]]:
    """The experiments that count, and the name of and reason for each one that does not."""
    kept: list[Experiment] = []
    skipped: list[tuple[str, str]] = []
    for revision in revisions:
        found = read_experiment(revision, method, repository)
        if isinstance(found, str):
            skipped.append((revision.name, found))
        else:
            kept.append(found)
    return kept, skipped


def furthest_of_each_model(experiments: Sequence[Experiment]) -> list[Experiment]:
    """One experiment a model: that with the most epochs, then pictures; of equals, a commit before an experiment.

    An experiment of one method holds its baseline's numbers of the others; so these count once.
    """
    best: dict[str, Experiment] = {}
    for found in experiments:
        key = json.dumps([found.method, found.model], sort_keys=True, default=str)
        if key not in best or progress(found) > progress(best[key]):
            best[key] = found
    return list(best.values())


def progress(experiment: Experiment) -> tuple[int, int, bool]:
    """What is compared between experiments of one model."""
    return experiment.last_epoch, experiment.images, not isinstance(experiment.revision, Derived)


def read_experiment(revision: Revision, method: str, repository: Path) -> Experiment | str:
    """One revision's experiment, or why it does not count."""
    path = f"metrics/epochs/{method}.json"
    record = read_record(revision.commit, repository)
    if isinstance(record, str):
        return record
    epochs = read_at(revision.commit, path, repository)
    if epochs is None:
        return f"has no {path}"
    params, lock = record
    try:
        parameters, prompts = dict(params["finetune"][method]), tuple(params["sample"]["prompts"])
    except (KeyError, TypeError):
        return f"its params.yaml has no finetune.{method} or no sample.prompts"
    stages = (lock or {}).get("stages", {})
    trained = stages.get(f"finetune@{method}", {}).get("params", {}).get("params.yaml", {})
    if trained.get(f"finetune.{method}") != parameters:
        return "its parameters are not those that dvc.lock says it was trained with"
    recorded = {out["path"]: out.get("md5") for out in stages.get(f"score@{method}", {}).get("outs", [])}
    if recorded.get(path) != hashlib.md5(epochs, usedforsecurity=False).hexdigest():
        return "its numbers are not those that dvc.lock names"
    if stale := stale_stage(stages, method):
        return f"its numbers are older than its training: {stale} was not run again"
    rows = json.loads(epochs)
    tuned = tuple(row for row in rows if row["epoch"] > 0)
    if not tuned:
        return "has no tuned checkpoint"
    untuned = next((row for row in rows if row["epoch"] == 0), None)
    return Experiment(revision, parameters, tuned, prompts, method, untuned, params)


@functools.cache
def read_record(commit: str, repository: Path) -> tuple[Any, Any] | str:
    """A commit's params.yaml and dvc.lock, or why they cannot be read. Parsed once: three methods ask for them."""
    contents = []
    for name in ("params.yaml", "dvc.lock"):
        content = read_at(commit, name, repository)
        if content is None:
            return f"has no {name}"
        try:
            contents.append(parse_yaml(content.decode()))
        except (YAMLError, UnicodeDecodeError):
            return f"its {name} is not readable as YAML"
    return contents[0], contents[1]


def stale_stage(stages: dict[str, Any], method: str) -> str | None:
    """The first of the method's stages whose dvc.lock entry was made from other files than the stages before it made.

    So looks an experiment of which only a part was run: its commit holds the baseline's numbers for the rest.
    """
    made = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}
    for name in (f"{step}@{method}" for step in ("finetune", "sample", "score")):
        for dep in stages.get(name, {}).get("deps", []):
            if dep["path"] in made and dep.get("md5") != made[dep["path"]]:
                return name
    return None


def parse_yaml(text: str) -> Any:
    """YAML 1.2, in which 5e-06 (as DVC writes it) is a number."""
    return YAML(typ="safe", pure=True).load(io.StringIO(text))


def read_losses(experiment: Experiment, repository: Path) -> list[tuple[int, float]]:
    """(epoch, mean training loss) of each epoch. Raises UserError where its commit has none that can be read."""
    path = f"metrics/finetune/{experiment.method}/plots/metrics/loss.tsv"
    content = read_at(experiment.revision.commit, path, repository)
    if content is None:
        raise UserError(f"{experiment.revision.name} has no {path}")
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode()), delimiter="\t"))
        return [(int(row["step"]), float(row["loss"])) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{experiment.revision.name}: {path} is no table of step and loss") from None


def open_samples(
    experiment: Experiment, epochs: Collection[int], repository: Path
) -> tuple[list[str], dict[int, dict[int, Image.Image]]]:
    """The prompts, and of each epoch and prompt (by its place) the first seed's picture, from DVC's cache.

    Raises UserError where they are in no cache or remote that can be reached.
    """
    outputs, folder = Outputs(experiment.revision.commit, repository), f"data/samples/{experiment.method}"
    rows = map(json.loads, outputs.read(f"{folder}/manifest.jsonl").decode().splitlines())
    drawn = [row for row in rows if row["epoch"] in epochs and not row["plain"]]
    first: dict[tuple[int, int], Row] = {}
    for row in sorted(drawn, key=lambda row: (row["epoch"], row["prompt_index"], row["seed_index"])):
        first.setdefault((row["epoch"], row["prompt_index"]), row)
    places = sorted({prompt for _, prompt in first})
    prompts = {prompt: row.get("prompt", experiment.prompts[prompt]) for (_, prompt), row in first.items()}
    pictures: dict[int, dict[int, Image.Image]] = {}
    for (epoch, prompt), row in first.items():
        try:
            picture = Image.open(io.BytesIO(outputs.read(f"{folder}/{row['file']}"))).convert("RGB")
        except (OSError, Image.DecompressionBombError):
            raise UserError(f"{folder}/{row['file']} cannot be read as a picture") from None
        pictures.setdefault(epoch, {})[places.index(prompt)] = picture
    return [prompts[prompt] for prompt in places], pictures


def read_scores(experiment: Experiment, table: str, repository: Path) -> list[Row]:
    """The rows of data/scores/<table>.jsonl, a scored picture each, from DVC's cache.

    Raises UserError where they are in no cache or remote that can be reached.
    """
    outputs = Outputs(experiment.revision.commit, repository)
    return [json.loads(line) for line in outputs.read(f"data/scores/{table}.jsonl").decode().splitlines()]
