"""The paper's grid of experiments (Table 1), through DVC's own experiments and queue.

    python -m experiments.grid queue        queue what is missing of params.yaml's `grid:`
    python -m experiments.grid run -j 4     the same, then work it off with four workers and write the leaderboard
    python -m experiments.grid status       what is finished, running, queued, failed or missing

Reads   params.yaml (`grid:`), dvc.yaml. Writes DVC experiments, and by experiments.leaderboard metrics/leaderboard/.

An experiment is `dvc exp run --queue -s -S finetune.lora.unet_lr=... finetune@lora sample@lora score@lora`, named by a
digest of everything that decides its numbers: parameters, code and inputs. One that is finished is never run again; one
whose parameters or code changed has another name. What the experiments share (crawl, captions, detector) is made once,
before, and not looked at again.

Workers are those that `dvc queue start` starts, each with its own share: EMBLEM_THREADS cores, or a GPU. They outlive
this command, and a second `run` finds them at work. DVC leaves the task of a killed worker `Running` for ever: here it
is found by its process, cleared away and queued again. `dvc queue start` works off the same queue, but copies git's
objects into each checkout, which takes seconds: here they are borrowed.
"""

from __future__ import annotations

import fcntl
import gc
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from experiments.dvc_executor import parse_once
from stages.common.command import stage_main, threads
from stages.common.errors import UserError
from stages.common.params import Params, load_params, read_yaml
from stages.common.progress import progress
from stages.common.scratch import digest

TARGET = "score@lora"
POLL_SECONDS = 2.0
TRIES = 3
"""Times that an experiment whose worker was killed is started, at most, in one run."""
LOCK = Path(".emblem/grid.lock")
LOST_SECONDS = 15.0
"""Seconds that a task may be without a process of its own (set-up, collecting) before its worker is asked about it."""


@dataclass(frozen=True)
class Experiment:
    """One point of the grid: DVC's name for it, and what `-S` sets."""

    name: str
    settings: tuple[tuple[str, float | int], ...]

    @property
    def overrides(self) -> list[str]:
        """For `-S`."""
        return [f"{key}={value!r}" for key, value in self.settings]


# --- The plan ------------------------------------------------------------------------------------------------------


def plan(params: Params, pipeline: Path = Path("dvc.yaml")) -> list[Experiment]:
    """Every experiment of the grid, in the order of params.yaml."""
    shared = shared_digest(params, pipeline)
    grid = params.grid
    experiments = []
    for unet_lr, text_encoder_lr, rank in itertools.product(grid.unet_lr, grid.text_encoder_lr, grid.rank):
        settings = (
            ("finetune.lora.unet_lr", float(unet_lr)),
            ("finetune.lora.text_encoder_lr", float(text_encoder_lr)),
            ("finetune.lora.rank", rank),
            ("finetune.lora.alpha", float(rank * grid.alpha_per_rank)),
        )
        experiments.append(Experiment(f"grid-{digest(shared, settings)[:12]}", settings))
    return list(dict.fromkeys(experiments))


def shared_digest(params: Params, pipeline: Path) -> str:
    """A digest of what all experiments have in common: their other parameters, and the code and data in git."""
    content = params.model_dump(exclude={"grid", "report", "methods"})
    content["finetune"] = {"lora": content["finetune"]["lora"]}
    for name in ("unet_lr", "text_encoder_lr", "rank", "alpha"):
        del content["finetune"]["lora"][name]
    stages = {
        name: {key: value for key, value in stage.items() if key != "desc"}
        for name, stage in read_yaml(pipeline)["stages"].items()
        if name not in ("params", "report")
    }
    made = {path for stage in stages.values() for path in outputs(stage)}
    read = sorted({dep for stage in stages.values() for dep in stage.get("deps", [])})
    sources = [Path(dep) for dep in read if "${" not in dep and not is_below(dep, made)]
    return digest(content, stages, [(source.as_posix(), digest(source)) for source in sources if source.exists()])


def outputs(stage: Mapping[str, Any]) -> list[str]:
    """Paths that a stage of dvc.yaml writes."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [next(iter(entry)) if isinstance(entry, Mapping) else entry for entry in entries]


def is_below(path: str, folders: set[str]) -> bool:
    """Whether a path is one of the folders or in one of them."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def finished(experiments: Sequence[Experiment]) -> set[str]:
    """Names of those of the experiments that DVC has results of."""
    listed = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)", "refs/exps"], capture_output=True, text=True, check=True
    ).stdout
    return {line.rsplit("/", 1)[1] for line in listed.splitlines()} & {e.name for e in experiments}


# --- DVC's queue ---------------------------------------------------------------------------------------------------


@dataclass
class Queue:
    """DVC's experiment queue in this repository, and the workers on it."""

    children: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    unattended: dict[str, float] = field(default_factory=dict)
    """When a running task was first seen without a process."""

    def __post_init__(self) -> None:
        from dvc.repo import Repo

        self.repo = Repo()
        self.tasks = self.repo.experiments.celery_queue

    def states(self) -> dict[str, str]:
        """Name -> "Running", "Queued", "Failed" or "Success", of all tasks that DVC's queue knows."""
        for _ in range(20):
            try:
                return {str(task["name"]): str(task["status"]) for task in self.tasks.status()}
            except (OSError, ValueError, KeyError):  # a worker was writing what was read
                time.sleep(0.1)
        raise UserError("DVC's queue cannot be read: when nothing runs, remove .dvc/tmp/exps and start again")

    def put(self, experiment: Experiment, known: bool) -> None:
        """Queue an experiment; where the queue has `known` it, what a failed or killed try left is removed first."""
        if known:
            self.tasks.remove([experiment.name])
        with quiet():
            targets = own_stages()
            self.repo.experiments.run(
                targets=targets or [TARGET], single_item=bool(targets), params=experiment.overrides, queue=True,
                name=experiment.name,
            )  # fmt: skip

    def workers(self) -> dict[int, int]:
        """Number -> process of the workers that are alive, whoever started them."""
        import psutil

        for child in self.children.values():
            child.poll()
        node, found = self._node(""), {}
        for process in psutil.process_iter(["cmdline", "status"]):
            command = " ".join(process.info["cmdline"] or [])
            match = re.search(rf"queue-worker {node}(\d+)@", command)
            if match and process.info["status"] != psutil.STATUS_ZOMBIE:
                found[int(match[1])] = process.pid
        return found

    def _node(self, number: int | str) -> str:
        return f"dvc-exp-{sha256(self.tasks.wdir.encode()).hexdigest()[:6]}-{number}"

    def start_workers(self, shares: Sequence[Mapping[str, str]]) -> None:
        """Start the workers that are not there, each with its share of the machine in its environment."""
        alive = self.workers()
        folder = Path(self.tasks.wdir)
        folder.mkdir(parents=True, exist_ok=True)
        for number, share in enumerate(shares, 1):
            if number in alive:
                continue
            command = [sys.executable, "-m", "experiments.grid", "queue-worker", f"{self._node(number)}@localhost"]
            with (folder / f"dvc-exp-worker-{number}.out").open("ab") as log:
                self.children[number] = subprocess.Popen(
                    command + (["--clean"] if number == 1 else []), env={**worker_environment(), **share},
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip

    def clear_lost(self, names: set[str]) -> list[str]:
        """Fail those of the tasks that stand as running though nobody works on them, and return their names."""
        import psutil

        running = {entry.name: entry for entry in self.tasks.iter_active() if entry.name in names}
        for name in set(self.unattended) - set(running):
            del self.unattended[name]
        if not running:
            return []
        workers, lost, held = set(self.workers().values()), [], None
        for name, entry in running.items():
            info = self.tasks.proc.get(entry.stash_rev)
            process = find_process(info.pid) if info else None
            if process is not None and process.ppid() in workers:
                self.unattended.pop(name, None)
                continue
            if process is None and workers:
                if time.monotonic() - self.unattended.setdefault(name, time.monotonic()) < LOST_SECONDS:
                    continue
                held = self._held_tasks() if held is None else held
                if entry.stash_rev in held:
                    continue
            if process is not None:
                for of_tree in [*process.children(recursive=True), process]:
                    with suppress(psutil.NoSuchProcess):
                        of_tree.kill()
            self._fail(entry)
            lost.append(name)
        return lost

    def _held_tasks(self) -> set[str]:
        return {str(task["args"][0]["stash_rev"]) for held in self.tasks.worker_status().values() for task in held}

    def _fail(self, entry: Any) -> None:
        """Mark a task failed, as `dvc queue kill` does with a task that no worker holds, and remove its checkout."""
        from celery.result import AsyncResult

        for message, of_message in self.tasks._iter_processed():
            if of_message.stash_rev == entry.stash_rev and not AsyncResult(message.headers["id"]).ready():
                self.tasks.celery.backend.mark_as_failure(message.headers["id"], None)
        checkout = self._checkout(entry.stash_rev)
        if checkout is not None:
            remove_checkout(checkout)

    def _checkout(self, stash_rev: str) -> Path | None:
        from dvc.repo.experiments.executor.base import ExecutorInfo

        try:
            root = Path(ExecutorInfo.load_json(self.tasks.get_infofile_path(stash_rev)).root_dir).resolve()
        except (OSError, ValueError):
            return None
        return root if root.is_relative_to(Path(self.tasks.wdir).parent.resolve()) else None

    def was_killed(self, name: str) -> bool:
        """Whether a failed experiment ended by a signal, its own process or a stage's."""
        for result in self.tasks.iter_failed():
            if result.entry.name == name:
                info = self.tasks.proc.get(result.entry.stash_rev)
                if info is None or (info.returncode or 0) < 0:
                    return True
                log = Path(info.stdout or "")
                return log.is_file() and bool(re.search(r"exited with -\d+", log.read_text(errors="replace")))
        return False


def run_worker(node: str, clean: bool) -> None:
    """Be one of DVC's workers (as `dvc exp queue-worker` is) until the queue is empty, on checkouts that borrow git."""
    parse_once()
    from dvc.repo import Repo
    from dvc.repo.experiments import utils

    queue = Repo().experiments.celery_queue
    below, copy = Path(queue.wdir).parent.resolve(), utils.push_refspec

    def push_refspec(scm: Any, url: str, push_list: Sequence[tuple[str, str]], *args: Any, **kwargs: Any) -> None:
        checkout = Path(url.removeprefix("file://"))
        if url.startswith("file://") and checkout.resolve().is_relative_to(below):
            lend_objects(scm, checkout, push_list)
        else:
            copy(scm, url, push_list, *args, **kwargs)

    utils.push_refspec = push_refspec
    run_executors_of_ours()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)  # the collector took a third of what the worker does between experiments
    queue.celery.conf.broker_transport_options["polling_interval"] = 0.1  # seconds, by default one
    queue.worker.start(node, fsapp_clean=clean)


def run_executors_of_ours() -> None:
    """Have experiments run by experiments.dvc_executor where DVC would start `dvc exp exec-run`."""
    from dvc_task.proc.manager import ProcessManager

    signature = ProcessManager.run_signature

    def run_signature(self: Any, args: list[str], *others: Any, **named: Any) -> Any:
        if args[:3] == ["dvc", "exp", "exec-run"]:
            args = [sys.executable, "-m", "experiments.dvc_executor", *args[1:]]
        return signature(self, args, *others, **named)

    ProcessManager.run_signature = run_signature  # type: ignore[assignment, method-assign]


def lend_objects(scm: Any, checkout: Path, refs: Sequence[tuple[str, str]]) -> None:
    """Give a checkout these refs (ours, its) and the use of this repository's git objects, in place of a copy of them.

    DVC pushes every object of the commit into an empty repository: most of the time that setting up an experiment took.
    It also stages every file anew before it commits; what is then written need not be compressed.
    """
    from dulwich.refs import Ref
    from dulwich.repo import Repo as Git

    with Git(str(scm.root_dir)) as ours, Git(str(checkout)) as its:
        alternates = Path(its.object_store.path) / "info/alternates"
        alternates.parent.mkdir(parents=True, exist_ok=True)
        alternates.write_text(f"{Path(ours.object_store.path).resolve()}\n", encoding="utf-8")
        settings = its.get_config()
        settings.set(("core",), "looseCompression", "0")
        settings.write_to_path()
        for source, target in refs:
            its.refs[Ref(target.encode())] = ours.refs[Ref(source.encode())]


def find_process(pid: int) -> Any:
    """The process, None where it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except psutil.NoSuchProcess:
        return None


def remove_checkout(folder: Path) -> None:
    """Remove an experiment's checkout, whose inputs are read-only links into the cache."""
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep DVC from printing a line for each experiment that is queued."""
    with redirect_stdout(io.StringIO()):
        yield


# --- The machine ---------------------------------------------------------------------------------------------------


def gpus() -> list[str]:
    """Names of the GPUs that this command may use, for CUDA_VISIBLE_DEVICES."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [match[1] for match in re.finditer(r"^GPU (\d+):", listed, re.MULTILINE)]


def shares(jobs: int, cores: int, devices: Sequence[str]) -> list[dict[str, str]]:
    """Each worker's environment: cores divided evenly (at least one each), GPUs dealt out in turn."""
    each = str(max(1, cores // jobs))
    divided = [{"EMBLEM_THREADS": each, "OMP_NUM_THREADS": each, "MKL_NUM_THREADS": each} for _ in range(jobs)]
    for number, share in enumerate(divided):
        if devices:
            share["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return divided


def worker_environment() -> dict[str, str]:
    """This environment, with dvc and python found first beside this Python, and one scratch folder for all checkouts.

    A checkout goes when its worker is killed; what a stage resumes from must not go with it.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "EMBLEM_SCRATCH": str(Path(".emblem/scratch").absolute())}


# --- The commands --------------------------------------------------------------------------------------------------


def queue_missing(experiments: Sequence[Experiment], queue: Queue) -> list[Experiment]:
    """Queue every experiment that is neither finished nor in work; returns those queued."""
    queue.clear_lost({experiment.name for experiment in experiments})
    done, states = finished(experiments), queue.states()
    missing = [e for e in experiments if e.name not in done and states.get(e.name) not in ("Running", "Queued")]
    if missing:
        make_shared_stages()
        for experiment in progress(missing, "queue", total=len(missing), unit="experiment"):
            queue.put(experiment, experiment.name in states)
    return missing


def make_shared_stages(pipeline: Path = Path("dvc.yaml")) -> None:
    """Run the stages before the fine-tuning once, here: else every worker would run them for itself."""
    stages = read_yaml(pipeline)["stages"]
    shared = [name for name, stage in stages.items() if "matrix" not in stage and name != "report"]
    if not shared:
        return
    done = subprocess.run(["dvc", "repro", "--quiet", *shared], env=worker_environment(), check=False)
    if done.returncode:
        raise UserError(f"dvc repro {' '.join(shared)} failed: the experiments need what these stages make")


def own_stages(pipeline: Path = Path("dvc.yaml")) -> list[str]:
    """The stages in which experiments differ, in order: those before were made once and need no second look.

    None where git knows no dvc.lock yet: then a checkout has none either, and must find out what is made for itself.
    """
    known = ["git", "ls-files", "--error-unmatch", str(pipeline.with_suffix(".lock"))]
    if subprocess.run(known, capture_output=True, check=False).returncode:
        return []
    method = TARGET.partition("@")[2]
    return [f"{name}@{method}" for name, stage in read_yaml(pipeline)["stages"].items() if "matrix" in stage]


def work_off(experiments: Sequence[Experiment], queue: Queue, divided: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Keep the workers at work until every experiment is finished or has failed; yields each name that finishes.

    Raises UserError naming those that failed.
    """
    by_name = {experiment.name: experiment for experiment in experiments}
    reported: set[str] = set()
    tries: Counter[str] = Counter()
    while True:
        for name in queue.clear_lost(set(by_name)):
            click.echo(f"{name}: its worker was killed; queued again", err=True)
            _put_again(by_name[name], queue, tries)
        states, done = queue.states(), finished(experiments)
        yield from sorted(done - reported)
        reported = done
        open_names = set(by_name) - done
        failed = {name for name in open_names if states.get(name) == "Failed"}
        for name in sorted(failed):
            if queue.was_killed(name) and tries[name] < TRIES:
                click.echo(f"{name}: it was killed; queued again", err=True)
                _put_again(by_name[name], queue, tries)
                failed.discard(name)
        if open_names == failed:
            break
        for name in open_names - set(states):  # finished in between, or removed by someone
            if name not in finished(experiments) and name not in queue.states():
                _put_again(by_name[name], queue, tries)
        queue.start_workers(divided[: max(1, min(len(divided), len(open_names - failed)))])
        time.sleep(POLL_SECONDS)
    if failed:
        names = ", ".join(sorted(failed)[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
        raise UserError(
            f"{len(failed)} of {len(experiments)} experiments failed ({names}): "
            f"`dvc queue logs {min(failed)}` says why, the same command tries them again"
        )


def _put_again(experiment: Experiment, queue: Queue, tries: Counter[str]) -> None:
    tries[experiment.name] += 1
    if tries[experiment.name] > TRIES:
        raise UserError(f"{experiment.name} was lost {TRIES} times: is there enough memory for so many workers?")
    queue.put(experiment, experiment.name in queue.states())


def run_grid(params: Params, jobs: int) -> list[Experiment]:
    """Queue what is missing, work it off, and return all experiments of the grid; one such run at a time."""
    experiments = plan(params)
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another `python -m experiments.grid` is at work in this repository") from None
        queue = Queue()
        queue_missing(experiments, queue)
        divided = shares(jobs, threads(), gpus())
        names = work_off(experiments, queue, divided)
        for _ in progress(names, "grid", total=len(experiments), unit="experiment"):
            pass
    return experiments


def state_of(experiments: Sequence[Experiment], queue: Queue) -> list[tuple[Experiment, str]]:
    """Each experiment with "finished", "running", "queued", "failed" or "missing"."""
    done, states = finished(experiments), queue.states()
    return [(e, "finished" if e.name in done else states.get(e.name, "missing").lower()) for e in experiments]


def write_leaderboard(experiments: Sequence[Experiment]) -> None:
    """Rank the experiments' checkpoints by experiments.leaderboard. Raises UserError where it fails; it has said why."""
    command = [sys.executable, "-m", "experiments.leaderboard", *(e.name for e in experiments)]
    if subprocess.run(command, check=False).returncode:
        raise UserError(
            "the experiments are finished, but no leaderboard was written (python -m experiments.leaderboard)"
        )


@click.group(help=__doc__)
def main() -> None:
    """The grid of experiments."""


@main.command("queue")
def queue_command() -> None:
    """Queue the experiments of the grid that are missing."""

    @stage_main
    def run() -> None:
        experiments = plan(load_params())
        queued = queue_missing(experiments, Queue())
        click.echo(
            f"{len(queued)} of {len(experiments)} experiments queued; `python -m experiments.grid run` works them off"
        )

    run()


@main.command("run")
@click.option("-j", "--jobs", type=click.IntRange(1), help="experiments at a time (the GPUs, else half the cores)")
@click.option("--leaderboard/--no-leaderboard", default=True, show_default=True, help="rank the checkpoints at the end")
def run_command(jobs: int | None, leaderboard: bool) -> None:
    """Run the experiments of the grid that are missing, then write the leaderboard."""

    @stage_main
    def run() -> None:
        params = load_params()
        try:
            experiments = run_grid(params, jobs or len(gpus()) or max(1, threads() // 2))
        except KeyboardInterrupt:
            raise UserError(
                "interrupted; the workers go on: the same command watches them, dvc queue stop --kill ends them"
            ) from None
        if leaderboard:
            write_leaderboard(experiments)

    run()


@main.command("queue-worker", hidden=True)
@click.argument("node")
@click.option("--clean", is_flag=True, help="tidy the queue when it is empty")
def worker_command(node: str, clean: bool) -> None:
    """Work off the queue; `run` starts as many of these as it was asked for."""
    run_worker(node, clean)


@main.command("status")
def status_command() -> None:
    """Say how far the grid is."""

    @stage_main
    def run() -> None:
        states = state_of(plan(load_params()), Queue())
        for experiment, state in states:
            shown = "  ".join(f"{key.rsplit('.', 1)[1]}={value:g}" for key, value in experiment.settings)
            click.echo(f"{experiment.name}  {state:8}  {shown}")
        counted = Counter(state for _, state in states)
        click.echo(", ".join(f"{count} {state}" for state, count in sorted(counted.items())))

    run()


if __name__ == "__main__":
    main()
