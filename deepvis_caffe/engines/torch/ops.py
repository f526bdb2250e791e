"""Layers in both directions: ``forward(*bottoms) -> tops, saved``; ``backward(dys, saved) -> dxs``.

An ascent runs its layers as such ops, one forward and one backward pass, without a graph of
autograd's for the whole net. The layers where it spends its time bring their own op;
:class:`Recorded` makes one of any other layer, by autograd, for that layer alone. This saves
autograd's bookkeeping in Python, which is most of the time of a small image, and lets a diff that
nobody else holds be changed where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.registry import RuleNow, Run

Diffs = Sequence[Tensor | None]


class Op(Protocol):
    """A layer, or two that follow each other, in both directions."""

    @property
    def forward(self) -> Callable[..., tuple[tuple[Tensor, ...], Any]]:
        """``(*bottoms) -> tops, saved``: the tops, and what :meth:`backward` needs."""

    def backward(self, dys: Diffs, saved: Any, own: bool) -> tuple[Diffs, bool]:
        """The bottoms' diffs for the tops', None for zeros, and whether they are nobody else's.

        `own` says that about `dys`: their memory may be written to.
        """


class Recorded:
    """Any layer: autograd records its forward pass, by itself."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def forward(self, *bottoms: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        """Tops without a graph; what is saved has it."""
        leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in bottoms]
        with torch.enable_grad():
            tops = self._run(*leaves)
        tops = tops if isinstance(tops, tuple) else (tops,)
        return tuple(top.detach() for top in tops), (leaves, tops)

    def backward(self, dys: Diffs, saved: Any, own: bool) -> tuple[Diffs, bool]:
        """Autograd's; two bottoms may get the same memory, so that it belongs to neither."""
        leaves, tops = saved
        pairs = [(y, dy) for y, dy in zip(tops, dys, strict=True) if dy is not None]
        pairs = [(y, dy) for y, dy in pairs if y.requires_grad]
        if not pairs:
            return [None] * len(leaves), False
        ys, some = zip(*pairs, strict=True)
        return torch.autograd.grad(ys, leaves, some, allow_unused=True), False


class Select:
    """Some channels of a value."""

    def __init__(self, channels: Sequence[int]) -> None:
        self._channels = list(channels)

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        """(N, C, ...) -> (N, K, ...)."""
        return (x[:, self._channels],), x.shape

    def backward(self, dys: Diffs, saved: Any, own: bool) -> tuple[Diffs, bool]:
        """Zeros for the others."""
        (dy,) = dys
        assert dy is not None
        dx = dy.new_zeros(saved)
        dx[:, self._channels] = dy
        return [dx], True


def rectified(dy: Tensor, y: Tensor, rule: RuleNow, own: bool) -> Tensor:
    """The diff below a ReLU of top `y`, by the rule of the running pass; into `dy` if we own it."""
    now = rule()
    if now is not None:
        return now(dy, y)
    if own and dy.is_contiguous(memory_format=_dense(dy)):
        return torch.ops.aten.threshold_backward.grad_input(dy, y, 0, grad_input=dy)
    return torch.ops.aten.threshold_backward(dy, y, 0)


def _dense(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.ndim == 4 else torch.contiguous_format
