"""dvc.yaml says exactly what each stage reads: its module, every local module that it imports, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.common.params import Params, read_yaml

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


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


def closure(modules: set[Path]) -> set[str]:
    """`modules` and all that they import, directly or not, relative to the repository."""
    found: set[Path] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= local_imports(module) - found
    return {module.relative_to(ROOT).as_posix() for module in found}


def entry_modules(stage: dict) -> set[Path]:
    """The files that `python -m stages.x` runs."""
    match = re.match(r"python -m (\S+)", stage["cmd"])
    assert match, stage["cmd"]
    path = ROOT.joinpath(*match[1].split("."))
    return set(path.glob("*.py")) if path.is_dir() else {path.with_suffix(".py")}


def declared_modules(stage: dict) -> set[str]:
    """The Python files among a stage's deps, folders written out."""
    declared = set()
    for dep in stage["deps"]:
        path = ROOT / dep
        if path.is_dir() and dep.startswith("stages"):
            declared |= {file.relative_to(ROOT).as_posix() for file in path.rglob("*.py")}
        elif path.suffix == ".py":
            declared.add(dep)
    return declared


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_its_modules_and_no_others(name: str) -> None:
    stage = STAGES[name]
    imported = {file for file in closure(entry_modules(stage)) if (ROOT / file).stat().st_size}
    declared = {file for file in declared_modules(stage) if (ROOT / file).stat().st_size}
    assert declared == imported


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_says_what_it_does(name: str) -> None:
    assert len(STAGES[name]["desc"]) > 20


@pytest.mark.parametrize("module", sorted((ROOT / "stages").rglob("*.py")), ids=lambda file: file.name)
def test_dependencies_run_one_way(module: Path) -> None:
    """Stage modules import stages.lib (and their own package), never each other; stages.lib imports no stage."""
    allowed = {"lib"} if module.parent.name in ("stages", "lib") else {"lib", module.parent.name}
    for imported in local_imports(module):
        if imported.is_relative_to(ROOT / "stages") and imported != module:
            assert imported.relative_to(ROOT / "stages").parts[0] in allowed, f"{module} imports {imported}"


def test_every_parameter_is_read_by_a_stage() -> None:
    """A key that no stage tracks could be changed without any effect."""
    tracked = {str(key).split(".")[0] for stage in STAGES.values() for key in stage.get("params", [])}
    assert set(Params.model_fields) - tracked <= {"grid"}


@pytest.mark.parametrize("profile", [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))], ids=str)
def test_every_parameter_is_explained(profile: Path) -> None:
    """Each key of the first method's section and of every other section has a comment on its line."""
    explained = set()
    section = ""
    for line in profile.read_text().splitlines():
        match = re.match(r"^( *)(\w+):(.*)$", line)
        if not match:
            continue
        indent, key, rest = match.groups()
        if not indent:
            section = key
        if "#" in rest:
            explained.add((section, key))
    content = read_yaml(profile)
    for name, values in content.items():
        keys = values if isinstance(values, dict) else {}
        if name == "finetune":
            keys = {key: None for method in values.values() for key in method}
        if name == "grid":
            continue
        missing = [key for key in keys if (name, key) not in explained]
        assert not missing, f"{name}: no comment beside {missing}"
