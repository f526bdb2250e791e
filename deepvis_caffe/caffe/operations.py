"""Forward and backward passes of layers on tensors, exactly as in Caffe.

The embedded engine differentiates a pass that it has just run. A script may do more: write into a
blob between forward and backward, and run any range of layers again. Which values a layer's
backward pass then reads differs between Caffe's layers: a ReLU reads the current bottom, a pooling
layer has saved the positions of the maxima. An `Operation` implements that for one layer.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from deepvis_caffe.caffe.memory import Addend, Product
from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, build
from deepvis_caffe.engines.torch.layers.convolution import ImageConvolution
from deepvis_caffe.engines.torch.layers.dense import InnerProduct
from deepvis_caffe.engines.torch.layers.normalization import aligned
from deepvis_caffe.model import graph
from deepvis_caffe.model.python_layers import ALLOWED
from deepvis_caffe.model.schema_pb2 import (
    EltwiseParameter,
    LayerParameter,
    LRNParameter,
    Phase,
    PoolingParameter,
)
from deepvis_caffe.model.shapes import RULES
from deepvis_caffe.model.shapes.registry import Outcome, Shape

LEAST = torch.finfo(torch.float32).min


class Operation(abc.ABC):
    """The computation of a layer, independent of its blobs and their memory.

    Parameters
    ----------
    layer
        Name, type, bottoms, tops, parameters.
    weights
        The learned blobs in Caffe's order.
    phase
        ``TRAIN`` or ``TEST``.

    Attributes
    ----------
    keeps_tops
        Whether the tops keep the shapes that a script gives them, as for an Input layer.
    shares
        What the tops share with the first bottom instead of being computed: ``""``, ``"data"``, or
        ``"both"`` for data and diff; or ``"weight"``, both with the first weight.
    new_weights
        The weights after the last forward pass, if it changes them.
    """

    keeps_tops = False
    shares = ""
    new_weights: Sequence[Tensor] = ()

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter], phase: Phase) -> None:
        self.layer, self.weights, self.phase = layer, weights, phase

    @classmethod
    @abc.abstractmethod
    def shapes(cls, param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
        """Shapes of the tops and of the weights; raises `ModelError` if the bottoms do not fit."""

    @abc.abstractmethod
    def forward(self, *bottoms: Tensor) -> Tops:
        """The tops."""

    @abc.abstractmethod
    def backward(
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        """The bottoms' diffs; None for those that Caffe leaves unchanged.

        Parameters
        ----------
        bottoms, tops
            Their current values. For an in-place layer these are the same.
        dys
            The tops' diffs.
        mode
            ``"gradient"``, ``"deconv"`` or ``"guided"``.
        """

    def unneeded(
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        """What Caffe writes into the diffs of bottoms that need none; like :meth:`backward`."""
        return [None] * len(bottoms)

    def weight_diffs(
        self, bottoms: Sequence[Tensor], dys: Sequence[Tensor]
    ) -> Sequence[Addend | None]:
        """The addends to the weights' diffs; None for nothing."""
        return [None] * len(self.weights)

    def adds_up(self, weight: int, bottoms: Sequence[Tensor]) -> bool:
        """Whether a weight's diff accumulates over backward passes; otherwise each replaces it."""
        return True

    @classmethod
    def loss_weights(cls, param: LayerParameter) -> list[float]:
        """The weight of each top in the net's loss."""
        return [*param.loss_weight] + [0.0] * (len(param.top) - len(param.loss_weight))

    @classmethod
    def may_be_forced(cls, bottom: int) -> bool:
        """Whether `force_backward` requests the diff of this bottom."""
        return True

    def why_no_diff(self, bottom: int) -> str:
        """Why a backward pass that needs this bottom's diff must fail; empty if it need not."""
        return ""


class EngineOperation(Operation):
    """A layer as the embedded engine computes it."""

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter], phase: Phase) -> None:
        super().__init__(layer, weights, phase)
        self.module: Layer = build(layer, weights)
        self.keeps_tops = layer.type == "Input"
        alone = len(layer.tops) == 1 if layer.type == "Slice" else len(layer.bottoms) == 1
        if layer.type in ("Split", "Flatten") or _keeps_order(layer):
            self.shares = "data"
        elif layer.type == "Reshape" or (layer.type in ("Concat", "Slice") and alone):
            self.shares = "both"
        elif layer.type == "Parameter":
            self.shares = "weight"
        self._remembers = layer.in_place or _remembers(layer)
        self._remembered: Sequence[Tensor] = ()

    @classmethod
    def shapes(cls, param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
        """By the model's shape rules."""
        return RULES[param.type](param, bottoms)

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        self.module.check(bottoms)
        with torch.no_grad():
            tops = self.module.infer(*bottoms)
            if _is_max_pooling(self.layer) and not (tops[0] > LEAST).all():
                # Caffe starts from the lowest number and takes greater ones, so never a NaN.
                bottoms = (torch.nan_to_num(bottoms[0], LEAST, torch.inf, LEAST),)
                tops = self.module.infer(*bottoms)
        self._remembered = bottoms if self._remembers else ()
        return tops

    def backward(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        special = _BACKWARD.get(self.layer.type)
        if special is not None and self.module.rule(mode) is None:
            found = special(self, bottoms, tops, dys)
            if found is not None:
                return found
        if isinstance(self.module, ImageConvolution):
            return self.module.bwd(bottoms[0].shape[2:], dys, mode)
        if isinstance(self.module, InnerProduct):
            return self.module.bwd(bottoms[0].shape, dys, mode)
        if self.layer.type in ("ReLU", "ReLU6"):
            return self.module.bwd(bottoms[0], dys, mode)
        _, saved = self.module.fwd(*self.before(bottoms))
        return self.module.bwd(saved, dys, mode)

    def before(self, bottoms: Sequence[Tensor]) -> Sequence[Tensor]:
        """The bottoms that a backward pass uses: those of the last forward pass, or the current."""
        shapes = [x.shape for x in bottoms]
        return self._remembered if [x.shape for x in self._remembered] == shapes else bottoms

    def unneeded(  # noqa: D102
        self, bottoms: Sequence[Tensor], tops: Sequence[Tensor], dys: Sequence[Tensor], mode: str
    ) -> Diffs:
        if self.layer.type == "Scale" and not self.layer.in_place and len(bottoms) == 1:
            x = bottoms[0]
            # Caffe uses the diff as scratch memory.
            return [None if x.numel() == self.weights[0].numel() else x * dys[0]]
        return super().unneeded(bottoms, tops, dys, mode)

    def weight_diffs(  # noqa: D102
        self, bottoms: Sequence[Tensor], dys: Sequence[Tensor]
    ) -> Sequence[Addend | None]:
        if not self.weights or self.layer.type == "BatchNorm":
            return super().weight_diffs(bottoms, dys)
        if isinstance(self.module, ImageConvolution):
            found = _of_convolution(self.module, bottoms[0], dys[0])
        elif isinstance(self.module, InnerProduct):
            found = _of_product(self.module, bottoms[0], dys[0])
        elif self.layer.type == "Scale" and len(bottoms) == 1:
            found = _of_scale(self, bottoms, dys[0])
        else:
            values = self._differentiated(self.before(bottoms), dys)
            found = [
                None if value is None else partial(torch.Tensor.detach, value) for value in values
            ]
        return found[: len(self.weights)]

    def adds_up(self, weight: int, bottoms: Sequence[Tensor]) -> bool:  # noqa: D102
        if self.layer.type != "Scale" or len(bottoms) > 1 or weight > 0:
            return True
        outer, count, inner = _extents(self.layer, bottoms[0], self.weights[0])
        return outer > 1 or (inner > 1 and count == 1)  # Caffe overwrites for a batch of one

    def remember(self, x: Tensor) -> None:
        """Replace the saved first bottom."""
        self._remembered = (x, *self._remembered[1:])

    def _differentiated(
        self, bottoms: Sequence[Tensor], dys: Sequence[Tensor]
    ) -> Sequence[Tensor | None]:
        named = dict(self.module.named_parameters(remove_duplicate=False))
        names = {id(parameter): name for name, parameter in named.items()}
        leaves = {names[id(one)]: one.detach().clone().requires_grad_() for one in self.weights}
        with torch.enable_grad():
            tops = torch.func.functional_call(self.module, leaves, tuple(bottoms))
            tops = tops if isinstance(tops, tuple) else (tops,)
            pairs = [(y, dy) for y, dy in zip(tops, dys, strict=True) if y.requires_grad]
            if not pairs:
                return [None] * len(self.weights)
            ys, found = zip(*pairs, strict=True)
            wanted = [leaves[names[id(one)]] for one in self.weights]
            return torch.autograd.grad(ys, wanted, found, allow_unused=True)


# -- which values a backward pass reads ------------------------------------------------------------


def _remembers(layer: graph.Layer) -> bool:
    """Whether the backward pass uses the forward pass's bottoms, not the current ones."""
    if _is_max_pooling(layer):
        return True
    if layer.type == "Eltwise":
        return bool(layer.param.eltwise_param.operation == EltwiseParameter.MAX)
    return layer.type in ("BatchNorm", "LRN", "LSTM", "Lstm", "MVN", "Normalize", "RNN")


def _keeps_order(layer: graph.Layer) -> bool:
    order = list(layer.param.permute_param.order)
    return layer.type == "Permute" and order == list(range(len(order)))


def _is_max_pooling(layer: graph.Layer) -> bool:
    return layer.type == "Pooling" and layer.param.pooling_param.pool == PoolingParameter.MAX


Special = Callable[
    [EngineOperation, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], Diffs | None
]


def _relu(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    """Comparisons with NaN are false, so its diff is 0, as in Caffe."""
    (x,), (dy,) = xs, dys
    slope = op.layer.param.relu_param.negative_slope
    if slope:
        return (dy * ((x > 0) + slope * (x <= 0)),)
    return (torch.where(x > 0, dy, 0.0),)


def _sigmoid(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (y,), (dy,) = ys, dys
    return (dy * y * (1 - y),)


def _tanh(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (y,), (dy,) = ys, dys
    return (dy * (1 - y * y),)


def _elu(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (x,), (y,), (dy,) = xs, ys, dys
    return (torch.where(x > 0, dy, dy * (op.layer.param.elu_param.alpha + y)),)


def _bnll(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (x,), (dy,) = xs, dys
    return (dy * torch.sigmoid(x),)


def _exp(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (y,), (dy,) = ys, dys
    p = op.layer.param.exp_param
    log = 1.0 if p.base == -1 else math.log(p.base)
    return (dy * y * (log * p.scale),)


def _power(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (x,), (y,), (dy,) = xs, ys, dys
    p = op.layer.param.power_param
    factor = p.power * p.scale
    if factor == 0:
        slope = torch.zeros_like(dy)
    elif p.power == 1:
        slope = torch.full_like(dy, factor)
    elif p.power == 2:
        slope = x * (factor * p.scale) + factor * p.shift
    elif p.shift == 0:
        slope = y / x * p.power
    else:
        slope = y / (x * p.scale + p.shift) * factor
    return (_times_slope(op, dy, slope),)


def _log(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (x,), (dy,) = xs, dys
    p = op.layer.param.log_param
    log = 1.0 if p.base == -1 else math.log(p.base)
    return (_times_slope(op, dy, p.scale / log / (x * p.scale + p.shift)),)


def _times_slope(op: EngineOperation, dy: Tensor, slope: Tensor) -> Tensor:
    """The chain rule; in place, Caffe overwrites the diff with the slope before multiplying."""
    return slope * (slope if op.layer.in_place else dy)


def _softmax(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (y,), (dy,) = ys, dys
    axis = op.layer.param.softmax_param.axis
    return (y * (dy - (dy * y).sum(axis, keepdim=True)),)


def _lrn(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    """With the scales of the last forward pass.

    Across channels it also uses the current top; within channels Caffe's layer runs an internal
    net, which multiplies again.
    """
    module: Any = op.module
    p = op.layer.param.lrn_param
    (x,), (y,), (dy,) = xs, ys, dys
    scale = module._scale(*op.before(xs))
    power = scale**-p.beta
    if p.norm_region == LRNParameter.WITHIN_CHANNEL:
        y = x * power
    return (dy * power - 2 * p.alpha * p.beta * x * module._mean(dy * y / scale),)


def _eltwise(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs | None:
    p = op.layer.param.eltwise_param
    if p.operation != EltwiseParameter.PROD or p.stable_prod_grad:
        return None
    (y,), (dy,) = ys, dys
    return [dy * y / x for x in xs]


def _scale(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    (x, *given), (dy,) = xs, dys
    factor = given[0] if given else op.weights[0]
    dx = dy * aligned(factor, x, op.layer.param.scale_param.axis)
    return (dx, _diff_of_factor(op, xs, factor, dy)()) if given else (dx,)


def _diff_of_factor(
    op: EngineOperation, bottoms: Sequence[Tensor], factor: Tensor, dy: Tensor
) -> Addend:
    """The addend to the diff of a Scale layer's factors.

    In place, Caffe saves the forward pass's bottom, but then overwrites it with its product with
    the diff: a second backward pass uses the product.
    """
    outer, _, inner = _extents(op.layer, dy, factor)
    if not op.layer.in_place:
        return lambda: (bottoms[0] * dy).reshape(outer, *factor.shape, inner).sum((0, -1))
    product = op.before(bottoms)[0] * dy
    if product.numel() != factor.numel():
        op.remember(product)
    return lambda: product.reshape(outer, *factor.shape, inner).sum((0, -1))


def _extents(layer: graph.Layer, x: Tensor, factor: Tensor) -> tuple[int, int, int]:
    """The sizes of x before, along and after the axes of a factor."""
    first = layer.param.scale_param.axis % x.ndim if factor.ndim else 0
    outer, inner = x.shape[:first], x.shape[first + factor.ndim :]
    return math.prod(outer), factor.numel(), math.prod(inner)


def _mvn(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    """With the current top, and the standard deviations of the last forward pass."""
    _, (rows, std, shape) = op.module.fwd(*op.before(xs))
    return op.module.bwd((ys[0].reshape(rows.shape), std, shape), dys, "gradient")


def _silence(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    return [torch.zeros_like(x) for x in xs]


def _split(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    total = dys[0]
    for dy in dys[1:]:
        total = total + dy
    return (total,)


def _same_shape(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    return (dys[0].reshape(xs[0].shape),)


def _in_place_now(op: EngineOperation, xs: Any, ys: Any, dys: Any) -> Diffs:
    """With the current bottom, even if the layer has overwritten it, as in Caffe."""
    _, saved = op.module.fwd(*xs)
    return op.module.bwd(saved, dys, "gradient")


_BACKWARD: dict[str, Special] = {
    "AbsVal": _in_place_now,
    "BNLL": _bnll,
    "ELU": _elu,
    "Eltwise": _eltwise,
    "Exp": _exp,
    "Flatten": _same_shape,
    "LRN": _lrn,
    "Log": _log,
    "MVN": _mvn,
    "Power": _power,
    "ReLU": _relu,
    "Scale": _scale,
    "Sigmoid": _sigmoid,
    "Silence": _silence,
    "Softmax": _softmax,
    "Split": _split,
    "TanH": _tanh,
}


# -- diffs of weights ------------------------------------------------------------------------------


def _of_convolution(module: ImageConvolution, x: Tensor, dy: Tensor) -> list[Addend | None]:
    window, weight = module.window, module.weight
    places = (window.stride, window.pad, window.dilation, False, (0, 0), module.group)

    def weights(x: Tensor, dy: Tensor) -> Tensor:
        wanted = (False, True, False)
        dw: Tensor = torch.ops.aten.convolution_backward(dy, x, weight, None, *places, wanted)[1]
        return dw

    return [Product(module, weights, x, dy), lambda: dy.sum((0, 2, 3))]


def _of_product(module: InnerProduct, x: Tensor, dy: Tensor) -> list[Addend | None]:
    dy = dy.reshape(-1, dy.shape[-1])
    x = x.reshape(len(dy), -1)
    transposed = module.transpose
    return [
        Product(module, lambda x, dy: x.T @ dy if transposed else dy.T @ x, x, dy),
        lambda: dy.sum(0),
    ]


def _of_scale(op: EngineOperation, bottoms: Sequence[Tensor], dy: Tensor) -> list[Addend | None]:
    scale, *bias = op.weights
    outer, _, inner = _extents(op.layer, dy, scale)
    return [
        _diff_of_factor(op, bottoms, scale, dy),
        *(lambda: dy.reshape(outer, *scale.shape, inner).sum((0, -1)) for _ in bias),
    ]


# -- the table -------------------------------------------------------------------------------------

OPERATIONS: dict[str, type[Operation]] = {}


def operation(*types: str) -> Callable[[type[Operation]], type[Operation]]:
    """Class decorator: register an operation for these types, instead of the engine's."""

    def register(kind: type[Operation]) -> type[Operation]:
        for name in types:
            if name in OPERATIONS:
                raise ValueError(f"layer type {name!r} has an operation already")
            OPERATIONS[name] = kind
        return kind

    return register


def operation_for(param: LayerParameter) -> type[Operation] | None:
    """The class that runs a layer; None if its type is unknown."""
    engine = EngineOperation if param.type in RULES else None
    return OPERATIONS.get(param.type, engine)


# Python layers and data layers. For a data layer that is not implemented, an error tells a script
# what to use instead.
ON_BLOBS = ("Data", "HDF5Data", "ImageData", "MemoryData", "Python", "WindowData")


def layer_type_list() -> list[str]:
    """The known layer types, in alphabetical order."""
    return sorted({*RULES, *OPERATIONS, *ON_BLOBS} - {ALLOWED})
