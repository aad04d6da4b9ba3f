"""Repositories come from a hub by commit and hash: what goes wrong is one line, what is there is not fetched again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.pretrained.hashes import hash_of
from stages.pretrained.hub import fetch_repository, list_repository
from stages.pretrained.repositories import of_base
from tests.hub_server import Hub, git_blob
from tests.stages.pretrained.hub_world import BASE, BASE_COMMIT, UNET, one_line


def fetch_base(hub: Hub, folder: Path, pinned: dict[str, str] | None = None, commit: str = BASE_COMMIT) -> Path:
    """The base's repository alone, without opening it: what the error tests need."""
    fetch_repository(BASE, commit, folder / "base", of_base, {}, pinned or {})
    return folder / "base"


def test_a_file_that_was_damaged_since_is_fetched_again_alone(hub: Hub, tmp_path: Path) -> None:
    folder = fetch_base(hub, tmp_path)
    (folder / "unet/config.json").write_text("{}")
    hub.requests.clear()
    fetch_base(hub, tmp_path)
    assert hub.fetched() == ["config.json"]
    assert json.loads((folder / "unet/config.json").read_text())["cross_attention_dim"] == 32


def test_a_broken_connection_is_continued(hub: Hub, tmp_path: Path, repositories: Path) -> None:
    size = (repositories / "base" / UNET).stat().st_size
    hub.cut_after["diffusion_pytorch_model.safetensors"] = size // 3
    folder = fetch_base(hub, tmp_path)
    assert (folder / UNET).read_bytes() == (repositories / "base" / UNET).read_bytes()
    starts = [int(asked[6:-1]) for path, asked in hub.requests if path.startswith("/storage/") and asked]
    assert starts == [size // 3, 2 * (size // 3), 3 * (size // 3)][: len(starts)]
    assert len(starts) >= 2


def test_a_killed_run_is_continued_by_the_next(hub: Hub, tmp_path: Path, repositories: Path) -> None:
    whole = (repositories / "base" / UNET).read_bytes()
    (tmp_path / "base/unet").mkdir(parents=True)
    (tmp_path / "base" / f"{UNET}.partial").write_bytes(whole[:1_000_000])
    folder = fetch_base(hub, tmp_path)
    assert (folder / UNET).read_bytes() == whole
    assert [asked for path, asked in hub.requests if path.endswith(UNET) and "/resolve/" in path] == ["bytes=1000000-"]
    assert not list(folder.rglob("*.partial"))


def test_a_server_that_stays_down_is_one_line_and_the_part_is_kept(
    hub: Hub, tmp_path: Path, repositories: Path
) -> None:
    hub.broken.add("diffusion_pytorch_model.safetensors")
    (tmp_path / "base/unet").mkdir(parents=True)
    (tmp_path / "base" / f"{UNET}.partial").write_bytes((repositories / "base" / UNET).read_bytes()[:1000])
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path)
    assert "HTTP 503" in one_line(error)
    assert (tmp_path / "base" / f"{UNET}.partial").stat().st_size == 1000
    hub.broken.clear()
    assert (fetch_base(hub, tmp_path) / UNET).is_file()


def test_a_hub_that_cannot_be_reached_is_one_line(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path)
    assert "http://127.0.0.1:9/someone/base" in one_line(error)


def test_other_bytes_than_the_hub_named_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.altered.add("diffusion_pytorch_model.safetensors")
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path)
    assert "sha256 is" in one_line(error)
    assert not list((tmp_path / "base/unet").glob("*.safetensors*"))


def test_other_bytes_than_were_pinned_are_refused_whatever_the_hub_says(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path, {UNET: "sha256:" + "0" * 64})
    assert "should be 000000000000" in one_line(error)


def test_a_pinned_hash_of_a_file_that_is_not_taken_is_a_mistake(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path, {"unet/model.fp16.safetensors": "sha256:" + "0" * 64})
    assert "unet/model.fp16.safetensors" in one_line(error)


def test_a_file_that_vanishes_after_the_listing_is_named(hub: Hub, tmp_path: Path) -> None:
    list_repository(BASE, BASE_COMMIT, of_base)
    files = hub.repositories[BASE][BASE_COMMIT]
    listed = list_repository(BASE, BASE_COMMIT, of_base)
    (tmp_path / "base.listing.json").write_text(json.dumps([vars(file) for file in listed]))
    del files[UNET]
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path)
    assert f"has no file {UNET}" in one_line(error)


def test_a_wrong_commit_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path, commit="0" * 40)
    assert f"someone/base has no commit {'0' * 40}" in one_line(error)
    hub.answers_for = "1" * 40
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path)
    assert f"answers for commit {'1' * 40}" in one_line(error)


def test_a_repository_that_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    hub.repositories.clear()
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path)
    assert "no such repository" in one_line(error)


def test_a_gated_repository_says_what_to_do(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add("someone/base")
    with pytest.raises(UserError) as error:
        fetch_base(hub, tmp_path)
    assert "gated: accept its terms" in one_line(error)
    assert "HF_TOKEN" in one_line(error)
    monkeypatch.setenv("HF_TOKEN", "may-read")
    assert (fetch_base(hub, tmp_path) / UNET).is_file()


def test_git_numbers_are_git_s_own(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"what is up, doc?")
    assert hash_of(tmp_path / "x", "git") == git_blob(b"what is up, doc?")
    assert hash_of(tmp_path / "x", "git") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # Pro Git, 10.2
