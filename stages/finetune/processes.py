"""The processes that train together, and what the world outside asks of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm


@dataclass
class Processes:
    """The processes that train together, one a device: their number, this one's, and accelerate's handle on them."""

    count: int = 1
    index: int = 0
    accelerator: Any = None

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in at least one process."""
        if self.accelerator is None:
            return flag
        flags = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flags, reduction="sum") > 0)


def join_processes(device: Any) -> Processes:
    """This process's place among those that `accelerate launch` started, if it did."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    accelerator = Accelerator(cpu=device.type == "cpu")
    return Processes(accelerator.num_processes, accelerator.process_index, accelerator)


@dataclass
class Stop:
    """Whether somebody has asked this process to stop."""

    requested: bool = False


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Note SIGTERM instead of dying of it, so that the loop saves its state between two updates."""
    stop = Stop()

    def note(*_: object) -> None:
        stop.requested = True

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread: nothing to catch there
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def log(processes: Processes, line: str) -> None:
    """A line for the person who watches, beside the progress bar."""
    if processes.main:
        tqdm.write(line, file=sys.stderr)
