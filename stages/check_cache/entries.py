"""What a repository gives to DVC's cache: the outputs that dvc.lock and .dvc files name, those kept in git left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import UserError
from stages.common.params import read_yaml
from stages.common.revisions import git


@dataclass(frozen=True, order=True)
class Entry:
    """A file that DVC keeps: its path in the workspace and its MD5 (of a folder's listing: ending in .dir)."""

    path: str
    md5: str

    def file(self, cache: Path) -> Path:
        """Where the cache (or a folder remote) keeps it."""
        return cache / "files" / "md5" / self.md5[:2] / self.md5[2:]


def cached_outputs(repository: Path = Path()) -> list[Entry]:
    """Every output that dvc.lock and .dvc files give to the cache. Raises UserError outside a repository of DVC's."""
    if not (repository / ".dvc").is_dir():
        raise UserError(f"{repository.absolute()}: this is no DVC repository")
    listed = git(
        "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*dvc.lock", "*.dvc", repository=repository
    )
    found = set()
    for name in filter(None, listed.split("\0")):
        file = repository / name
        outs = outputs_of_lock(file) if file.name == "dvc.lock" else outputs_of_dvc_file(file)
        found |= {Entry((Path(name).parent / path).as_posix(), md5) for path, md5 in outs}
    return sorted(found)


def outputs_of_lock(lock: Path) -> Iterator[tuple[str, str]]:
    """Path and MD5 of what a dvc.lock names and its dvc.yaml does not say `cache: false` of."""
    pipeline = lock.with_name("dvc.yaml")
    described = (read_yaml(pipeline) if pipeline.is_file() else {}).get("stages", {})
    in_git = [as_pattern(path) for stage in described.values() for path in uncached(stage)]
    for stage in ((read_yaml(lock) or {}).get("stages") or {}).values():
        for out in stage.get("outs", []):
            if out.get("md5") and not any(pattern.fullmatch(out["path"]) for pattern in in_git):
                yield out["path"], out["md5"]


def uncached(stage: Mapping[str, Any]) -> Iterator[str]:
    """Paths of a stage of dvc.yaml that it keeps out of the cache."""
    stage = stage.get("do", stage)
    for entry in (entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])):
        if isinstance(entry, Mapping):
            yield from (path for path, options in entry.items() if (options or {}).get("cache") is False)


def as_pattern(path: str) -> re.Pattern[str]:
    """A path of dvc.yaml with any text in the place of a `${...}`."""
    return re.compile("[^/]+".join(re.escape(part) for part in re.split(r"\$\{[^}]*\}", path)))


def outputs_of_dvc_file(file: Path) -> Iterator[tuple[str, str]]:
    """Path and MD5 of what `dvc add` or `dvc import` put into the cache."""
    for out in read_yaml(file).get("outs", []):
        if out.get("md5") and out.get("cache", True):
            yield out["path"], out["md5"]
