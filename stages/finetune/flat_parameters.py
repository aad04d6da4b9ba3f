"""Tensors behind each other in memory, so that what is done to all of them is one operation.

A small UNet has four hundred weights. A norm, a cast or an optimizer that takes them one by one spends more time on
starting its operations than on their work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import nn


class FlatParameters:
    """One flat parameter, and views of it: one for each tensor, in that tensor's shape and memory layout."""

    def __init__(self, like: Sequence[torch.Tensor], dtype: torch.dtype) -> None:
        """Make one for tensors such as these (contiguous or channels_last), in their order, with their values."""
        flat = torch.empty(sum(tensor.numel() for tensor in like), dtype=dtype, device=like[0].device)
        self.flat = nn.Parameter(flat)
        self._gradient: torch.Tensor | None = None
        self.tensors = views(self.flat.data, like)
        for place, tensor in zip(self.tensors, like, strict=True):
            place.copy_(tensor.detach())

    def adopt(self, parameters: Sequence[nn.Parameter]) -> None:
        """Have the parameters that it is made after live in it."""
        for parameter, place in zip(parameters, self.tensors, strict=True):
            parameter.data = place

    @torch.no_grad()
    def add_gradient(self, parts: Sequence[torch.Tensor]) -> None:
        """Add flat tensors, behind each other, to the flat parameter's gradient, of which there may be none yet.

        The gradient's memory is kept between updates: large tensors that come and go leave holes in it.
        """
        if self.flat.grad is None:
            if self._gradient is None:
                self._gradient = torch.empty_like(self.flat)
            self.flat.grad = torch.cat(list(parts), out=self._gradient)
        else:
            self.flat.grad.add_(torch.cat(list(parts)))


def views(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Views of a flat tensor, one behind the other, each with the shape and the memory layout of one of `like`."""
    starts: Iterator[int] = accumulate((tensor.numel() for tensor in like), initial=0)
    return [flat.as_strided(t.shape, t.stride(), start) for t, start in zip(like, starts, strict=False)]


def in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
    """The elements of a contiguous or channels_last tensor as they lie in memory: a flat view."""
    return tensor.as_strided((tensor.numel(),), (1,))


@torch.no_grad()
def take_gradients(parameters: Sequence[nn.Parameter]) -> list[torch.Tensor]:
    """The gradients of parameters, flat, each in its parameter's memory order; the parameters have none after it."""
    gradients = []
    for parameter in parameters:
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        if gradient.stride() != parameter.stride():
            gradient = torch.empty_like(parameter).copy_(gradient)
        gradients.append(in_memory_order(gradient))
        parameter.grad = None
    return gradients


def stacks(flat: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Views of a flat tensor, one behind the other, of these shapes."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
