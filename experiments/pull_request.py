"""The comment under a pull request: what changed in parameters, numbers, pictures and verdict.

    python -m experiments.pull_request comment --base main     write .emblem/pull-request/comment.md and its pictures
    python -m experiments.pull_request pictures --branch B     push the pictures to a branch of their own, and link them
    python -m experiments.pull_request post --number 7         make the comment, or renew the one that is there

Reads   two commits (the second may be the workspace): `dvc params diff`, `dvc metrics diff`, metrics/samples/*.png,
        metrics/report.png, metrics/report.md.
Writes  .emblem/pull-request/. The first step needs no network, the second a git remote, the third the forge's API
        (GITHUB_API_URL, GITHUB_REPOSITORY, GITHUB_TOKEN, as GitHub's and Gitea's runners set them).
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stages.common.command import stage_main
from stages.common.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

OUTPUT = Path(".emblem/pull-request")
MARK = "<!-- emblem: parameters, numbers and pictures -->"
"""By this line the comment is found again."""
WORKSPACE = "workspace"
SHEETS = ("metrics/report.png", "metrics/samples/*.png", "metrics/detections.png", "metrics/funnel.png")
HEADLINES = (
    "best_epoch",
    "mean",
    "mean_od",
    "mean_ocr",
    "joint_success",
    "memorised_share",
    "colour_fidelity",
    "images",
)
"""Metrics of the short table; all others are in the folded one."""
WIDEST = 900
"""Pixels that one side of a picture is reduced to, at most."""
COMMENT_LIMIT = 65_000
"""Characters that a forge takes as a comment."""


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

    def read(self, path: str) -> bytes | None:
        """A file's bytes on this side, None where it is not there."""
        if self.revision == WORKSPACE:
            return Path(path).read_bytes() if Path(path).is_file() else None
        done = subprocess.run(["git", "show", f"{self.commit}:{path}"], capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def files(self, pattern: str) -> list[str]:
        """Paths that match a pattern on this side."""
        if self.revision == WORKSPACE:
            return sorted(path.as_posix() for path in Path().glob(pattern))
        listed = git("ls-tree", "-r", "--name-only", self.commit, "--", str(Path(pattern).parent))
        return sorted(path for path in listed.splitlines() if Path(path).match(pattern))


def side(revision: str) -> Side:
    """The side for a revision. Raises UserError where there is no such commit."""
    if revision == WORKSPACE:
        return Side(WORKSPACE, "")
    try:
        return Side(revision, git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip())
    except UserError:
        raise UserError(f"{revision}: no such commit (is the clone shallow? fetch the base branch)") from None


def git(*arguments: str, text: str | None = None) -> str:
    """Run git. Raises UserError with its own words where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, input=text)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {' '.join(done.stderr.split()) or 'failed'}")
    return done.stdout


# --- The comment ---------------------------------------------------------------------------------------------------


def write_comment(base: Side, head: Side, output: Path = OUTPUT) -> Path:
    """Write comment.md and its pictures, which it links by their names; returns the file."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    pictures = write_pictures(base, head, output)
    parts = [
        MARK,
        f"## {head.shown} against {base.shown}",
        "### Verdict", verdict_text(base, head),
        "### Parameters", table_or(params_diff(base, head), "No parameter changed."),
        "### Numbers", numbers_text(metrics_diff(base, head)),
        "### Pictures", pictures_text(pictures),
    ]  # fmt: skip
    text = "\n\n".join(parts) + "\n"
    if len(text) > COMMENT_LIMIT:
        parts[7] = table_or(headlines(metrics_diff(base, head)), "No number changed.")
        text = "\n\n".join(parts) + "\n"
    path = output / "comment.md"
    path.write_text(text, encoding="utf-8")
    return path


def params_diff(base: Side, head: Side) -> str:
    """`dvc params diff` as a markdown table, empty where nothing changed."""
    return dvc_diff("params", base, head)


def metrics_diff(base: Side, head: Side) -> str:
    """`dvc metrics diff` as a markdown table, empty where nothing changed."""
    return dvc_diff("metrics", base, head, "--precision", "4")


def dvc_diff(kind: str, base: Side, head: Side, *options: str) -> str:
    """DVC's own table of what changed. Raises UserError with DVC's words where it fails."""
    revisions = [base.commit, *([head.commit] if head.commit else [])]
    done = subprocess.run(
        ["dvc", kind, "diff", "--md", *options, *revisions], capture_output=True, text=True, check=False
    )
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


def table_or(table: str, otherwise: str) -> str:
    """The table, or a sentence where it is empty."""
    return table or otherwise


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


# --- Pictures ------------------------------------------------------------------------------------------------------


def write_pictures(base: Side, head: Side, output: Path) -> list[tuple[str, str]]:
    """Write each sheet that changed, both sides beside each other; returns (path of the sheet, file's name)."""
    written = []
    for pattern in SHEETS:
        for path in sorted({*base.files(pattern), *head.files(pattern)}):
            before, after = base.read(path), head.read(path)
            if before == after:
                continue
            name = path.removeprefix("metrics/").replace("/", "-")
            side_by_side(before, after, base.shown, head.shown).save(output / name)
            written.append((path, name))
    return written


def side_by_side(before: bytes | None, after: bytes | None, left: str, right: str) -> Image.Image:
    """Two pictures beside each other under their names; one that isn't there is an empty field that says so."""
    from PIL import Image, ImageDraw, ImageFont

    opened = [Image.open(io.BytesIO(content)).convert("RGB") if content else None for content in (before, after)]
    for number, picture in enumerate(opened):
        if picture is not None and picture.width > WIDEST:
            size = (WIDEST, max(1, round(picture.height * WIDEST / picture.width)))
            opened[number] = picture.resize(size, Image.Resampling.LANCZOS)
    width = max(picture.width for picture in opened if picture is not None)
    height = max(picture.height for picture in opened if picture is not None)
    gap, head = 12, 24
    sheet = Image.new("RGB", (2 * width + gap, height + head), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for x, picture, name in ((0, opened[0], left), (width + gap, opened[1], right)):
        pen.text((x + 4, 4), name, fill="black", font=font)
        if picture is None:
            pen.text((x + 4, head + 4), "not there", fill="#a00000", font=font)
        else:
            sheet.paste(picture, (x, head))
    return sheet


def pictures_text(pictures: Sequence[tuple[str, str]]) -> str:
    """The pictures, linked by their names."""
    if not pictures:
        return "No sheet changed."
    return "\n\n".join(f"`{path}`\n\n![{path}, before and after]({name})" for path, name in pictures)


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
    comment.write_text(text, encoding="utf-8")
    return commit


# --- Posting -------------------------------------------------------------------------------------------------------


def post(text: str, repository: str, number: int, api: str, token: str) -> str:
    """Renew the comment that this program made before, else make it; returns its address.

    Raises UserError where the forge refuses.
    """
    issue = f"{api.rstrip('/')}/repos/{repository}/issues"
    page, there = 1, None
    while there is None:
        comments = call("GET", f"{issue}/{number}/comments?per_page=100&page={page}", token)
        there = next((comment for comment in comments if str(comment["body"]).startswith(MARK)), None)
        if len(comments) < 100:
            break
        page += 1
    if there is not None:
        answer = call("PATCH", f"{issue}/comments/{there['id']}", token, {"body": text})
    else:
        answer = call("POST", f"{issue}/{number}/comments", token, {"body": text})
    return str(answer["html_url"])


def call(method: str, url: str, token: str, content: dict[str, str] | None = None) -> Any:
    """One request of the forge's API; returns what it answers."""
    if not url.startswith(("http://", "https://")):
        raise UserError(f"GITHUB_API_URL = {url!r}: must begin with https://")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
    data = json.dumps(content).encode() if content is not None else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise UserError(f"{method} {url}: HTTP {error.code}: may the token write pull-request comments?") from None
    except (urllib.error.URLError, ValueError) as error:
        raise UserError(f"{method} {url}: {error}") from None


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
        click.echo(post(comment.read_text(encoding="utf-8"), repository, number, api, token))

    run()


if __name__ == "__main__":
    main()
