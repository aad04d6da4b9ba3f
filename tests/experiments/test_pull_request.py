"""The comment between two commits that differ in one parameter: right tables, pictures of both sides, one comment."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from experiments.pull_request import MARK, cells, code
from stages.common.params import load_params

ROOT = Path(__file__).parents[2]
RANK = load_params(ROOT / "params.yaml").finetune.lora.rank
PIPELINE = """
stages:
  score:
    cmd: echo
    params: [finetune.lora]
    metrics:
      - metrics/score/lora.json: {cache: false}
  sheets:
    cmd: echo
    outs: [metrics/samples/lora.png, metrics/samples/dreambooth.png, metrics/funnel.png]
"""


def report(verdict: str) -> str:
    return f"# Report\n\n## Verdict\n\nShip **{verdict}**. It is the best.\n\n## Best checkpoints\n\nnot this\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits: another LoRA rank, another score, another sheet; a bare remote named origin."""
    folder = tmp_path_factory.mktemp("pull request") / "clone"
    folder.mkdir()
    text = (ROOT / "params.yaml").read_text()
    (folder / "dvc.yaml").write_text(PIPELINE)
    for path in ("metrics/score", "metrics/samples"):
        (folder / path).mkdir(parents=True)

    def call(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, env=environment(), capture_output=True)

    call("git", "init", "-q", "-b", "main")
    call("git", "config", "user.name", "test")
    call("git", "config", "user.email", "test@invalid")
    call("dvc", "init", "-q")
    call("dvc", "config", "core.analytics", "false")

    def write(params: str, score: dict[str, float], colour: str, verdict: str, name: str) -> None:
        (folder / "params.yaml").write_text(params)
        (folder / "metrics/score/lora.json").write_text(json.dumps(score))
        (folder / "metrics/report.md").write_text(report(verdict))
        Image.new("RGB", (40, 30), colour).save(folder / "metrics/samples/lora.png")
        Image.new("RGB", (40, 30), "blue").save(folder / "metrics/samples/dreambooth.png")
        Image.new("RGB", (50, 30), colour).save(folder / "metrics/funnel.png")
        call("dvc", "commit", "--quiet", "--force", "sheets")
        call("git", "add", "-A")
        call("git", "commit", "-qm", name)

    before = {"mean": 0.5, "mean_od": 0.4, "mean_ocr": 0.6, "images": 48, "mean_low": 0.3}
    after = {"mean": 0.75, "mean_od": 0.7, "mean_ocr": 0.8, "images": 48, "mean_low": 0.6}
    write(text, before, "red", "LoRA, epoch 12", "start")
    subprocess.run(["git", "tag", "start"], cwd=folder, check=True)
    write(re.sub(r"    rank: \d+", "    rank: 8", text), after, "green", "LoRA, epoch 24", "change")
    subprocess.run(["git", "init", "-q", "--bare", str(folder.parent / "remote.git")], check=True)
    subprocess.run(["git", "remote", "add", "origin", str(folder.parent / "remote.git")], cwd=folder, check=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **more}


def command(repository: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "experiments.pull_request", *arguments]
    return subprocess.run(whole, cwd=repository, capture_output=True, text=True, env=environment(**more))


@pytest.fixture(scope="module")
def comment(repository: Path) -> str:
    done = command(repository, "comment", "--base", "start")
    assert done.returncode == 0, done.stderr
    return (repository / done.stdout.strip()).read_text()


def table(comment: str, heading: str) -> list[list[str]]:
    lines = comment.split(f"### {heading}\n")[1].split("\n### ")[0].splitlines()
    return [cells(line) for line in lines if line.startswith("|")]


def test_the_parameter_that_changed_is_the_only_one_shown(comment: str) -> None:
    rows = table(comment, "Parameters")
    assert rows[0][2].startswith("start (")
    assert rows[2:] == [["params.yaml", "finetune.lora.rank", str(RANK), "8"]]


def test_the_numbers_are_dvc_s(comment: str) -> None:
    rows = table(comment, "Numbers")
    short = rows[: rows.index(rows[0], 1)]
    assert [row[1:5] for row in short[2:]] == [
        ["mean", "0.5", "0.75", "0.25"],
        ["mean_od", "0.4", "0.7", "0.3"],
        ["mean_ocr", "0.6", "0.8", "0.2"],
    ]
    assert "All 4 numbers that changed" in comment
    assert "mean_low" in comment


def test_only_sheets_that_changed_are_shown_with_both_sides(repository: Path, comment: str) -> None:
    assert "metrics/samples/lora.png" in comment
    assert "dreambooth.png" not in comment
    with Image.open(repository / ".emblem/pull-request/samples-lora.png") as sheet:
        assert sheet.getpixel((10, sheet.height - 5)) == (255, 0, 0)
        assert sheet.getpixel((sheet.width - 10, sheet.height - 5)) == (0, 128, 0)


def test_a_sheet_that_is_out_of_reach_is_said_to_be_so(repository: Path, tmp_path: Path) -> None:
    """Here the base's lora.png and both sides' funnel.png are not in the cache, and the workspace has no funnel.png."""
    folder = tmp_path / "clone"
    shutil.copytree(repository, folder, symlinks=True)
    for commit, path in (("start", "samples/lora.png"), ("start", "funnel.png"), ("main", "funnel.png")):
        lock = subprocess.run(["git", "show", f"{commit}:dvc.lock"], cwd=folder, capture_output=True, check=True).stdout
        entry = lock.decode().split(f"- path: metrics/{path}\n")[1]
        md5 = re.search(r"md5: ([0-9a-f]{32})", entry)[1]  # type: ignore[index]
        (folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    (folder / "metrics/funnel.png").unlink()
    done = command(folder, "comment", "--base", "start")
    assert done.returncode == 0, done.stderr
    shown = (folder / done.stdout.strip()).read_text().split("### Pictures")[1]
    assert re.search(
        r"`metrics/funnel.png` changed \(start \(\w+\): not in the cache; workspace: not in the cache\)", shown
    )
    assert "![samples-lora.png, before and after](samples-lora.png)" in shown
    assert "dreambooth" not in shown
    with Image.open(folder / ".emblem/pull-request/samples-lora.png") as sheet:
        assert sheet.getpixel((sheet.width - 10, sheet.height - 5)) == (0, 128, 0)


def test_names_are_shown_as_they_are() -> None:
    """Markdown and mentions in a branch's or file's name do nothing."""
    assert code("@someone](http://x)") == "`@someone](http://x)`"
    assert code("a`b``c") == "``` a`b``c ```"
    assert code("two\nlines") == "`two lines`"


def test_the_verdict_is_shown_after_and_before(comment: str) -> None:
    said = comment.split("### Verdict")[1].split("###")[0]
    assert said.index("Ship **LoRA, epoch 24**") < said.index("Before: Ship **LoRA, epoch 12**")
    assert "not this" not in said


def test_the_same_commit_has_nothing_to_say(repository: Path) -> None:
    done = command(repository, "comment", "--base", "HEAD", "--head", "HEAD")
    text = (repository / done.stdout.strip()).read_text()
    for sentence in ("No parameter changed.", "No number changed.", "No sheet changed.", "(The same as before.)"):
        assert sentence in text


def test_an_unknown_commit_is_one_line(repository: Path) -> None:
    done = command(repository, "comment", "--base", "nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "nowhere: no such commit" in done.stderr


def test_pictures_are_pushed_and_linked(repository: Path) -> None:
    command(repository, "comment", "--base", "start")
    for _ in range(2):  # the second time there is a branch already
        done = command(
            repository, "pictures", "--branch", "pictures/7", PICTURE_URL="https://forge.invalid/{commit}/{name}"
        )
        assert done.returncode == 0, done.stderr
        commit = done.stdout.strip()
    text = (repository / ".emblem/pull-request/comment.md").read_text()
    assert f"](https://forge.invalid/{commit}/samples-lora.png)" in text
    remote = repository.parent / "remote.git"
    shown = subprocess.run(
        ["git", "show", "pictures/7:samples-lora.png"], cwd=remote, capture_output=True, check=True
    ).stdout
    assert Image.open(io.BytesIO(shown)).width > 80
    status = subprocess.run(
        ["git", "status", "--porcelain", "-uno"], cwd=repository, capture_output=True, check=True
    ).stdout
    assert status == b""


@pytest.fixture
def forge() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """A forge's API on loopback with 120 comments of other people."""
    comments: list[dict[str, object]] = [{"id": n, "body": f"comment {n}"} for n in range(120)]

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> str:
            return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

        def do_GET(self) -> None:
            if self.headers["Authorization"] != "Bearer secret":
                return self.answer(401, {})
            page = int(self.path.rsplit("page=", 1)[1])
            self.answer(200, comments[(page - 1) * 100 : page * 100])
            return None

        def do_POST(self) -> None:
            assert self.path == "/repos/someone/emblem/issues/7/comments"
            comments.append(
                {"id": len(comments), "body": self.body(), "html_url": f"https://forge.invalid/{len(comments)}"}
            )
            self.answer(201, comments[-1])

        def do_PATCH(self) -> None:
            found = comments[int(self.path.rsplit("/", 1)[1])]
            found["body"] = self.body()
            self.answer(200, found)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", comments
    server.shutdown()
    server.server_close()


def test_one_comment_is_renewed(repository: Path, forge: tuple[str, list[dict[str, object]]]) -> None:
    api, comments = forge
    settings = {"GITHUB_API_URL": api, "GITHUB_REPOSITORY": "someone/emblem", "GITHUB_TOKEN": "secret"}
    command(repository, "comment", "--base", "start")
    first = command(repository, "post", "--number", "7", **settings)
    assert first.returncode == 0, first.stderr
    command(repository, "comment", "--base", "HEAD", "--head", "HEAD")
    second = command(repository, "post", "--number", "7", **settings)
    assert second.stdout == first.stdout
    assert len(comments) == 121
    assert str(comments[-1]["body"]).startswith(MARK)
    assert "No parameter changed." in str(comments[-1]["body"])


def test_a_token_that_may_not_is_one_line(repository: Path, forge: tuple[str, list[dict[str, object]]]) -> None:
    settings = {"GITHUB_API_URL": forge[0], "GITHUB_REPOSITORY": "someone/emblem", "GITHUB_TOKEN": "other"}
    done = command(repository, "post", "--number", "7", **settings)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "HTTP 401" in done.stderr
    assert "other" not in done.stderr


# --- As make targets, on a pipeline that runs -----------------------------------------------------------------------

SCORE = """
import json, pathlib, ruamel.yaml
from PIL import Image
rank = ruamel.yaml.YAML(typ="safe").load(open("params.yaml"))["finetune"]["lora"]["rank"]
pathlib.Path("runs.log").open("a").write(f"{rank}\\n")
for folder in ("models", "metrics/score", "metrics/samples"):
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
pathlib.Path("models/lora.txt").write_text(str(rank))
pathlib.Path("metrics/score/lora.json").write_text(json.dumps({"mean": rank / 16, "images": 48}))
pathlib.Path("metrics/report.md").write_text(f"# Report\\n\\n## Verdict\\n\\nShip **rank {rank}**.\\n")
Image.new("RGB", (40, 30), (rank, 0, 0)).save("metrics/samples/lora.png")
"""
RUNNING = """
stages:
  score:
    cmd: python score.py
    deps: [score.py]
    params: [finetune.lora.rank]
    outs:
      - models/lora.txt
      - metrics/report.md: {cache: false}
    metrics:
      - metrics/score/lora.json: {cache: false}
    plots:
      - metrics/samples/lora.png
"""


@pytest.fixture
def proposal(tmp_path: Path) -> Path:
    """A branch whose one commit changes LoRA's rank and runs nothing; Makefile and params.yaml are the real ones."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(RUNNING)
    (folder / "score.py").write_text(SCORE)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
    (folder / ".gitignore").write_text("/.emblem\n/.venv\n/runs.log\n")
    (folder / ".venv").symlink_to(sys.prefix)

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, check=True, env=environment())

    git("init", "-q", "-b", "main")
    git("config", "user.name", "test")
    git("config", "user.email", "test@invalid")
    for command in ("dvc init -q", "dvc config core.analytics false", "dvc repro -q"):
        subprocess.run(command.split(), cwd=folder, check=True, env=environment(), capture_output=True)
    git("add", "-A")
    git("commit", "-qm", "start")
    git("init", "-q", "--bare", str(tmp_path / "remote.git"))
    git("remote", "add", "origin", str(tmp_path / "remote.git"))
    git("checkout", "-qb", "proposal")
    text = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(re.sub(r"    rank: \d+ ", "    rank: 8 ", text))
    git("commit", "-qam", "rank 8")
    return folder


def make(folder: Path, *arguments: str, **more: str) -> str:
    """Run a make target as a person or a runner does; the virtual environment counts as made."""
    whole = ["make", "-o", "setup", "-o", ".venv/ready", *arguments]
    outside = {name: value for name, value in environment(**more).items() if not name.startswith("MAKE")}
    done = subprocess.run(whole, cwd=folder, capture_output=True, text=True, env=outside)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_make_targets_run_compare_push_and_post(proposal: Path, forge: tuple[str, list[dict[str, object]]]) -> None:
    old = re.search(r"^    rank: (\d+) ", (ROOT / "params.yaml").read_text(), re.MULTILINE)[1]  # type: ignore[index]
    assert old != "8"
    make(proposal, "pr-repro")
    assert (proposal / "runs.log").read_text().splitlines() == [old, "8"]
    make(proposal, "pr-comment", "BASE=main")
    written = proposal / ".emblem/pull-request/comment.md"
    text = written.read_text()
    assert table(text, "Parameters")[2:] == [["params.yaml", "finetune.lora.rank", old, "8"]]
    assert [row[1:4] for row in table(text, "Numbers")[2:]] == [["mean", str(int(old) / 16), "0.5"]]
    assert f"Ship **rank 8**.\n\nBefore: Ship **rank {old}**." in text
    with Image.open(proposal / ".emblem/pull-request/samples-lora.png") as sheet:
        assert sheet.getpixel((10, sheet.height - 5)) == (int(old), 0, 0)
        assert sheet.getpixel((sheet.width - 10, sheet.height - 5)) == (8, 0, 0)

    commit = make(proposal, "pr-pictures", "NUMBER=7", PICTURE_URL="https://forge.invalid/{commit}/{name}").strip()
    assert f"](https://forge.invalid/{commit}/samples-lora.png)" in written.read_text()
    branches = subprocess.run(
        ["git", "for-each-ref", "--format=%(refname)"],
        cwd=proposal.parent / "remote.git",
        capture_output=True,
        text=True,
    )
    assert branches.stdout.split() == ["refs/heads/emblem-pictures/7"]
    api, comments = forge
    settings = {"GITHUB_API_URL": api, "GITHUB_REPOSITORY": "someone/emblem", "GITHUB_TOKEN": "secret"}
    assert make(proposal, "pr-post", "NUMBER=7", **settings).strip() == "https://forge.invalid/120"
    assert comments[-1]["body"] == written.read_text()


def test_with_a_remote_the_pipeline_is_pulled_and_only_what_changed_runs(proposal: Path) -> None:
    """As on a runner: a clone with nothing in its cache, on the branch whose results somebody pushed."""

    def run(*command: str, folder: Path = proposal) -> str:
        return subprocess.run(command, cwd=folder, check=True, env=environment(), capture_output=True, text=True).stdout

    run("dvc", "remote", "add", "-q", "-d", "team", str(proposal.parent / "team"))
    run("dvc", "repro", "-q")
    run("dvc", "push", "-q")
    run("git", "add", "-A")
    run("git", "commit", "-qm", "results")
    clone = proposal.parent / "runner"
    run("git", "clone", "-q", str(proposal), str(clone), folder=proposal.parent)
    (clone / ".venv").symlink_to(sys.prefix)
    make(clone, "pr-repro")
    assert not (clone / "runs.log").exists(), "a stage ran whose results were there to pull"
    make(clone, "pr-comment", "BASE=origin/main")
    assert "Ship **rank 8**" in (clone / ".emblem/pull-request/comment.md").read_text()
