"""What an experiment was run with and what it scored, read from its commit; which experiments count.

An experiment counts only where its numbers belong to its parameters: dvc.lock must name both.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from ruamel.yaml import YAML

from experiments.outputs import Outputs
from stages.common.revisions import Revision, read_at
from stages.common.tables import Row


@dataclass(frozen=True)
class Experiment:
    """A revision's parameters of the method, and its checkpoints' numbers."""

    revision: Revision
    parameters: dict[str, Any]
    epochs: tuple[Row, ...]
    prompts: tuple[str, ...]


def read_experiments(
    revisions: Sequence[Revision], method: str, repository: Path
) -> tuple[list[Experiment], list[tuple[str, str]]]:
    """The experiments that count, and the name of and reason for each one that does not.

    Two revisions with the same parameters and numbers are one experiment (HEAD and the one applied to it).
    """
    kept: list[Experiment] = []
    skipped: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for revision in revisions:
        found = read_experiment(revision, method, repository)
        if isinstance(found, str):
            skipped.append((revision.name, found))
            continue
        key = json.dumps([found.parameters, found.epochs], sort_keys=True)
        if key in seen:
            skipped.append((revision.name, f"the same as {seen[key]}"))
            continue
        seen[key] = revision.name
        kept.append(found)
    return kept, skipped


def read_experiment(revision: Revision, method: str, repository: Path) -> Experiment | str:
    """One revision's experiment, or why it does not count."""
    path = f"metrics/epochs/{method}.json"
    contents = {name: read_at(revision.commit, name, repository) for name in ("params.yaml", "dvc.lock", path)}
    params_text, lock_text, epochs = contents.values()
    if params_text is None or lock_text is None or epochs is None:
        return f"has no {next(name for name, content in contents.items() if content is None)}"
    params, lock = parse_yaml(params_text.decode()), parse_yaml(lock_text.decode())
    parameters = params["finetune"][method]
    stages = (lock or {}).get("stages", {})
    trained = stages.get(f"finetune@{method}", {}).get("params", {}).get("params.yaml", {})
    if trained.get(f"finetune.{method}") != parameters:
        return "its parameters are not those that dvc.lock says it was trained with"
    recorded = {out["path"]: out.get("md5") for out in stages.get(f"score@{method}", {}).get("outs", [])}
    if recorded.get(path) != hashlib.md5(epochs, usedforsecurity=False).hexdigest():
        return "its numbers are not those that dvc.lock names"
    if stale := stale_stage(stages, method):
        return f"its numbers are older than its training: {stale} was not run again"
    rows = tuple(row for row in json.loads(epochs) if row["epoch"] > 0)
    if not rows:
        return "has no tuned checkpoint"
    return Experiment(revision, dict(parameters), rows, tuple(params["sample"]["prompts"]))


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


def open_samples(experiment: Experiment, method: str, epoch: int, repository: Path) -> list[Image.Image]:
    """The first seed's picture of each prompt that one of the experiment's checkpoints drew, from DVC's cache.

    Raises UserError where they are in no cache or remote that can be reached.
    """
    outputs, folder = Outputs(experiment.revision.commit, repository), f"data/samples/{method}"
    rows = map(json.loads, outputs.read(f"{folder}/manifest.jsonl").decode().splitlines())
    drawn = [row for row in rows if row["epoch"] == epoch and not row["plain"]]
    first: dict[int, Row] = {}
    for row in sorted(drawn, key=lambda row: (row["prompt_index"], row["seed_index"])):
        first.setdefault(row["prompt_index"], row)
    return [Image.open(io.BytesIO(outputs.read(f"{folder}/{row['file']}"))) for row in first.values()]
