"""The rules of layer-wise relevance propagation for the torch engine's layers.

A rule is ``(layer, bottoms, tops' relevance) -> bottoms' relevance``:

===========  =====================================================================================
linear       convolution, its transpose, inner product, average pooling, interpolation, sum,
             BatchNorm, Scale, Bias: the epsilon rule; for convolutions optionally the z+ rule
routing      maximum, unpooling by its mask, concatenation, slices, reshapes: relevance goes where
             the value came from
unchanged    rectifiers and similar functions, Dropout, and LRN and Normalize, whose factors count
             as constants
===========  =====================================================================================

A BatchNorm, Scale or Bias that is the only reader of a convolution or inner product is merged with
it, because both together are linear, too (Hui and Binder 2019, https://arxiv.org/abs/1902.10155).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from deepvis_caffe.attribution.score import Score
from deepvis_caffe.engines.torch.device import full_precision
from deepvis_caffe.engines.torch.layer import Layer, build
from deepvis_caffe.engines.torch.module import NetModule, laid_out
from deepvis_caffe.engines.torch.passes import Pass
from deepvis_caffe.engines.torch.plan import every_layer
from deepvis_caffe.errors import EngineError
from deepvis_caffe.image import Floats
from deepvis_caffe.model import graph
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.schema_pb2 import EltwiseParameter, PoolingParameter

Shares = Sequence[Tensor | None]

WEIGHTED = ("Convolution", "Deconvolution", "InnerProduct")
CHANNELWISE = ("BatchNorm", "Bias", "Scale")
ROUTING = (
    *("Concat", "Crop", "Flatten", "Permute", "Reorg", "Reshape", "ShuffleChannel", "Slice"),
    "Split",
)
UNCHANGED = (
    *("Clip", "Dropout", "ELU", "HardSwish", "LRN", "Mish", "PReLU", "ReLU", "ReLU6"),
    *("SeLu", "SeLuDropout", "Swish", "TanH"),
)


def kind_of_rule(layer: graph.Layer) -> str:
    """``"linear"``, ``"routing"`` or ``"unchanged"``; empty if a layer has no rule."""
    param = layer.param
    if layer.type in WEIGHTED:
        return "linear"
    if layer.type in CHANNELWISE and len(layer.bottoms) == 1:
        norm = param.batch_norm_param
        by_batch = norm.HasField("use_global_stats") and not norm.use_global_stats
        return "" if layer.type == "BatchNorm" and by_batch else "linear"
    if layer.type == "Power":
        return "linear" if param.power_param.power == 1 else ""
    if layer.type == "Interp":
        return "linear"
    if layer.type == "Normalize":
        return "unchanged" if len(layer.tops) == 1 else ""
    if layer.type == "Pooling":
        return "routing" if param.pooling_param.pool == PoolingParameter.MAX else "linear"
    if layer.type == "Upsample":  # without a mask it repeats its values
        return "routing" if len(layer.bottoms) == 2 else "linear"
    if layer.type == "Eltwise":
        operation = param.eltwise_param.operation
        kinds = {EltwiseParameter.SUM: "linear", EltwiseParameter.MAX: "routing"}
        return kinds.get(operation, "")
    if layer.type in ROUTING:
        return "routing"
    return "unchanged" if layer.type in UNCHANGED else ""


@dataclass(frozen=True)
class Stage:
    """A layer, merged with the linear layers after it.

    Attributes
    ----------
    layer
        The first.
    after
        The layers that follow it, with one bottom and one top each.
    """

    layer: Layer
    after: tuple[Layer, ...] = ()

    @property
    def tops(self) -> tuple[Value, ...]:
        """The values that the last layer writes."""
        return (self.after[-1] if self.after else self.layer).layer.tops

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """The tops, by differentiable operations."""
        found = self.layer.forward(*bottoms)
        tops: tuple[Tensor, ...] = found if isinstance(found, tuple) else (found,)
        for layer in self.after:
            tops = (layer.forward(*tops),)
        return tops

    def convolution_factor(self, top: Tensor) -> Tensor:
        """The factors of `after` for the channels of the first layer's top, (O, 1, ...)."""
        leaf = torch.zeros_like(top[:1]).requires_grad_()
        with torch.enable_grad():
            value = leaf
            for layer in self.after:
                value = layer.forward(value)
            (factor,) = torch.autograd.grad(value.sum(), leaf)
        return factor[0].flatten(1)[:, 0].reshape(-1, *(1,) * (top.ndim - 1))


def relevance(score: Score, x: Floats, rule: str, epsilon: float) -> Floats:
    """The relevance of the image, (C, H, W), for a unit's score.

    Parameters
    ----------
    score
        The score, for a net on the torch engine.
    x
        (1, C, H, W), the net's input.
    rule
        The rule for convolutions: ``"epsilon"`` or ``"z_plus"``.
    epsilon
        Epsilon of the epsilon rule.

    Raises
    ------
    EngineError
        A layer between the image and the unit cannot run or has no rule.
    """
    net = score.net
    net.check_gradient(score.layer)
    if net.precision != "float32":
        raise EngineError(
            f'layer-wise relevance propagation needs precision="float32", but this net has '
            f"{net.precision!r}"
        )
    module: NetModule = net.module  # type: ignore[attr-defined]
    start = net.model.graph.gradient_start(score.layer)
    images = [Value(blob) for blob in net.model.image_inputs]
    inputs = {net.image_input(): x, **net.other_inputs(x)}
    layers = net.model.graph.ancestors([start], [Value(name) for name in inputs])
    way = _on_the_way(layers, images)
    for layer in way:
        if not kind_of_rule(layer):
            raise EngineError(
                f"layer-wise relevance propagation has no rule for layer {layer.name!r} "
                f"({layer.type}), which lies between the image and {score.layer!r}; choose a unit "
                "below it, or another method"
            )
    run = Pass(
        {
            Value(name): laid_out(torch.tensor(one, device=net.device))
            for name, one in inputs.items()
        }
    )
    with full_precision(torch.device(net.device)), torch.no_grad():
        run.forward(every_layer(module, layers), record=False)
        values = run.values
        weights = torch.tensor(score.diff(tuple(values[start].shape)), device=net.device)
        shares = {start: weights * values[start]}
        for stage in reversed(_stages(module, way, start)):
            tops = [shares.pop(top, None) for top in stage.tops]
            if all(one is None for one in tops):
                continue
            bottoms = [values[value] for value in stage.layer.layer.bottoms]
            for value, share in zip(
                stage.layer.layer.bottoms, _shared(stage, bottoms, tops, rule, epsilon), strict=True
            ):
                if share is not None:
                    shares[value] = shares[value] + share if value in shares else share
    found = [shares[image][0].cpu().numpy() for image in images if image in shares]
    return np.asarray(np.sum(found, axis=0), np.float32)


def epsilon_rule(
    run: Callable[..., tuple[Tensor, ...]], bottoms: Sequence[Tensor], tops: Shares, epsilon: float
) -> Shares:
    """``R_j = x_j * sum over k of dz_k / dx_j * R_k / (z_k + epsilon * sign(z_k))``."""

    def divided(share: Tensor, z: Tensor) -> Tensor:
        return share / torch.where(z < 0, z - epsilon, z + epsilon)

    return _times_gradient(run, bottoms, tops, divided)


def z_plus_rule(stage: Stage, x: Tensor, top: Tensor) -> Tensor:
    """The rule of the positive contributions ``(x_j w_jk)+``, for a convolution with one bottom."""
    own, *biases = stage.layer.parameters()
    weight = own * stage.convolution_factor(top)
    none = [nn.Parameter(torch.zeros_like(one), requires_grad=False) for one in biases]

    def with_weight(some: Tensor) -> Layer:
        return build(stage.layer.layer, [nn.Parameter(some, requires_grad=False), *none])

    excites, inhibits = with_weight(weight.clamp(min=0)), with_weight(weight.clamp(max=0))

    def positive(above: Tensor, below: Tensor) -> tuple[Tensor]:
        return (excites.forward(above) + inhibits.forward(below),)

    def divided(share: Tensor, z: Tensor) -> Tensor:
        return torch.where(z > 0, share / z, 0)

    parts = x.clamp(min=0), x.clamp(max=0)
    up, down = _times_gradient(positive, parts, [top], divided)
    assert up is not None
    assert down is not None
    return up + down


def _shared(
    stage: Stage, bottoms: Sequence[Tensor], tops: Shares, rule: str, epsilon: float
) -> Shares:
    layer = stage.layer
    kind = kind_of_rule(layer.layer)
    if kind == "unchanged":
        return tops
    if kind == "routing":
        _, saved = layer.fwd(*bottoms)
        return layer.bwd(saved, tops, "gradient")
    if rule == "z_plus" and layer.layer.type == "Convolution" and len(bottoms) == 1:
        (top,) = tops
        assert top is not None
        return [z_plus_rule(stage, bottoms[0], top)]
    return epsilon_rule(stage, bottoms, tops, epsilon)


def _times_gradient(
    run: Callable[..., tuple[Tensor, ...]],
    bottoms: Sequence[Tensor],
    tops: Shares,
    divided: Callable[[Tensor, Tensor], Tensor],
) -> Shares:
    """Each bottom times its gradient, given the tops' relevance divided by the tops."""
    leaves = [x.detach().requires_grad_() for x in bottoms]
    with torch.enable_grad():
        zs = run(*leaves)
    pairs = [(z, share) for z, share in zip(zs, tops, strict=True) if share is not None]
    ratios = [divided(share, z.detach()) for z, share in pairs]
    found = torch.autograd.grad([z for z, _ in pairs], leaves, ratios, allow_unused=True)
    return [None if dx is None else x * dx for x, dx in zip(bottoms, found, strict=True)]


def _on_the_way(layers: Sequence[graph.Layer], images: Sequence[Value]) -> list[graph.Layer]:
    """The layers that depend on the image."""
    reached, found = set(images), []
    for layer in layers:
        if not reached.isdisjoint(layer.bottoms):
            reached.update(layer.tops)
            found.append(layer)
    return found


def _stages(module: NetModule, layers: Sequence[graph.Layer], start: Value) -> list[Stage]:
    """The layers in order, with channelwise linear layers merged with the weights below them."""
    readers = Counter(value for layer in layers for value in layer.bottoms)
    stages: dict[Value, Stage] = {}
    for layer in layers:
        below = stages.get(layer.bottoms[0])
        alone = readers[layer.bottoms[0]] == 1 and layer.bottoms[0] != start
        joins = layer.type in CHANNELWISE and len(layer.bottoms) == 1 and alone
        if joins and below and below.layer.layer.type in WEIGHTED and len(below.tops) == 1:
            del stages[layer.bottoms[0]]
            stage = Stage(below.layer, (*below.after, module.layer(layer.name)))
        else:
            stage = Stage(module.layer(layer.name))
        stages[layer.tops[0]] = stage
    return list(stages.values())
