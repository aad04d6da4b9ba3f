"""Recipe, last step: the hashes of all shipped weights, demo/weights/SHA256SUMS, which `pretrained` checks.

`sha256sum --check SHA256SUMS` in demo/weights reads it too.
"""

from __future__ import annotations

from demo.training import WEIGHTS
from stages.common.files import write_file
from stages.common.scratch import file_digest

SUMS = WEIGHTS / "SHA256SUMS"


def main() -> None:
    """Hash every file below demo/weights."""
    files = sorted(path for path in WEIGHTS.rglob("*") if path.is_file() and path != SUMS)
    lines = [f"{file_digest(path)}  {path.relative_to(WEIGHTS).as_posix()}\n" for path in files]
    write_file(SUMS, "".join(lines).encode())


if __name__ == "__main__":
    main()
