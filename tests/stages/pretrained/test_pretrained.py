"""The stage as a whole: every part a folder of its own, from git, a folder or a hub, and nothing of it is code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline
from ruamel.yaml import YAML
from transformers import AutoModelForImageTextToText, AutoProcessor

from stages.common.detector import new_model
from stages.common.errors import UserError
from stages.common.params import Pretrained, load_params, read_yaml
from stages.pretrained.__main__ import PARTS, Paths, pretrained
from stages.score.clip import load_clip
from stages.score.reader import load_reader
from tests.hub_server import Hub
from tests.stages.pretrained.hub_world import BASE, BASE_COMMIT, UNET, one_line, section

ROOT = Path(__file__).parents[3]
CODE_AND_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".py", ".pkl")


def paths(folder: Path, output: str = "pretrained") -> Paths:
    return Paths(ROOT / "demo/weights/SHA256SUMS", folder / output, folder / "scratch")


def demo(**changes: object) -> Pretrained:
    """The repository's own parameters, wherever the test runs."""
    content = load_params(ROOT / "params.yaml").pretrained.model_dump()
    folders = {part: str(ROOT / content[part]) for part in PARTS if content[part]}
    return Pretrained.model_validate(content | folders | changes)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_everything_arrives_and_opens(hub: Hub, tmp_path: Path) -> None:
    output = pretrained(section(hub), paths(tmp_path))
    files = files_in(output)
    assert {
        f"base/{UNET}",
        "base/tokenizer/vocab.json",
        "captioner/model.safetensors",
        "clip/model.safetensors",
        "detector/detector.safetensors",
        "reader/english_g2.safetensors",
        "reader/craft_mlt_25k.safetensors",
    } <= files
    for names in (files, hub.fetched()):
        unwanted = (*CODE_AND_PICKLES, ".md", ".h5", ".partial")
        kept = [name for name in names if name.endswith(unwanted) or "fp16" in name]
        assert kept == ([] if names is files else ["yolov8n.pt"])

    pipeline = StableDiffusionPipeline.from_pretrained(output / "base", local_files_only=True)
    assert pipeline.safety_checker is None
    assert pipeline.tokenizer.model_max_length == 77
    assert pipeline.vae_scale_factor == 8
    assert load_clip(output / "clip") is not None
    model = new_model(output / "detector" / "detector.safetensors")
    assert model.model[-1].nc == 1
    assert load_reader(output / "reader", text_detector=True).finds_text
    AutoModelForImageTextToText.from_pretrained(output / "captioner", local_files_only=True, use_safetensors=True)
    AutoProcessor.from_pretrained(output / "captioner", local_files_only=True)


def test_the_demo_s_weights_are_copied_without_a_network_or_a_heavy_library(tmp_path: Path) -> None:
    """Every part has its folder, also the one that is not named; what lies beside them stays."""
    (tmp_path / "models/pretrained/base").mkdir(parents=True)
    (tmp_path / "models/pretrained/base/stale").touch()
    (tmp_path / "models/pretrained/.gitignore").write_text("/base\n")
    output = pretrained(demo(), paths(tmp_path, "models/pretrained"))
    assert {path.name for path in output.iterdir()} == {*PARTS, ".gitignore"}
    assert list((output / "captioner").iterdir()) == []
    for part in set(PARTS) - {"captioner"}:
        assert files_in(output / part) == files_in(ROOT / "demo/weights" / part)
    script = "import sys; from stages.pretrained.__main__ import main; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("torch", "transformers", "diffusers", "huggingface_hub") if f"'{name}'" in loaded]


def test_clip_and_captioner_may_be_left_out(tmp_path: Path) -> None:
    output = pretrained(demo(clip="", captioner=""), paths(tmp_path))
    assert files_in(output / "clip") == files_in(output / "captioner") == set()
    assert (output / "clip").is_dir()


def test_a_model_that_needs_code_of_its_own_is_refused(hub: Hub, tmp_path: Path) -> None:
    """transformers would import it from the repository; it does not come along, and is not asked for."""
    content = hub.repositories["someone/captioner"].popitem()[1]
    content["config.json"] = b'{"model_type": "own", "auto_map": {"AutoConfig": "modeling_captioner.Own"}}'
    hub.repositories["someone/captioner"] = {section(hub).captioner_revision: content}
    with pytest.raises(UserError) as error:
        pretrained(section(hub), paths(tmp_path))
    assert "someone/captioner: model does not open" in one_line(error)
    assert not (tmp_path / "pretrained").exists()


def test_what_is_complete_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    first = pretrained(section(hub), paths(tmp_path, "one"))
    asked = len(hub.requests)
    second = pretrained(section(hub), paths(tmp_path, "two"))
    assert len(hub.requests) == asked, "the hub was asked for what was there"
    for path in first.rglob("*"):
        if path.is_file():
            assert (second / path.relative_to(first)).read_bytes() == path.read_bytes()


def test_the_hub_may_vanish_once_it_was_fetched(hub: Hub, tmp_path: Path) -> None:
    pretrained(section(hub), paths(tmp_path, "one"))
    params = section(hub)
    hub.repositories.clear()
    hub.files.clear()
    assert pretrained(params, paths(tmp_path, "two")).is_dir()


@pytest.mark.parametrize("missing", [UNET, "tokenizer/vocab.json", "model_index.json"])
def test_a_missing_file_is_named(hub: Hub, tmp_path: Path, missing: str) -> None:
    del hub.repositories[BASE][BASE_COMMIT][missing]
    with pytest.raises(UserError) as error:
        pretrained(section(hub), paths(tmp_path, "pretrained"))
    assert missing.split("/")[0] in one_line(error)
    assert not (tmp_path / "pretrained").exists()
    assert not hub.fetched()


def test_the_command_fails_in_one_line(hub: Hub, tmp_path: Path) -> None:
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
    text = (ROOT / "params.yaml").read_text().replace("source: demo  ", "source: hub  ")
    text = text.replace("base: demo/weights/base ", "base: someone/base ")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="pretrained.*base_revision must be the 40-digit commit of someone/base"):
        load_params(tmp_path / "params.yaml")
