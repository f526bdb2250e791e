"""The layers that compute the units of a value: ``(model, value) -> (Source, ...)``.

A convolution or an inner product has units of its own. Rectifiers, poolings, normalizations,
concatenations and sums pass on the units of layers below, to which this module traces them: the
units of ``fire7/concat`` are those of ``fire7/expand1x1`` and ``fire7/expand3x3``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.shapes.layout import joined_axis
from deepvis_caffe.model.shapes.registry import canonical_axis

Channels = NDArray[np.int64]

# Types whose channels each depend on the same channel of the bottom: elementwise ...
ELEMENTWISE = frozenset(
    {
        *("AbsVal", "BatchNorm", "Bias", "BNLL", "Clip", "Dropout", "ELU", "Exp", "HardSigmoid"),
        *("HardSwish", "Log", "Mish", "PReLU", "Power", "ReLU", "ReLU6", "Scale", "SeLu"),
        *("SeLuDropout", "Sigmoid", "Split", "Swish", "TanH"),
    }
)
# ... and otherwise: with neighbors, or at other positions.
CHANNEL_BY_CHANNEL = ELEMENTWISE | {
    *("Crop", "CropCenter", "Flip", "Interp", "LRN", "MaxUnPool", "MVN", "NdPooling", "Normalize"),
    *("NormalizationL2", "Pad", "Padding", "Pooling", "Pooling3D", "Resample", "Reverse"),
    *("Unpooling", "Upsample"),
}

# Types whose second bottom gives the positions, or the number, of the first one's values.
SECOND_IS_A_PLACE = ("Crop", "MaxUnPool", "Unpooling", "Upsample")


@dataclass(frozen=True, eq=False)
class Source:
    """A layer that computes units of a value.

    Attributes
    ----------
    layer
        The layer; an ``Input`` for channels of an input.
    value
        Its units as the layers above read them: after its normalization and rectifier.
    channels
        For each channel of the value in question, the corresponding unit of the layer, or -1; None
        if channels do not correspond to single units.
    """

    layer: Layer
    value: Value
    channels: Channels | None

    @property
    def name(self) -> str:
        """The layer's name, or the input's."""
        return self.value.blob if self.is_input else self.layer.name

    @property
    def is_input(self) -> bool:
        """Whether the units are the channels of an input."""
        return not self.layer.bottoms


def makes_units(model: Model, layer: Layer) -> bool:
    """Whether a layer has units of its own, or is an input, whose units are its channels."""
    learned = ("Convolution", "Deconvolution", "InnerProduct", "Local", "LSTM", "RNN")
    if layer.type.endswith(learned):
        return bool(model.weights.get(layer.name) or model.weight_shapes.get(layer.name))
    return layer.type == "Input"


def makes_or_sums_units(model: Model, layer: Layer) -> bool:
    """Whether a layer has units of its own, or its channels are sums of several layers'.

    A channel of a residual net's sum is not the unit of any single layer.
    """
    return makes_units(model, layer) or (layer.type == "Eltwise" and len(layer.bottoms) > 1)


def unit_sources(
    model: Model, value: Value, ends: Callable[[Layer], bool] | None = None
) -> tuple[Source, ...]:
    """The nearest layers below a value that have units of their own, in the order of the net.

    A layer that is reached by several paths is listed for each of them.

    Parameters
    ----------
    value
        If its own layer has units of its own, the result is that layer.
    ends
        Predicate for the layers to find; by default `makes_units`.
    """
    wanted = ends or (lambda layer: makes_units(model, layer))
    shape = model.shapes.get(value, ())
    every = np.arange(shape[1 if len(shape) > 1 else 0]) if shape else None
    found: list[Source] = []
    seen: set[tuple[Value, Value, bytes | None]] = set()
    todo: list[tuple[Value, Value, Channels | None]] = [(value, value, every)]
    while todo:
        here, top, channels = todo.pop()
        way = here, top, None if channels is None else channels.tobytes()
        if way in seen:
            continue
        seen.add(way)
        layer = model.graph.producer[here]
        if wanted(layer):
            found.append(Source(layer, top, channels))
            continue
        follows = layer.type in ELEMENTWISE and len(layer.bottoms) == 1
        for bottom, some in _below(model, layer, here, channels):
            todo.append((bottom, top if follows else bottom, some))
    return tuple(sorted(found, key=lambda one: (one.layer.index, one.value)))


def sources_of_all(
    model: Model, values: Iterable[Value], ends: Callable[[Layer], bool] | None = None
) -> tuple[Source, ...]:
    """The sources of several values; a shared source is listed once."""
    found = {
        (one.layer.index, one.value): one
        for value in values
        for one in unit_sources(model, value, ends)
    }
    return tuple(found[key] for key in sorted(found))


def _below(
    model: Model, layer: Layer, top: Value, channels: Channels | None
) -> Iterator[tuple[Value, Channels | None]]:
    """The bottoms of a layer, each with its channels that correspond to `channels` of a top."""
    shapes = [model.shapes.get(value, ()) for value in layer.bottoms]
    joins = layer.type in ("Concat", "Slice") and all(shapes)
    along_channels = joins and canonical_axis(shapes[0], joined_axis(layer.param)) == 1
    if layer.type == "Concat" and along_channels:
        first = 0
        for bottom, shape in zip(layer.bottoms, shapes, strict=True):
            inside = None
            if channels is not None:
                inside = channels - first
                inside = np.where((inside >= 0) & (inside < shape[1]), inside, -1)
            first += shape[1]
            if inside is None or (inside >= 0).any():
                yield bottom, inside
        return
    if layer.type == "Slice" and along_channels:
        before = layer.tops[: layer.tops.index(top)]
        first = sum(model.shapes[one][1] for one in before)
        yield layer.bottoms[0], _where_known(channels, lambda known: known + first)
        return
    if layer.type == "ShuffleChannel" and shapes[0]:
        groups, units = layer.param.shuffle_channel_param.group, shapes[0][1]
        order = np.arange(units).reshape(groups, units // groups).T.ravel()
        yield layer.bottoms[0], _where_known(channels, lambda known: order[known])
        return
    kept = layer.type in CHANNEL_BY_CHANNEL or joins or _adds(layer)
    for bottom, shape in zip(layer.bottoms, shapes, strict=True):
        alike = len(shape) > 1 and shape[1:2] == model.shapes.get(top, ())[1:2]
        second = bottom != layer.bottoms[0]
        if second and layer.type in SECOND_IS_A_PLACE:
            continue
        gates = second and layer.type in ("Scale", "Bias")
        yield bottom, channels if kept and alike and not gates else None


def _adds(layer: Layer) -> bool:
    """Whether a layer's channels are sums or maxima of the bottoms' same channels."""
    how = layer.param.eltwise_param
    product = how.operation == how.PROD
    return layer.type == "Eltwise" and not product and all(one == 1 for one in how.coeff)


def _where_known(
    channels: Channels | None, change: Callable[[Channels], Channels]
) -> Channels | None:
    return None if channels is None else np.where(channels >= 0, change(channels), -1)
