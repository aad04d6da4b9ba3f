"""Seeds and errors that have to do with the machine."""

from __future__ import annotations

import pytest
import torch

from stages.lib.errors import UserError
from stages.lib.machine import derive_seed, explain_out_of_memory


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
