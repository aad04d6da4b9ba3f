"""What a machine does for one experiment: clone, run, push. Ray carries this module to every node by value.

An experiment is finished when its ref `refs/exps/<baseline>/<name>` is in the repository that it was cloned from; that
ref is pushed last. So a task may be killed at any moment and tried again anywhere: it finds the ref and has nothing to
do, or begins anew in another clone, where a stage that was at work goes on from its state in the node's scratch folder.

Nothing here is imported from Emblem: a node has the packages of requirements.lock, and a clone of the commit asked for.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

WATCH = """
import os, signal, time
if os.fork():
    os._exit(0)
told = b""
while part := os.read(0, 64):
    told += part
group, _, ended = told.partition(b"\\n")
for number in () if ended or not group else (signal.SIGTERM, signal.SIGKILL):
    try:
        os.killpg(int(group), number)
    except ProcessLookupError:
        break
    time.sleep(3)
"""
"""Waits until its input closes, and ends the process group that it was told of, unless it was told that this has ended.

So a worker that Ray kills, or that dies with its node, leaves nothing at work behind. It is nobody's child: Ray kills a
worker's children with it, but not their children.
"""
TAIL = 30
"""Lines of an experiment's log that a failure brings back."""


@dataclass(frozen=True)
class Order:
    """An experiment to run, or what all of them share to make.

    origin: where the commit is cloned from, and where the ref goes: a path or an address that git knows.
    patch: what a diff of the workspace adds to the commit.
    targets: stages to run; for an experiment these alone, not those before them.
    inputs: stages whose outputs the targets need.
    cache: DVC's cache by path, "" for one of the node and the commit's default remote.
    scratch: where stages keep what they resume from, "" for a folder of the node.
    folder: where the clone is made, "" for the node's own folder.
    pace: methods whose speed is measured, with `pace_threads` cores, after what experiments share is made.
    """

    name: str
    commit: str
    origin: str
    targets: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    patch: bytes = b""
    settings: tuple[str, ...] = ()
    cache: str = ""
    scratch: str = ""
    folder: str = ""
    pace: tuple[str, ...] = ()
    pace_threads: int = 1
    author: tuple[str, str] = ("Emblem", "emblem@invalid")


@dataclass(frozen=True)
class Outcome:
    """What became of an order: "finished", "there" (somebody had finished it before) or "failed", and why.

    patch, pace: of `prepare`: what it adds to the commit; what experiments.pace measured, "" where it could not.
    """

    name: str
    state: str
    said: str = ""
    node: str = ""
    host: str = field(default_factory=socket.gethostname)
    patch: bytes = b""
    pace: str = ""


class StepFailed(Exception):
    """A command of an order failed; its message is the end of what it said."""


def run_experiment(order: Order, threads: int, node: str = "") -> Outcome:
    """Run an experiment and push it, unless that is done already."""
    try:
        if has_ref(order.origin, order.name):
            return Outcome(order.name, "there", node=node)
        with clone(order, threads) as (folder, call):
            if has_ref(order.origin, order.name):  # another try was at work while this one waited for the lock
                return Outcome(order.name, "there", node=node)
            take_inputs(order, call)
            settings = [part for setting in order.settings for part in ("-S", setting)]
            call("dvc", "exp", "run", "--single-item", "--name", order.name, *settings, *order.targets)
            push(order, folder, call)
    except StepFailed as error:
        return Outcome(order.name, "failed", str(error), node)
    return Outcome(order.name, "finished", node=node)


def prepare(order: Order, threads: int, node: str = "") -> Outcome:
    """Make what all experiments share, and return what it adds to the commit (a dvc.lock that knows it) as a patch."""
    try:
        with clone(order, threads) as (folder, call):
            take_inputs(order, call)
            call("dvc", "repro", *order.targets)
            if not order.cache:
                call("dvc", "push", *order.targets)
            diff = ["git", "diff", "--binary", order.commit, "--"]
            patch = subprocess.run(diff, cwd=folder, capture_output=True, check=True).stdout
            pace = measure_pace(order, folder, call)
    except StepFailed as error:
        return Outcome(order.name, "failed", str(error), node)
    return Outcome(order.name, "finished", node=node, patch=patch, pace=pace)


def measure_pace(order: Order, folder: Path, call: Call) -> str:
    """How fast this machine is at what the experiments do; "" where that cannot be measured, which harms nothing."""
    file = folder.parent / "pace.json"
    methods = [part for method in order.pace for part in ("--method", method)]
    call.environment = {**call.environment, **cores(order.pace_threads)}
    try:
        call(sys.executable, "-m", "experiments.pace", *methods, str(file))
        return file.read_text(encoding="utf-8")
    except (StepFailed, OSError):
        return ""


def take_inputs(order: Order, call: Call) -> None:
    """Bring what the inputs' stages have made, as far as it is in reach."""
    call("dvc", "checkout" if order.cache else "pull", "--allow-missing", "--force", *order.inputs)


def push(order: Order, folder: Path, call: Call) -> None:
    """Push an experiment's outputs, where there is a remote, and then its ref."""
    if order.cache:
        ref = refs(str(folder), order.name)[0]
        call("git", "push", "--quiet", "origin", f"{ref}:{ref}")
    else:
        call("dvc", "exp", "push", "origin", order.name)  # a push that git refuses ends with status 0
    if not has_ref(order.origin, order.name):
        raise StepFailed(f"{order.name} was pushed to {order.origin}, and is not there")


class Call:
    """Runs commands in a clone, what they say in a log."""

    def __init__(self, folder: Path, environment: dict[str, str], log: Path, lock: int) -> None:
        """Commands run in `folder` with an environment; whoever runs holds the lock."""
        self.folder, self.environment, self.log, self.lock = folder, environment, log, lock

    def __call__(self, *command: str, given: bytes | None = None) -> None:
        """Run a command. Raises StepFailed with the end of what it said, if its status is not 0."""
        if command[0] == "dvc":
            command = (sys.executable, "-m", "dvc", *command[1:])
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(log, f"$ {' '.join(command)}\n".encode())
            where: dict[str, Any] = {"cwd": self.folder, "env": self.environment, "stdout": log, "stderr": log}
            if given is not None:
                status = subprocess.run(command, input=given, check=False, **where).returncode
            else:
                status = self._watched(command, where)
        finally:
            os.close(log)
        if status:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise StepFailed("\n".join(lines[-TAIL:]))

    def _watched(self, command: Sequence[str], where: dict[str, Any]) -> int:
        """Run a command that ends, with all that it has started, when this process does; returns its status."""
        watch = [sys.executable, "-c", WATCH]
        with subprocess.Popen(watch, stdin=subprocess.PIPE, bufsize=0, start_new_session=True) as watcher:
            assert watcher.stdin is not None
            watcher.wait()  # from here on, what it has forked is at work
            with subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[self.lock], start_new_session=True, **where
            ) as child:
                watcher.stdin.write(f"{child.pid}\n".encode())
                status = child.wait()
                watcher.stdin.write(b"ended")
        return status


@contextmanager
def clone(order: Order, threads: int) -> Iterator[tuple[Path, Call]]:
    """A clone of the order's commit with its patch, gone afterwards; one at a time of a name on this machine."""
    root = Path(order.folder) if order.folder else node_folder()
    (root / "logs").mkdir(parents=True, exist_ok=True)
    log = root / "logs" / f"{order.name}.log"
    with locked(root / "logs" / f"{order.name}.lock") as lock:
        log.unlink(missing_ok=True)
        for left in root.glob(f"{order.name}.*"):  # a killed try's
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{order.name}.", dir=root)) / "clone"
        try:
            call = Call(root, environment_of(order, root, threads), log, lock)
            call("git", "clone", "--quiet", "--no-checkout", order.origin, str(folder))
            call.folder = folder
            call("git", "checkout", "--quiet", "--detach", order.commit)
            if order.patch:
                call("git", "apply", "--binary", "--whitespace=nowarn", "-", given=order.patch)
            check_packages(folder)
            call("git", "config", "--file", ".dvc/config.local", "cache.dir", order.cache or str(root / "cache"))
            call.environment["DVC_SITE_CACHE_DIR"] = str(folder.parent / "site")
            yield folder, call
        finally:
            shutil.rmtree(folder.parent, ignore_errors=True)


def node_folder() -> Path:
    """Where this machine keeps its DVC cache, the clones at work, and what stages resume from."""
    given = os.environ.get("EMBLEM_NODE")
    return Path(given).absolute() if given else Path.home() / ".cache" / "emblem" / "node"


def environment_of(order: Order, root: Path, threads: int) -> dict[str, str]:
    """The environment of an order's commands: this Python's, its share of the cores, and where to resume from."""
    name, email = order.author
    named = {
        f"GIT_{who}_{what}": of for who in ("AUTHOR", "COMMITTER") for what, of in (("NAME", name), ("EMAIL", email))
    }
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "EMBLEM_SCRATCH": order.scratch or str(root / "scratch"),
        "GIT_TERMINAL_PROMPT": "0",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "RAY_", "DVC_"))}
    return {**kept, **named, **cores(threads), **own}


def cores(count: int) -> dict[str, str]:
    """The variables that say how many cores a command may use."""
    return {name: str(count) for name in ("EMBLEM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}


def check_packages(folder: Path) -> None:
    """Raise StepFailed where this Python has other libraries than the commit's versions.yaml names."""
    file = folder / "versions.yaml"
    for name, wanted in re.findall(r'^([\w-]+): "([^"]+)"$', file.read_text() if file.exists() else "", re.MULTILINE):
        try:
            found = version(name).split("+")[0]
        except PackageNotFoundError:
            found = "missing"
        if found != wanted.split("+")[0]:
            raise StepFailed(
                f"{name} is {found}, the commit asks for {wanted}: run `make setup` on {socket.gethostname()}"
            )


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Within it, nobody else on this machine is in a block of the same path; what is started inherits the lock."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def refs(repository: str, name: str) -> list[str]:
    """The refs of experiments of a name that a repository has. Raises StepFailed where it cannot be asked."""
    command = ["git", "ls-remote", repository, f"refs/exps/*/{name}"]
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    asked = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if asked.returncode:
        raise StepFailed(f"git ls-remote {repository}: {' '.join(asked.stderr.split())}")
    return [line.split("\t")[1] for line in asked.stdout.splitlines()]


def has_ref(repository: str, name: str) -> bool:
    """Whether a repository has the result of an experiment."""
    return bool(refs(repository, name))
