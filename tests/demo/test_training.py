"""The loop that every network of the demo world is trained with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from demo.training import rng_of, train


class Killed(Exception):
    """Stands for a kill -9: nothing is done on the way out."""


def networks() -> dict[str, torch.nn.Module]:
    """A network, its average and another one behind it."""
    torch.manual_seed(0)
    body, average = (torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)) for _ in "ab")
    average.load_state_dict(body.state_dict())
    return {"body": body, "head": torch.nn.Linear(2, 2), "average": average}


def trained(rounds: list[int], killed_in: int | None = None, head_share: float = 0.5) -> dict[str, torch.nn.Module]:
    """The networks after these rounds; the head learns at `head_share` of the rate."""
    parts = networks()

    def loss_of_step(step: int) -> torch.Tensor:
        if step == killed_in:
            raise Killed
        inputs = torch.from_numpy(rng_of(1, step).standard_normal((16, 4), dtype="float32"))
        return (parts["head"](parts["body"](inputs)) - inputs[:, :2]).square().mean()

    train(
        "tested",
        {"body": parts["body"], "head": parts["head"]},
        loss_of_step,
        settings={"steps": rounds, "learning_rate": 0.05, "ema_decay": 0.9},
        inputs=[],
        ema={"body": parts["average"]},
        shares={"head": head_share},
    )
    return parts


def tensors(modules: dict[str, torch.nn.Module]) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor for part, module in modules.items() for name, tensor in module.state_dict().items()
    }


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State is kept in a folder of the test's own, and saved after every step."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("demo.training.SAVE_SECONDS", -1.0)


def test_a_killed_training_ends_as_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = tensors(trained([6, 4]))
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    for step in (3, 7):
        with pytest.raises(Killed):
            trained([6, 4], killed_in=step)
    again = tensors(trained([6, 4]))
    assert all(torch.equal(again[name], tensor) for name, tensor in undisturbed.items())


def test_a_module_without_a_share_of_the_rate_stays_as_it_was() -> None:
    before, after = tensors(networks()), tensors(trained([6], head_share=0.0))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if not name.startswith("head")}
