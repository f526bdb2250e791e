"""Scale and Bias: ``x -> x * s + b`` with s and b learned, or the second bottom."""

from __future__ import annotations

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register


def aligned(factor: Tensor, x: Tensor, axis: int) -> Tensor:
    """`factor` with its axes laid along those of x from `axis` on, ready to broadcast."""
    first = axis % x.ndim if factor.ndim else 0
    return factor.reshape(factor.shape + (1,) * (x.ndim - first - factor.ndim))


@register("Scale")
def scale(setup: Setup) -> Run:
    """Multiply by a factor along some axes, plus a bias where `bias_term` is set."""
    param = setup.layer.param.scale_param
    axis, weights = param.axis, list(setup.weights)
    learned = weights.pop(0) if len(setup.layer.bottoms) == 1 else None
    bias = weights.pop(0) if param.bias_term else None

    def run(x: Tensor, *given: Tensor) -> Tensor:
        factor = aligned(given[0] if learned is None else learned, x, axis)
        return x * factor if bias is None else torch.addcmul(aligned(bias, x, axis), x, factor)

    return run


@register("Bias")
def bias(setup: Setup) -> Run:
    """Add a bias along some axes."""
    axis = setup.layer.param.bias_param.axis
    learned = setup.weights[0] if len(setup.layer.bottoms) == 1 else None

    def run(x: Tensor, *given: Tensor) -> Tensor:
        return x + aligned(given[0] if learned is None else learned, x, axis)

    return run
