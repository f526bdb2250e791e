"""Layers that bring their own backward, and where the modes' rules take its place.

A layer here is an object with ``forward(x) -> (y, saved)`` and ``backward(dy, *saved) -> dx`` side
by side. :func:`explicit` makes it one autograd node. In a backward pass whose mode has a rule for
the layer, that rule is applied to (dy, saved[0]) instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.registry import RuleNow, Setup


class Explicit(Protocol):
    """A layer of one bottom and one top with a backward of its own."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The top, and what :meth:`backward` and the rules need: first what has the sign of x."""

    @property
    def backward(self) -> Callable[..., Tensor]:
        """``(dy, *saved) -> dx``, the gradient of the bottom for that of the top."""


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Explicit, rule: RuleNow) -> Tensor:
        y, saved = layer.forward(x)
        ctx.save_for_backward(*saved)
        ctx.layer, ctx.rule = layer, rule
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        rule = ctx.rule()
        saved = ctx.saved_tensors
        dx = ctx.layer.backward(dy, *saved) if rule is None else rule(dy, saved[0])
        return dx, None, None


def explicit(layer: Explicit, setup: Setup) -> Callable[[Tensor], Tensor]:
    """`layer` as a function for autograd."""
    return lambda x: _Node.apply(x, layer, setup.rule)
