"""How the code is laid out: stairs in one direction, short files, imports at the top, one way of writing files."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_dag import ROOT, local_imports

CODE = sorted(path for folder in ("stages", "experiments") for path in (ROOT / folder).rglob("*.py"))
WHOLE = sorted(
    path
    for folder in ("stages", "experiments", "demo", "docs", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
    if "storefront/" not in path.as_posix()
)
MOST_LINES = 500


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("module", CODE, ids=named)
def test_stairs_run_one_way(module: Path) -> None:
    """experiments -> stages/<stage> -> stages/common; a stage never imports another stage."""
    room = module.relative_to(ROOT).parts
    for imported in local_imports(module):
        top, *rest = imported.relative_to(ROOT).parts
        if room[0] == "experiments":
            assert top in ("experiments", "stages"), imported
        elif top == "demo":  # the demo's shop is served by the crawl of it
            assert named(module) == "stages/scrape/__main__.py"
        else:
            assert top == "stages", imported
            assert len(rest) == 1 or rest[0] in ("common", room[1]), f"{named(module)} imports {named(imported)}"


@pytest.mark.parametrize("module", WHOLE, ids=named)
def test_a_file_can_be_read_in_one_sitting(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", WHOLE, ids=named)
def test_the_formatter_is_not_switched_off(module: Path) -> None:
    assert "fmt: " + "skip" not in module.read_text()
    assert "fmt: " + "off" not in module.read_text()


def inner_imports(tree: ast.AST) -> Iterator[ast.stmt]:
    """Imports within functions."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from (n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom)))


@pytest.mark.parametrize("module", [path for path in CODE if path.name != "__main__.py"], ids=named)
def test_imports_stand_at_the_top(module: Path) -> None:
    """Commands alone import heavy modules late, so that --help and a bad parameter answer at once."""
    assert [f"line {node.lineno}" for node in inner_imports(ast.parse(module.read_text()))] == []


HEAVY = {"torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "ultralytics", "easyocr", "cv2"}


@pytest.mark.parametrize("package", sorted({path.parent for path in CODE if path.name == "__main__.py"}), ids=named)
def test_a_command_imports_nothing_heavy_before_it_needs_it(package: Path) -> None:
    """All that is imported when the command's module is: its own top level, and that of what this imports."""
    seen: set[Path] = set()
    waiting = [package / "__main__.py"]
    while waiting:
        module = waiting.pop()
        seen.add(module)
        tree = ast.parse(module.read_text())
        late = {id(node) for node in inner_imports(tree)}
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in late | typing_only or not isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            if isinstance(node, ast.ImportFrom):
                modules += [f"{node.module}.{alias.name}" for alias in node.names]
            assert not {name.split(".")[0] for name in modules} & HEAVY, f"{named(module)}: line {node.lineno}"
            for name in modules:
                file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
                if file.is_file() and file not in seen:
                    waiting.append(file)


WRITERS = {"write_text", "write_bytes", "savetxt", "save_file", "imwrite", "savez", "tofile", "to_csv", "savefig"}
"""Calls that write a file in place, whatever they are called on."""


def writes_in_place(node: ast.AST) -> bool:
    """Whether a call writes a file by its name: open for writing, or a library's save to a path."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in WRITERS:
        return True
    if name == "open":
        # open(path, mode) and path.open(mode); Image.open, os.open and tarfile.open have no mode of text
        texts = [arg.value for arg in [*node.args, *(k.value for k in node.keywords)] if isinstance(arg, ast.Constant)]
        return any(isinstance(t, str) and set(t) <= set("rwxabt+") and set(t) & set("wxa+") for t in texts)
    if name in ("save", "dump") and isinstance(node.func, ast.Attribute):
        # to a buffer or to what `replacing` yields: both are called so; a trainer's and a method's own write by it
        if ast.unparse(node.func.value) in ("self", "trainer", "self.method"):
            return False
        targets = [arg.id for arg in node.args if isinstance(arg, ast.Name)]
        return bool(node.args) and not {"buffer", "file", "text", "tensors"} & set(targets)
    return False


@pytest.mark.parametrize("module", [path for path in CODE if named(path) != "stages/common/files.py"], ids=named)
def test_one_function_writes_files(module: Path) -> None:
    """In place, a write goes through a hard link into DVC's cache, and a full disk leaves half a file."""
    assert [f"line {n.lineno}" for n in ast.walk(ast.parse(module.read_text())) if writes_in_place(n)] == []


def test_every_module_of_tests_has_a_place_in_the_tree() -> None:
    """tests/stages/<stage> tests stages/<stage>, and so on."""
    for module in (ROOT / "tests").rglob("test_*.py"):
        folder = module.parent.relative_to(ROOT / "tests")
        assert (ROOT / folder).is_dir(), module


def test_a_clone_has_the_same_bytes_on_every_system() -> None:
    """Git for Windows puts CRLF into texts unless .gitattributes says otherwise; DVC's hashes are of bytes."""
    listed = ["setup.sh", "dvc.yaml", "params.yaml", "data/brand/labels.jsonl", "stages/common/params.py"]
    told = subprocess.run(
        ["git", "check-attr", "eol", "--", *listed], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split(": ") for line in told.stdout.splitlines()] == [[name, "eol", "lf"] for name in listed]
