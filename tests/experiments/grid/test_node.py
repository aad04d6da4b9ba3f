"""What a machine checks before it runs an experiment, and how many it runs at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.grid.cluster import last_line, share_of_this_machine, temporary_folder
from experiments.grid.node import WATCH, StepFailed, check_packages


def test_other_libraries_than_the_commit_s_are_refused(tmp_path: Path) -> None:
    check_packages(tmp_path)
    (tmp_path / "versions.yaml").write_text(f'# comment\npytest: "{pytest.__version__}"\n')
    check_packages(tmp_path)
    (tmp_path / "versions.yaml").write_text('pytest: "0.1"\n')
    with pytest.raises(StepFailed, match=r"pytest is [\d.]+, the commit asks for 0\.1: run `make setup` on "):
        check_packages(tmp_path)
    (tmp_path / "versions.yaml").write_text('no-such-library: "0.1"\n')
    with pytest.raises(StepFailed, match=r"no-such-library is missing, the commit asks for 0\.1"):
        check_packages(tmp_path)


@pytest.mark.parametrize(("told", "survives"), [(b"", False), (b"ended", True)])
def test_what_a_lost_worker_had_started_is_ended(told: bytes, survives: bool) -> None:
    """A command and its child, which is what a stage is to dvc; the child takes SIGTERM for a request."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    command = ["sh", "-c", f'"{sys.executable}" -c "{code}" & wait']
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"on\n"
        with subprocess.Popen([sys.executable, "-c", WATCH], stdin=subprocess.PIPE) as watch:
            watch.communicate(f"{started.pid}\n".encode() + told)
        end = time.monotonic() + 15
        while group_is_alive(started.pid) and time.monotonic() < (end if not survives else end - 12):
            started.poll()
            time.sleep(0.1)
        assert group_is_alive(started.pid) == survives
        if survives:
            os.killpg(started.pid, signal.SIGKILL)


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_experiments_share_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "8")
    gigabytes = {"of": 64}
    monkeypatch.setattr(os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else gigabytes["of"] * 2**30)
    assert share_of_this_machine(None, None) == (1, 8)
    assert share_of_this_machine(3, None) == (2, 3)
    assert share_of_this_machine(None, 4) == (4, 2)
    gigabytes["of"] = 7
    assert share_of_this_machine(None, None) == (4, 2), "memory for two"
    gigabytes["of"] = 1
    assert share_of_this_machine(None, None) == (8, 1)


def test_what_killed_clusters_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, busy = tmp_path / f"emblem-ray-{gone.pid}-abc", tmp_path / f"emblem-ray-{os.getpid()}-abc"
    for folder in (left, busy, tmp_path / "emblem-ray-other"):
        folder.mkdir()
    mine = Path(temporary_folder())
    assert set(tmp_path.iterdir()) == {mine, busy, tmp_path / "emblem-ray-other"}


def test_a_failure_is_said_in_the_line_that_tells_it() -> None:
    assert last_line("$ dvc exp run\n> python -m stages.finetune\nerror: no base\nsee above\n") == "error: no base"
    assert last_line("one\n\ntwo\n") == "two"
    assert last_line("") == "it said nothing"
