"""A run: its state, its checkpoints, what it leaves alone, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.common.errors import UserError
from stages.common.weights import read_metadata
from stages.finetune.__main__ import Paths, decisive_code, finetune
from stages.finetune.lora import LoRA
from tests.engine_world import METHODS, TOKEN, digests, run_finetune, small_params
from tests.stages.finetune.trainers import start


def test_the_precision_that_was_taken_is_in_the_checkpoint_and_decides_what_is_resumed(
    data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` on a processor with bf16 and on one without are two runs, each in a scratch folder of its own."""
    for native, taken in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr("stages.common.machine.native_bf16", lambda _, native=native: (native, "pretended"))
        models = run_finetune("textual_inversion", small_params(epochs=2, precision="auto"), tmp_path, data, base)
        assert read_metadata(models / "epoch-02" / "learned_embeds.safetensors")["precision"] == taken
        assert f"| precision | `{taken}` |" in (models / "README.md").read_text()
    assert len(list((tmp_path / "scratch").iterdir())) == 2
    # The same precision by name is the same run: nothing is trained again.
    run_finetune("textual_inversion", small_params(epochs=2, precision="bf16"), tmp_path, data, base)
    assert len(list((tmp_path / "scratch").iterdir())) == 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_goes_on_from_its_state_as_if_it_had_not_stopped(
    method: str, precision: str, data: Path, base: Path, tmp_path: Path
) -> None:
    params = small_params(precision=precision, ema_decay=0.9)
    undisturbed, stopped, resumed = (start(method, params, data, base) for _ in range(3))
    for run, updates in ((undisturbed, range(4)), (stopped, range(2))):
        for update in updates:
            run.gradients(update)
            run.step(update)
    stopped.save_state(tmp_path / "state.pt")
    resumed.resume(tmp_path)
    for update in range(2, 4):
        resumed.gradients(update)
        resumed.step(update)
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.parameters, resumed.parameters, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(undisturbed.average, resumed.average, strict=True))
    assert torch.equal(undisturbed.losses, resumed.losses)


def test_averaged_weights_are_what_is_saved(data: Path, base: Path, tmp_path: Path) -> None:
    run = start("textual_inversion", small_params(ema_decay=0.75), data, base)
    expected = run.parameters[0].detach().clone()
    for update in range(3):
        run.gradients(update)
        run.step(update)
        expected = 0.75 * expected + 0.25 * run.parameters[0].detach()
    live = run.parameters[0].detach().clone()
    run.save_checkpoint(tmp_path, 1, {"method": "textual_inversion"})
    saved = load_file(tmp_path / "model/epoch-01/learned_embeds.safetensors")[TOKEN]
    assert torch.allclose(saved, expected, atol=1e-7)
    assert torch.equal(run.parameters[0], live)


def test_dropped_captions_are_empty_ones(data: Path, base: Path) -> None:
    dropped = start("lora", small_params(caption_dropout=1.0), data, base)
    batch = dropped.make_batch(0, torch.tensor([0, 1]))
    assert torch.equal(batch.inputs[2][0], batch.inputs[2][1])
    assert torch.equal(batch.inputs[2][0], dropped.dataset.text[dropped.dataset.empty_text])


def test_textual_inversion_leaves_every_other_token_as_it_was(data: Path, base: Path) -> None:
    before = load_file(base / "text_encoder/model.safetensors")["embeddings.token_embedding.weight"]
    run = start("textual_inversion", small_params(weight_decay=0.1), data, base)
    start_vectors = run.parameters[0].detach().clone()
    for update in range(3):
        run.gradients(update)
        run.step(update)
    after = run.method.base.text_encoder.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    assert len(after) == len(before) + 2
    assert not torch.equal(run.parameters[0], start_vectors)
    assert [p.numel() for p in run.parameters] == [2 * 32]


def test_vectors_keep_the_norms_of_the_vocabulary(data: Path, base: Path) -> None:
    run = start("textual_inversion", small_params(learning_rate=5.0), data, base)
    table = load_file(base / "text_encoder/model.safetensors")["embeddings.token_embedding.weight"]
    run.gradients(0)
    run.step(0)
    assert float(run.parameters[0].norm(dim=1).max()) <= float(table.norm(dim=1).max())


@pytest.mark.parametrize("method", METHODS)
def test_a_run_publishes_checkpoints_and_leaves_the_base_untouched(
    method: str, data: Path, base: Path, tmp_path: Path
) -> None:
    before = digests(base)
    models = run_finetune(method, small_params(), tmp_path, data, base)
    assert digests(base) == before
    files = {
        "dreambooth": {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"},
        "textual_inversion": {"learned_embeds.safetensors"},
        "lora": {"pytorch_lora_weights.safetensors", "hugo_kohya.safetensors"},
    }[method]
    published = set(digests(models))
    assert published == {"README.md"} | {f"epoch-{epoch}/{file}" for epoch in ("02", "04") for file in files}
    weights = next(file for file in sorted(published) if file.endswith(".safetensors"))
    header = read_metadata(models / weights)
    assert header["base_revision"] == "demo"
    assert len(header["params_digest"]) == len(header["data_digest"]) == 64
    assert header["epoch"] == "2"
    losses = (tmp_path / "metrics" / method / "plots/metrics/loss.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in losses] == ["step", "1", "2", "3", "4"]
    assert all(math.isfinite(float(line.split("\t")[1])) for line in losses[1:])
    text = "".join(path.read_text() for path in (tmp_path / "metrics").rglob("*") if path.is_file())
    assert str(tmp_path) not in text
    assert str(tmp_path) not in (models / "README.md").read_text()
    # What is finished is published again from scratch, the same, after DVC has deleted it.
    again = run_finetune(method, small_params(), tmp_path, data, base)
    assert digests(again) == digests(models)


def test_a_loss_that_is_not_finite_stops_the_run_naming_update_and_picture(
    data: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"loss is (nan|inf) at update \d+ \(epoch 1\), picture \d\.png"):
        run_finetune("dreambooth", small_params(learning_rate=1e30), tmp_path, data, base)
    assert not (tmp_path / "models").exists()


def test_a_checkpoint_that_draws_something_else_is_not_published(
    data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LoRA.write_checkpoint

    def forget_the_alpha(self: LoRA, folder: Path, metadata: dict[str, str]) -> None:
        honest(self, folder, metadata)
        file = folder / "pytorch_lora_weights.safetensors"
        save_file(load_file(file), file)

    monkeypatch.setattr(LoRA, "write_checkpoint", forget_the_alpha)
    with pytest.raises(UserError, match="draws something else when it is loaded"):
        run_finetune("lora", small_params(unet_lr=0.1, text_encoder_lr=0.1), tmp_path, data, base)
    assert not list((tmp_path / "scratch").rglob("epoch-*"))


def test_lora_with_both_rates_zero_is_refused_and_with_one_trains_the_other(data: Path, base: Path) -> None:
    with pytest.raises(UserError, match="both 0"):
        start("lora", small_params(unet_lr=0.0, text_encoder_lr=0.0), data, base)
    run = start("lora", small_params(text_encoder_lr=0.0), data, base)
    assert {name.split(".")[0] for name in run.method.trained} == {"unet"}
    assert not run.method.trains_text


def test_an_initialiser_that_is_no_word_of_the_base_is_refused(data: Path, base: Path) -> None:
    with pytest.raises(UserError, match=r"initializer_word = 'zzz'"):
        start("textual_inversion", small_params(initializer_word="zzz"), data, base)


def test_missing_data_and_missing_base_are_one_line_each(data: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        run_finetune("lora", small_params(), tmp_path, tmp_path / "nothing", base)
    with pytest.raises(UserError, match="no model in Stable Diffusion's layout"):
        finetune("lora", small_params(), Paths(tmp_path, tmp_path, data, tmp_path / "nothing", tmp_path / "scratch"))


# --- What is logged, and when ----------------------------------------------------------------------------------------


def test_each_epoch_is_on_disk_as_soon_as_it_has_ended(
    data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that `dvc exp show` and the VS Code extension see the loss while the training goes on."""
    folder, seen = tmp_path / "metrics" / "lora", {}
    save = LoRA.write_checkpoint

    def look(self: LoRA, partial: Path, metadata: dict[str, str]) -> None:
        lines = (folder / "plots/metrics/loss.tsv").read_text().splitlines()[1:]
        seen[int(metadata["epoch"])] = (json.loads((folder / "metrics.json").read_text())["step"], len(lines))
        save(self, partial, metadata)

    monkeypatch.setattr(LoRA, "write_checkpoint", look)
    run_finetune("lora", small_params(), tmp_path, data, base)
    assert seen == {2: (2, 2), 4: (4, 4)}
    assert json.loads((folder / "metrics.json").read_text())["step"] == 4


def test_a_resumed_run_logs_each_epoch_once(
    data: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC removes what was logged before it runs a stage again: it is logged anew, from the state."""
    (tmp_path / "whole").mkdir()
    run_finetune("lora", small_params(), tmp_path / "whole", data, base)
    save, target = LoRA.write_checkpoint, tmp_path / "stopped"
    target.mkdir()

    def stop_at_the_end(self: LoRA, partial: Path, metadata: dict[str, str]) -> None:
        if metadata["epoch"] == "4":
            raise KeyboardInterrupt
        save(self, partial, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(LoRA, "write_checkpoint", stop_at_the_end)
        with pytest.raises(KeyboardInterrupt):
            run_finetune("lora", small_params(), target, data, base)
    shutil.rmtree(target / "metrics")
    run_finetune("lora", small_params(), target, data, base)
    assert digests(target / "metrics") == digests(tmp_path / "whole" / "metrics")
    # What has finished before is published again, the log with it.
    shutil.rmtree(target / "metrics")
    run_finetune("lora", small_params(), target, data, base)
    assert digests(target / "metrics") == digests(tmp_path / "whole" / "metrics")


@pytest.mark.parametrize("method", METHODS)
def test_where_a_training_stops_decides_no_byte_of_what_comes_before(
    method: str, data: Path, base: Path, tmp_path: Path
) -> None:
    """A race trains on what is promising: the schedule is that of all epochs, wherever it was stopped in between."""
    whole, raced = tmp_path / "whole", tmp_path / "raced"
    for folder in (whole, raced):
        folder.mkdir()
    options = {"lr_scheduler": "cosine", "ema_decay": 0.9}
    full = digests(run_finetune(method, small_params(**options), whole, data, base))
    first = digests(run_finetune(method, small_params(stop_after=2, **options), raced, data, base))
    assert {name for name in full if name.startswith("epoch-02")} == {name for name in first if name != "README.md"}
    assert all(full[name] == first[name] for name in first if name != "README.md")
    assert len((raced / "metrics" / method / "plots/metrics/loss.tsv").read_text().splitlines()) == 1 + 2
    (state,) = (raced / "scratch").rglob("state.pt")
    begun = state.stat().st_mtime_ns
    assert digests(run_finetune(method, small_params(stop_after=2, **options), raced, data, base)) == first
    assert digests(run_finetune(method, small_params(**options), raced, data, base)) == full
    assert digests(raced / "metrics") == digests(whole / "metrics")
    assert not state.exists(), f"{state}: written at {begun}, and of no use any more"
    again = digests(run_finetune(method, small_params(stop_after=2, **options), raced, data, base))
    assert again == first, "the shorter one, though the longer one is finished"


@pytest.mark.parametrize("method", METHODS)
def test_a_method_without_epochs_leaves_empty_results(method: str, tmp_path: Path) -> None:
    """Its outputs are there, so that the DAG is whole; neither pictures nor a base are looked at.

    Nothing stays of an earlier run: a checkpoint of it would be drawn and scored.
    """
    for left in (tmp_path / "models" / method / "epoch-02" / "file", tmp_path / "metrics" / method / "plots" / "file"):
        left.parent.mkdir(parents=True)
        left.touch()
    params = small_params().changed(f"finetune.{method}", epochs=0)
    models = run_finetune(method, params, tmp_path, tmp_path / "nothing", tmp_path / "nothing")
    assert list(models.iterdir()) == []
    metrics = tmp_path / "metrics" / method
    assert set(digests(metrics)) == {"coverage.json", "metrics.json", "plots/metrics/loss.tsv"}
    assert json.loads((metrics / "metrics.json").read_text()) == {}
    assert (metrics / "plots/metrics/loss.tsv").read_text() == "step\tloss\n"
    assert json.loads((metrics / "coverage.json").read_text())["pictures_with_box"] == 0


def test_a_state_depends_on_its_own_methods_code_alone() -> None:
    names = {method: {file.name for file in decisive_code(method)} for method in METHODS}
    for method in METHODS:
        assert names[method] & {f"{other}.py" for other in METHODS} == {f"{method}.py"}
        assert {"loop.py", "trainer.py", "noise.py", "diffusion.py", "weights.py"} < names[method]


def test_a_token_that_the_base_knows_is_said_or_refused(
    data: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DreamBooth may take a rare word, which its user must know; textual inversion would put its vector over it."""
    params = small_params(epochs=2, save_every=2)
    params = params.model_copy(update={"brand": params.brand.model_copy(update={"token": "mug"})})
    run_finetune("dreambooth", params, tmp_path, data, base)
    assert "warning: brand.token = 'mug' is in the base's vocabulary ('mug</w>')" in capsys.readouterr().err
    with pytest.raises(UserError, match="brand.token = 'mug': the base's vocabulary has 'mug</w>' already"):
        run_finetune("textual_inversion", params, tmp_path, data, base)
