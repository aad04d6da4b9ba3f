"""Orders on Ray: on this machine alone, or on every node of a cluster. What a node does is in experiments.grid.node.

A task that loses its worker or its node is tried again, wherever there is room: it finds out itself whether somebody
has finished it. One whose commands fail is not: the outcome says why.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from experiments.grid import node
from stages.common.command import threads
from stages.common.errors import UserError

EXPERIMENT_BYTES = 3 * 2**30
"""Memory that an experiment is given room for: the demo world's took 1.4 GB at most (--jobs: otherwise)."""
STORE_BYTES = 100 * 2**20
"""Ray's memory for objects: orders and outcomes take a few kilobytes each; 75 MiB is the least that Ray takes."""


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that this process is connected to."""

    cpus: int
    """Cores an experiment takes."""
    gpus: float
    """GPUs an experiment takes: one where any node has some."""
    room: int
    """Experiments that fit at once."""
    nodes: int
    is_this_machine: bool
    """Whether every node is this machine, so that paths are the same everywhere."""

    def prepare(self, order: node.Order) -> node.Outcome:
        """Make what experiments share, on a node, with all cores if it is alone. Raises UserError where that fails."""
        outcome = next(
            self._outcomes([order], {}, node.prepare, self.cpus * self.room if self.nodes == 1 else self.cpus)
        )
        if outcome.state == "failed":
            raise UserError(
                f"what the experiments share could not be made on {outcome.host}: {last_line(outcome.said)}"
            )
        return outcome

    def run(self, orders: Sequence[node.Order], near: Mapping[str, str]) -> Iterator[node.Outcome]:
        """Run experiments; yields each one's outcome as it ends. `near`: the node that has an order's state."""
        yield from self._outcomes(orders, near, node.run_experiment, self.cpus)

    def _outcomes(
        self, orders: Sequence[node.Order], near: Mapping[str, str], work: Any, cpus: int
    ) -> Iterator[node.Outcome]:
        task, waiting = ray.remote(on_node), []
        for order in orders:
            place: Any = "SPREAD"
            if node_id := near.get(order.name):
                place = NodeAffinitySchedulingStrategy(node_id, soft=True)
            options = {"max_retries": -1, "num_cpus": cpus, "num_gpus": self.gpus, "scheduling_strategy": place}
            waiting.append(task.options(**options).remote(work, order, cpus))
        while waiting:
            done, waiting = ray.wait(waiting, timeout=1)
            for reference in done:
                yield ray.get(reference)


def on_node(work: Any, order: node.Order, cpus: int) -> node.Outcome:
    """A Ray task: an order on the node that the task is on."""
    outcome: node.Outcome = work(order, cpus, ray.get_runtime_context().get_node_id())
    return outcome


@contextmanager
def connected(address: str, jobs: int | None, cpus: int | None) -> Iterator[Cluster]:
    """Within it, this process is connected to the cluster at an address, or to one of its own on this machine ("").

    Args:
        jobs: experiments at a time on this machine, which divide its cores.
        cpus: cores an experiment takes in a cluster.

    Raises UserError where no cluster answers.
    """
    if address and jobs:
        raise UserError(
            "--jobs is for this machine alone; in a cluster, --cpus says how many cores an experiment takes"
        )
    each, at_a_time = share_of_this_machine(jobs, cpus)
    for module in (node, __import__(__name__, fromlist=["on_node"])):
        ray.cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    own = "" if address else temporary_folder()
    try:
        quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False, "configure_logging": False}
        if address:
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise UserError(f"no Ray cluster answers at {address}: {' '.join(str(error).split())[:200]}") from None
        else:
            ray.init(
                address="local",
                num_cpus=each * at_a_time,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                object_store_memory=STORE_BYTES,
                _temp_dir=own,
                **quiet,
            )
        yield measure(cpus if address else each)
    finally:
        ray.shutdown()
        if own:
            shutil.rmtree(own, ignore_errors=True)


def temporary_folder() -> str:
    """A folder for a cluster's sockets and logs: in /tmp, since a socket's path may have 107 characters.

    What the clusters of killed processes have left there is removed.
    """
    prefix = "emblem-ray-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = left.name.removeprefix(prefix).split("-")[0]
        if pid.isdigit() and not is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-")


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number, of whomever."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def share_of_this_machine(jobs: int | None, cpus: int | None) -> tuple[int, int]:
    """Cores that an experiment takes here, and how many run at a time: as many as cores and memory allow."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    at_a_time = jobs or max(1, min(threads() // (cpus or 1), memory // EXPERIMENT_BYTES))
    return cpus or max(1, threads() // at_a_time), at_a_time


def measure(cpus: int | None) -> Cluster:
    """What the cluster has room for, where an experiment takes so many cores (None: one, or its GPU's share)."""
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cores, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
    alive = [each for each in ray.nodes() if each["Alive"]]  # type: ignore[no-untyped-call]
    each = cpus or (max(1, cores // gpus) if gpus else 1)
    room = max(1, min(cores // each, gpus or cores))
    here = all(node["NodeManagerHostname"] == socket.gethostname() for node in alive)
    return Cluster(each, 1 if gpus else 0, room, len(alive), here)


def last_line(said: str) -> str:
    """The line of a log that says what went wrong: the last one with an error, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["it said nothing"])[-1][:300]
