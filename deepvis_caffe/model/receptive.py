"""Receptive fields: ``(graph, shapes) -> {value: what one position of it sees of the image}``.

Rows and columns are tracked separately. A :class:`_Span` gives the input rows that position i sees:
``first + i * stride`` to ``last + i * stride``. Each layer type maps the span of its bottom to that
of its top. Where branches join, the span covers all of theirs. If all positions see the same rows
(after an inner product, global pooling, or a normalization over space), the stride is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.schema_pb2 import LayerParameter, LRNParameter, PadParameter
from deepvis_caffe.model.shapes.layout import (
    joined_axis,
    padded_ends,
    permuted_axes,
    reversed_axes,
    upscale_factor,
)
from deepvis_caffe.model.shapes.resampling import upsampling_factors
from deepvis_caffe.model.shapes.windows import local_window
from deepvis_caffe.model.sliding_window import SlidingWindow, convolution_window, pooling_window

Number = int | Fraction
Shape = tuple[int, ...]

LIKE_SECOND = ("Crop", "Interp", "Resample")  # read their second bottom's size, not its values


@dataclass(frozen=True)
class ReceptiveField:
    """The window of the image input that one position of a value depends on.

    Position (i, j) sees input row ``floor(offset[0] + i * stride[0])`` and the ``size[0] - 1`` rows
    after it; columns likewise. This is exact inside the image. Near its borders, and after a
    `Deconvolution`, the window may be a few pixels too large, but never too small.

    Attributes
    ----------
    size
        (height, width) in input pixels.
    stride
        (rows, columns) between neighbors; 0 if all positions see the same window, a fraction after
        a `Deconvolution`.
    offset
        (row, column) at which the window of position (0, 0) starts; negative inside the padding.
    input_size
        (height, width) of the image input.
    """

    size: tuple[int, int]
    stride: tuple[Number, Number]
    offset: tuple[Number, Number]
    input_size: tuple[int, int]

    def box(self, y: int, x: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what position (y, x) sees, ends excluded, not clipped."""
        top = floor(self.offset[0] + y * self.stride[0])
        left = floor(self.offset[1] + x * self.stride[1])
        return top, left, top + self.size[0], left + self.size[1]

    def window(self, y: int, x: int) -> tuple[slice, slice]:
        """Rows and columns of the input that position (y, x) sees, clipped to the input."""
        top, left, bottom, right = self.box(y, x)
        height, width = self.input_size
        return (
            slice(max(top, 0), max(min(bottom, height), 0)),
            slice(max(left, 0), max(min(right, width), 0)),
        )


def receptive_fields(
    graph: Graph, shapes: Mapping[Value, Shape], images: Sequence[str]
) -> dict[Value, ReceptiveField]:
    """The receptive field of every value on the image.

    Parameters
    ----------
    graph
        The layers.
    shapes
        Known shapes of values, batch axis first.
    images
        The inputs that hold the image, all of the same shape.

    Returns
    -------
    dict
        Without values that do not depend on the image or that depend on layers of unknown types.
        Empty if the image is not (N, C, H, W).
    """
    shape = shapes[Value(images[0])]
    if len(shape) != 4:
        return {}
    size = (shape[2], shape[3])
    # None: does not depend on the image. Absent: unknown.
    fields: dict[Value, _Field | None] = {}
    for layer in graph:
        known = all(value in fields and value in shapes for value in layer.bottoms)
        if layer.type == "Input":
            fields |= {top: _IDENTITY if top.blob in images else None for top in layer.tops}
        elif layer.type in _RULES and known:
            bottoms = layer.bottoms[:1] if layer.type in LIKE_SECOND else layer.bottoms
            rule = _RULES[layer.type]
            top_shape = next((shapes[top] for top in layer.tops if top in shapes), ())
            seen = [
                rule(_Step(layer.param, shapes[value], size, top_shape), field)
                for value in bottoms
                if (field := fields[value]) is not None
            ]
            for top in layer.tops:
                if top in shapes:
                    fields[top] = _join(seen, _Step(layer.param, shapes[top], size))
    return {value: _public(field, size) for value, field in fields.items() if field is not None}


def is_pointwise(kind: str) -> bool:
    """Whether positions of a layer of this type only see the same position of its bottoms."""
    return _RULES.get(kind) is _pointwise


# -- spans -----------------------------------------------------------------------------------


class _Span(NamedTuple):
    """Position i sees input rows ``first + i * stride`` to ``last + i * stride``, both included."""

    first: Number
    last: Number
    stride: Number

    def under(self, extent: int, stride: int, pad: int) -> _Span:
        """The span of a layer whose windows of `extent` positions start at ``i * stride - pad``."""
        first = self.first - pad * self.stride
        last = self.last + (extent - 1 - pad) * self.stride
        return _Span(first, last, self.stride * stride)

    def over(self, extent: int, stride: int, pad: int) -> _Span:
        """The span of the transposed layer: position y reads (y + pad - u) / stride."""
        step = Fraction(self.stride) / stride
        return _Span(self.first + (pad - extent + 1) * step, self.last + pad * step, step)

    def from_corner_to_corner(self, inputs: int, outputs: int) -> _Span:
        """The span of a map of `outputs` positions, each between two of `inputs`."""
        step = Fraction(inputs - 1, outputs - 1) if outputs > 1 else Fraction(0)
        # Position i is at i * step, between the integers below and above.
        between = (1 - Fraction(1, step.denominator)) * self.stride
        return _Span(self.first - between, self.last + between, step * self.stride)

    def shifted(self, positions: int) -> _Span:
        """The span of a layer whose position i is its bottom's position ``i + positions``."""
        shift = positions * self.stride
        return _Span(self.first + shift, self.last + shift, self.stride)

    def everything(self, positions: int, limit: int) -> _Span:
        """All rows that `positions` positions see, clipped to an input of `limit` rows."""
        last = self.last + (positions - 1) * self.stride
        return _Span(max(self.first, 0), min(last, limit - 1), 0)


_Field = tuple[_Span, _Span]
_IDENTITY: _Field = (_Span(0, 0, 1), _Span(0, 0, 1))


class _Step(NamedTuple):
    """The arguments of a layer's rule.

    Its parameters, the shape of the value at hand, (height, width) of the input, and the shape of
    the first top.
    """

    param: LayerParameter
    shape: Shape
    size: tuple[int, int]
    top: Shape = ()

    def whole(self, field: _Field, axes: Iterable[int] = (2, 3)) -> _Field:
        """`field` extended to everything along `axes`; unchanged for values not (N, C, H, W)."""
        if len(self.shape) != 4:
            return field
        rows, columns = (
            span.everything(self.shape[axis], limit) if axis in axes else span
            for axis, span, limit in zip((2, 3), field, self.size, strict=True)
        )
        return rows, columns


def _join(fields: Sequence[_Field], top: _Step) -> _Field | None:
    """The union of what several bottoms see at one position of a top."""
    if not fields:
        return None
    if any(len({span.stride for span in axis}) > 1 for axis in zip(*fields, strict=True)):
        fields = [top.whole(field) for field in fields]
    rows, columns = (
        _Span(min(s.first for s in axis), max(s.last for s in axis), axis[0].stride)
        for axis in zip(*fields, strict=True)
    )
    return rows, columns


def _public(field: _Field, size: tuple[int, int]) -> ReceptiveField:
    rows, columns = field
    return ReceptiveField(
        size=(ceil(rows.last - rows.first) + 1, ceil(columns.last - columns.first) + 1),
        stride=(_plain(rows.stride), _plain(columns.stride)),
        offset=(_plain(rows.first), _plain(columns.first)),
        input_size=size,
    )


def _plain(number: Number) -> Number:
    return int(number) if number == int(number) else number


# -- rules, (step at a bottom, its field) -> field of the top --------------------------------

_Rule = Callable[[_Step, _Field], _Field]


def _pointwise(step: _Step, field: _Field) -> _Field:
    return field


def _everything(step: _Step, field: _Field) -> _Field:
    return step.whole(field)


def _along(axis: Callable[[LayerParameter], int]) -> _Rule:
    """A layer that mixes or moves positions along one axis, and is pointwise along the others."""

    def rule(step: _Step, field: _Field) -> _Field:
        return step.whole(field, [axis(step.param) % len(step.shape)])

    return rule


def _unless(pointwise: Callable[[LayerParameter], bool]) -> _Rule:
    """A layer that sees everything unless its parameters make it pointwise."""
    return lambda step, field: field if pointwise(step.param) else step.whole(field)


def _convolution(step: _Step, field: _Field) -> _Field:
    window = _image_window(step)
    return _under(window, field) if window else step.whole(field)


def _deconvolution(step: _Step, field: _Field) -> _Field:
    window = _image_window(step)
    if not window:
        return step.whole(field)
    rows, columns = (
        span.over(*geometry)
        for span, *geometry in zip(field, window.extent, window.stride, window.pad, strict=True)
    )
    return rows, columns


def _image_window(step: _Step) -> SlidingWindow | None:
    """A (de)convolution's window; None if it does not slide over rows and columns."""
    options = step.param.convolution_param
    over_images = len(step.shape) == 4 and options.axis in (1, -3)
    return convolution_window(options, 2) if over_images else None


def _pooling(step: _Step, field: _Field) -> _Field:
    options = step.param.pooling_param
    if options.global_pooling or len(step.shape) != 4:
        return step.whole(field)
    return _under(pooling_window(options, step.shape[2:]), field)


def _under(window: SlidingWindow, field: _Field) -> _Field:
    rows, columns = (
        span.under(*geometry)
        for span, *geometry in zip(field, window.extent, window.stride, window.pad, strict=True)
    )
    return rows, columns


def _local(step: _Step, field: _Field) -> _Field:
    return _under(local_window(step.param), field)


def _lrn(step: _Step, field: _Field) -> _Field:
    p = step.param.lrn_param
    if p.norm_region == LRNParameter.ACROSS_CHANNELS:
        return field
    around = SlidingWindow((p.local_size,) * 2, (1, 1), ((p.local_size - 1) // 2,) * 2, (1, 1))
    return _under(around, field)


def _crop(step: _Step, field: _Field) -> _Field:
    options, axes = step.param.crop_param, len(step.shape)
    first = options.axis % axes
    offsets = list(options.offset) or [0]
    if len(offsets) == 1:  # one offset applies to every cropped axis
        offsets *= axes - first
    rows, columns = ([0] * first + offsets)[2:] if axes == 4 else (0, 0)
    return field[0].shifted(rows), field[1].shifted(columns)


def _crop_center(step: _Step, field: _Field) -> _Field:
    if len(step.shape) != 4:
        return field
    _, _, rows, columns = step.param.crop_center_param.crop_size
    return field[0].shifted(rows), field[1].shifted(columns)


def _reverse(step: _Step, field: _Field) -> _Field:
    return step.whole(field, reversed_axes(step.param, step.shape))


def _gather(step: _Step, field: _Field) -> _Field:
    axis = step.param.gather_param.axis % len(step.shape)
    moves_channels = axis < 2 and len(step.top) == len(step.shape)
    return field if moves_channels else step.whole(field)


def _upsample(step: _Step, field: _Field) -> _Field:
    if len(step.param.bottom) > 1 or len(step.shape) != 4:
        return step.whole(field)  # a mask may send a value anywhere
    rows, columns = (
        span.over(factor, factor, 0)
        for span, factor in zip(field, upsampling_factors(step.param)[2:], strict=True)
    )
    return rows, columns


def _pixel_shuffle(step: _Step, field: _Field) -> _Field:
    factor = upscale_factor(step.param)
    rows, columns = (span.over(factor, factor, 0) for span in field)
    return rows, columns


def _pad(step: _Step, field: _Field) -> _Field:
    repeats = step.param.pad_param.pad_type != PadParameter.CONSTANT
    if repeats or len(step.shape) != 4:
        return step.whole(field)
    _, _, (above, _), (left, _) = padded_ends(step.param, 4)
    return field[0].shifted(-above), field[1].shifted(-left)


def _interp(step: _Step, field: _Field) -> _Field:
    before, after = -step.param.interp_param.pad_beg, -step.param.interp_param.pad_end
    rows, columns = (
        span.shifted(before).from_corner_to_corner(inputs - before - after, outputs)
        for span, inputs, outputs in zip(field, step.shape[2:], step.top[2:], strict=True)
    )
    return rows, columns


def _argmax(step: _Step, field: _Field) -> _Field:
    options = step.param.argmax_param
    axes = [options.axis % len(step.shape)] if options.HasField("axis") else (2, 3)
    return step.whole(field, axes)


def _permute(step: _Step, field: _Field) -> _Field:
    order = permuted_axes(step.param, len(step.shape))
    return field if order[2:] == (2, 3) else step.whole(field)


_RULES: dict[str, _Rule] = {
    "AbsVal": _pointwise,
    "ArgMax": _argmax,
    "BNLL": _pointwise,
    "BatchReindex": _pointwise,
    "BatchNorm": _unless(
        lambda p: (
            p.batch_norm_param.use_global_stats
            or not p.batch_norm_param.HasField("use_global_stats")
        )
    ),
    "Bias": _pointwise,
    "BilinearInterpolate": _everything,
    "ChannelScale": _pointwise,
    "Clip": _pointwise,
    "Concat": _along(joined_axis),
    "Convolution": _convolution,
    "Correlation": _everything,
    "Crop": _crop,
    "CropCenter": _crop_center,
    "Deconvolution": _deconvolution,
    "DeformableConvolution": _everything,
    "Dropout": _pointwise,
    "DummyData": _pointwise,
    "ELU": _pointwise,
    "Eltwise": _pointwise,
    "Exp": _pointwise,
    "Filter": _pointwise,
    "Flatten": _everything,
    "Flip": _everything,
    "FlowWarp": _everything,
    "Gather": _gather,
    "GRN": _pointwise,
    "GroupNorm": _everything,
    "HardSigmoid": _pointwise,
    "HardSwish": _pointwise,
    "Im2col": _convolution,
    "InnerDistance": _everything,
    "InnerProduct": _everything,
    "Interp": _interp,
    "L2Normalize": _everything,
    "LRN": _lrn,
    "Local": _local,
    "Log": _pointwise,
    "MVN": _everything,
    "MaxUnPool": _everything,
    "Mish": _pointwise,
    "ModulatedDeformableConvolution": _everything,
    "NdPooling": _pooling,
    "NormalizationL2": _everything,
    "Normalize": _unless(
        lambda p: p.HasField("normalize_param") or not p.norm_param.across_spatial
    ),
    "PReLU": _pointwise,
    "Pad": _pad,
    "Padding": _pad,
    "Parameter": _pointwise,
    "Permute": _permute,
    "PixelShuffle": _pixel_shuffle,
    "Pooling": _pooling,
    "Pooling3D": _pooling,
    "Power": _pointwise,
    "PythonLayer": _everything,
    "ReLU": _pointwise,
    "ReLU6": _pointwise,
    "Reduction": _everything,
    "Region": _unless(lambda p: p.region_param.HasField("num")),
    "Resample": _everything,
    "Reorg": _everything,
    "Reshape": _everything,
    "Reverse": _reverse,
    "SPP": _everything,
    "Scale": _pointwise,
    "SeLu": _pointwise,
    "SeLuDropout": _pointwise,
    "ShuffleChannel": _pointwise,
    "Sigmoid": _pointwise,
    "Slice": _along(joined_axis),
    "Softmax": _along(lambda p: p.softmax_param.axis),
    "SpatialTransformer": _everything,
    "Split": _pointwise,
    "Squeeze": _everything,
    "Swish": _pointwise,
    "TanH": _pointwise,
    "Threshold": _pointwise,
    "Tile": _along(lambda p: p.tile_param.axis),
    "Transpose": _permute,
    "Unpooling": _everything,
    "Unsqueeze": _everything,
    "Upsample": _upsample,
}
