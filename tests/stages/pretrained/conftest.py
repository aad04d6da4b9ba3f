"""A hub on loopback, with everything that the stage may be asked to fetch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import Hub, serve
from tests.stages.pretrained.hub_world import (
    BASE,
    BASE_COMMIT,
    CAPTIONER,
    CAPTIONER_COMMIT,
    CLIP,
    CLIP_COMMIT,
    write_files,
    write_repositories,
)


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repositories(tmp_path_factory.mktemp("repositories"))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return write_files(tmp_path_factory.mktemp("ultralytics"))


@pytest.fixture
def hub(repositories: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(files=dict(files))
    hub.add(BASE, BASE_COMMIT, repositories / "base")
    hub.add(CLIP, CLIP_COMMIT, repositories / "clip")
    hub.add(CAPTIONER, CAPTIONER_COMMIT, repositories / "captioner")
    with serve(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        from huggingface_hub.utils import _http

        _http.close_session()
        monkeypatch.setattr("stages.pretrained.downloads.PAUSES", (0.0, 0.0))
        yield hub
        _http.close_session()
