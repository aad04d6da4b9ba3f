"""The files of a commit or of the workspace, git's and those that DVC keeps in its cache or a remote; no checkout."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException

from stages.common.errors import UserError


@dataclass(frozen=True)
class Outputs:
    """The files of a commit, or of the workspace where `commit` is empty; what is not in it comes from the cache."""

    commit: str = ""
    repository: Path = Path()

    @cached_property
    def _files(self) -> DVCFileSystem:
        return DVCFileSystem(str(self.repository.resolve()), rev=self.commit or None)

    def find(self, pattern: str) -> list[str]:
        """Paths that match a pattern, whether or not their content is in reach.

        Raises UserError where the commit has no DVC repository, or one that cannot be read.
        """
        try:
            return sorted(self._files.glob(pattern))
        except DvcException as error:
            raise UserError(f"{self.commit or 'the workspace'}: {' '.join(str(error).split())}") from None

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises UserError where it is not there, or in no cache or remote in reach."""
        try:
            return bytes(self._files.read_bytes(path))
        except Exception as error:  # whatever a remote's library raises
            raise UserError(
                f"{path} is not in DVC's cache ({type(error).__name__}); `dvc pull` or `dvc exp pull` fetches it"
            ) from None

    def md5(self, path: str) -> str | None:
        """The MD5 that DVC knows a file by, else of its bytes; None where there is no such file."""
        try:
            recorded = self._files.info(path).get("md5")
        except FileNotFoundError:
            return None
        return str(recorded or hashlib.md5(self.read(path), usedforsecurity=False).hexdigest())
