"""What the sampler draws: the pictures of stock pipelines, the same whichever way they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from stages.common.errors import UserError
from stages.common.params import Params
from stages.common.tables import Row, read_table
from stages.common.weights import write_unet
from stages.sample.__main__ import Paths, sample
from stages.sample.manifest import manifest_rows, picture_seed
from stages.sample.sheet import wrap
from tests.engine_world import TOKEN, digests, small_params
from tests.tiny_base import write_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def models(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints: the base with other weights, and with others again."""
    folder = tmp_path_factory.mktemp("models")
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    for epoch in (2, 4):
        weights = {name: tensor * (1 + epoch / 10) for name, tensor in unet.state_dict().items()}
        write_unet(folder / f"epoch-{epoch:02d}", unet, weights, {})
    return folder


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)


def draw_base(params: Params, base: Path, folder: Path) -> Path:
    return sample("base", params, Paths(folder, folder / "base", folder / "base.png", folder, base, folder / "scratch"))


def draw(params: Params, models: Path, base: Path, folder: Path) -> Path:
    untuned = draw_base(params, base, folder)
    paths = Paths(models, folder / "samples", folder / "sheet.png", untuned, base, folder / "scratch")
    return sample("dreambooth", params, paths)


def rows_of(drawn: Path) -> list[Row]:
    return read_table(drawn / "manifest.jsonl")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=int)


def test_every_prompt_and_seed_is_drawn_by_each_checkpoint_and_once_by_the_base(
    models: Path, base: Path, tmp_path: Path
) -> None:
    drawn = draw(small_params(), models, base, tmp_path)
    rows = rows_of(drawn)
    assert len(rows) == 2 * 3 * 2
    assert {row["file"] for row in rows} | {"manifest.jsonl"} == set(digests(drawn))
    assert [row["epoch"] for row in rows[::6]] == [2, 4]
    untuned = rows_of(tmp_path / "base")
    assert {row["file"] for row in untuned} | {"manifest.jsonl"} == set(digests(tmp_path / "base"))
    assert not (tmp_path / "base.png").exists()
    changes = {"method": "base", "epoch": 0}
    assert untuned == [
        row | changes | {"file": row["file"].replace("epoch-02", "epoch-00")} for row in rows if row["epoch"] == 2
    ]
    assert untuned[0] == {
        "method": "base",
        "epoch": 0,
        "prompt_index": 0,
        "prompt": f"a blue mug with a {TOKEN} logo",
        "plain": False,
        "seed_index": 0,
        "seed": picture_seed(20, 0),
        "file": "epoch-00/p00-s00.png",
    }
    assert [(row["prompt"], row["plain"]) for row in rows if row["prompt_index"] == 2][0] == ("a hat", True)
    assert all(pixels(drawn / row["file"]).shape == (32, 32, 3) for row in rows)
    first = {digests(drawn)[row["file"]] for row in rows if row["prompt_index"] == 0}
    first |= {digests(tmp_path / "base")[row["file"]] for row in untuned if row["prompt_index"] == 0}
    assert len(first) == 6, "checkpoints and seeds draw different pictures"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * 32
        assert sheet.height > 3 * 32


@pytest.mark.parametrize(
    ("name", "scheduler", "guidance_scale"),
    [
        ("dpm++", DPMSolverMultistepScheduler, 4.0),
        ("ddim", DDIMScheduler, 4.0),
        ("euler", EulerDiscreteScheduler, 1.0),
    ],
)
def test_the_sampler_draws_what_the_stock_pipeline_draws(
    name: str, scheduler: type, guidance_scale: float, models: Path, base: Path, tmp_path: Path
) -> None:
    settings = {"scheduler": name, "guidance_scale": guidance_scale, "negative_prompt": "a red bag", "steps": 4}
    drawn = draw(small_params(sample=settings), models, base, tmp_path)
    pipe = StableDiffusionPipeline.from_pretrained(base)
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    for folder, row in ((tmp_path / "base", rows_of(tmp_path / "base")[1]), (drawn, rows_of(drawn)[-1])):
        if row["epoch"]:
            pipe.unet = UNet2DConditionModel.from_pretrained(models / f"epoch-{row['epoch']:02d}" / "unet")
        picture = stock_picture(pipe, row, guidance_scale)
        assert np.abs(picture - pixels(folder / row["file"])).max() <= 1


def stock_picture(pipe: StableDiffusionPipeline, row: Row, guidance_scale: float, **options: Any) -> np.ndarray:
    picture = pipe(
        row["prompt"],
        negative_prompt="a red bag",
        num_inference_steps=4,
        guidance_scale=guidance_scale,
        height=32,
        width=32,
        generator=torch.Generator("cpu").manual_seed(row["seed"]),
        **options,
    ).images[0]
    return np.asarray(picture, dtype=int)


def test_guidance_on_a_share_of_the_steps_is_the_stock_pipelines_own(base: Path, tmp_path: Path) -> None:
    """Its callback turns guidance off after the third of four steps (diffusers' guide on callbacks)."""
    settings = {"guidance_scale": 4.0, "negative_prompt": "a red bag", "steps": 4}

    def stop_guiding(pipe: StableDiffusionPipeline, step: int, _: int, tensors: dict) -> dict:
        if step == 2:
            pipe._guidance_scale = 0.0
            tensors["prompt_embeds"] = tensors["prompt_embeds"].chunk(2)[-1]
        return tensors

    pictures = {}
    for share in (0.75, 1.0):
        drawn = draw_base(small_params(sample=settings | {"guidance_share": share}), base, tmp_path / str(share))
        pictures[share] = pixels(drawn / rows_of(drawn)[0]["file"])
    pipe = StableDiffusionPipeline.from_pretrained(base)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    options = {"callback_on_step_end": stop_guiding, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    stock = stock_picture(pipe, rows_of(drawn)[0], 4.0, **options)
    assert np.abs(stock - pictures[0.75]).max() <= 1
    assert np.abs(stock - pictures[1.0]).max() > 1


def test_a_picture_depends_on_checkpoint_prompt_and_seed_alone(models: Path, base: Path, tmp_path: Path) -> None:
    together = draw(small_params(sample={"batch_size": 5}), models, base, tmp_path / "together")
    alone = draw(small_params(sample={"batch_size": 1}), models, base, tmp_path / "alone")
    for file in digests(alone):
        if file.endswith(".png"):
            assert np.abs(pixels(together / file) - pixels(alone / file)).max() <= 1
    # A checkpoint drawn on its own is drawn as after others: nothing of those stays in the weights.
    only = tmp_path / "only"
    only.mkdir()
    (only / "epoch-04").symlink_to(models / "epoch-04")
    last = draw(small_params(sample={"batch_size": 5}), only, base, tmp_path / "last")
    for path in (last / "epoch-04").iterdir():
        assert path.read_bytes() == (together / "epoch-04" / path.name).read_bytes()
    fewer = draw(small_params(sample={"plain_prompts": [], "batch_size": 5}), models, base, tmp_path / "fewer")
    for path in fewer.rglob("p0*.png"):
        other = together / path.relative_to(fewer)
        assert np.abs(pixels(path) - pixels(other)).max() <= 1


def test_seeds_are_the_same_for_all_methods_epochs_and_prompts() -> None:
    seeds = {
        method: [(row["seed_index"], row["seed"]) for row in manifest_rows(method, small_params(), [0, 2])]
        for method in ("dreambooth", "lora")
    }
    assert seeds["dreambooth"] == seeds["lora"]
    assert len(set(seeds["lora"])) == 2
    assert all(0 <= seed < 2**31 for _, seed in seeds["lora"])
    assert picture_seed(1, 0) != picture_seed(2, 0)


def test_a_killed_run_goes_on_with_the_pictures_that_are_missing(models: Path, base: Path, tmp_path: Path) -> None:
    drawn = draw(small_params(), models, base, tmp_path)
    before, kept = digests(drawn), kept_pictures(tmp_path)
    lost, *_, broken = sorted(path for path in kept if path.name == "p00-s01.png")
    whole = [path for path in kept if path.name.endswith("-s00.png")]
    lost.unlink()
    broken.write_bytes(broken.read_bytes()[:-20])
    assert digests(draw(small_params(), models, base, tmp_path)) == before
    after = kept_pictures(tmp_path)
    assert after[lost] != kept[lost]
    assert after[broken] != kept[broken]
    assert all(after[path] == kept[path] for path in whole)


def test_more_pictures_and_more_checkpoints_are_drawn_to_those_that_are_there(
    models: Path, base: Path, tmp_path: Path
) -> None:
    """As a race does it; and the pictures are, byte for byte, those of a run that asked for all of them at once."""
    whole = digests(draw(small_params(sample={"images_per_prompt": 5}), models, base, tmp_path / "whole"))
    few, folder = tmp_path / "few", tmp_path / "raced"
    few.mkdir()
    (few / "epoch-02").symlink_to(models / "epoch-02")
    draw(small_params(sample={"images_per_prompt": 1}), few, base, folder)
    first = kept_pictures(folder)
    assert digests(draw(small_params(sample={"images_per_prompt": 5}), models, base, folder)) == whole
    assert {path: time for path, time in kept_pictures(folder).items() if path in first} == first
    fewer = draw(small_params(sample={"images_per_prompt": 2}), models, base, folder)
    assert len(rows_of(fewer)) == len(list(fewer.rglob("*.png"))) == 2 * 3 * 2


def kept_pictures(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder / "scratch").rglob("*.png")}


def test_bf16_draws_nearly_the_same(models: Path, base: Path, tmp_path: Path) -> None:
    exact = draw(small_params(), models, base, tmp_path / "fp32")
    rough = draw(small_params(sample={"precision": "bf16"}), models, base, tmp_path / "bf16")
    for path in exact.rglob("*.png"):
        assert np.abs(pixels(path) - pixels(rough / path.relative_to(exact))).mean() < 4


def test_missing_checkpoints_and_overlong_prompts_are_one_line_each(models: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoints"):
        draw(small_params(), tmp_path / "nothing", base, tmp_path)
    (tmp_path / "something").mkdir()
    (tmp_path / "something" / "README.md").touch()
    with pytest.raises(UserError, match="no checkpoints"):
        draw(small_params(), tmp_path / "something", base, tmp_path)
    none = tmp_path / "none"
    with pytest.raises(UserError, match=r"manifest\.jsonl: no such file"):
        sample("dreambooth", small_params(), Paths(models, none, none, none, base, none))
    long = {"prompts": ["a {token} " + "blue " * 60]}
    with pytest.raises(UserError, match="longer than the text encoder reads"):
        draw(small_params(sample=long), models, base, tmp_path)
    with pytest.raises(UserError, match=r"sample\.negative_prompt: longer than the text encoder reads: 'blurry"):
        draw(small_params(sample={"negative_prompt": "blurry " * 60}), models, base, tmp_path)


def test_a_method_that_is_left_out_has_an_empty_table_and_the_bases_sheet(base: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    drawn = draw(small_params(), tmp_path / "models", base, tmp_path)
    assert rows_of(drawn) == []
    assert set(digests(drawn)) == {"manifest.jsonl"}
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height < 2 * 32 + 60, "one row, of the untuned base"


def test_lines_of_the_contact_sheet_fit() -> None:
    assert wrap("a bottle of perfume", lambda line: len(line) <= 9) == ["a bottle", "of", "perfume"]
