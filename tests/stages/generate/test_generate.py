"""Any prompt is drawn with any checkpoint; the picture says what it was drawn from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.common.errors import UserError
from stages.common.params import Params, load_params
from stages.generate.__main__ import Checkpoint, find_checkpoint, generate, method_of_artifact, read_checkpoint
from tests.tiny_base import write_tiny_base

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "1")


@pytest.fixture(scope="module")
def params() -> Params:
    loaded = load_params(ROOT / "params.yaml")
    sample = loaded.sample.model_copy(
        update={"steps": 3, "precision": "fp32", "images_per_prompt": 2, "plain_prompts": []}
    )
    return loaded.model_copy(update={"sample": sample, "resolution": 32})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def models(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textual inversion with a vector far from any word's."""
    import torch

    from stages.common.weights import EMBEDDINGS_FILE, write_safetensors

    folder = tmp_path_factory.mktemp("models")
    vector = 10 * torch.randn(1, 32, generator=torch.Generator().manual_seed(5))
    for epoch in ("epoch-03", "epoch-12"):
        write_safetensors(folder / epoch / EMBEDDINGS_FILE, {"<hugo>": vector}, {})
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_the_picture_says_what_it_was_drawn_from(params: Params, base: Path, models: Path, tmp_path: Path) -> None:
    checkpoint = find_checkpoint("textual_inversion", 12, models)
    (path,) = generate("a mug with the <token> logo", checkpoint, params, seeds=[7], base=base, output=tmp_path)
    assert path.name == "textual_inversion-epoch-12-seed-7.png"
    with Image.open(path) as picture:
        assert picture.size == (32, 32)
        said = json.loads(picture.text["emblem"])  # type: ignore[attr-defined]
        parameters = picture.text["parameters"]  # type: ignore[attr-defined]
    assert (said["prompt"], said["seed"], said["epoch"]) == ("a mug with the <hugo> logo", 7, 12)
    guidance = params.sample.guidance_scale
    assert f"Steps: 3, Sampler: dpm++, CFG scale: {guidance:g}, Seed: 7, Size: 32x32" in parameters
    first = path.read_bytes()
    generate("a mug with the {token} logo", checkpoint, params, seeds=[7], base=base, output=tmp_path)
    assert path.read_bytes() == first


def test_a_picture_depends_on_checkpoint_prompt_and_seed_alone(
    params: Params, base: Path, models: Path, tmp_path: Path
) -> None:
    checkpoint = find_checkpoint("textual_inversion", 12, models)
    together = generate("a <token> bag", checkpoint, params, seeds=[1, 2, 3], base=base, output=tmp_path / "three")
    (alone,) = generate("a <token> bag", checkpoint, params, seeds=[2], base=base, output=tmp_path / "one")
    assert np.abs(pixels(together[1]) - pixels(alone)).max() <= 1
    assert np.abs(pixels(together[0]) - pixels(alone)).max() > 1
    (other,) = generate("a <token> hat", checkpoint, params, seeds=[2], base=base, output=tmp_path / "hat")
    (untuned,) = generate("a <token> bag", Checkpoint("lora", 0, None), params, seeds=[2], base=base, output=tmp_path)
    assert np.abs(pixels(other) - pixels(alone)).max() > 1
    assert np.abs(pixels(untuned) - pixels(alone)).max() > 1


def test_it_draws_the_sampler_s_own_picture(params: Params, base: Path, models: Path, tmp_path: Path) -> None:
    from stages.common.tables import read_table
    from stages.sample.__main__ import sample

    few = params.sample.model_copy(update={"prompts": params.sample.prompts[:2], "images_per_prompt": 1})
    params = params.model_copy(update={"sample": few})

    places = {"base": base, "sheet": tmp_path / "sheet.png", "scratch": tmp_path / "scratch"}
    untuned = sample("base", params, output=tmp_path / "base", **places)
    sampled = sample("textual_inversion", params, models=models, output=tmp_path / "samples", untuned=untuned, **places)
    row = next(r for r in read_table(sampled / "manifest.jsonl") if r["epoch"] == 12 and r["prompt_index"] == 1)
    checkpoint = find_checkpoint("textual_inversion", 12, models)
    (path,) = generate(row["prompt"], checkpoint, params, seeds=[row["seed"]], base=base, output=tmp_path / "generated")
    assert np.abs(pixels(path) - pixels(sampled / row["file"])).max() <= 1


def test_the_best_epoch_is_the_default(models: Path, tmp_path: Path) -> None:
    scores = tmp_path / "score.json"
    scores.write_text('{"best_epoch": 3}')
    assert find_checkpoint("textual_inversion", None, models, scores).folder == models / "epoch-03"
    with pytest.raises(UserError, match="names no best epoch"):
        find_checkpoint("textual_inversion", None, models, tmp_path / "none.json")


def test_a_checkpoint_that_is_not_there_is_named_beside_those_that_are(models: Path) -> None:
    with pytest.raises(UserError, match=r"epoch-13: no such checkpoint; there are 03, 12"):
        find_checkpoint("textual_inversion", 13, models)


def test_a_folder_says_which_method_made_it(models: Path, tmp_path: Path) -> None:
    assert read_checkpoint(models / "epoch-12") == Checkpoint("textual_inversion", 12, models / "epoch-12")
    with pytest.raises(UserError, match="no checkpoint: none of pytorch_lora_weights.safetensors"):
        read_checkpoint(tmp_path)


def test_artifacts_name_methods(tmp_path: Path) -> None:
    pipeline = tmp_path / "dvc.yaml"
    pipeline.write_text("artifacts:\n  hugo-lora:\n    path: models/lora\n    type: model\n")
    assert method_of_artifact("hugo-lora", pipeline) == "lora"
    with pytest.raises(UserError, match="no artifact 'other'.*there are hugo-lora"):
        method_of_artifact("other", pipeline)


def test_a_prompt_that_is_too_long_is_refused(params: Params, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="longer than the text encoder reads"):
        generate("blue " * 60, Checkpoint("lora", 0, None), params, seeds=[1], base=base, output=tmp_path)


def test_a_checkpoint_of_an_experiment_comes_from_the_cache(models: Path, tmp_path: Path) -> None:
    """A commit whose models were replaced since: --revision draws with that commit's."""
    from stages.generate.__main__ import find_at_revision

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    named = {
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@invalid",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@invalid",
    }

    def run(*command: str) -> None:
        subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, env={**os.environ, **named, "PATH": path}
        )

    weights = tmp_path / "models/lora/epoch-03/weights"
    weights.parent.mkdir(parents=True)
    run("git", "init", "-q")
    run("dvc", "init", "-q")
    for content in ("first", "second"):
        weights.write_text(content)
        (tmp_path / "metrics/score").mkdir(parents=True, exist_ok=True)
        (tmp_path / "metrics/score/lora.json").write_text('{"best_epoch": 3}')
        run("dvc", "add", "-q", "models/lora")
        run("git", "add", "-A")
        run("git", "commit", "-qm", content)
        run("git", "tag", content)
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        found = find_at_revision("lora", None, "first", tmp_path / "scratch")
        assert found.folder is not None
        assert (found.folder / "weights").read_text() == "first"
        with pytest.raises(UserError, match="neither an experiment nor a git revision"):
            find_at_revision("lora", 3, "nowhere", tmp_path / "scratch")
        with pytest.raises(UserError, match="first has no models/lora/epoch-09"):
            find_at_revision("lora", 9, "first", tmp_path / "scratch")
    finally:
        os.chdir(here)
