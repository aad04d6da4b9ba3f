"""dvc.yaml says what each stage reads, no more and no less, as far as the code tells without running it.

tests/test_end_to_end.py holds the same of a run: which files were opened, which parameters were looked at.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.common.params import METHODS, Params, read_yaml

ROOT = Path(__file__).parents[1]
PIPELINE = read_yaml(ROOT / "dvc.yaml")
SCHEMA = {f"stages/common/{name}.py" for name in ("params", "sampler_params", "schema")}
NO_BYTE = SCHEMA | {f"stages/common/{name}.py" for name in ("command", "errors", "files", "progress", "scratch")}
"""What decides no byte of any output: no stage depends on it, so that changing it runs nothing again."""


def stages() -> dict[str, Any]:
    """The stages of dvc.yaml by name, a matrix written out."""
    found = {}
    for name, stage in PIPELINE["stages"].items():
        for method in stage.get("matrix", {}).get("method", [""]):
            text = repr({key: value for key, value in stage.items() if key != "matrix"})
            found[f"{name}@{method}" if method else name] = ast.literal_eval(text.replace("${item.method}", method))
    return found


STAGES = stages()


def paths(stage: dict[str, Any], *kinds: str) -> list[str]:
    """The paths of a stage's deps, outs, metrics or plots."""
    entries = [entry for kind in kinds for entry in stage.get(kind, [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def local_imports(module: Path) -> set[Path]:
    """Files of this repository that `module` imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = set()
    for name in names:
        path = ROOT.joinpath(*name.split("."))
        candidates = [path.with_suffix(".py"), path / "__init__.py"]
        files |= {file for file in candidates if file.is_file() and file.stat().st_size}
    return files


def closure(modules: set[Path], left_out: set[Path]) -> set[str]:
    """`modules` and all that they import, directly or not, relative to the repository."""
    found: set[Path] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= local_imports(module) - found - left_out
    return {module.relative_to(ROOT).as_posix() for module in found}


def imported_modules(stage: dict[str, Any]) -> set[str]:
    """All modules of this repository that a stage's command imports; of the methods' own, its method's alone."""
    match = re.match(r"python -m (\S+)(?: --method (\S+))?$", stage["cmd"])
    assert match, stage["cmd"]
    package = ROOT.joinpath(*match[1].split("."))
    of_methods = {package / f"{method}.py" for method in METHODS}
    start = {package / "__main__.py", package / f"{match[2]}.py"} & set(package.glob("*.py"))
    return closure(start, of_methods - {package / f"{match[2]}.py"})


def declared_modules(stage: dict[str, Any]) -> set[str]:
    """The Python files with content among a stage's deps, folders written out."""
    declared = set()
    for dep in stage["deps"]:
        path = ROOT / dep
        files = path.rglob("*.py") if path.is_dir() and dep.startswith("stages") else [path]
        declared |= {f.relative_to(ROOT).as_posix() for f in files if f.suffix == ".py" and f.stat().st_size}
    return declared


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_the_modules_that_decide_its_bytes_and_no_others(name: str) -> None:
    expected = imported_modules(STAGES[name]) - NO_BYTE
    if name == "params":  # its output is whether the schema holds
        expected |= SCHEMA
    declared = declared_modules(STAGES[name])
    assert expected - declared == set()
    # A matrix has one list: a helper of two of its methods stands in it for the third, their own files do not.
    group = [other for other in STAGES if other.partition("@")[0] == name.partition("@")[0]]
    own = {
        module for module in declared if Path(module).stem in METHODS and Path(module).stem != name.partition("@")[2]
    }
    assert own == set()
    assert declared - {module for other in group for module in imported_modules(STAGES[other])} - expected == set()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_says_what_it_does(name: str) -> None:
    assert len(STAGES[name]["desc"]) > 20


def test_a_stage_reads_outputs_and_files_in_git_never_the_folder_around_an_output() -> None:
    """So that a clone without any output knows that nothing has changed (dvc repro --allow-missing --dry)."""
    outputs = {path for stage in STAGES.values() for path in paths(stage, "outs", "metrics", "plots")}
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert not any(output.startswith(f"{dep}/") for output in outputs), f"{name}: {dep}"
            made = any(dep == output or dep.startswith(f"{output}/") for output in outputs)
            assert made or (ROOT / dep).exists(), f"{name}: {dep} is neither made by a stage nor in git"


def test_no_output_of_dvcs_cache_is_in_git_and_every_other_is() -> None:
    """DVC refuses to run a stage whose cached output git tracks; and nothing that no stage makes lies in metrics/."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    tracked = {name for name in listed.split("\0") if name}
    cached, kept = set(), set()
    for stage in STAGES.values():
        for entry in (e for kind in ("outs", "metrics", "plots") for e in stage.get(kind, [])):
            path, options = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
            (cached if options.get("cache", True) else kept).add(path)
    assert [name for name in sorted(tracked) if any(name == c or name.startswith(f"{c}/") for c in cached)] == []
    results = {n for n in tracked if n.startswith("metrics/") and not n.endswith(".gitignore")}
    assert {n for n in results if not any(n == k or n.startswith(f"{k}/") for k in kept)} == set()
    assert {k for k in kept if not any(n == k or n.startswith(f"{k}/") for n in tracked)} == set()


def test_every_parameter_is_declared_by_a_stage() -> None:
    """A key that no stage declares could be changed without any effect."""
    declared = {key for stage in STAGES.values() for key in stage.get("params", []) if isinstance(key, str)}

    def missing(kind: type, prefix: str) -> list[str]:
        found = []
        for name, field in kind.model_fields.items():
            key = f"{prefix}{name}"
            if key in declared:
                continue
            inner = getattr(field.annotation, "model_fields", None)
            found += missing(field.annotation, f"{key}.") if inner else [key]
        return found

    # The grid is what experiments set, and the race how they are chosen: no stage reads them.
    assert [key for key in missing(Params, "") if not key.startswith(("grid.", "race."))] == []


def test_dvc_yaml_can_be_read_in_one_go() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) < 220


def test_headline_metrics_are_few() -> None:
    """`dvc exp show` has a column for each; tables are no metrics."""
    for stage in STAGES.values():
        for path in paths(stage, "metrics"):
            content = read_yaml(ROOT / path)
            assert len(content) <= 8, path
            assert not any(isinstance(value, (dict, list)) for value in content.values()), path


def test_a_clean_clone_knows_that_nothing_has_changed(tmp_path: Path) -> None:
    """dvc.lock fits code, parameters and data in git: without any output there, DVC would run nothing."""
    clone = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone / name)
    subprocess.run(["git", "init", "--quiet"], cwd=clone, check=True)
    dvc = [str(Path(sys.executable).with_name("dvc")), "repro", "--allow-missing", "--dry"]
    done = subprocess.run(dvc, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Running stage" not in done.stdout, done.stdout
