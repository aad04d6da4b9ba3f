"""What the processor does to speed, memory and repeatability: device, threads, malloc, deterministic kernels."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stages.lib.command import threads
from stages.lib.errors import UserError

if TYPE_CHECKING:
    import torch

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def prepare_machine() -> torch.device:
    """Make this process fast and repeatable, and return the device to compute on: CUDA where there is one, else CPU.

    Kernels are the deterministic ones (those without such a version warn once), so that the same inputs give the same
    bytes on the same machine.
    """
    keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.set_num_threads(threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks: else it hands a step's tensors back and faults them in anew each step.

    The same as MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ at process start. Does nothing
    where the C library isn't glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt_mmap_threshold, mallopt_trim_threshold, mallopt_top_pad = -3, -1, -2
    mallopt(mallopt_mmap_threshold, 1 << 30)
    mallopt(mallopt_trim_threshold, (1 << 31) - 1)
    mallopt(mallopt_top_pad, 64 << 20)


def environment() -> dict[str, str]:
    """What beside inputs, parameters and code may change the last bits of a result: part of every scratch key."""
    import importlib.metadata

    import torch

    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability()
    libraries = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors")
    return {
        "machine": platform.machine(),
        "device": device,
        "threads": str(threads()),
        "processes": os.environ.get("WORLD_SIZE", "1"),
        **{name: importlib.metadata.version(name) for name in libraries},
    }


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed of its own for each purpose and step, all from the one seed in params.yaml."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def explain_out_of_memory(what_to_lower: str) -> Iterator[None]:
    """Turn an out-of-memory error of the device or of the host into one line that says what to lower."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise UserError(f"out of memory: lower {what_to_lower}") from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise UserError(f"out of memory: lower {what_to_lower}") from None
