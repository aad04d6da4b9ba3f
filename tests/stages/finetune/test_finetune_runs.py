"""Whole runs: killed, stopped, repeated, split over processes; and their checkpoints, drawn with by stock pipelines."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stages.common.params import Params
from stages.sample.__main__ import Paths, sample
from tests import draw_with_stock_calls
from tests.engine_world import (
    METHODS,
    digests,
    processes,
    run_finetune,
    small_params,
    start_finetune,
    start_rank,
    write_pictures,
)
from tests.tiny_base import write_tiny_base

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base"), fp16=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "captioned")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMBLEM_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)


def free_port() -> str:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def run_to_the_end(method: str, params: Params, folder: Path, data: Path, base: Path) -> dict[str, str]:
    folder.mkdir()
    process = start_finetune(method, params, folder, data, base)
    process.join()
    assert process.exitcode == 0
    return digests(folder / "models") | digests(folder / "metrics")


def kill_and_run_again(params: Params, data: Path, base: Path, folder: Path, kills: int) -> None:
    """Kill -9 the methods in turn, at random moments; run again to the end, elsewhere; compare every byte."""
    rng = random.Random(0)
    undisturbed = {
        method: run_to_the_end(method, params, folder / method, data, base) for method in METHODS[: max(1, kills)]
    }
    caught = 0
    for number in range(kills):
        method = METHODS[number % len(METHODS)]
        target, moved = folder / f"killed-{number}", folder / f"again-{number}"
        target.mkdir()
        saved = time.monotonic()
        process = start_finetune(method, params, target, data, base)
        epoch = rng.randrange(getattr(params.finetune, method).epochs)
        while epoch and process.is_alive() and not list(target.glob(f"scratch/*/model/epoch-{epoch:02d}")):
            if not list(target.glob("scratch/*/model")):
                saved = time.monotonic()
            time.sleep(0.005)
        # Between this checkpoint and the next: in a step, in a save, or in a check.
        an_epoch = (time.monotonic() - saved) / epoch if epoch else 2.0
        process.join(timeout=rng.uniform(0, an_epoch))
        caught += process.is_alive()
        process.kill()
        process.join()
        target.rename(moved)  # where it runs is no part of what it makes
        process = start_finetune(method, params, moved, data, base)
        process.join()
        assert process.exitcode == 0
        done = digests(moved / "models") | digests(moved / "metrics")
        assert done == undisturbed[method], f"kill {number}, {method}, after epoch {epoch}"
    assert caught > kills / 2, "most kills came too late to prove anything"


def test_runs_that_were_killed_end_with_the_bytes_of_an_undisturbed_run(data: Path, base: Path, tmp_path: Path) -> None:
    kill_and_run_again(small_params(epochs=3, save_every=1), data, base, tmp_path, kills=3)


@pytest.mark.slow
def test_twenty_killed_runs_end_with_the_bytes_of_an_undisturbed_run(data: Path, base: Path, tmp_path: Path) -> None:
    options = {"ema_decay": 0.9, "noise_offset": 0.1, "caption_dropout": 0.2, "precision": "bf16"}
    kill_and_run_again(small_params(epochs=6, save_every=1, **options), data, base, tmp_path, kills=20)


def test_sigterm_saves_the_state_between_two_epochs_saves(data: Path, base: Path, tmp_path: Path) -> None:
    params = small_params(epochs=40, save_every=20, gradient_accumulation=2)
    whole = run_to_the_end("textual_inversion", params, tmp_path / "whole", data, base)
    folder = tmp_path / "stopped"
    folder.mkdir()
    process = start_finetune("textual_inversion", params, folder, data, base)
    while not list(folder.glob("scratch/*/model/epoch-20")):
        assert process.is_alive()
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join()
    assert process.exitcode == 143
    state = next(folder.glob("scratch/*/state.pt"))
    assert torch.load(state, weights_only=True)["done"] > 20 * 2
    process = start_finetune("textual_inversion", params, folder, data, base)
    process.join()
    assert digests(folder / "models") | digests(folder / "metrics") == whole


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_the_same_bytes_and_another_does_not(
    method: str, data: Path, base: Path, tmp_path: Path
) -> None:
    def weights(folder: str, seed: int) -> dict[str, str]:
        (tmp_path / folder).mkdir()
        models = run_finetune(method, small_params(seed=seed, epochs=2), tmp_path / folder, data, base)
        return {name: digest for name, digest in digests(models).items() if name.endswith(".safetensors")}

    first = weights("first", seed=1)
    assert weights("second", seed=1) == first
    other = weights("third", seed=2)
    assert all(other[name] != first[name] for name in first)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_trains_fp32_weights(precision: str, data: Path, base: Path, tmp_path: Path) -> None:
    for method in METHODS:
        folder = tmp_path / method
        folder.mkdir()
        params = small_params(precision=precision, epochs=2, save_precision="fp32")
        models = run_finetune(method, params, folder, data, base)
        for file in models.rglob("*.safetensors"):
            assert {str(tensor.dtype) for tensor in load_file(file).values()} == {"torch.float32"}


def losses_and_weights(folder: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    lines = (folder / "metrics/lora/plots/metrics/loss.tsv").read_text().splitlines()[1:]
    weights = load_file(folder / "models/lora/epoch-02/pytorch_lora_weights.safetensors")
    return [float(line.split("\t")[1]) for line in lines], weights


def assert_equal_runs(one: Path, other: Path) -> None:
    losses, weights = losses_and_weights(one)
    other_losses, other_weights = losses_and_weights(other)
    assert losses == pytest.approx(other_losses, rel=1e-5)
    # AdamW's first steps magnify the rounding of gradients near 0, so single weights may differ more than losses do.
    ours = torch.cat([weights[name].flatten() for name in sorted(weights)])
    theirs = torch.cat([other_weights[name].flatten() for name in sorted(weights)])
    assert float((ours - theirs).norm() / ours.norm()) < 1e-3


def test_two_processes_train_as_one_does(data: Path, base: Path, tmp_path: Path) -> None:
    """Over gloo: the five pictures of an epoch in updates of 4 and 1, each split over the two processes."""
    params = small_params(epochs=2, batch_size=4)
    run_to_the_end("lora", params, tmp_path / "one", data, base)
    (tmp_path / "two").mkdir()
    port = free_port()
    both = [start_rank(rank, 2, port, "lora", params, tmp_path / "two", data, base) for rank in range(2)]
    for process in both:
        process.join()
        assert process.exitcode == 0
    assert_equal_runs(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_accelerate_launch_trains_as_one_process_does(data: Path, base: Path, tmp_path: Path) -> None:
    params = small_params(epochs=2, batch_size=4)
    run_to_the_end("lora", params, tmp_path / "one", data, base)
    folder = tmp_path / "two"
    folder.mkdir()
    arguments = {"params": params.model_dump(), "data": str(data), "base": str(base)}
    (folder / "arguments.json").write_text(json.dumps(arguments))
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
    port = ["--main_process_port", free_port()]
    command = [sys.executable, *launch, *port, str(REPOSITORY / "tests/train_from_json.py"), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert_equal_runs(tmp_path / "one", folder)


# --- Round trips: what other programs draw ---------------------------------------------------------------------------


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), dtype=int)


def test_stock_pipelines_in_a_fresh_process_draw_what_the_sampler_draws(data: Path, base: Path, tmp_path: Path) -> None:
    """Every format; LoRA with an alpha that isn't the rank; rates so high that forgetting the weights would show."""
    params = small_params(epochs=2, learning_rate=0.05, unet_lr=0.05, text_encoder_lr=0.05, alpha=8.0, rank=4)
    jobs = []
    places = {"untuned": tmp_path / "untuned", "base": base, "scratch": tmp_path / "scratch"}
    nothing = tmp_path / "nothing"
    untuned = sample("base", params, Paths(nothing, tmp_path / "untuned", nothing, **places))
    for method in METHODS:
        models = run_finetune(method, params, tmp_path, data, base)
        paths = Paths(models, tmp_path / "samples" / method, tmp_path / f"{method}.png", **places)
        drawn = sample(method, params, paths)
        rows = [json.loads(line) for line in (drawn / "manifest.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["seed_index"] == 1 and row["prompt_index"] != 1]
        for kind in [method, "kohya"] if method == "lora" else [method]:
            jobs.append({"kind": kind, "checkpoint": str(models / "epoch-02"), "drawn": str(drawn), "rows": rows})
    work = {"base": str(base), "sample": params.sample.model_dump(), "size": params.resolution, "jobs": jobs}
    (tmp_path / "work.json").write_text(json.dumps(work))
    process = processes().Process(target=draw_with_stock_calls.main, args=(tmp_path / "work.json",))
    process.start()
    process.join()
    assert process.exitcode == 0
    for job in jobs:
        change = 0
        for number, row in enumerate(job["rows"]):
            ours = pixels(Path(job["drawn"]) / row["file"])
            stock = pixels(tmp_path / f"{job['kind']}-{number}.png")
            assert np.abs(ours - stock).max() <= 1, (job["kind"], row["file"])
            before = pixels(untuned / row["file"].replace("epoch-02", "epoch-00"))
            change = max(change, np.abs(ours - before).max())
        assert change > 8, f"{job['kind']}: the checkpoint draws what the base draws: nothing was shown"
