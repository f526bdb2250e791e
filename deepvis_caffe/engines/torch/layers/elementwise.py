"""Functions of each value alone: ``x -> y`` of the same shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register


@register("AbsVal")
def absval(setup: Setup) -> Run:
    """|x|; the gradient at 0 is 0."""
    return torch.abs


@register("Power")
def power(setup: Setup) -> Run:
    """(shift + scale * x) ** power."""
    param = setup.layer.param.power_param
    exponent, scale, shift = param.power, param.scale, param.shift

    def run(x: Tensor) -> Tensor:
        inner = x if scale == 1 else x * scale
        inner = inner if shift == 0 else inner + shift
        return inner**exponent

    return run


@register("Exp")
def exp(setup: Setup) -> Run:
    """The power base ** (shift + scale * x)."""
    param = setup.layer.param.exp_param
    log = _log_base(param.base)
    return lambda x: torch.exp(x * (log * param.scale) + log * param.shift)


@register("Log")
def log(setup: Setup) -> Run:
    """The logarithm of (shift + scale * x) to the base."""
    param = setup.layer.param.log_param
    inverse = 1 / _log_base(param.base)
    return lambda x: torch.log(x * param.scale + param.shift) * inverse


@register("Threshold")
def threshold(setup: Setup) -> Run:
    """1 where x is above the threshold, 0 elsewhere; it has no gradient."""
    level = setup.layer.param.threshold_param.threshold
    return lambda x: (x > level).to(x.dtype)


@register("Dropout")
def dropout(setup: Setup) -> Run:
    """Identity outside training: Caffe scales up while it trains."""
    return lambda x: x.view_as(x)


def _log_base(base: float) -> float:
    return 1.0 if base == -1 else math.log(base)  # Caffe writes -1 for e
