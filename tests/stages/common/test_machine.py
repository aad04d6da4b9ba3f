"""Seeds, precisions and errors that have to do with the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from stages.common.errors import UserError
from stages.common.machine import derive_seed, explain_out_of_memory, resolve_precision


def test_each_purpose_has_a_seed_of_its_own_that_never_changes() -> None:
    assert derive_seed(20, "update", 0) == 7811931433116616935
    seeds = {derive_seed(seed, "update", step) for seed in range(20) for step in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_out_of_memory_says_what_to_lower() -> None:
    with pytest.raises(UserError, match=r"^out of memory: lower batch_size$"), explain_out_of_memory("batch_size"):
        torch.empty(2**55)
    with pytest.raises(RuntimeError, match="size"), explain_out_of_memory("batch_size"):
        torch.ones(2) + torch.ones(3)


# --- Precision -------------------------------------------------------------------------------------------------------

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def pretend(monkeypatch: pytest.MonkeyPatch, *, names: str = "", bf16: bool = False, fp16: bool = False) -> None:
    """A processor with these instruction sets, of which oneDNN uses what `bf16` and `fp16` say."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names.split(), True))
    mkldnn = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: bf16, _is_mkldnn_fp16_supported=lambda: fp16)
    monkeypatch.setattr(torch.ops, "mkldnn", mkldnn)


@pytest.mark.parametrize(
    ("names", "onednn", "most", "taken"),
    [
        ("avx2 fma3", False, None, "fp32"),  # Zen 3, most laptops, free CI runners
        ("avx2 avx512_f avx512_bw", True, None, "fp32"),  # oneDNN takes bf16, but computes it in fp32
        ("avx2 avx_ne_convert", False, None, "fp32"),  # converts bf16, no arithmetic
        ("avx512_f avx512_bf16", True, None, "bf16"),  # Zen 4, Cooper Lake
        ("avx512_f avx512_bf16 amx_bf16 amx_tile", True, None, "bf16"),  # Sapphire Rapids
        ("neon bf16", True, None, "bf16"),  # Graviton 3, Neoverse V1
        ("neon fp16_arith", False, None, "fp32"),
        ("avx512_f avx512_bf16", False, None, "fp32"),  # oneDNN is kept from it
        ("avx512_f avx512_bf16", True, "AVX512_CORE", "fp32"),
        ("avx512_f avx512_bf16", True, "AVX512_CORE_BF16", "bf16"),
        ("avx512_f avx512_bf16 amx_bf16", True, "avx512_core_amx", "bf16"),
        ("avx512_f avx512_bf16", True, "ALL", "bf16"),
    ],
)
def test_auto_is_bf16_where_the_processor_computes_it(
    names: str,
    onednn: bool,
    most: str | None,
    taken: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretend(monkeypatch, names=names, bf16=onednn)
    if most:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", most)
    assert resolve_precision("auto", CPU, "sample.precision") == taken
    said = capsys.readouterr().err
    assert said.startswith(f"sample.precision = auto: {taken} (the processor has ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("capability", "taken"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((12, 0), "bf16")]
)
def test_auto_is_bf16_from_ampere_on(
    capability: tuple[int, int], taken: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", GPU, "detector.precision") == taken
    assert f"compute capability {capability[0]}.{capability[1]}" in capsys.readouterr().err
    asked = resolve_precision("bf16", GPU, "detector.precision")
    assert (asked, "warning" in capsys.readouterr().err) == ("bf16", taken == "fp32")


@pytest.mark.parametrize(
    ("asked", "names", "bf16", "fp16", "warned"),
    [
        ("fp32", "avx2", False, False, False),
        ("bf16", "avx2", False, False, True),
        ("bf16", "avx512_bf16", True, False, False),
        ("fp16", "avx2", False, False, True),
        ("fp16", "avx512_fp16", True, True, False),
    ],
)
def test_what_is_asked_for_by_name_is_taken_with_a_warning_where_it_is_emulated(
    asked: str,
    names: str,
    bf16: bool,
    fp16: bool,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretend(monkeypatch, names=names, bf16=bf16, fp16=fp16)
    assert resolve_precision(asked, CPU, "finetune.lora.precision") == asked
    said = capsys.readouterr().err
    assert said.startswith("warning: finetune.lora.precision") == warned
    assert said.count("\n") == 1


def test_what_pytorch_is_kept_from_is_not_taken() -> None:
    """In a process of its own: oneDNN held to AVX2 has no bf16, whatever this processor has."""
    code = "import torch; from stages.common.machine import native_bf16; print(native_bf16(torch.device('cpu'))[0])"
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
