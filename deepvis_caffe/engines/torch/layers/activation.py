"""Rectifiers and saturating activations: ``x -> y`` of the same shape.

ReLU is where the deconv and guided modes differ from the gradient; the other layers here have
their gradient in every mode.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.explicit import explicit
from deepvis_caffe.engines.torch.registry import Run, Setup, register


class ReLU:
    """max(x, 0). The output is all that backward needs: it is positive where the input is."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``y = max(x, 0)``."""
        y = x.clamp(min=0)
        return y, (y,)

    def backward(self, dy: Tensor, y: Tensor) -> Tensor:
        """``dx = dy * (y > 0)``."""
        return torch.ops.aten.threshold_backward(dy, y, 0)


class LeakyReLU:
    """max(x, 0) + slope * min(x, 0); at 0 the gradient is the slope, as in Caffe."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``y = x where x > 0, slope * x elsewhere``."""
        return F.leaky_relu(x, self.slope), (x,)

    def backward(self, dy: Tensor, x: Tensor) -> Tensor:
        """``dx = dy where x > 0, slope * dy elsewhere``."""
        return torch.where(x > 0, dy, dy * self.slope)


@register("ReLU")
def relu(setup: Setup) -> Run:
    """max(x, 0) + negative_slope * min(x, 0)."""
    slope = setup.layer.param.relu_param.negative_slope
    return explicit(LeakyReLU(slope) if slope else ReLU(), setup)


@register("PReLU")
def prelu(setup: Setup) -> Run:
    """max(x, 0) + slope * min(x, 0), a learned slope for each channel or one for all."""
    slope = setup.weights[0].reshape(-1)
    return lambda x: F.prelu(x, slope)


@register("ELU")
def elu(setup: Setup) -> Run:
    """The identity where positive, alpha * (exp(x) - 1) elsewhere."""
    alpha = setup.layer.param.elu_param.alpha
    return lambda x: F.elu(x, alpha)


@register("Sigmoid")
def sigmoid(setup: Setup) -> Run:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid


@register("TanH")
def tanh(setup: Setup) -> Run:
    """Hyperbolic tangent."""
    return torch.tanh


@register("BNLL")
def bnll(setup: Setup) -> Run:
    """Binomial normal log likelihood, log(1 + exp(x)), without overflow."""
    return F.softplus


@register("Softmax")
def softmax(setup: Setup) -> Run:
    """exp(x) over its sum along one axis."""
    axis = setup.layer.param.softmax_param.axis
    return lambda x: torch.softmax(x, axis)
