"""InnerProduct and Embed: ``x -> y`` through a learned matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.explicit import explicit
from deepvis_caffe.engines.torch.onednn import PackedLinear, usable
from deepvis_caffe.engines.torch.registry import Run, Setup, register


class Linear:
    """A matrix product and its gradient.

    Of one row a product reads every weight once whichever way they lie. For more rows packed
    weights are twice as fast on a CPU, and worth the memory of their copies.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self._down = PackedLinear(weight.T, None)
        self._up = PackedLinear(weight, bias)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``y = x w^T + b``, (N, I) -> (N, O)."""
        packed = usable(x) and len(x) > 1
        return self._up(x) if packed else F.linear(x, self.weight, self.bias), ()

    def backward(self, dy: Tensor) -> Tensor:
        """``dx = dy w``."""
        packed = usable(dy) and len(dy) > 1
        return self._down(dy) if packed else dy @ self.weight


@register("InnerProduct")
class InnerProduct:
    """All axes from `axis` on, flattened in (C, H, W) order, times the weights, plus the bias."""

    def __init__(self, setup: Setup, channels: Sequence[int] | None = None) -> None:
        param = setup.layer.param.inner_product_param
        weight = setup.weights[0].T if param.transpose else setup.weights[0]
        bias = setup.weights[1] if param.bias_term else None
        if channels is not None:
            weight = weight[list(channels)]
            bias = None if bias is None else bias[list(channels)]
        self._setup, self._axis = setup, param.axis
        self._linear = explicit(Linear(weight, bias), setup)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., I...) -> (..., O)."""
        axis = self._axis % x.ndim
        rows = x.reshape(math.prod(x.shape[:axis]), -1)
        return self._linear(rows).reshape(*x.shape[:axis], -1)

    def narrowed(self, channels: Sequence[int]) -> InnerProduct | None:
        """Only some of its outputs, where they are axis 1 of the top."""
        return InnerProduct(self._setup, channels) if self._axis == 1 else None


@register("Embed")
def embed(setup: Setup) -> Run:
    """The weights' row for each integer of x, plus the bias; it has no gradient."""
    weight = setup.weights[0]
    bias = setup.weights[1] if setup.layer.param.embed_param.bias_term else None

    def run(x: Tensor) -> Tensor:
        rows = F.embedding(x.long(), weight)
        return rows if bias is None else rows + bias

    return run
