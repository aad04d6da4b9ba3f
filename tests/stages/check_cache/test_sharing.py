"""Models and experiments are shared through a remote; what is missing or damaged in a cache is named."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.check_cache.checks import check_entries
from stages.check_cache.entries import cached_outputs

ROOT = Path(__file__).parents[3]
PIPELINE = """
stages:
  train:
    cmd: python make.py
    deps: [make.py]
    params: [rank]
    outs: [models/lora]
    metrics:
      - metrics/score.json: {cache: false}
"""
MAKE = """
import json, pathlib, ruamel.yaml
rank = ruamel.yaml.YAML(typ="safe").load(open("params.yaml"))["rank"]
for epoch in ("epoch-03", "epoch-06"):
    folder = pathlib.Path("models/lora", epoch)
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(bytes([rank]) * 1000 + epoch.encode())
pathlib.Path("metrics").mkdir(exist_ok=True)
pathlib.Path("metrics/score.json").write_text(json.dumps({"rank": rank}))
"""


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    named = {
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@invalid",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@invalid",
    }
    environment = {**os.environ, **named, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=120)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done


def new_repository(folder: Path, remote: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "make.py").write_text(MAKE)
    (folder / "params.yaml").write_text("rank: 8\n")
    for command in (
        "git init -q -b main",
        "dvc init -q",
        "dvc config core.analytics false",
        "dvc config core.autostage true",
    ):
        run(folder, *command.split())
    run(folder, "dvc", "remote", "add", "-d", "team", remote)
    run(folder, "dvc", "repro", "-q")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "trained")
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose results were pushed to a folder, and its git remote."""
    top = tmp_path_factory.mktemp("a team")
    repository = new_repository(top / "first", str(top / "remote"))
    run(repository, "dvc", "push", "-q")
    run(top, "git", "init", "-q", "--bare", "git.git")
    run(repository, "git", "remote", "add", "origin", str(top / "git.git"))
    run(repository, "git", "push", "-q", "origin", "main")
    run(top / "git.git", "git", "symbolic-ref", "HEAD", "refs/heads/main")
    return top


def clone(shared: Path, folder: Path) -> Path:
    run(folder, "git", "clone", "-q", str(shared / "git.git"), "clone")
    return folder / "clone"


def check(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(repository, sys.executable, "-m", "stages.check_cache", *arguments, check=False)


def test_clone_pull_repro_runs_nothing(shared: Path, tmp_path: Path) -> None:
    repository = clone(shared, tmp_path)
    run(repository, "dvc", "pull", "-q")
    assert "Stage 'train' didn't change" in run(repository, "dvc", "repro").stdout
    assert (repository / "models/lora/epoch-06/weights.safetensors").stat().st_size == 1008
    assert run(repository, "git", "status", "--porcelain").stdout == ""
    assert check(repository).returncode == 0


def test_experiments_are_pushed_and_pulled(shared: Path, tmp_path: Path) -> None:
    first = shared / "first"
    run(first, "dvc", "exp", "run", "-q", "--temp", "-n", "rank-four", "-S", "rank=4")
    run(first, "dvc", "exp", "push", "-q", "origin", "rank-four")
    assert "rank-four" in run(shared, "git", "ls-remote", "git.git", "refs/exps/*/*/rank-four").stdout
    repository = clone(shared, tmp_path)
    run(repository, "dvc", "exp", "pull", "-q", "origin", "rank-four")
    run(repository, "dvc", "exp", "apply", "-q", "rank-four")
    assert (repository / "models/lora/epoch-03/weights.safetensors").read_bytes()[:1] == b"\x04"


def test_a_flipped_byte_in_the_cache_is_named_and_healed(shared: Path, tmp_path: Path) -> None:
    repository = clone(shared, tmp_path)
    run(repository, "dvc", "pull", "-q")
    file = max(
        (p for p in (repository / ".dvc/cache/files/md5").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    stat = file.stat()
    file.chmod(0o644)
    file.write_bytes(bytes(content))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = check(repository)
    assert found.returncode == 1
    assert found.stdout.startswith("damaged: models/lora/epoch-0")
    assert f"weights.safetensors ({file})" in found.stdout
    assert found.stderr.splitlines()[-1] == "error: 1 files of dvc.lock are missing or damaged"

    assert "1 damaged files removed" in check(repository, "--remove").stdout
    run(repository, "dvc", "pull", "-q", "--force")
    assert check(repository).returncode == 0


def test_a_changed_object_of_a_remote_is_refused_as_the_readme_sets_it_up(shared: Path, tmp_path: Path) -> None:
    """`verify true`: without it, DVC takes whatever a folder remote holds, and `dvc status` says up to date."""
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "dvc remote modify team verify true" in readme
    repository = clone(shared, tmp_path)
    shutil.copytree(shared / "remote", tmp_path / "remote")
    file = next(p for p in (tmp_path / "remote").rglob("*") if p.is_file() and p.stat().st_size == 1008)
    mode = file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(b"x" * 1008)
    file.chmod(mode)
    run(repository, "dvc", "remote", "add", "--local", "--force", "-d", "team", str(tmp_path / "remote"))
    run(repository, "dvc", "remote", "modify", "--local", "team", "verify", "true")
    assert run(repository, "dvc", "pull", "-q", check=False).returncode != 0
    weights = list((repository / "models").rglob("*.safetensors"))
    assert all(path.read_bytes() != b"x" * 1008 for path in weights)


def test_a_missing_file_and_a_missing_folder_are_named(shared: Path, tmp_path: Path) -> None:
    repository = clone(shared, tmp_path)
    assert check(repository).stdout.startswith("missing: models/lora (")
    run(repository, "dvc", "pull", "-q")
    files = [p for p in (repository / ".dvc/cache/files/md5").rglob("*") if p.is_file() and p.stat().st_size == 1008]
    files[0].unlink()
    found = check(repository)
    assert found.stdout.count("missing: models/lora/epoch-0") == 1


def test_a_folder_remote_is_checked_too(shared: Path, tmp_path: Path) -> None:
    repository = clone(shared, tmp_path)
    assert check(repository, str(shared / "remote")).returncode == 0
    assert check(repository, str(tmp_path)).stdout.startswith("missing: models/lora (")


def test_outside_a_repository_it_is_one_line(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: this is no DVC repository\n")


def test_what_is_kept_in_git_is_not_looked_for_in_the_cache(tmp_path: Path) -> None:
    """A matrix's outputs by their methods, files beside dvc.yaml in a folder, and what was added by hand."""
    repository = tmp_path / "repository"
    inner = repository / "inner"
    inner.mkdir(parents=True)
    (inner / "dvc.yaml").write_text(
        "stages:\n  train:\n    matrix: {method: [lora, dreambooth]}\n"
        "    cmd: mkdir ${item.method} && echo ${item.method} > ${item.method}/weights && echo > ${item.method}.json\n"
        "    outs: ['${item.method}']\n    metrics: ['${item.method}.json': {cache: false}]\n"
    )
    for command in ("git init -q", "dvc init -q", "dvc repro -q inner/dvc.yaml"):
        run(repository, *command.split())
    (repository / "photos").mkdir()
    (repository / "photos/1.jpg").write_text("photo")
    run(repository, "dvc", "add", "-q", "photos")
    entries = cached_outputs(repository)
    assert [entry.path for entry in entries] == ["inner/dreambooth", "inner/lora", "photos"]
    cache = repository / ".dvc/cache"
    assert set(check_entries(entries, cache)) == {None}
    (cache / "files/md5").rename(cache / "files/moved")
    assert [fault.kind for fault in check_entries(entries, cache) if fault] == ["missing"] * 3


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A real SSH server on loopback: its port, and the private key that it lets in."""
    import asyncssh

    key, host = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    key.write_public_key(tmp_path / "key.pub")
    loop, ready, port = asyncio.new_event_loop(), threading.Event(), []

    async def start() -> None:
        server = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=str(tmp_path / "key.pub"), sftp_factory=True
        )
        port.append(server.sockets[0].getsockname()[1])
        ready.set()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(20)
    yield port[0], tmp_path / "key"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def test_a_remote_over_ssh(ssh: tuple[int, Path], tmp_path: Path) -> None:
    port, key = ssh
    repository = new_repository(tmp_path / "first", f"ssh://someone@127.0.0.1:{port}{tmp_path}/server")
    run(repository, "dvc", "remote", "modify", "team", "keyfile", str(key))
    run(repository, "dvc", "push", "-q")
    assert check(repository, str(tmp_path / "server")).returncode == 0
    run(tmp_path, "git", "clone", "-q", str(repository), "second")
    second = tmp_path / "second"
    run(second, "dvc", "remote", "modify", "--local", "team", "keyfile", str(key))
    run(second, "dvc", "pull", "-q")
    assert "Stage 'train' didn't change" in run(second, "dvc", "repro").stdout
