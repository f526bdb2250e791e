"""Elementwise functions, ``x -> y`` of the same shape, and Softmax.

Only in the ReLUs do the deconv and guided modes differ from the gradient; all other layers here use
their gradient in every mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, register
from deepvis_caffe.model import graph


class Function(Layer):
    """A layer that wraps the PyTorch module that computes the same.

    Other tools look for such modules: captum's guided backpropagation and DeepLift hook every ReLU
    module of a net, and silently compute something else if there is none.

    Parameters
    ----------
    layer
        The layer.
    function
        The module.
    """

    def __init__(self, layer: graph.Layer, function: nn.Module) -> None:
        super().__init__(layer)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Call the module, with its hooks."""
        y: Tensor = self.function(x)
        return y

    def infer(self, *bottoms: Tensor) -> Tops:
        """Without hooks, as in all of a net's own passes."""
        (x,) = bottoms
        return (self.function.forward(x),)


@register("ReLU")
class ReLU(Function):
    """max(x, 0) + negative_slope * min(x, 0); at 0 the gradient is the slope, as in Caffe.

    Without a slope the backward pass needs only the top, which is positive where the bottom is.
    """

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        slope = layer.param.relu_param.negative_slope
        super().__init__(layer, nn.LeakyReLU(slope) if slope else nn.ReLU())
        self.slope = slope

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves what has the sign of x."""
        (x,) = bottoms
        (y,) = self.infer(x)
        return (y,), x if self.slope else y

    def bwd(self, saved: Tensor, dys: Diffs, mode: str) -> Diffs:
        """``dx = dy where x > 0, slope * dy elsewhere``, or by the mode's rule."""
        (dy,), rule = dys, self.rule(mode)
        assert dy is not None
        if rule is not None:
            return (rule(dy, saved),)
        if self.slope:
            return (torch.where(saved > 0, dy, dy * self.slope),)
        return (torch.ops.aten.threshold_backward(dy, saved, 0),)

    def last_bwd(self, saved: Tensor, dys: Diffs, mode: str) -> Diffs:
        """Writes dx over the top: a new tensor would take longer, as its pages must be mapped."""
        (dy,) = dys
        if self.slope or self.rule(mode) is not None or dy is None or dy.dtype != saved.dtype:
            return self.bwd(saved, dys, mode)
        return (torch.ops.aten.threshold_backward(dy, saved, 0, grad_input=saved),)


@register("ReLU6")
class ReLU6(Layer):
    """A ReLU capped at a threshold, by default 6 (MobileNets).

    At 0 the gradient is the slope, and at the threshold it is 0, as in Caffe.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.relu6_param
        y = F.leaky_relu(x, p.negative_slope) if p.negative_slope else torch.relu(x)
        return torch.where(x < p.threshold, y, p.threshold)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves x."""
        (x,) = bottoms
        return (self.forward(x),), x

    def bwd(self, saved: Tensor, dys: Diffs, mode: str) -> Diffs:
        """``dx = dy where 0 < x < threshold, slope * dy below``, or by the mode's rule."""
        (dy,), rule, p = dys, self.rule(mode), self.param.relu6_param
        assert dy is not None
        if rule is not None:
            return (rule(dy, saved),)
        slope = (saved > 0) + p.negative_slope * (saved <= 0)
        return (dy * slope * (saved < p.threshold),)


@register("PReLU")
class PReLU(Layer):
    """max(x, 0) + slope * min(x, 0), with a learned slope per channel or one for all."""

    slope: Tensor
    blobs = ("slope",)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.prelu(x, self.slope.reshape(-1))


@register("ELU")
def elu(layer: graph.Layer, weights: Sequence[nn.Parameter]) -> Layer:
    """The identity where positive, alpha * (exp(x) - 1) elsewhere."""
    return Function(layer, nn.ELU(layer.param.elu_param.alpha))


@register("HardSigmoid")
class HardSigmoid(Layer):
    """alpha * x + beta, clipped to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        fields = self.param.hardsigmoid_param, self.param.hard_sigmoid_param
        p = next((field for field in fields if field.ListFields()), fields[0])
        return (x * p.alpha + p.beta).clamp(0, 1)


@register("HardSwish")
class HardSwish(Layer):
    """x * (x + 3) / 6, 0 below -3 and x above 3 (Howard et al. 2019, "MobileNetV3")."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.hardswish(x)


@register("Swish")
class Swish(Layer):
    """x * sigmoid(beta * x) (Ramachandran et al. 2017, "Searching for Activation Functions")."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * torch.sigmoid(x * self.param.swish_param.beta)


@register("Mish")
class Mish(Layer):
    """x * tanh(log(1 + exp(x))) (Misra 2019, "Mish: A Self Regularized Activation Function")."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.mish(x)


@register("Clip")
class Clip(Layer):
    """x clipped to [`min`, `max`]; the gradient passes at both bounds, as in Caffe."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        low, high = self.param.clip_param.min, self.param.clip_param.max
        # By itself, clamp's gradient at both is 1 before PyTorch 2.14, and 0 from then on.
        return torch.where((x >= low) & (x <= high), x, x.detach().clamp(low, high))


@register("Sigmoid")
def sigmoid(layer: graph.Layer, weights: Sequence[nn.Parameter]) -> Layer:
    """1 / (1 + exp(-x))."""
    return Function(layer, nn.Sigmoid())


@register("TanH")
def tanh(layer: graph.Layer, weights: Sequence[nn.Parameter]) -> Layer:
    """Hyperbolic tangent."""
    return Function(layer, nn.Tanh())


@register("BNLL")
def bnll(layer: graph.Layer, weights: Sequence[nn.Parameter]) -> Layer:
    """Binomial normal log likelihood, log(1 + exp(x)), without overflow."""
    return Function(layer, nn.Softplus())


@register("AbsVal")
class AbsVal(Layer):
    """|x|; the gradient at 0 is 0."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.abs(x)


@register("Power")
class Power(Layer):
    """(shift + scale * x) ** power."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.power_param
        inner = x if p.scale == 1 else x * p.scale
        inner = inner if p.shift == 0 else inner + p.shift
        return inner**p.power


@register("Exp")
class Exp(Layer):
    """base ** (shift + scale * x)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.exp_param
        log = _log_base(p.base)
        return torch.exp(x * (log * p.scale) + log * p.shift)


@register("Log")
class Log(Layer):
    """The logarithm of (shift + scale * x) to base `base`."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.log_param
        return torch.log(x * p.scale + p.shift) / _log_base(p.base)


def _log_base(base: float) -> float:
    return 1.0 if base == -1 else math.log(base)  # Caffe writes -1 for e


@register("Threshold")
class Threshold(Layer):
    """1 where x is above the threshold, 0 elsewhere; without a gradient."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x > self.param.threshold_param.threshold).to(x.dtype)


@register("SeLu")
class SeLu(Layer):
    """``lambda x`` where x is positive, else ``lambda alpha (exp(x) - 1)``.

    Klambauer et al. 2017, "Self-Normalizing Neural Networks".
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.selu_param
        return getattr(p, "lambda") * F.elu(x, p.alpha)


@register("Dropout", "SeLuDropout")
class Dropout(Layer):
    """The identity outside training: Caffe scales up during training."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.view_as(x)


@register("Softmax")
def softmax(layer: graph.Layer, weights: Sequence[nn.Parameter]) -> Layer:
    """exp(x) divided by its sum along one axis."""
    return Function(layer, nn.Softmax(layer.param.softmax_param.axis))
