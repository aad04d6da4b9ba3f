"""A tiny base and a few pictures, each written once; every test in a folder of its own, on one thread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.engine_world import write_pictures
from tests.tiny_base import write_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "captioned")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
