"""Two nodes of a Ray cluster: results come together through git and DVC remotes, also where a node is lost."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.grid_repository import experiments, params_with, run, started, wait_for


@pytest.fixture
def nodes(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A head with one core, and a second node with one that may be killed: the address, and the second's process."""
    folder = tempfile.mkdtemp(prefix="emblem-test-")  # a socket's path may have 107 characters
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    started_here: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", *arguments]
        common = ["--object-store-memory=78643200", "--disable-usage-stats"]
        environment = {**os.environ, "EMBLEM_NODE": str(repository.parent / name), "RAY_TMPDIR": folder}
        log = (repository.parent / f"{name}.log").open("wb")
        process = subprocess.Popen(
            [*command, *common], cwd=repository, stdout=log, stderr=log, start_new_session=True, env=environment
        )
        started_here.append(process)
        return process

    try:
        start("first", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
        wait_for(lambda: "Ray runtime started" in (repository.parent / "first.log").read_text())
        second = start("second", f"--address=127.0.0.1:{port}")
        wait_for(lambda: "Ray runtime started" in (repository.parent / "second.log").read_text())
        yield f"127.0.0.1:{port}", second
    finally:
        for process in started_here:
            end(process)
        shutil.rmtree(folder, ignore_errors=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a node, at once: its process group is `ray start` and the daemons that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def lose_a_node(repository: Path, nodes: tuple[str, subprocess.Popen[bytes]], *arguments: str) -> list[str]:
    """Run eight experiments, the second node killed in the middle; returns the names of those that are finished."""
    address, second = nodes
    command = [sys.executable, "-m", "experiments.grid", "run", "--address", address, *arguments]
    work = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(started(repository, "score")) >= 2)
    end(second)
    _, said = work.communicate(timeout=170)
    assert work.returncode == 0, said
    assert run(repository, "git", "status", "--porcelain") == ""
    return experiments(repository)


def test_a_lost_node_loses_nothing(repository: Path, nodes: tuple[str, subprocess.Popen[bytes]]) -> None:
    """Eight experiments, the second node killed in the middle: eight finished, none twice, and a clone gets them."""
    (repository / "params.yaml").write_text(params_with("[1, 2, 3, 4, 5, 6, 7, 8]", smallest=9))
    origin, remote = repository.parent / "origin", repository.parent / "remote"
    run(repository, "dvc", "remote", "add", "-d", "team", str(remote))
    run(repository, "git", "commit", "-qam", "grid")
    run(repository, "git", "init", "-q", "--bare", str(origin))
    run(repository, "git", "remote", "add", "origin", str(origin))
    run(repository, "git", "push", "-q", "origin", "HEAD:main")
    names = lose_a_node(repository, nodes, "--share", "remote")
    assert len(names) == 8
    refs = run(repository, "git", "ls-remote", "origin", "refs/exps/*").splitlines()
    assert sorted(ref.rsplit("/", 1)[1] for ref in refs) == names, "each once, and no other"
    assert not list((repository.parent / "first").glob("grid-*")), "a clone is left behind"
    assert list((repository.parent / "second" / "logs").glob("grid-*.log")), "the second node did nothing"

    clone = repository.parent / "clone"
    run(repository.parent, "git", "clone", "-q", "-b", "main", str(origin), str(clone))
    run(clone, "dvc", "exp", "pull", "-q", "origin", *names)
    assert experiments(clone) == names
    commit = run(clone, "git", "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{names[0]}").strip()
    run(clone, "git", "checkout", "-q", commit)
    run(clone, "dvc", "pull", "-q", "finetune@lora")
    assert re.search(r'"rank": \d', (clone / "models/lora.txt").read_text())


@pytest.mark.slow
def test_nodes_of_one_machine_need_no_remote(repository: Path, nodes: tuple[str, subprocess.Popen[bytes]]) -> None:
    (repository / "params.yaml").write_text(params_with("[1, 2, 3, 4, 5, 6, 7, 8]", smallest=9))
    run(repository, "git", "commit", "-qam", "grid")
    assert len(lose_a_node(repository, nodes)) == 8
    steps = [tuple(row[1:]) for row in started(repository, "step")]
    assert len(steps) == len(set(steps)), "a lost training began anew, though its state was there"
