"""DVC's experiment queue through the dvc command line: put tasks in, work them off with `dvc queue start`'s workers.

The task of a killed worker stays `Running` in the queue for ever. Where no worker is left it is killed too, which makes
it a failed one: nothing is waited for in vain, and the next run tries it again.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

from stages.common.command import threads
from stages.common.errors import UserError
from stages.common.progress import progress
from stages.common.revisions import find_experiments
from stages.common.scratch import SCRATCH_ROOT

LOOKS = 4
"""Looks in a row at which no worker answers before all count as gone: a busy one may answer late (DVC waits 1 s)."""
STARTS = 3
"""Times in a row that workers are started of which none ever answers."""


@dataclass(frozen=True)
class Task:
    """An experiment: DVC's name for it, what `-S` sets, and the stages that are run."""

    name: str
    settings: tuple[tuple[str, float | int], ...]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Queue:
    """What `dvc queue status` says: a task's state (Running, Queued, Failed, Success), and how many workers answer."""

    states: Mapping[str, str]
    workers: int

    def those(self, tasks: Sequence[Task], *states: str) -> list[Task]:
        """The tasks that are in one of the states."""
        return [task for task in tasks if self.states.get(task.name) in states]


def dvc(*arguments: str, share: Mapping[str, str] | None = None) -> str:
    """What a dvc command prints, `share` added to its environment. Raises UserError with DVC's own words.

    It runs in a session of its own: Ctrl-C is for this process.
    """
    with (
        TemporaryFile("w+") as out,
        TemporaryFile("w+") as err,
    ):  # workers outlive the command, and would hold pipes open
        status = call_dvc(*arguments, share=share, stdout=out, stderr=err, start_new_session=True).returncode
        out.seek(0)
        err.seek(0)
        said, lines = out.read(), err.read().splitlines()
    if status:
        error = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "failed")
        raise UserError(f"dvc {' '.join(arguments[:2])}: {error.removeprefix('ERROR: ')}")
    return said


def call_dvc(
    *arguments: str, share: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a dvc command.

    It finds dvc and python beside this Python, and one scratch folder for all checkouts: what a stage resumes from must
    not go with a checkout.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "EMBLEM_SCRATCH": str(SCRATCH_ROOT.absolute()), **(share or {})}
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, env=environment, check=False, **options)


def read_queue(tries: int = 5) -> Queue:
    """The queue as it is now. Raises UserError where DVC cannot read it."""
    try:
        said = dvc("queue", "status")
    except UserError as error:
        if tries > 1:  # a worker may have been writing what was read
            time.sleep(1)
            return read_queue(tries - 1)
        raise UserError(f"{error} (when nothing runs, remove .dvc/tmp/exps and start again)") from None
    rows = re.findall(r"^[0-9a-f]{7} +(\S+) .* (Running|Queued|Failed|Success) *$", said, re.MULTILINE)
    workers = re.search(r"Worker status: (\d+) active, (\d+) idle", said)
    return Queue(dict(rows), int(workers[1]) + int(workers[2]) if workers else 0)


def finished(tasks: Sequence[Task]) -> set[str]:
    """Names of those of the tasks that DVC has the results of."""
    return {found.name for found in find_experiments()} & {task.name for task in tasks}


def put(tasks: Sequence[Task], states: Mapping[str, str]) -> None:
    """Queue tasks; of those that the queue has a state of, what a failed or killed try left is removed first."""
    left = [task.name for task in tasks if task.name in states]
    if left:
        dvc("queue", "remove", *left)
    for task in progress(tasks, "queue", total=len(tasks), unit="experiment"):
        settings = [part for key, value in task.settings for part in ("-S", f"{key}={value!r}")]
        with uninterrupted():  # DVC edits params.yaml while it queues, and puts it back
            dvc("exp", "run", "--queue", "-s", "-n", task.name, *settings, *task.targets)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within it, Ctrl-C waits until the block has ended."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def clear_lost(tasks: Sequence[Task]) -> Queue:
    """Fail the tasks that stand as running though no worker is left, and return the queue as it then is.

    What they had started is ended, their checkouts are removed. Where a worker is left nothing is done: neither the
    queue nor a checkout says whose it is.
    """
    for look in range(LOOKS):
        queue = read_queue()
        lost = queue.those(tasks, "Running")
        if queue.workers or not lost:
            return queue
        time.sleep(1 if look < LOOKS - 1 else 0)
    click.echo(f"{', '.join(task.name for task in lost)}: the worker was killed; cleared by dvc queue kill", err=True)
    for force in ([], ["--force"], ["--force"]):  # first as Ctrl-C, which ends the stage too; fails when all have ended
        dvc("queue", "kill", *force, *(task.name for task in lost))
        time.sleep(1)
        queue = read_queue()
        lost = queue.those(lost, "Running")
        if not lost:
            break
    for checkout in Path(".dvc/tmp/exps").glob("tmp*"):
        shutil.rmtree(checkout, ignore_errors=True)
    return queue


def start_workers(jobs: int) -> None:
    """Start those of so many workers that are missing, each with an even share of the cores (at least one)."""
    each = str(max(1, threads() // jobs))
    share = {"EMBLEM_THREADS": each, "OMP_NUM_THREADS": each, "MKL_NUM_THREADS": each}
    dvc("queue", "start", "-j", str(jobs), share=share)


def work_off(tasks: Sequence[Task], jobs: int) -> Iterator[str]:
    """Keep workers at work until every task is finished or has failed; yields each name that finishes.

    Raises UserError naming the tasks that failed, or where no worker comes up.
    """
    begun, reported = time.monotonic(), set[str]()
    short = starts = 0
    while True:
        queue = read_queue()  # before `finished`: what ends in between is finished, not failed
        done = finished(tasks)
        yield from sorted(done - reported)
        reported = done
        open_tasks = [task for task in tasks if task.name not in done]
        queued = queue.those(open_tasks, "Queued")
        if not queued and not queue.those(open_tasks, "Running"):
            break
        short = short + 1 if queue.workers < min(jobs, len(queued)) else 0
        if short % LOOKS == 1:
            starts = 0 if queue.workers else starts + 1
            if starts > STARTS:
                raise UserError("no worker of `dvc queue start` answers: .dvc/tmp/exps/celery/*.out say why")
            start_workers(jobs)
        elif not queue.workers and not queued:
            clear_lost(open_tasks)
        time.sleep(min(30, 1 + (time.monotonic() - begun) / 20))  # a look takes a core two seconds
    failed = sorted(task.name for task in open_tasks)
    if failed:
        names = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        raise UserError(
            f"{len(failed)} of {len(tasks)} experiments failed ({names}): "
            f"`dvc queue logs {failed[0]}` says why, the same command tries them again"
        )
