"""What of a net can be looked at: ``net -> (Entry, ...)``, one a blob, in the net's order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.labels import Labels, label_of

Shape = tuple[int, ...]

NOT_SHOWN = ("Input", "DummyData", "Split")


@dataclass(frozen=True)
class Entry:
    """One line of the list of layers. A blob that layers write in place is one entry.

    Attributes
    ----------
    name
        The blob's.
    layer
        The name that a backward pass from it or an ascent of it takes: that of the layer that
        writes the blob first; or the blob's, where that layer has several tops.
    type
        That layer's.
    shape
        Of the blob for one image, as the engine has it: (1, C, H, W), (1, C), ...
    units
        Its channels: the second axis, or all there is where there is only one axis.
    map_size
        (height, width) in which one unit is shown; (1, 1) where it is a number.
    """

    name: str
    layer: str
    type: str
    shape: Shape
    units: int
    map_size: tuple[int, int]

    @property
    def is_vector(self) -> bool:
        """Whether each unit is one number."""
        return self.map_size == (1, 1)


def catalogue(net: Net) -> tuple[Entry, ...]:
    """Every blob of a net but its inputs, in order of first writing.

    Raises
    ------
    EngineError
        The net has nothing to show.
    """
    shapes = one_image_shapes(net)
    graph = net.model.graph
    entries = []
    for blob, final in graph.blobs.items():
        writer = graph.producer[Value(blob)]
        if writer.type in NOT_SHOWN:
            continue
        shape = shapes[final]
        units, map_size = layout_of(shape)
        layer = writer.name if len(writer.tops) == 1 else blob
        entries.append(Entry(blob, layer, writer.type, shape, units, map_size))
    if not entries:
        raise EngineError(f"net {graph.name!r} has no layers to show")
    return tuple(entries)


def layout_of(shape: Shape) -> tuple[int, tuple[int, int]]:
    """How many units a blob of this shape has, and the (height, width) of one as it is shown.

    Axis 0 counts images and axis 1 units; of one axis, that is the units. Behind them come rows
    and columns; an axis before those lays its slices side by side.
    """
    if len(shape) < 2:
        return math.prod(shape), (1, 1)
    rest = shape[2:]
    if not rest:
        return shape[1], (1, 1)
    if len(rest) == 1:
        return shape[1], (1, rest[0])
    return shape[1], (rest[-2], math.prod(rest[:-2]) * rest[-1])


def as_maps(values: Floats) -> Floats:
    """A blob of one image as (units, height, width), by the rule of :func:`layout_of`."""
    units, (height, width) = layout_of(values.shape)
    if values.ndim > 4:  # (1, C, ..., H, W): slices side by side
        slices = values.reshape(units, -1, *values.shape[-2:])
        return np.ascontiguousarray(slices.transpose(0, 2, 1, 3).reshape(units, height, width))
    return values.reshape(units, height, width)


def as_values(maps: Floats, shape: Shape) -> Floats:
    """The inverse of :func:`as_maps`."""
    if len(shape) > 4:
        sliced = maps.reshape(shape[1], shape[-2], -1, shape[-1]).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(sliced).reshape(shape)
    return maps.reshape(shape)


def unit_label(labels: Labels, entry: Entry, unit: int) -> str | None:
    """The name of a unit where labels are its layer's, else None."""
    return label_of(labels, unit, entry.units)


def one_image_shapes(net: Net) -> Mapping[Value, Shape]:
    """The shape of every value for one image.

    Where a layer is of a type whose shape only its own Caffe knows, the net runs once to know.
    """
    from deepvis_caffe.errors import ModelError
    from deepvis_caffe.model.shapes import infer

    inputs = {name: (1, *shape[1:]) for name, shape in net.inputs.items()}
    try:
        known = dict(infer(net.model.graph, inputs).values)
    except ModelError as error:
        raise EngineError(f"the net cannot run one image by itself: {error}") from error
    unknown = [value for value in net.model.graph.blobs.values() if value not in known]
    if unknown:
        zeros = {name: np.zeros(shape, np.float32) for name, shape in inputs.items()}
        found = net.forward(zeros, blobs=[value.blob for value in unknown])
        known |= {value: found[value.blob].shape for value in unknown}
    return known
