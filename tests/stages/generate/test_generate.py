"""Any prompt is drawn with any checkpoint; the picture says what it was drawn from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML

from stages.common.errors import UserError
from stages.common.params import Params, load_params
from stages.common.tables import read_table
from stages.common.weights import EMBEDDINGS_FILE, write_safetensors
from stages.generate.__main__ import Choice, Paths, choose, generate
from stages.generate.checkpoint import (
    Checkpoint,
    find_artifact,
    find_at_revision,
    find_checkpoint,
    method_of,
    read_checkpoint,
)
from tests.tiny_base import write_tiny_base

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "1")


@pytest.fixture(scope="module")
def params() -> Params:
    changes = {"steps": 3, "precision": "fp32", "images_per_prompt": 2, "plain_prompts": []}
    loaded = load_params(ROOT / "params.yaml").changed("sample", **changes)
    return loaded.model_copy(update={"resolution": 32})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def models(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textual inversion with a vector far from any word's."""
    folder = tmp_path_factory.mktemp("models")
    vector = 10 * torch.randn(1, 32, generator=torch.Generator().manual_seed(5))
    for epoch in ("epoch-03", "epoch-12"):
        write_safetensors(folder / "textual_inversion" / epoch / EMBEDDINGS_FILE, {"<hugo>": vector}, {})
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture).astype(int)


def test_the_picture_says_what_it_was_drawn_from(params: Params, base: Path, models: Path, tmp_path: Path) -> None:
    checkpoint = find_checkpoint("textual_inversion", 12, models, models)
    (path,) = generate("a mug with the <token> logo", checkpoint, params, [7], Paths(base=base, generated=tmp_path))
    assert path.name == "textual_inversion-epoch-12-seed-7.png"
    with Image.open(path) as picture:
        assert picture.size == (32, 32)
        said = json.loads(picture.text["emblem"])  # type: ignore[attr-defined]
        parameters = picture.text["parameters"]  # type: ignore[attr-defined]
    assert (said["prompt"], said["seed"], said["epoch"]) == ("a mug with the <hugo> logo", 7, 12)
    guidance = params.sample.guidance_scale
    assert f"Steps: 3, Sampler: dpm++, CFG scale: {guidance:g}, Seed: 7, Size: 32x32" in parameters
    first = path.read_bytes()
    generate("a mug with the {token} logo", checkpoint, params, [7], Paths(base=base, generated=tmp_path))
    assert path.read_bytes() == first


def test_a_picture_depends_on_checkpoint_prompt_and_seed_alone(
    params: Params, base: Path, models: Path, tmp_path: Path
) -> None:
    checkpoint = find_checkpoint("textual_inversion", 12, models, models)
    together = generate("a <token> bag", checkpoint, params, [1, 2, 3], Paths(base=base, generated=tmp_path / "three"))
    (alone,) = generate("a <token> bag", checkpoint, params, [2], Paths(base=base, generated=tmp_path / "one"))
    assert np.abs(pixels(together[1]) - pixels(alone)).max() <= 1
    assert np.abs(pixels(together[0]) - pixels(alone)).max() > 1
    (other,) = generate("a <token> hat", checkpoint, params, [2], Paths(base=base, generated=tmp_path / "hat"))
    (untuned,) = generate(
        "a <token> bag", Checkpoint("lora", 0, None), params, [2], Paths(base=base, generated=tmp_path)
    )
    assert np.abs(pixels(other) - pixels(alone)).max() > 1
    assert np.abs(pixels(untuned) - pixels(alone)).max() > 1


def test_it_draws_the_sampler_s_own_picture(params: Params, base: Path, models: Path, tmp_path: Path) -> None:
    params = params.changed("sample", prompts=params.sample.prompts[:2], images_per_prompt=1)
    with (tmp_path / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(params.model_dump(), file)
    (tmp_path / "models/pretrained").mkdir(parents=True)
    (tmp_path / "models/pretrained/base").symlink_to(base)
    (tmp_path / "models/textual_inversion").symlink_to(models / "textual_inversion")
    for method in ("base", "textual_inversion"):
        command = [sys.executable, "-m", "stages.sample", "--method", method]
        subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    sampled = tmp_path / "data/samples/textual_inversion"
    row = next(r for r in read_table(sampled / "manifest.jsonl") if r["epoch"] == 12 and r["prompt_index"] == 1)
    checkpoint = find_checkpoint("textual_inversion", 12, models, models)
    places = Paths(base=base, generated=tmp_path / "generated")
    (path,) = generate(row["prompt"], checkpoint, params, [row["seed"]], places)
    assert np.abs(pixels(path) - pixels(sampled / row["file"])).max() <= 1


def test_the_best_epoch_is_the_default(models: Path, tmp_path: Path) -> None:
    (tmp_path / "textual_inversion.json").write_text('{"best_epoch": 3}')
    best = find_checkpoint("textual_inversion", None, models, tmp_path)
    assert best.folder == models / "textual_inversion/epoch-03"
    with pytest.raises(UserError, match="names no best epoch"):
        find_checkpoint("lora", None, models, tmp_path)


def test_a_checkpoint_that_is_not_there_is_named_beside_those_that_are(models: Path) -> None:
    with pytest.raises(UserError, match=r"epoch-13: no such checkpoint; there are 03, 12"):
        find_checkpoint("textual_inversion", 13, models, models)


def test_a_folder_says_which_method_made_it(models: Path, tmp_path: Path) -> None:
    folder = models / "textual_inversion/epoch-12"
    assert read_checkpoint(folder) == Checkpoint("textual_inversion", 12, folder)
    with pytest.raises(UserError, match="no checkpoint: none of pytorch_lora_weights.safetensors"):
        read_checkpoint(tmp_path)


def test_artifacts_name_methods_and_checkpoints(models: Path, tmp_path: Path) -> None:
    pipeline, shipped = tmp_path / "dvc.yaml", tmp_path / "shipped"
    shipped.symlink_to(models / "textual_inversion/epoch-12")
    pipeline.write_text(
        f"artifacts:\n  inversion: {{path: models/textual_inversion}}\n  shipped: {{path: '{shipped}'}}\n"
    )
    paths = Paths(models=models, pipeline=pipeline)
    assert choose(Choice(artifact="inversion", epoch=3), paths).folder == models / "textual_inversion/epoch-03"
    assert choose(Choice(artifact="shipped"), paths) == Checkpoint("textual_inversion", 0, shipped)
    assert [method_of(Path(path)) for path in ("models/lora", "models/shipped")] == ["lora", None]
    with pytest.raises(UserError, match="shipped is one checkpoint: --epoch and --revision are for a method's"):
        choose(Choice(artifact="shipped", epoch=3), paths)
    with pytest.raises(UserError, match="no artifact 'other'; there are inversion, shipped"):
        find_artifact("other", pipeline)
    for choice in (Choice(), Choice(method="lora", artifact="shipped")):
        with pytest.raises(UserError, match="give one of --method, --artifact and --checkpoint"):
            choose(choice, paths)


def test_a_prompt_that_is_too_long_is_refused(params: Params, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="longer than the text encoder reads"):
        generate("blue " * 60, Checkpoint("lora", 0, None), params, [1], Paths(base=base, generated=tmp_path))
    params = params.changed("sample", negative_prompt="blurry " * 60)
    with pytest.raises(UserError, match=r"the negative prompt .sample\.negative_prompt. is longer than"):
        generate("a mug", Checkpoint("lora", 0, None), params, [1], Paths(base=base, generated=tmp_path))


def test_a_checkpoint_of_an_experiment_comes_from_the_cache(models: Path, tmp_path: Path) -> None:
    """A commit whose models were replaced since: --revision draws with that commit's."""
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
    where = (Path("models"), Path("metrics/score"), tmp_path / "scratch")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        found = find_at_revision("lora", None, "first", *where)
        assert found.folder is not None
        assert (found.folder / "weights").read_text() == "first"
        with pytest.raises(UserError, match="neither an experiment nor a git revision"):
            find_at_revision("lora", 3, "nowhere", *where)
        with pytest.raises(UserError, match="first has no models/lora/epoch-09"):
            find_at_revision("lora", 9, "first", *where)
    finally:
        os.chdir(here)
