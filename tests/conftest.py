"""How the tests share a machine: pytest-xdist's workers divide its cores, and the longest files start first."""

from __future__ import annotations

import os

import pytest

LONG = (
    "test_end_to_end",
    "test_finetune_runs",
    "test_scrape",
    "test_train_detector",
    "test_grid",
    "test_cluster",
    "test_paper",
    "test_leaderboard",
)
"""The files that take the longest, longest first: started last, one of them would be waited for alone."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # before torch is imported, and for the processes that tests start
    share = str(max(1, _cores() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))
    os.environ.setdefault("EMBLEM_THREADS", share)
    os.environ.setdefault("OMP_NUM_THREADS", share)


def pytest_xdist_auto_num_workers() -> int:
    """As many workers as there are cores for this process: a container's share counts, not the whole machine."""
    return _cores()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of long files first, in the order of `LONG`; the others stay as they were."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
