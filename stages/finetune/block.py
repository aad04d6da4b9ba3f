"""Tensors behind each other in one block of memory, so that what is done to all of them is one operation.

A small UNet has four hundred weights. A norm, a cast or an optimizer that takes them one by one spends more time on
starting its operations than on their work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
from torch import nn


class Block:
    """A flat parameter, its gradient, and views of both: one for each tensor, in that tensor's shape and layout."""

    def __init__(self, like: Sequence[torch.Tensor], dtype: torch.dtype) -> None:
        """Make a block for tensors such as these (contiguous or channels_last), in their order; it holds zeros."""
        self.flat = nn.Parameter(torch.zeros(sum(t.numel() for t in like), dtype=dtype, device=like[0].device))
        self.flat.grad = self.gradient = torch.zeros_like(self.flat)
        self.tensors, self.gradients = views(self.flat.data, like), views(self.gradient, like)

    @torch.no_grad()
    def fill(self, values: Sequence[torch.Tensor]) -> None:
        """Copy the values of these tensors, in the block's order."""
        for place, value in zip(self.tensors, values, strict=True):
            place.copy_(value)

    def adopt(self, parameters: Sequence[nn.Parameter]) -> None:
        """Have these parameters live in the block, rounded to its type, and backward passes add up gradients there."""
        self.fill([parameter.detach() for parameter in parameters])
        for parameter, place, gradient in zip(parameters, self.tensors, self.gradients, strict=True):
            parameter.data = place
            parameter.grad = gradient

    @torch.no_grad()
    def hand_gradient_to(self, other: Block) -> None:
        """Add the gradient to that of another block of the same tensors, and forget it here."""
        other.gradient.add_(self.gradient)
        self.gradient.zero_()


def views(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Views of a flat tensor, one behind the other, each with the shape and the memory layout of one of `like`."""
    starts: Iterator[int] = accumulate((tensor.numel() for tensor in like), initial=0)
    return [flat.as_strided(t.shape, t.stride(), start) for t, start in zip(like, starts, strict=False)]


def in_memory_order(tensor: torch.Tensor) -> torch.Tensor:
    """The elements of a contiguous or channels_last tensor as they lie in memory: a flat view."""
    return tensor.as_strided((tensor.numel(),), (1,))


def stacks(flat: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Views of a flat tensor, one behind the other, of these shapes."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
