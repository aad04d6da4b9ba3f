"""Pickles are opened once, after their hash, by a restricted unpickler; what is published are plain tensors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.common.errors import UserError
from stages.common.params import Pretrained
from stages.pretrained.__main__ import PARTS
from stages.pretrained.conversion import fetch_detector, fetch_reader, read_tensors
from stages.pretrained.hashes import hashes_by_part
from tests.hub_server import Hub, sha256
from tests.stages.pretrained.hub_world import as_pickle, as_zip, one_line, section


def fetch_part(part: str, params: Pretrained, folder: Path) -> None:
    hashes, target = hashes_by_part(params.hashes, PARTS)[part], folder / f"{part}-parts"
    shutil.rmtree(target, ignore_errors=True)
    if part == "detector":
        fetch_detector(params.detector, folder / part, target, hashes)
    else:
        fetch_reader(params.reader, params.text_detector, folder / part, target, hashes)


def test_easyocr_s_networks_are_published_as_plain_tensors_each_time_the_same(hub: Hub, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fetch_part("reader", section(hub), tmp_path / name)
    published, again = (tmp_path / name / "reader-parts" for name in ("one", "two"))
    assert {path.name for path in published.iterdir()} == {"english_g2.safetensors", "craft_mlt_25k.safetensors"}
    for path in published.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
        (tmp_path / "checkpoint.pth").write_bytes(hub.files[f"{path.stem}.pth"])
        expected = torch.load(tmp_path / "checkpoint.pth", weights_only=True)
        found = load_file(path)
        assert {f"module.{key}" for key in found} == set(expected)
        for key, tensor in found.items():
            assert tensor.dtype == expected[f"module.{key}"].dtype
            assert torch.equal(tensor, expected[f"module.{key}"])


def test_the_detector_s_start_is_published_the_same_each_time(hub: Hub, tmp_path: Path) -> None:
    for name in ("one", "two"):
        fetch_part("detector", section(hub), tmp_path / name)
    one, two = ((tmp_path / name / "detector-parts" / "detector.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_tensors_that_share_their_memory_are_told_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    (tmp_path / "x.pth").write_bytes(as_pickle({"a": whole, "b": whole.T, "c": whole[0]}))
    found = read_tensors(tmp_path / "x.pth")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": whole.tolist(),
        "b": whole.T.tolist(),
        "c": [0, 1, 2],
    }


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], {"a": 1.0}, {"a": {"b": torch.zeros(1)}}])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_bytes(as_pickle(content))
    with pytest.raises(UserError) as error:
        read_tensors(tmp_path / "x.pth")
    assert "state dict" in one_line(error)


def test_a_pickle_that_is_not_the_pinned_one_is_never_opened(hub: Hub, tmp_path: Path) -> None:
    params = section(hub)
    hub.altered.add("yolov8n.pt")
    hub.files["english_g2.zip"] = as_zip({"english_g2.pth": hub.files["english_g2.pth"][::-1]})
    for part in ("detector", "reader"):
        with pytest.raises(UserError) as error:
            fetch_part(part, params, tmp_path)
        assert "not the file that is pinned" in one_line(error)
    assert not [
        path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".pth", ".zip", ".partial", ".safetensors")
    ]


def test_a_url_without_a_pinned_hash_is_refused(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch_part("detector", section(hub, hashes={}), tmp_path)
    assert "pretrained.hashes has no detector/yolov8n.pt" in one_line(error)
    assert not hub.fetched()


def test_a_pickle_with_code_in_it_is_refused_though_its_hash_is_right(hub: Hub, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch '{tmp_path}/owned'",)

    attack = as_pickle({"module.x": Payload()})
    hub.files |= {"english_g2.zip": as_zip({"english_g2.pth": attack}), "yolov8n.pt": attack}
    pinned = {
        "reader/english_g2.pth": f"sha256:{sha256(attack)}",
        "detector/yolov8n.pt": f"sha256:{sha256(attack)}",
    }
    for part in ("reader", "detector"):
        with pytest.raises(UserError):
            fetch_part(part, section(hub, hashes=pinned, text_detector=""), tmp_path)
    assert not (tmp_path / "owned").exists()
