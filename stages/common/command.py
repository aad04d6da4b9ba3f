"""What every stage's command line shares: errors in one line, a fixed number of threads, quiet libraries."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from stages.common.errors import UserError
from stages.common.progress import activity


def stage_main(run: Callable[[], None]) -> Callable[[], None]:
    """Wrap a stage's `main`: a UserError becomes one line on stderr and exit status 1, Ctrl-C exit status 130.

    While it runs, nothing is silent for long, the loading of libraries included.
    """

    @functools.wraps(run)
    def wrapped() -> None:
        offline()
        try:
            with activity(called()):
                run()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped


def called() -> str:
    """This command as it was called: "finetune --method lora"."""
    program = Path(sys.argv[0])
    return " ".join([program.parent.name if program.stem == "__main__" else program.stem, *sys.argv[1:]])


def offline() -> None:
    """Keep the libraries off the network: only `pretrained` and `scrape` may use it, and they say so themselves."""
    for name in (
        "HF_HUB_OFFLINE",
        "HF_DATASETS_OFFLINE",
        "YOLO_OFFLINE",
        "HF_HUB_DISABLE_TELEMETRY",
        "DISABLE_TELEMETRY",
    ):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def threads() -> int:
    """CPU threads to use: EMBLEM_THREADS where it is set, else every core that this process may run on.

    Raises UserError where EMBLEM_THREADS is not a positive whole number.
    """
    text = os.environ.get("EMBLEM_THREADS", "")
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"EMBLEM_THREADS = {text!r}: must be a whole number of at least 1")
    return int(text)
