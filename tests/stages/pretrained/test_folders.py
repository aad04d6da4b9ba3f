"""A folder of weights is copied where every file is the one that is listed, and none of them is code or a pickle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.pretrained.folders import copy_checked
from tests.hub_server import sha256
from tests.stages.pretrained.hub_world import one_line


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "weights" / "clip"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "deep" / "config.json").write_bytes(b"{}")
    lines = [f"{sha256(p.read_bytes())}  {p.relative_to(tmp_path / 'weights')}\n" for p in folder.rglob("*.*")]
    (tmp_path / "weights" / "SHA256SUMS").write_text("".join(lines))
    return folder


def copied(source: Path, tmp_path: Path, pinned: dict[str, str] | None = None) -> Path:
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    copy_checked("clip", source, tmp_path / "weights" / "SHA256SUMS", pinned or {}, tmp_path / "copy")
    return tmp_path / "copy"


def refused(source: Path, tmp_path: Path, pinned: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError) as error:
        copied(source, tmp_path, pinned)
    assert not (tmp_path / "copy").exists()
    return one_line(error)


def test_a_folder_beside_the_list_is_held_to_the_list(source: Path, tmp_path: Path) -> None:
    copy = copied(source, tmp_path)
    assert (copy / "model.safetensors").read_bytes() == b"weights"
    assert (copy / "deep" / "config.json").read_bytes() == b"{}"
    (source / "model.safetensors").write_bytes(b"Weights")
    assert "sha256 is" in refused(source, tmp_path)
    (source / "model.safetensors").unlink()
    assert "is missing: restore it" in refused(source, tmp_path)


def test_a_file_that_is_not_listed_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "more.json").touch()
    assert "more.json has no hash in" in refused(source, tmp_path)


def test_a_folder_elsewhere_is_held_to_the_pinned_hashes(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    assert "has no hash in pretrained.hashes" in refused(other, tmp_path)
    pinned = {"model.safetensors": f"sha256:{sha256(b'weights')}", "deep/config.json": f"sha256:{sha256(b'{}')}"}
    assert (copied(other, tmp_path, pinned) / "model.safetensors").is_file()
    assert "should be 000000000000" in refused(other, tmp_path, pinned | {"deep/config.json": "sha256:" + "0" * 64})


@pytest.mark.parametrize("name", ["reader.py", "reader.pth", "pytorch_model.bin", "deep/x.pt"])
def test_code_and_pickles_are_refused_though_they_are_listed(source: Path, tmp_path: Path, name: str) -> None:
    (source / name).write_bytes(b"x")
    with (tmp_path / "weights" / "SHA256SUMS").open("a") as sums:
        sums.write(f"{sha256(b'x')}  clip/{name}\n")
    assert "never run" in refused(source, tmp_path)


def test_a_list_that_leaves_its_folder_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "weights" / "SHA256SUMS").write_text(f"{'0' * 64}  ../x\n")
    assert "not a line of a sha256 list" in refused(source, tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "pretrained.clip = " in refused(tmp_path / "nothing", tmp_path)
