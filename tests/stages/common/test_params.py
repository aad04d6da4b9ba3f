"""params.yaml is checked before any work: one line names the key, its value and what is allowed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.common.params import load_params

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "params.yaml").read_text()


def changed(folder: Path, pattern: str, replacement: str) -> Path:
    text, count = re.subn(pattern, replacement, TEXT, count=1)
    assert count == 1, pattern
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_the_shipped_parameters_pass() -> None:
    assert load_params(ROOT / "params.yaml").brand.word


@pytest.mark.parametrize("written", ["5e-6", "5e-06", "0.000005", "5E-6"])
def test_small_floats_are_numbers(tmp_path: Path, written: str) -> None:
    path = changed(tmp_path, r"unet_lr: 0\.\d+", f"unet_lr: {written}")
    assert load_params(path).finetune.lora.unet_lr == 5e-6


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        (r"    rank: \d+", "    rnak: 8", "finetune.lora.rnak = 8: unknown key.*did you mean rank"),
        (r"    rank: \d+", "    rank: eight", "finetune.lora.rank = 'eight': must be a valid integer"),
        (r"    rank: \d+", "    rank: 0", "finetune.lora.rank = 0: must be greater than or equal to 1"),
        (r"threshold: 0.70", "threshold: 1.7", "score.threshold = 1.7: must be less than or equal to 1"),
        (r"    rank: \d+ .*\n", "", "finetune.lora.rank is missing"),
        (
            r"    alpha: rank",
            "    alpha: 0",
            "finetune.lora.alpha = 0: must be a number greater than 0, or .rank.",
        ),
        (r"epochs: 30", "epochs: 31", "finetune.dreambooth.*epochs = 31 must be a multiple of save_every = 6"),
        (r"scheduler: dpm\+\+", "scheduler: dpmpp", "sample.scheduler = 'dpmpp': must be 'dpm"),
        (r"a bag with a \{token\} logo", "a bag", r"sample.prompts.3 = 'a bag': must contain \{token\} exactly once"),
        (
            r"a bag with a \{token\} logo",
            "a {colour} bag with a {token} logo",
            r"sample.prompts.3 = .*: must hold no braces but those of \{token\}",
        ),
        (r'class_caption: "a \{token\}', 'class_caption: "a {{token}}', "class_caption = .*: must hold no braces but"),
        (r'negative_prompt: ""', 'negative_prompt: "{token}"', r"negative_prompt = '\{token\}': must not contain"),
        (r"seed: 20", "seed: [", "not readable as YAML"),
        (r"seed: 20", "seed: 20\0", "not readable as YAML: .*special characters are not allowed"),
        (r"    prior_weight: 0.0", "    prior_weight: 0.5", "finetune.dreambooth.*prior_images = 0 must be at least 1"),
        (r"seed: 20", "methods: [lora]\nseed: 20", "methods = .*unknown key.*finetune.<method>.epochs = 0"),
        (
            r"\n    precision: auto",
            "\n    precision: true",
            "finetune.dreambooth.precision = True: must be 'auto', 'fp32', 'bf16' or 'fp16'",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, pattern: str, replacement: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        load_params(changed(tmp_path, pattern, replacement))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "replacement", "said"),
    [
        (r"    rank: \[4, 8", "    rank: [0, 8", "grid.lora.rank: 0: must be greater than or equal to 1"),
        (r"    rank: \[4, 8", "    rank: [8, 8", r"grid.lora.rank = \[8, 8, 16, 32, 64\]: a value stands there twice"),
        (r"    rank: \[4, 8", "    rnk: [4, 8", "grid.lora.rnk: no parameter of finetune.lora .* did you mean rank?"),
        (r"    rank: \[4, 8", "    stop_after: [4, 8", "grid.lora.stop_after: no parameter .* that a grid may vary"),
        (r"  keep: \[0.5", "  keep: [0.0", "race.keep.0 = 0.0: must be greater than 0"),
        (r"  keep: \[0.5, ", "  keep: [", r"race: keep = \[0.33\]: must have a share for each rung but the last"),
        (r"epochs: 18, images", "epochs: 6, images", "race: rungs: each must have at least the epochs and pictures"),
    ],
)
def test_a_mistake_in_the_grid_is_one_line(tmp_path: Path, pattern: str, replacement: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        load_params(changed(tmp_path, pattern, replacement))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_parameters_in_another_encoding_are_read_or_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(TEXT.replace("seed: 20 ", "seed: 20 # é", 1).encode(encoding, "replace"))
    if encoding == "utf-8-sig":
        assert load_params(path).seed == 20
    else:
        with pytest.raises(UserError, match="params.yaml: not readable as YAML: 'utf-8' codec"):
            load_params(path)


def test_a_folder_in_place_of_parameters_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read .Is a directory."):
        load_params(tmp_path)


def test_values_of_a_grid_that_do_not_go_together_are_no_mistake_before_it_is_run(tmp_path: Path) -> None:
    """`dvc exp run -S finetune.lora.epochs=20` must not fail for the grid that it is no part of."""
    path = changed(tmp_path, r"(    rank: .*\n    save_every:) \[3\]", r"\1 [7]")
    params = load_params(path)
    with pytest.raises(
        UserError, match="grid.lora: .*save_every=7.*: epochs = 30 must be a multiple of save_every = 7"
    ):
        params.with_model("lora", params.grid.combinations("lora")[0])


def test_a_method_without_epochs_is_left_out(tmp_path: Path) -> None:
    params = load_params(changed(tmp_path, r"epochs: 30", "epochs: 0"))
    assert params.methods == ["textual_inversion", "lora"]


def test_at_least_one_method_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"    epochs: 30", "    epochs: 0", TEXT))
    with pytest.raises(UserError, match="no method has any epochs"):
        load_params(path)


def test_a_change_leaves_the_rest_as_it_was() -> None:
    params = load_params(ROOT / "params.yaml")
    other = params.changed("finetune.lora", rank=3).changed("sample", steps=5)
    assert (other.finetune.lora.rank, other.sample.steps) == (3, 5)
    assert (
        other.changed("finetune.lora", rank=params.finetune.lora.rank).changed("sample", steps=params.sample.steps)
        == params
    )


def test_the_command_fails_in_one_line(tmp_path: Path) -> None:
    path = changed(tmp_path, r"    rank: \d+", "    rank: 0")
    done = subprocess.run([sys.executable, "-m", "stages.params", path], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "finetune.lora.rank = 0" in done.stderr
