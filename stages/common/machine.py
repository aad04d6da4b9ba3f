"""What the processor does to speed, memory and repeatability: device, threads, malloc, deterministic kernels."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.common.command import threads
from stages.common.errors import UserError

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
NATIVE_BF16 = ("amx_bf16", "avx512_bf16", "bf16")
"""What torch calls a processor's own bf16 arithmetic: two of x86, one of arm64."""


def prepare_machine() -> torch.device:
    """Make this process fast and repeatable, and return the device to compute on: CUDA where there is one, else CPU.

    Kernels are the deterministic ones (those without such a version warn once), so that the same inputs give the same
    bytes on the same machine.
    """
    keep_freed_memory()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
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


def native_bf16(device: torch.device) -> tuple[bool, str]:
    """Whether a device computes bf16 itself, and the words that say why.

    CUDA from compute capability 8.0 (Ampere) on. A CPU that names one of `NATIVE_BF16`, unless oneDNN, which computes
    convolutions and matrix products, says that it would emulate it: ONEDNN_MAX_CPU_ISA may keep it from instructions
    that the processor has.
    """
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        has = "has" if major >= 8 else "has no"
        return major >= 8, f"the GPU, compute capability {major}.{minor}, {has} bf16 arithmetic"
    named = [name for name in NATIVE_BF16 if torch.cpu.get_capabilities().get(name)]
    if not named:
        return False, "the processor has no bf16 arithmetic"
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported() or not _onednn_may(named):
        return False, f"the processor has {named[0]}, but oneDNN does not use it"
    return True, f"the processor has {named[0]}"


def _onednn_may(named: list[str]) -> bool:
    """Whether ONEDNN_MAX_CPU_ISA, where it is set, leaves oneDNN one of these instruction sets."""
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() or "DEFAULT"
    return "bf16" in named or any(word in most for word in ("DEFAULT", "ALL", "BF16", "FP16", "AMX", "AVX10"))


def resolve_precision(asked: str, device: torch.device, key: str) -> str:
    """The precision to compute in, fp32, bf16 or fp16, for what `key` of params.yaml asks; said in one line on stderr.

    `auto` is bf16 where the device computes it natively, else fp32. What is asked for by name is taken as it is, with
    a warning where the device would emulate it: without bf16 arithmetic a convolution takes ten to twenty times as long
    as in fp32 (benchmarks/README.md).
    """
    native, why = native_bf16(device)
    if asked == "auto":
        taken = "bf16" if native else "fp32"
        print(f"{key} = auto: {taken} ({why})", file=sys.stderr)
        return taken
    if asked == "fp16" and device.type == "cpu":
        native, why = torch.ops.mkldnn._is_mkldnn_fp16_supported(), "the processor has no fp16 arithmetic"
    if asked == "fp32" or native or (asked == "fp16" and device.type == "cuda"):
        print(f"{key} = {asked}", file=sys.stderr)
    else:
        print(f"warning: {key} = {asked}: {why}, so it is emulated, many times slower than fp32", file=sys.stderr)
    return asked


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed of its own for each purpose and step, all from the one seed in params.yaml."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def explain_out_of_memory(what_to_lower: str) -> Iterator[None]:
    """Turn an out-of-memory error of the device or of the host into one line that says what to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise UserError(f"out of memory: lower {what_to_lower}") from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise UserError(f"out of memory: lower {what_to_lower}") from None
