"""The run of a grid: rung after rung, what is missing is handed to the cluster, and the best of each rung climb on."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from experiments.grid.cluster import Cluster, connected, last_line
from experiments.grid.plan import Model, Planner, Task
from experiments.grid.race import Cost, climbers, ladder, planned_cost, read_standings, step_cost
from experiments.grid.workspace import Workspace, listed, read_workspace
from stages.common.errors import UserError
from stages.common.files import write_file, write_json
from stages.common.params import Method, Rung
from stages.common.progress import activity, counted
from stages.common.revisions import find_experiments, git

FOLDER = Path(".emblem/grid")
STATE = FOLDER / "state.json"
"""Which experiments have failed and why, as the run that is or was at work knows it."""
PACE = FOLDER / "pace.json"
"""What experiments.pace measured when a grid was last begun here, and how many experiments it ran at a time."""


@dataclass
class Grid:
    """The models of a grid and how far each has come."""

    planner: Planner
    models: Mapping[Method, Sequence[Model]]
    exhaustive: bool
    failed: dict[str, str] = field(default_factory=dict)
    """Names of failed experiments, and the last line of what they said."""

    def rungs(self, method: Method) -> list[Rung]:
        """The rungs that a method's models climb."""
        return ladder(self.planner.params, self.models[method], self.exhaustive)

    def levels(self) -> Iterator[list[Task]]:
        """The experiments of each rung, all methods together; the next rung's follow from the results of the last."""
        race, climbing = self.planner.params.race, dict(self.models)
        for level in range(max(len(self.rungs(method)) for method in self.models)):
            here = {method: self.rungs(method)[level] for method in climbing if level < len(self.rungs(method))}
            tasks = [self.planner.task(model, rung) for method, rung in here.items() for model in climbing[method]]
            yield tasks
            for method in here:
                if level + 1 < len(self.rungs(method)):
                    standings = read_standings([task for task in tasks if task.model.method == method], race.by)
                    climbing[method] = climbers(standings, race, level) if standings else []

    def before(self, task: Task) -> Rung | None:
        """The rung that a task's model comes from, None on the first one."""
        rungs = self.rungs(task.model.method)
        return rungs[rungs.index(task.rung) - 1] if rungs.index(task.rung) else None

    def cost(self, task: Task) -> Cost:
        """What a task adds to the rung below."""
        return step_cost(self.planner.params, task.model, self.before(task), task.rung)

    def planned(self) -> dict[Method, Cost]:
        """What each method's grid takes at most."""
        return planned_cost(self.planner.params, self.models, self.exhaustive)

    def hours(self, done: Mapping[Method, Cost] | None = None) -> float | None:
        """Hours that it takes at most on this machine, without what is done; None where its pace is not known yet."""
        if not PACE.exists():
            return None
        pace = json.loads(PACE.read_text(encoding="utf-8"))
        left = {method: cost - (done or {}).get(method, Cost()) for method, cost in self.planned().items()}
        seconds = sum(cost.seconds(method, pace) for method, cost in left.items())
        return seconds / float(pace["at_a_time"]) / 3600


@dataclass
class Session:
    """A cluster that is at work on a workspace: what experiments share is made on it once, before the first of them."""

    grid: Grid
    cluster: Cluster
    workspace: Workspace
    patch: bytes
    nodes: dict[Model, str] = field(default_factory=dict)
    """The node that trained a model last: it has the state to go on from."""

    @classmethod
    def open(cls, grid: Grid, cluster: Cluster, workspace: Workspace) -> Session:
        """Make what the experiments share. Raises UserError where that fails."""
        shared = grid.planner.common_stages(list(grid.models))
        with activity("grid: what all experiments share"):
            prepared = cluster.prepare(workspace.preparation(shared, list(grid.models), cluster.cpus))
        if prepared.pace:
            write_json(PACE, {**json.loads(prepared.pace), "at_a_time": cluster.room})
        return cls(grid, cluster, workspace, prepared.patch)

    def work_off(self, tasks: Sequence[Task], advance: Callable[[int], object]) -> None:
        """Run experiments; what fails is noted and its log kept, and the others go on."""
        by_name = {task.name: task for task in tasks}
        orders = [self.workspace.order(task, self.grid.planner.inputs(task.model.method), self.patch) for task in tasks]
        near = {task.name: self.nodes[task.model] for task in tasks if task.model in self.nodes}
        for outcome in self.cluster.run(orders, near):
            task = by_name[outcome.name]
            self.nodes[task.model] = outcome.node
            if outcome.state == "failed":
                self.grid.failed[outcome.name] = last_line(outcome.said)
                write_file(FOLDER / f"{outcome.name}.log", outcome.said + "\n")
                write_json(STATE, {"failed": self.grid.failed})
            advance(self.grid.cost(task).epochs)


def run_grid(grid: Grid, address: str, jobs: int | None, cpus: int | None, by_path: bool | None) -> list[Task]:
    """Run the experiments that are missing, and return all of the grid's that are finished.

    Args:
        address: of a Ray cluster; "" for one of this machine's own, while it is needed.
        jobs: experiments at a time on this machine; None: as many as there are cores (or GPUs) and memory.
        cpus: cores an experiment takes; None: one, or a GPU's share.
        by_path: whether results are shared by path; None: where every node is this machine.

    Raises UserError where some failed, when the others have finished, and where the workspace cannot be run as it is.
    """
    finished: list[Task] = []
    methods = list(grid.models)
    with alone(), ExitStack() as stack:
        session: Session | None = None
        origin = ""
        write_json(STATE, {"failed": {}})

        def connect() -> Session:
            cluster = stack.enter_context(connected(address, jobs, cpus))
            shared = cluster.is_this_machine if by_path is None else by_path
            return Session.open(grid, cluster, read_workspace(grid.planner, methods, shared))

        if address or by_path is False:  # only what is missing at the origin is missing
            session = connect()
            origin = "" if session.workspace.by_path else session.workspace.origin
        done_before: dict[Method, Cost] = {}
        with counted("grid", sum(cost.epochs for cost in grid.planned().values()), "epoch") as advance:
            for tasks in grid.levels():
                done = known(tasks, origin)
                for task in tasks:
                    if task.name in done:
                        cost = grid.cost(task)
                        done_before[task.model.method] = done_before.get(task.model.method, Cost()) + cost
                        advance(cost.epochs)
                missing = [task for task in tasks if task.name not in done]
                if missing:
                    if session is None:
                        session = connect()
                        say_hours(grid.hours(done_before))
                    session.work_off(missing, advance)
                    done = known(tasks, origin)
                finished += [task for task in tasks if task.name in done]
    if grid.failed:
        names = sorted(grid.failed)
        raise UserError(
            f"{len(names)} of {len(finished) + len(names)} experiments failed ({listed(names)}): "
            f"{FOLDER / (names[0] + '.log')} says why, the same command tries them again"
        )
    return finished


def say_hours(hours: float | None) -> None:
    """Say how long the grid will take at most."""
    if hours is not None:
        tqdm.write(f"grid: at most {hours:.1f} hours on this machine for what is missing", file=sys.stderr)


def known(tasks: Sequence[Task], origin: str = "") -> set[str]:
    """Names of those of the tasks that are finished; what another repository has of them is fetched first."""
    names = {task.name for task in tasks}
    here = {found.name for found in find_experiments()} & names
    if origin and names - here:
        listing = [line.split("\t")[1] for line in git("ls-remote", origin, "refs/exps/*").splitlines()]
        there = [ref for ref in listing if ref.rsplit("/", 1)[-1] in names - here]
        if there:
            git("fetch", "--quiet", "--no-tags", origin, *(f"{ref}:{ref}" for ref in there))
            here |= {ref.rsplit("/", 1)[-1] for ref in there}
    return here


@contextmanager
def alone() -> Iterator[None]:
    """Within it, no other grid is at work in this repository. Raises UserError where one is."""
    lock = os.open(lock_file(), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UserError("another `python -m experiments.grid run` is at work in this repository") from None
    try:
        yield
    finally:
        os.close(lock)


def lock_file() -> Path:
    """The file that a grid at work holds a lock on."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER / "lock"


def states(grid: Grid) -> Iterator[tuple[Task, str]]:
    """The experiments of every rung that can be told so far: "finished", "failed", "at work or waiting", "missing"."""
    try:
        with alone():
            waiting = "missing"
    except UserError:
        waiting = "at work or waiting"
    noted = json.loads(STATE.read_text(encoding="utf-8")) if STATE.exists() else {"failed": {}}
    for tasks in grid.levels():
        done = known(tasks)
        for task in tasks:
            yield task, "finished" if task.name in done else "failed" if task.name in noted["failed"] else waiting
        if len(done) < len(tasks):
            break
