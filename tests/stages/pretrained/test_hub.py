"""Weights come from a hub by commit and hash: what goes wrong is one line, what is there is not fetched again."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.common.params import Pretrained, load_params, read_yaml
from stages.pretrained import hub as client
from stages.pretrained.__main__ import pretrained
from tests.hub_server import Hub, git_blob, serve, sha256
from tests.sd_shaped_base import write_clip, write_sd_shaped_base

ROOT = Path(__file__).parents[3]
COMMIT, CLIP_COMMIT = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", "32bd64288804d66eefd0ccbe215aa642df71cc41"
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repositories")
    write_sd_shaped_base(folder / "base")
    write_clip(folder / "clip")
    # What a real repository holds beside what is needed: none of it may be fetched.
    for path in ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "v1-5.ckpt",
                 "safety_checker/model.safetensors", "README.md"):  # fmt: skip
        (folder / "base" / path).parent.mkdir(exist_ok=True)
        (folder / "base" / path).write_bytes(b"not needed")
    (folder / "clip" / "pytorch_model.bin").write_bytes(b"not needed")
    return folder


@pytest.fixture(scope="session")
def urls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """ultralytics' and EasyOCR's files, with random weights in their own formats."""
    import torch
    from easyocr.model.vgg_model import Model

    from stages.common.detector import set_up_ultralytics

    set_up_ultralytics(tmp_path_factory.mktemp("ultralytics"))
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(1)
    buffer = io.BytesIO()
    torch.save({"epoch": -1, "model": DetectionModel("yolov8n.yaml", nc=80, verbose=False).half(), "ema": None}, buffer)
    reader = io.BytesIO()
    torch.save({f"module.{k}": v for k, v in Model(1, 32, 16, 97).state_dict().items()}, reader)
    archive, craft = io.BytesIO(), io.BytesIO()
    torch.save({"module.weight": torch.zeros(3)}, craft)
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("english_g2.pth", reader.getvalue())
        opened.writestr("craft_mlt_25k.pth", craft.getvalue())
    return {
        "yolov8n.pt": buffer.getvalue(), "english_g2.zip": archive.getvalue(),
        "english_g2.pth": reader.getvalue(), "craft_mlt_25k.pth": craft.getvalue(),
    }  # fmt: skip


@pytest.fixture
def hub(repositories: Path, urls: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub(files=dict(urls))
    hub.add("someone/base", COMMIT, repositories / "base")
    hub.add("someone/clip", CLIP_COMMIT, repositories / "clip")
    with serve(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        from huggingface_hub.utils import _http

        _http.close_session()
        monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))
        yield hub
        _http.close_session()


def section(hub: Hub, **changes: object) -> Pretrained:
    content = {
        "source": "hub", "base": "someone/base", "base_revision": COMMIT, "clip": "someone/clip",
        "clip_revision": CLIP_COMMIT, "detector": f"{hub.address}/files/yolov8n.pt",
        "reader": f"{hub.address}/files/english_g2.zip", "text_detector": f"{hub.address}/files/english_g2.zip",
        "hashes": {
            "detector/yolov8n.pt": f"sha256:{sha256(hub.files['yolov8n.pt'])}",
            "reader/english_g2.pth": f"sha256:{sha256(hub.files['english_g2.pth'])}",
            "reader/craft_mlt_25k.pth": f"sha256:{sha256(hub.files['craft_mlt_25k.pth'])}",
        },
    }  # fmt: skip
    return Pretrained.model_validate(content | changes)


def fetch_base(hub: Hub, folder: Path, pinned: dict[str, str] | None = None, commit: str = COMMIT) -> Path:
    """The base's repository alone, without opening it: what the error tests need."""
    client.fetch_repository("someone/base", commit, folder / "base", client.of_base, {}, pinned or {})
    return folder / "base"


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_everything_arrives_and_opens(hub: Hub, tmp_path: Path) -> None:
    output = pretrained(section(hub), output=tmp_path / "pretrained", scratch_root=tmp_path / "scratch")
    files = {p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file()}
    assert {f"base/{UNET}", "base/tokenizer/vocab.json", "clip/model.safetensors", "detector/detector.safetensors",
            "reader/english_g2.pth", "reader/craft_mlt_25k.pth"} <= files  # fmt: skip
    assert not [name for name in files if name.endswith((".bin", ".ckpt", ".pt", ".md", ".partial")) or "fp16" in name]
    assert not [name for name in hub.fetched() if name.endswith((".bin", ".ckpt", ".md")) or "fp16" in name]

    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(output / "base", local_files_only=True)
    assert pipeline.safety_checker is None
    assert pipeline.tokenizer.model_max_length == 77
    assert pipeline.vae_scale_factor == 8

    from stages.common.detector import new_model
    from stages.score.clip import load_clip

    assert load_clip(output / "clip") is not None
    model = new_model(output / "detector" / "detector.safetensors")
    assert model.model[-1].nc == 1


def test_what_is_complete_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    first = pretrained(section(hub), output=tmp_path / "one", scratch_root=tmp_path / "scratch")
    asked = len(hub.requests)
    second = pretrained(section(hub), output=tmp_path / "two", scratch_root=tmp_path / "scratch")
    assert len(hub.requests) == asked, "the hub was asked for what was there"
    for path in first.rglob("*"):
        if path.is_file():
            assert (second / path.relative_to(first)).read_bytes() == path.read_bytes()


def test_the_hub_may_vanish_once_it_was_fetched(hub: Hub, tmp_path: Path) -> None:
    pretrained(section(hub), output=tmp_path / "one", scratch_root=tmp_path / "scratch")
    params = section(hub)
    hub.repositories.clear()
    hub.files.clear()
    assert pretrained(params, output=tmp_path / "two", scratch_root=tmp_path / "scratch").is_dir()


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


@pytest.mark.parametrize("missing", [UNET, "tokenizer/vocab.json", "model_index.json"])
def test_a_missing_file_is_named(hub: Hub, tmp_path: Path, missing: str) -> None:
    del hub.repositories["someone/base"][COMMIT][missing]
    with pytest.raises(UserError) as error:
        pretrained(section(hub), output=tmp_path / "pretrained", scratch_root=tmp_path / "scratch")
    assert missing.split("/")[0] in one_line(error)
    assert not (tmp_path / "pretrained").exists()
    assert not hub.fetched()


def test_a_file_that_vanishes_after_the_listing_is_named(hub: Hub, tmp_path: Path) -> None:
    client.list_repository("someone/base", COMMIT, client.of_base)
    files = hub.repositories["someone/base"][COMMIT]
    listed = client.list_repository("someone/base", COMMIT, client.of_base)
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


def test_a_pickle_that_is_not_the_pinned_one_is_never_opened(hub: Hub, tmp_path: Path) -> None:
    params = section(hub)
    hub.altered.add("yolov8n.pt")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("english_g2.pth", hub.files["english_g2.pth"][::-1])
    hub.files["english_g2.zip"] = archive.getvalue()
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
    import torch

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch '{tmp_path}/owned'",)

    buffer, archive = io.BytesIO(), io.BytesIO()
    torch.save({"module.x": Payload()}, buffer)
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("english_g2.pth", buffer.getvalue())
    hub.files |= {"english_g2.zip": archive.getvalue(), "yolov8n.pt": buffer.getvalue()}
    pinned = {
        "reader/english_g2.pth": f"sha256:{sha256(buffer.getvalue())}",
        "detector/yolov8n.pt": f"sha256:{sha256(buffer.getvalue())}",
    }
    for part in ("reader", "detector"):
        with pytest.raises(UserError):
            fetch_part(part, section(hub, hashes=pinned, text_detector=""), tmp_path)
    assert not (tmp_path / "owned").exists()


def fetch_part(part: str, params: Pretrained, folder: Path) -> None:
    from stages.pretrained.__main__ import fetch_detector, fetch_reader, hashes_by_part

    hashes, target = hashes_by_part(params.hashes)[part], folder / f"{part}-parts"
    shutil.rmtree(target, ignore_errors=True)
    if part == "detector":
        fetch_detector(params.detector, folder / part, target, hashes)
    else:
        fetch_reader(params.reader, params.text_detector, folder / part, target, hashes)


def test_git_numbers_are_git_s_own(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"what is up, doc?")
    assert client.hash_of(tmp_path / "x", "git") == git_blob(b"what is up, doc?")
    assert client.hash_of(tmp_path / "x", "git") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # Pro Git, 10.2


def test_the_command_fails_in_one_line(hub: Hub, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    content = read_yaml(ROOT / "params.yaml")
    content["pretrained"] = section(hub, base_revision="0" * 40).model_dump()
    YAML().dump(content, tmp_path / "params.yaml")
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "PYTHONPATH": str(ROOT)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-m", "stages.pretrained"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: someone/base has no commit 0000")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "models").exists()


def test_a_hub_without_a_commit_is_a_mistake_in_the_parameters(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("source: demo  ", "source: hub  ").replace(
        "base: demo/weights/base ", "base: someone/base "
    )  # fmt: skip
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="pretrained.*base_revision must be the 40-digit commit of someone/base"):
        load_params(tmp_path / "params.yaml")
