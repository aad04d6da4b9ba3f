"""Tensors behind each other in memory keep their values, shapes and layouts, and their gradients' order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from stages.finetune.flat_parameters import FlatParameters, in_memory_order, take_gradients


def module(channels_last: bool) -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 5, 1), nn.Flatten(), nn.Linear(5 * 36, 2))
    return made.to(memory_format=torch.channels_last) if channels_last else made


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_module_computes_the_same_from_a_block(channels_last: bool) -> None:
    plain, joined = module(channels_last), module(channels_last)
    weights = list(joined.parameters())
    block = FlatParameters(weights, torch.float32)
    block.adopt(weights)
    assert block.flat.numel() == sum(weight.numel() for weight in plain.parameters())
    pixels = torch.randn(3, 4, 8, 8)
    assert torch.equal(joined(pixels), plain(pixels))
    assert [w.stride() for w in weights] == [w.stride() for w in plain.parameters()]
    with torch.no_grad():
        block.flat.mul_(2)
    assert all(torch.equal(w, 2 * p) for w, p in zip(weights, plain.parameters(), strict=True))


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_lie_where_their_weights_do(channels_last: bool) -> None:
    joined = module(channels_last)
    weights = list(joined.parameters())
    block = FlatParameters(weights, torch.float32)
    block.adopt(weights)
    pixels = torch.randn(3, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    joined(pixels).square().sum().backward()
    expected = [weight.grad.clone() for weight in weights]
    block.add_gradient(take_gradients(weights))
    assert all(weight.grad is None for weight in weights)
    for view, gradient in zip(block.tensors, expected, strict=True):
        place = block.flat.grad.as_strided(view.shape, view.stride(), view.storage_offset())
        assert torch.equal(place, gradient)
    joined(pixels).square().sum().backward()
    once = block.flat.grad.clone()
    block.add_gradient(take_gradients(weights))
    assert torch.allclose(block.flat.grad, 2 * once)


def test_a_block_of_a_lower_precision_rounds_and_adds_up_in_its_own() -> None:
    weights = list(module(False).parameters())
    exact, rounded = FlatParameters(weights, torch.float32), FlatParameters(weights, torch.bfloat16)
    rounded.adopt(weights)
    assert {weight.dtype for weight in weights} == {torch.bfloat16}
    assert torch.equal(rounded.flat, exact.flat.bfloat16())
    exact.add_gradient([torch.ones(exact.flat.numel(), dtype=torch.bfloat16)])
    assert exact.flat.grad is not None
    assert exact.flat.grad.dtype == torch.float32


def test_what_has_no_gradient_has_zeros() -> None:
    weights = list(module(False).parameters())
    assert not torch.cat(take_gradients(weights)).any()


def test_memory_order_is_that_of_the_layout() -> None:
    tensor = torch.arange(24.0).view(1, 2, 3, 4)
    assert torch.equal(in_memory_order(tensor), torch.arange(24.0))
    last = tensor.contiguous(memory_format=torch.channels_last)
    assert torch.equal(in_memory_order(last), tensor.permute(0, 2, 3, 1).flatten())
