"""pyproject.toml declares what the code imports and nothing else; DVC knows the versions that decide numbers."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from stages.common.params import read_yaml
from tests.test_dag import ROOT, STAGES, declared_modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = {"stages", "experiments", "demo", "docs", "benchmarks", "tests"}
BY_PROGRAM = {
    "detect-secrets",
    "mypy",
    "pre-commit",
    "pytest-xdist",
    "ruff",
    "scipy-stubs",
    "types-tqdm",
    "typos",
    "uv",
    "zizmor",
}
"""Development packages that are called as programs, by pytest or by mypy."""
UNSEEN = {"ruamel-yaml-clib"}
"""Imported for us: ruamel.yaml's C parser, by DVC."""


def plain(requirement: str) -> str:
    """A requirement's project name, normalised (PEP 503)."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


DECLARED = {plain(text) for text in PROJECT["project"]["dependencies"]}
OPTIONAL = {plain(text) for texts in PROJECT["project"]["optional-dependencies"].values() for text in texts}
DEVELOPMENT = {plain(text) for text in PROJECT["dependency-groups"]["dev"]}


def imported(folders: set[str]) -> dict[str, set[str]]:
    """Top-level packages that are imported, wherever in a file, and the files that do."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                for name in names:
                    found.setdefault(name, set()).add(file.relative_to(ROOT).as_posix())
    return found


def distributions(names: dict[str, set[str]]) -> dict[str, set[str]]:
    """The projects that bring the imported packages; `ruamel.yaml` and the like are told by their second part."""
    known = packages_distributions()
    out: dict[str, set[str]] = {}
    for name, files in names.items():
        top = name.split(".")[0]
        if top in sys.stdlib_module_names or top in OURS:
            continue
        two = plain(".".join(name.split(".")[:2]))
        projects = {plain(project) for project in known.get(top, [])} or {plain(top)}  # an extra may not be installed
        if top == "ruamel":
            projects &= {two}
        chosen = projects & (DECLARED | OPTIONAL | DEVELOPMENT) or projects
        for project in chosen:
            out.setdefault(project, set()).update(files)
    return out


def test_what_the_pipeline_imports_is_declared() -> None:
    used = distributions(imported({"stages", "experiments", "demo", "docs"}))
    missing = {name: sorted(files) for name, files in used.items() if name not in DECLARED | OPTIONAL}
    assert not missing


def test_what_tests_and_benchmarks_import_is_declared() -> None:
    used = distributions(imported({"tests", "benchmarks"}))
    missing = {name: sorted(files) for name, files in used.items() if name not in DECLARED | OPTIONAL | DEVELOPMENT}
    assert not missing


def test_what_is_declared_is_imported() -> None:
    used = set(distributions(imported(OURS)))
    assert DECLARED - used <= UNSEEN
    assert DEVELOPMENT - used == BY_PROGRAM


def test_dvc_knows_the_versions_that_decide_numbers() -> None:
    """versions.yaml is what `make lock` reads out of requirements.lock: raising one re-runs what computes by it."""
    versions = read_yaml(ROOT / "versions.yaml")
    locked = dict(re.findall(r"(?m)^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text()))
    assert versions == {name: locked[name] for name in versions}
    assert {"torch", "diffusers", "peft", "transformers", "ultralytics", "easyocr"} <= set(versions)


IMPORTED_AS = {"opencv-python-headless": "cv2", "pillow": "PIL"}
NO_NUMBER = ("params", "pretrained", "scrape", "report", "ship")
"""Stages that compute no number: they check, collect, fetch and show."""


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in NO_NUMBER])
def test_a_stage_declares_the_versions_of_what_it_imports(stage: str) -> None:
    tops = set()
    matrix = [other for other in STAGES if other.partition("@")[0] == stage.partition("@")[0]]  # one list for all of it
    for module in {module for other in matrix for module in declared_modules(STAGES[other])}:
        for node in ast.walk(ast.parse((ROOT / module).read_text())):
            if isinstance(node, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                tops.add(node.module.split(".")[0])
    declared = {
        name for entry in STAGES[stage]["params"] if isinstance(entry, dict) for name in entry.get("versions.yaml", [])
    }
    versions = read_yaml(ROOT / "versions.yaml")
    assert declared == {name for name in versions if IMPORTED_AS.get(name, name) in tops}
