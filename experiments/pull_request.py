"""The comment under a pull request: what changed in parameters, numbers, pictures and verdict.

    python -m experiments.pull_request comment --base main     write .emblem/pull-request/comment.md and its pictures
    python -m experiments.pull_request pictures --branch B     push the pictures to a branch of their own, and link them
    python -m experiments.pull_request post --number 7         make the comment, or renew the one that is there

Reads   two commits (the second may be the workspace): `dvc params diff`, `dvc metrics diff`, metrics/report.md, and
        from DVC's cache or remote the sheets of pictures (experiments.sheets).
Writes  .emblem/pull-request/. The first step needs no network, the second a git remote, the third the forge's API
        (GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_TOKEN, as GitHub's and Gitea's runners set them).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from experiments.forge import post_comment
from experiments.outputs import Outputs
from experiments.sheets import Comparison, write_comparisons
from stages.common.command import stage_main
from stages.common.errors import UserError
from stages.common.files import write_file
from stages.common.revisions import git, read_at

OUTPUT = Path(".emblem/pull-request")
MARK = "<!-- emblem: parameters, numbers and pictures -->"
"""By this line the comment is found again."""
WORKSPACE = "workspace"
HEADLINES = (
    "best_epoch",
    "mean",
    "mean_od",
    "mean_ocr",
    "joint_success",
    "memorised_share",
    "colour_fidelity",
    "prior_drift",
)
"""Metrics of the short table, those of metrics/score/<method>.json; all others are in the folded one."""
COMMENT_LIMIT = 65_000
"""Characters of a comment; GitHub takes 65,536."""


@dataclass(frozen=True)
class Side:
    """One side of the comparison: a commit, or the workspace."""

    revision: str
    commit: str

    @property
    def shown(self) -> str:
        """For headings."""
        short = self.commit[:9]
        return (
            self.revision
            if self.revision in (WORKSPACE, self.commit) or short == self.revision
            else f"{self.revision} ({short})"
        )

    @property
    def outputs(self) -> Outputs:
        """This side's files, those that DVC keeps among them."""
        return Outputs(self.commit)

    def read(self, path: str) -> bytes | None:
        """A file's bytes on this side, None where git (or the workspace) has none."""
        if self.commit:
            return read_at(self.commit, path)
        return Path(path).read_bytes() if Path(path).is_file() else None


def side(revision: str) -> Side:
    """The side for a revision. Raises UserError where there is no such commit."""
    if revision == WORKSPACE:
        return Side(WORKSPACE, "")
    try:
        return Side(revision, git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip())
    except UserError:
        raise UserError(f"{revision}: no such commit (is the clone shallow? fetch the base branch)") from None


# --- The comment ---------------------------------------------------------------------------------------------------


def write_comment(base: Side, head: Side, output: Path = OUTPUT) -> Path:
    """Write comment.md and its pictures, which it links by their names; returns the file."""
    shutil.rmtree(output, ignore_errors=True)
    numbers = metrics_diff(base, head)
    pictures = pictures_text(base, head, output)

    def comment(numbers_shown: str) -> str:
        parts = [
            MARK,
            f"## {code(head.shown)} against {code(base.shown)}",
            "### Verdict",
            verdict_text(base, head),
            "### Parameters",
            params_diff(base, head) or "No parameter changed.",
            "### Numbers",
            numbers_shown,
            "### Pictures",
            pictures,
        ]
        return "\n\n".join(parts) + "\n"

    text = comment(numbers_text(numbers))
    if len(text) > COMMENT_LIMIT:
        text = comment(headlines(numbers) or "No number changed.")
    write_file(output / "comment.md", text)
    return output / "comment.md"


def pictures_text(base: Side, head: Side, output: Path) -> str:
    """Write the sheets that changed, and link them by their names; what cannot be had is said, and no error."""
    try:
        sheets = write_comparisons((base.shown, base.outputs), (head.shown, head.outputs), output)
    except UserError as error:
        return f"unavailable: {error}"
    return "\n\n".join(sheet_text(sheet) for sheet in sheets) or "No sheet changed."


def sheet_text(sheet: Comparison) -> str:
    """A sheet's path and its picture, or why there is none."""
    if not sheet.name:
        return f"{code(sheet.path)} changed ({sheet.reason})"
    return f"{code(sheet.path)}\n\n![{sheet.name}, before and after]({sheet.name})"


def code(text: str) -> str:
    """A name as code, in which markdown does nothing, whatever the name is."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if "`" in text else ""
    return f"{fence}{pad}{' '.join(text.split())}{pad}{fence}"


def params_diff(base: Side, head: Side) -> str:
    """`dvc params diff` as a markdown table, empty where nothing changed."""
    return dvc_diff("params", base, head)


def metrics_diff(base: Side, head: Side) -> str:
    """`dvc metrics diff` as a markdown table, empty where nothing changed."""
    return dvc_diff("metrics", base, head, "--precision", "4")


def dvc_diff(kind: str, base: Side, head: Side, *options: str) -> str:
    """DVC's own table of what changed. Raises UserError with DVC's words where it fails."""
    revisions = [base.commit, *([head.commit] if head.commit else [])]
    command = [sys.executable, "-m", "dvc", kind, "diff", "--md", *options, *revisions]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc {kind} diff: {' '.join(done.stderr.split())}")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    named = {base.commit[:7]: base.shown, head.commit[:7]: head.shown} if head.commit else {base.commit[:7]: base.shown}
    if lines:
        lines[0] = re.sub(r"[0-9a-f]{7,40}", lambda match: named.get(match[0][:7], match[0]), lines[0])
    return "\n".join(lines) if len(lines) > 2 else ""


def headlines(table: str) -> str:
    """The rows of a metrics table that a reader looks for first, empty where none of them changed."""
    lines = table.splitlines()
    kept = [line for line in lines[2:] if cells(line)[1] in HEADLINES]
    kept.sort(key=lambda line: (cells(line)[0], HEADLINES.index(cells(line)[1])))
    return "\n".join([*lines[:2], *kept]) if kept else ""


def cells(line: str) -> list[str]:
    """The cells of a markdown table's row."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def numbers_text(table: str) -> str:
    """The headlines, and all numbers that changed folded away beneath them."""
    if not table:
        return "No number changed."
    short = headlines(table)
    rows = len(table.splitlines()) - 2
    if short == table:
        return table
    folded = f"<details><summary>All {rows} numbers that changed</summary>\n\n{table}\n\n</details>"
    return f"{short or 'None of the main numbers changed.'}\n\n{folded}"


def verdict_text(base: Side, head: Side) -> str:
    """Which checkpoint to ship, after and before."""
    before, after = (verdict_of(s.read("metrics/report.md")) for s in (base, head))
    if after == before:
        return f"{after}\n\n(The same as before.)"
    return f"{after}\n\nBefore: {before}"


def verdict_of(report: bytes | None) -> str:
    """The section "Verdict" of metrics/report.md."""
    if report is None:
        return "unavailable: metrics/report.md is not there"
    found = re.search(r"^## Verdict\s*\n(.*?)(?=^## |\Z)", report.decode("utf-8"), re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else "unavailable: metrics/report.md has no verdict"


# --- Its pictures --------------------------------------------------------------------------------------------------


def push_pictures(branch: str, remote: str, url: str, output: Path = OUTPUT) -> str:
    """Push the pictures as a branch's only commit and make comment.md link them there; returns the commit.

    A forge's API takes no pictures in comments: they must lie at an address. The branch has no history, so that
    renewing it leaves nothing behind.

    Args:
        url: of a picture, with {commit} and {name} in it.
    """
    comment = output / "comment.md"
    if not comment.is_file():
        raise UserError(f"{comment}: no such file: write it first (python -m experiments.pull_request comment)")
    names = sorted(path.name for path in output.glob("*.png"))
    if not names:
        return ""
    rows = [f"100644 blob {git('hash-object', '-w', str(output / name)).strip()}\t{name}" for name in names]
    tree = git("mktree", text="\n".join(rows) + "\n").strip()
    author = ["-c", "user.name=emblem", "-c", "user.email=emblem@localhost"]
    commit = git(*author, "commit-tree", tree, "-m", "Pictures of a pull request").strip()
    git("push", "--quiet", "--force", remote, f"{commit}:refs/heads/{branch}")
    text = comment.read_text(encoding="utf-8")
    for name in names:
        address = url.format(commit=commit, name=name)
        text = re.sub(rf"\]\([^()\s]*(?<![\w.-]){re.escape(name)}\)", lambda _, to=address: f"]({to})", text)  # type: ignore[misc]
    write_file(comment, text)
    return commit


# --- The commands --------------------------------------------------------------------------------------------------


@click.group(help=__doc__)
def main() -> None:
    """The comment under a pull request."""


@main.command("comment")
@click.option("--base", default="main", show_default=True, help="commit that the pull request starts from")
@click.option("--head", default=WORKSPACE, show_default=True, help="commit, or the workspace")
def comment_command(base: str, head: str) -> None:
    """Write the comment and its pictures."""
    stage_main(lambda: click.echo(write_comment(side(base), side(head))))()


@main.command("pictures")
@click.option("--branch", required=True, help="that holds nothing else: it is replaced")
@click.option("--remote", default="origin", show_default=True)
@click.option("--url", envvar="PICTURE_URL", required=True, help="of a picture, with {commit} and {name} in it")
def pictures_command(branch: str, remote: str, url: str) -> None:
    """Push the pictures, and link them in the comment."""
    stage_main(lambda: click.echo(push_pictures(branch, remote, url)))()


@main.command("post")
@click.option("--number", type=int, required=True, help="of the pull request")
@click.option("--repository", envvar="GITHUB_REPOSITORY", required=True, help="owner/name")
@click.option("--api", envvar="GITHUB_API_URL", default="https://api.github.com", show_default=True)
def post_command(number: int, repository: str, api: str) -> None:
    """Make the comment, or renew the one that is there."""

    @stage_main
    def run() -> None:
        token = os.environ.get("GITHUB_TOKEN", "")
        if not token:
            raise UserError("GITHUB_TOKEN is not set: it must be allowed to write pull-request comments")
        comment = OUTPUT / "comment.md"
        if not comment.is_file():
            raise UserError(f"{comment}: no such file: write it first (python -m experiments.pull_request comment)")
        click.echo(post_comment(comment.read_text(encoding="utf-8"), MARK, repository, number, api, token))

    run()


if __name__ == "__main__":
    main()
