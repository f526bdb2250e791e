"""The kernels of a layer's units: ``(model, layer) -> Kernels``.

A unit's kernel is (channels, *window), regardless of the layer's own order of axes:

=============  =================================  =================================================
type           weights                            kernel of unit u
=============  =================================  =================================================
convolution    (units, channels / group, *window)  ``w[u]``
its transpose  (channels, units / group, *window)  ``w[rows of its group, u % (units / group)]``
inner product  (units, inputs), or transposed      ``w[u]``, in the shape of the map below
=============  =================================  =================================================

With groups, a unit reads the channels of its own group only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.shapes.registry import canonical_axis
from deepvis_caffe.model.shapes.windows import deformable_options
from deepvis_caffe.model.weights import Array, blob_name

CONVOLUTIONS = ("Convolution", "DeformableConvolution", "ModulatedDeformableConvolution")
WITH_KERNELS = (*CONVOLUTIONS, "Deconvolution", "InnerProduct")

# Layers whose channels are those of their bottom, each transformed independently.
_CHANNELWISE = frozenset(
    ("BatchNorm", "Bias", "Dropout", "LRN", "MVN", "Power", "PReLU", "ReLU", "Scale", "Split")
)


@dataclass(frozen=True, eq=False)
class Kernels:
    """The kernels of all units of a layer.

    Attributes
    ----------
    layer, type
        The layer's name and type.
    values
        float32 (units, channels, *window); if the layer below has no maps, the window has no axes.
    group
        Number of groups of channels and units.
    reads_image
        Whether the channels are the image's, in the net's order.
    """

    layer: str
    type: str
    values: Array = field(repr=False)
    group: int = 1
    reads_image: bool = False

    def channels_of(self, unit: int) -> range:
        """The bottom's channels that a unit reads."""
        own = self.values.shape[1]
        first = unit // (len(self.values) // self.group) * own
        return range(first, first + own)


def kernels_of(model: Model, name: str) -> Kernels:
    """The kernels of a layer.

    Parameters
    ----------
    name
        A layer's name, or a blob's, which stands for the layer that writes it first.

    Raises
    ------
    ModelError
        The layer has no weights, or they are not kernels.
    UnknownNameError
        The net has no such layer or blob.
    WeightsError
        The net was read without its weights.
    """
    layer, blobs = weights_of(model, name)
    if layer.type not in WITH_KERNELS:
        shapes = ", ".join(f"{blob_name(layer.type, i)} {b.shape}" for i, b in enumerate(blobs))
        raise ModelError(
            f"layer {layer.name!r} ({layer.type}) has weights ({shapes}) but no kernels; only "
            f"{', '.join(WITH_KERNELS)} layers have kernels"
        )
    if layer.type == "InnerProduct":
        return _of_inner_product(model, layer, blobs[0])
    return _of_convolution(model, layer, blobs[0])


def weights_of(model: Model, name: str) -> tuple[Layer, tuple[Array, ...]]:
    """A layer and its weight blobs; the arguments and errors are those of `kernels_of`."""
    model.check_weights()
    graph = model.graph
    layer = graph.by_name.get(name) or graph.producer[graph.own_output(name)]
    blobs = model.weights.get(layer.name, ())
    if not blobs:
        others = [one for one in model.weights if model.weights[one]]
        listed = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
        raise ModelError(
            f"layer {layer.name!r} ({layer.type}) has no weights; layers with weights: "
            f"{listed or 'none'}"
        )
    return layer, tuple(blobs)


def _of_convolution(model: Model, layer: Layer, weights: Array) -> Kernels:
    plain = layer.type in ("Convolution", "Deconvolution")
    options = layer.param.convolution_param if plain else deformable_options(layer.param)
    group, window = max(1, options.group), weights.shape[2:]
    if layer.type == "Deconvolution":
        channels, share = weights.shape[:2]
        by_group = weights.reshape(group, channels // group, share, *window)
        weights = by_group.swapaxes(1, 2).reshape(group * share, channels // group, *window)
    reads = group == 1 and _is_image(model, layer.bottoms[0], weights.shape[1])
    return Kernels(layer.name, layer.type, weights, group, reads)


def _of_inner_product(model: Model, layer: Layer, weights: Array) -> Kernels:
    options = layer.param.inner_product_param
    rows = weights.T if options.transpose else weights
    rows = rows.reshape(len(rows), -1)
    value, shape = _map_below(model, layer.bottoms[0], options.axis, rows.shape[1])
    reads = _is_image(model, value, shape[0]) and len(shape) > 1
    return Kernels(layer.name, layer.type, rows.reshape(len(rows), *shape), 1, reads)


def _map_below(model: Model, value: Value, axis: int, inputs: int) -> tuple[Value, tuple[int, ...]]:
    """The map that an inner product reads, (channels, *window), even through a Flatten."""
    known = model.shapes.get(value)
    if known is None:
        return value, (inputs,)
    shape = known[canonical_axis(known, axis) :]
    while len(shape) < 2:
        writer = model.graph.producer[value]
        if writer.type not in ("Flatten", *_CHANNELWISE) or len(writer.bottoms) != 1:
            break
        value = writer.bottoms[0]
        below = model.shapes.get(value, ())
        if writer.type == "Flatten" and prod(below[1:]) == inputs:
            shape = below[1:]
    return (value, shape) if prod(shape) == inputs else (value, (inputs,))


def _is_image(model: Model, value: Value, channels: int) -> bool:
    """Whether a value's channels are the image's."""
    images = {Value(blob) for blob in model.image_inputs}
    while value not in images:
        writer = model.graph.producer[value]
        if writer.type not in _CHANNELWISE or len(writer.bottoms) != 1:
            return False
        value = writer.bottoms[0]
    return tuple(model.shapes.get(value, ())[1:2]) == (channels,)
