"""Long work is seen: lines where there is no terminal, and no silence while an item takes its time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stages.common import progress as module
from stages.common.progress import activity, counted, progress


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 1.5)
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.5)


def test_items_come_through_and_the_last_line_says_all_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter("abc"), "read", total=3, unit="letter")) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("read: 100%")
    assert "3/3" in lines[-1]
    assert not any("\r" in line for line in lines)


def test_an_item_that_takes_long_is_not_silent(capsys: pytest.CaptureFixture[str]) -> None:
    for number in progress(range(2), "train", total=2):
        if number:
            time.sleep(3.5)
    said = [line for line in capsys.readouterr().err.splitlines() if "1/2" in line]
    assert len(said) >= 2


def test_work_without_items_says_what_it_is_and_for_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    with activity("load the base"):
        time.sleep(3.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("load the base: ") for line in lines)
    with activity("load the reader"):
        pass
    assert capsys.readouterr().err == ""


def test_the_innermost_work_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    with activity("outer"), activity("inner"):
        time.sleep(2.5)
    said = capsys.readouterr().err
    assert "inner" in said
    assert "outer" not in said


def test_nothing_is_left_behind() -> None:
    def fail() -> None:
        with activity("a"), counted("b", 2) as advance:
            advance(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    time.sleep(1.2)
    assert not [thread for thread in threading.enumerate() if isinstance(thread, module._Heart) and thread.is_alive()]


def test_a_bar_ends_though_nobody_reads_what_it_says() -> None:
    """As after `... 2>&1 | head`, or when the program that started it was killed."""
    code = """
import time
from stages.common import progress
progress.LINE_SECONDS = 0.1
with progress.counted("work", 4, "step") as advance:
    print("on", flush=True)
    time.sleep(3)
"""
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": Path(__file__).parents[3]}
    with subprocess.Popen([sys.executable, "-c", code], **options) as work:
        assert work.stdout is not None
        assert work.stderr is not None
        work.stdout.readline()
        work.stderr.close()
        try:
            assert work.wait(timeout=20) == 0
        finally:
            work.kill()
