"""The whole DAG from a hub's weights of Stable Diffusion 1.5's shape, then without the hub."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

from stages.common.params import METHODS
from stages.common.ultralytics_offline import DetectionModel
from stages.params.profiles import compose
from tests.hub_server import Hub, serve, sha256
from tests.sd_shaped_base import write_clip, write_sd_shaped_base
from tests.test_end_to_end import commit, ran, run

ROOT = Path(__file__).parents[1]
COMMIT, CLIP_COMMIT = "4" * 40, "3" * 40


def reduced_profile(hub: Hub, checkpoint: bytes) -> dict[str, object]:
    """params.yaml under profiles/sd15.yaml with the loopback hub's addresses, 64 pixels, and few of everything."""
    params = YAML().load(compose(ROOT / "params.yaml", [ROOT / "profiles/sd15.yaml"]))
    params["resolution"] = 64
    params["pretrained"] |= {
        "base": "someone/base",
        "base_revision": COMMIT,
        "clip": "someone/clip",
        "clip_revision": CLIP_COMMIT,
        "captioner": "",
        "captioner_revision": "demo",
        "detector": f"{hub.address}/files/yolov8n.pt",
        "reader": "demo/weights/reader",
        "text_detector": "",
        "hashes": {"detector/yolov8n.pt": f"sha256:{sha256(checkpoint)}"},
    }
    params["scrape"] |= {"start_urls": ["/brand/hugo/"], "max_depth": 2, "delay": 0.0}
    params["filter"]["min_logo_width"] = 20
    params["detector"] |= {"epochs": 1, "augmentations": 0, "hard_negatives": 1, "image_size": 64, "crop": 64}
    for method in METHODS:
        params["finetune"][method] |= {"epochs": 2, "save_every": 1, "batch_size": 8}
    params["sample"] |= {"prompts": params["sample"]["prompts"][:2], "plain_prompts": [], "images_per_prompt": 2}
    params["sample"]["steps"] = 3
    params["score"] |= {"bootstrap_samples": 100, "text_detector": "none"}
    return dict(params)


def yolo_checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"epoch": -1, "model": DetectionModel("yolov8n.yaml", nc=80, verbose=False).half(), "ema": None}, buffer)
    return buffer.getvalue()


@pytest.mark.slow
def test_the_dag_runs_from_a_hub_and_then_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = tmp_path / "a clone"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith("metrics/") and name != "dvc.lock":
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone / name)
    checkpoint = yolo_checkpoint()
    hub = Hub(files={"yolov8n.pt": checkpoint})
    hub.add("someone/base", COMMIT, write_sd_shaped_base(tmp_path / "base"))
    hub.add("someone/clip", CLIP_COMMIT, write_clip(tmp_path / "clip"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serve(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        YAML().dump(reduced_profile(hub, checkpoint), clone / "params.yaml")
        run(clone, "git", "init", "--quiet")
        commit(clone, "profile")
        done = run(clone, "dvc", "repro")
        assert hub.requests, "the base did not come from the hub"
    assert {f"score@{method}" for method in METHODS} < set(ran(done.stdout))
    for method in METHODS:
        scores = json.loads((clone / f"metrics/details/{method}.json").read_text())
        assert scores["images"] == 4
    config = json.loads((clone / "models/pretrained/base/unet/config.json").read_text())
    assert len(config["down_block_types"]) == 4
    assert (clone / "models/dreambooth/epoch-02/unet/config.json").is_file()

    # The hub is gone: nothing needs it, neither a second run nor what is checked out anew.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    commit(clone, "results")
    assert ran(run(clone, "dvc", "repro").stdout) == []
    shutil.rmtree(clone / "models")
    run(clone, "dvc", "checkout", "--quiet")
    assert ran(run(clone, "dvc", "repro", "finetune@lora").stdout) == []
    before = (clone / "dvc.lock").read_bytes()
    assert ran(run(clone, "dvc", "repro", "--force", "--single-item", "sample@lora").stdout) == ["sample@lora"]
    assert (clone / "dvc.lock").read_bytes() == before, "drawn again from what was checked out, the pictures differ"
