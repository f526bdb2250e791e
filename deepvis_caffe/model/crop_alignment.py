"""Aligns Crops without an offset by the net's geometry: ``(graph, shapes) -> notes``.

In the Caffe of FCN (J. Long's branch "future") and of HED, a Crop has no parameters: it crops its
first bottom where that overlaps the second. The offset follows from the paths from both to a common
blob: a convolution's or pooling's position i is at ``stride * i + (extent - 1) / 2 - pad`` in its
bottom, a deconvolution's the other way around. Stock Caffe's ``caffe.coord_map`` computes the same
for writing the offset into a prototxt, and its Crop defaults to 0. So this module sets a nonzero
offset only for Crops without any parameters, and if the geometry gives an integer offset that fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.receptive import is_pointwise
from deepvis_caffe.model.sliding_window import SlidingWindow, convolution_window, pooling_window

Shape = tuple[int, ...]


# Layers that see more than one position, or several channels, and keep positions in place.
KEEP_POSITIONS = ("BatchNorm", "Concat", "LRN", "MVN", "Normalize", "Slice", "Softmax")


class _Line(NamedTuple):
    """A map of positions: i is at ``scale * i + shift`` in another blob."""

    scale: Fraction
    shift: Fraction

    def then(self, below: _Line) -> _Line:
        """The composition with the next layer's map below."""
        return _Line(below.scale * self.scale, below.scale * self.shift + below.shift)

    def turned(self) -> _Line:
        """The inverse map."""
        return _Line(1 / self.scale, -self.shift / self.scale)


_Map = tuple[_Line, _Line]  # of rows and columns
_HERE = _Line(Fraction(1), Fraction(0))


def align_crops(graph: Graph, shapes: Mapping[Value, Shape]) -> Iterator[str]:
    """Set nonzero offsets of Crop layers without parameters, in order.

    Parameters
    ----------
    graph
        The net; the parameters of its Crop layers are changed.
    shapes
        The shapes of its values.

    Yields
    ------
    str
        A sentence for each Crop that now has an offset.
    """
    for layer in graph:
        if layer.type != "Crop" or layer.param.HasField("crop_param") or len(layer.bottoms) != 2:
            continue
        offset = _offset(graph, shapes, layer)
        if offset is not None and any(offset):
            layer.param.crop_param.axis = 2
            layer.param.crop_param.offset.extend(offset)
            yield (
                f"layer {layer.name!r} (Crop) has no offset; {offset} is used, which aligns its "
                "bottoms as the Caffe of FCN and HED does; for another, add a crop_param, for "
                "example crop_param { offset: 0 } as in stock Caffe"
            )


def _offset(graph: Graph, shapes: Mapping[Value, Shape], crop: Layer) -> tuple[int, int] | None:
    """Rows and columns to skip; None if the geometry gives no valid offset."""
    cut, like = crop.bottoms
    if any(value not in shapes or len(shapes[value]) != 4 for value in (cut, like)):
        return None
    try:
        below = dict(_ancestors(graph, shapes, cut))
        shared = next(
            ((theirs, below[v]) for v, theirs in _ancestors(graph, shapes, like) if v in below),
            None,
        )
    except ModelError:
        return None
    if shared is None:
        return None
    found = []
    for to, own, size, room in zip(*shared, shapes[like][2:], shapes[cut][2:], strict=True):
        line = to.then(own.turned())
        if line.scale != 1 or line.shift.denominator != 1 or not 0 <= line.shift <= room - size:
            return None
        found.append(int(line.shift))
    return found[0], found[1]


def _ancestors(
    graph: Graph, shapes: Mapping[Value, Shape], value: Value
) -> Iterator[tuple[Value, _Map]]:
    """A value and its ancestors along first bottoms, each with the map of its positions."""
    rows, columns = _HERE, _HERE
    while True:
        yield value, (rows, columns)
        layer = graph.producer[value]
        step = _step(layer, shapes) if layer.bottoms else None
        if step is None:
            return
        rows, columns = rows.then(step[0]), columns.then(step[1])
        value = layer.bottoms[0]


def _step(layer: Layer, shapes: Mapping[Value, Shape]) -> _Map | None:
    """The map of a layer's positions into its first bottom; None if they are not evenly spaced."""
    param, shape = layer.param, shapes.get(layer.bottoms[0], ())
    if len(shape) != 4:
        return None
    if layer.type in ("Convolution", "Deconvolution"):
        down = _lines(convolution_window(param.convolution_param, 2))
        up = layer.type == "Deconvolution"
        return (down[0].turned(), down[1].turned()) if up else down
    if layer.type == "Pooling" and not param.pooling_param.global_pooling:
        return _lines(pooling_window(param.pooling_param, shape[2:]))
    if layer.type == "Crop":
        if param.crop_param.axis not in (2, -2):
            return None
        offset = list(param.crop_param.offset) or [0]
        rows, columns = offset * 2 if len(offset) == 1 else offset
        return _HERE._replace(shift=Fraction(rows)), _HERE._replace(shift=Fraction(columns))
    keeps = is_pointwise(layer.type) or layer.type in KEEP_POSITIONS
    return (_HERE, _HERE) if keeps else None


def _lines(window: SlidingWindow) -> _Map:
    rows, columns = (
        _Line(Fraction(stride), Fraction(extent - 1, 2) - pad)
        for stride, extent, pad in zip(window.stride, window.extent, window.pad, strict=True)
    )
    return rows, columns
