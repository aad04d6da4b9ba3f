"""A profile is an overlay: it holds only what differs, and one command writes it into params.yaml."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.common.params import load_params, read_yaml
from stages.params.profiles import STANDS_ON, apply_profiles, changes, compose

ROOT = Path(__file__).parents[3]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def flat(content: dict, prefix: str = "") -> dict[str, object]:
    """A mapping of mappings as dotted keys."""
    found: dict[str, object] = {}
    for name, value in content.items():
        inner = isinstance(value, dict) and value and prefix + name != "pretrained.hashes"
        found |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found


def own(profile: Path) -> dict[str, object]:
    """What a profile itself sets, as dotted keys."""
    return {key: value for key, value in flat(read_yaml(profile)).items() if key != STANDS_ON}


@pytest.fixture
def params(tmp_path: Path) -> Path:
    return Path(shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_composes_to_valid_parameters(profile: Path, params: Path) -> None:
    lines = apply_profiles(params, [profile])
    written, wanted = flat(read_yaml(params)), own(profile)
    assert {key: written[key] for key in wanted} == wanted
    assert len(lines) == len(list(changes(flat(read_yaml(ROOT / "params.yaml")), written)))
    load_params(params)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_a_profile_holds_only_what_differs(profile: Path, params: Path) -> None:
    if STANDS_ON in (content := read_yaml(profile)):
        apply_profiles(params, [profile.with_name(f"{content[STANDS_ON]}.yaml")])
    default = flat(read_yaml(params))
    same = [key for key, value in own(profile).items() if default.get(key) == value]
    assert [key for key in same if not key.startswith("grid.")] == [], (
        "a method's grid is one value, and replaced whole"
    )


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_comments_stay_and_reasons_come_along(profile: Path, params: Path) -> None:
    before = params.read_text().splitlines()
    text = compose(params, [profile])
    after = text.splitlines()
    assert [line for line in after if line.startswith("#")] == [line for line in before if line.startswith("#")]
    assert sum("#" in line for line in after) >= sum("#" in line for line in before)
    sections = [line.split(":")[0] for line in after if re.match(r"[a-z]", line)]
    assert sections == [line.split(":")[0] for line in before if re.match(r"[a-z]", line)]
    for line in profile.read_text().splitlines():
        if (match := re.match(r"\s+\w+: [^#\[\s][^#\[]*(# .*)", line)) and match[1]:
            assert match[1] in text, line


def test_writing_a_profile_twice_changes_nothing_more(params: Path) -> None:
    apply_profiles(params, PROFILES)
    once = params.read_text()
    assert apply_profiles(params, PROFILES) == []
    assert params.read_text() == once


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ("sample:\n  stepps: 3\n", "with .*x.yaml: sample.stepps = 3: unknown key"),
        ("sample:\n  steps: 0\n", "sample.steps = 0: must be greater"),
        ("sample: [\n", "not readable as YAML"),
        ("- 1\n", "must be a mapping"),
    ],
)
def test_a_wrong_profile_is_one_line_and_changes_nothing(params: Path, tmp_path: Path, profile: str, said: str) -> None:
    before = params.read_bytes()
    (tmp_path / "x.yaml").write_text(profile)
    with pytest.raises(UserError, match=said) as error:
        apply_profiles(params, [tmp_path / "x.yaml"])
    assert "\n" not in str(error.value)
    assert params.read_bytes() == before


def test_a_profile_is_written_over_the_one_that_it_stands_on(params: Path, tmp_path: Path) -> None:
    (tmp_path / "low.yaml").write_text("sample:\n  steps: 11\n  guidance_scale: 3.5\n")
    (tmp_path / "middle.yaml").write_text("profile: low\nsample:\n  steps: 12\n  batch_size: 5\n")
    (tmp_path / "top.yaml").write_text("profile: middle\nsample:\n  batch_size: 6\n")
    apply_profiles(params, [tmp_path / "top.yaml"])
    sample = load_params(params).sample
    assert (sample.guidance_scale, sample.steps, sample.batch_size) == (3.5, 12, 6)
    assert STANDS_ON not in read_yaml(params)


@pytest.mark.parametrize(
    ("below", "said"),
    [
        ("x", "x.yaml: profile = 'x': .*stand on itself"),
        ("y", "y.yaml: profile = 'x': .*stand on itself"),
        ("nowhere", "nowhere.yaml: no such file"),
    ],
)
def test_a_profile_that_stands_on_nothing_is_one_line(params: Path, tmp_path: Path, below: str, said: str) -> None:
    before = params.read_bytes()
    (tmp_path / "x.yaml").write_text(f"profile: {below}\n")
    (tmp_path / "y.yaml").write_text("profile: x\n")
    with pytest.raises(UserError, match=said) as error:
        apply_profiles(params, [tmp_path / "x.yaml"])
    assert "\n" not in str(error.value)
    assert params.read_bytes() == before


def test_the_reason_of_a_list_or_a_section_comes_along_too(params: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "sample:  # (mine)\n  prompts:  # (my words)\n    - 'a {token}'\n\nscore:\n  margin: 0.2\n"
    )
    apply_profiles(params, [tmp_path / "x.yaml"])
    assert re.search(
        r"^sample: +# \(mine\)\n  prompts: +# \(my words\)\n    - 'a {token}'\n  \w", params.read_text(), re.M
    )


def test_the_command_says_what_it_changed(params: Path, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("finetune:\n  lora:\n    unet_lr: 5e-6   # (mine)\n")
    command = [sys.executable, "-m", "stages.params", str(params), "--profile", str(tmp_path / "x.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "finetune.lora.unet_lr: 0.0017 -> 5e-06\n"
    assert re.search(r"unet_lr: 5e-6 +# \(mine\)", params.read_text())
    assert load_params(params).finetune.lora.unet_lr == 5e-6


@pytest.mark.parametrize("file", [ROOT / "params.yaml", *PROFILES], ids=lambda path: path.name)
def test_every_parameter_is_explained(file: Path) -> None:
    """Each key of the first method's section and of every other section has a comment on its line, once in the file."""
    explained = set()
    section = ""
    for line in file.read_text().splitlines():
        match = re.match(r"^( *)(\w+):(.*)$", line)
        if not match:
            continue
        indent, key, rest = match.groups()
        if not indent:
            section = key
        if "#" in rest:
            explained.add((section, key))
    for name, values in read_yaml(file).items():
        keys = values if isinstance(values, dict) else {}
        if name == "finetune":
            keys = {key: None for method in values.values() for key in method}
        if name == "grid":
            continue
        missing = [key for key in keys if (name, key) not in explained]
        assert not missing, f"{name}: no comment beside {missing}"
