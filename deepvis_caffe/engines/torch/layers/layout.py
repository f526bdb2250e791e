"""Layers that rearrange, split, join or reduce blobs.

Shapes come from the rules in `deepvis_caffe.model.shapes`.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, one_or_all, register
from deepvis_caffe.model.schema_pb2 import EltwiseParameter, PadParameter, ReductionParameter
from deepvis_caffe.model.shapes import RULES
from deepvis_caffe.model.shapes.layout import (
    joined_axis,
    padded_ends,
    permuted_axes,
    reversed_axes,
    upscale_factor,
)


def top_shapes(layer: Layer, *bottoms: Tensor) -> list[tuple[int, ...]]:
    """Shapes of a layer's tops for these bottoms."""
    rule = RULES[layer.layer.type]
    return list(rule(layer.param, [tuple(x.shape) for x in bottoms]).tops)


# -- one blob in another shape -------------------------------------------------------------------


@register("Flatten", "Reshape", "Squeeze", "Unsqueeze")
class Reshape(Layer):
    """Axes merged or replaced; values stay in (C, H, W) order."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.reshape(top_shapes(self, x)[0])


@register("Permute", "Transpose")
class Permute(Layer):
    """Axes in the given order, the others after them (SSD, CTPN)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.permute(permuted_axes(self.param, x.ndim))


@register("Crop")
class Crop(Layer):
    """The first blob cropped to the second's size, from `axis` on, at the given offsets."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:  # noqa: D102
        param, size = self.param.crop_param, top_shapes(self, x, like)[0]
        offset = list(param.offset) or [0]
        axes = range(param.axis % x.ndim, x.ndim)
        for axis, start in zip(axes, offset * len(axes), strict=False):
            x = x.narrow(axis, start, size[axis])
        return x


@register("Tile")
class Tile(Layer):
    """The blob repeated along an axis."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        times = [1] * x.ndim
        times[self.param.tile_param.axis] = self.param.tile_param.tiles
        return x.repeat(times)


@register("Reorg")
class Reorg(Layer):
    """Space to depth, or with `reverse` depth to space, in darknet's order (YOLO v2).

    With `reverse`, C channels are stride^2 groups of C / stride^2, one for each place in a block of
    the top. Without, darknet applies the inverse of that *as if* the bottom had the shape of such a
    top, C / stride^2 channels and stride times the rows and columns, and then reinterprets the
    memory in the top's shape. So a channel of the top is not a regular grid of the bottom's
    positions; nets are trained with that order.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C stride^2, H / stride, W / stride), or the other way round."""
        s = self.param.reorg_param.stride
        images, channels, height, width = x.shape
        if self.param.reorg_param.reverse:
            groups = x.reshape(images, s, s, channels // s**2, height, width)
            moved = groups.permute(0, 3, 4, 1, 5, 2)
        else:
            blocks = x.reshape(images, channels // s**2, height, s, width, s)
            moved = blocks.permute(0, 3, 5, 1, 2, 4)
        return moved.reshape(top_shapes(self, x)[0])


@register("PixelShuffle")
class PixelShuffle(Layer):
    """Depth to space: each block of channels becomes a block of positions.

    Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
    Convolutional Neural Network".
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.pixel_shuffle(x, upscale_factor(self.param))


@register("Pad", "Padding")
class Pad(Layer):
    """Padding around a blob: with a constant, or with its border repeated or mirrored.

    Negative padding crops.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        ends = [n for both in reversed(padded_ends(self.param, x.ndim)) for n in both]
        if self.param.type == "Padding":
            return F.pad(x, ends, value=self.param.padding_param.pad_value)
        options = self.param.pad_param
        if options.paddings:
            return F.pad(x, ends, value=options.constant_values)
        if options.pad_type == PadParameter.CONSTANT or min(ends) < 0:
            return F.pad(x, ends, value=options.pad_value)
        mirrored = options.pad_type == PadParameter.REFLECT
        return F.pad(x, ends[:4], "reflect" if mirrored else "replicate")


@register("ShuffleChannel")
class ShuffleChannel(Layer):
    """The first channel of each group, then the second of each, and so on.

    Zhang et al. 2017, "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
    Devices".
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        groups = x.unflatten(1, (self.param.shuffle_channel_param.group, -1))
        return groups.transpose(1, 2).flatten(1, 2)


@register("Reverse")
class Reverse(Layer):
    """The blob reversed along axes, by default along the first."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.flip(reversed_axes(self.param, tuple(x.shape)))


@register("Flip")
class Flip(Layer):
    """Images mirrored, left to right, top to bottom, or both."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.flip_param
        return x.flip([2] * p.flip_height + [3] * p.flip_width)


@register("CropCenter")
class CropCenter(Layer):
    """The blob cropped at both ends of its axes (waifu2x)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for axis, ends in enumerate(self.param.crop_center_param.crop_size):
            x = x.narrow(axis, ends, x.shape[axis] - 2 * ends)
        return x


@register("Gather")
class Gather(Layer):
    """The given positions of one axis."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.gather_param
        (places,) = self.constants(x, None, lambda: [torch.tensor(list(p.indices))])
        some = x.index_select(p.axis % x.ndim, places)
        return some.reshape(top_shapes(self, x)[0])


@register("BatchReindex")
class BatchReindex(Layer):
    """The images whose indices the second blob holds, in its order."""

    def forward(self, x: Tensor, index: Tensor) -> Tensor:  # noqa: D102
        return x[index.long()]


# -- one blob to several, several to one ---------------------------------------------------------


@register("Split")
class Split(Layer):
    """Copies of the blob."""

    def forward(self, x: Tensor) -> Tensor | Tops:  # noqa: D102
        return one_or_all([x.view_as(x) for _ in self.layer.tops])


@register("Slice")
class Slice(Layer):
    """A blob split along an axis at the slice points, or into equal parts."""

    def forward(self, x: Tensor) -> Tensor | Tops:  # noqa: D102
        axis = joined_axis(self.param)
        return one_or_all(x.split([shape[axis] for shape in top_shapes(self, x)], axis))


@register("Silence")
class Silence(Layer):
    """Does nothing; keeps Caffe from listing its bottoms as outputs."""

    def forward(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        return ()


@register("Filter")
class Filter(Layer):
    """The images of each blob that the last blob selects, by values other than 0."""

    def forward(self, *bottoms: Tensor) -> Tensor | Tops:  # noqa: D102
        *blobs, selector = bottoms
        chosen = selector.flatten() != 0
        return one_or_all([x[chosen] for x in blobs])


@register("Concat")
class Concat(Layer):
    """Blobs joined along an axis; `concat_dim` is the axis's older name."""

    def forward(self, *bottoms: Tensor) -> Tensor:  # noqa: D102
        return torch.cat(bottoms, joined_axis(self.param))

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the axis and the sizes of the bottoms along it."""
        axis = joined_axis(self.param)
        return (torch.cat(bottoms, axis),), ([x.shape[axis] for x in bottoms], axis)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """Each bottom's part of dy, as a view."""
        (dy,) = dys
        assert dy is not None
        return dy.split(*saved)


@register("Eltwise")
class Eltwise(Layer):
    """Product, weighted sum, or maximum of blobs of the same shape."""

    @property
    def plain_sum(self) -> bool:
        """Whether it adds two blobs without coefficients."""
        param = self.param.eltwise_param
        ones = all(coefficient == 1 for coefficient in param.coeff)
        return param.operation == EltwiseParameter.SUM and ones and len(self.layer.bottoms) == 2

    def forward(self, *bottoms: Tensor) -> Tensor:  # noqa: D102
        param = self.param.eltwise_param
        if param.operation == EltwiseParameter.PROD:
            # Caffe's `stable_prod_grad: false` divides the product by each factor: the same
            # gradient, but NaN where a factor is 0. The product of the others serves both.
            return functools.reduce(operator.mul, bottoms)
        if param.operation == EltwiseParameter.MAX:
            return _maximum(*bottoms)
        coefficients = list(param.coeff) or [1.0] * len(bottoms)
        total = bottoms[0] if coefficients[0] == 1 else bottoms[0] * coefficients[0]
        for x, coefficient in zip(bottoms[1:], coefficients[1:], strict=True):
            total = torch.add(total, x, alpha=coefficient)
        return total


def _maximum(*bottoms: Tensor) -> Tensor:
    # Ties as in Caffe, gradient included: the second bottom beats the first, later ones lose.
    first, second, *rest = bottoms
    best = torch.where(first > second, first, second)
    for x in rest:
        best = torch.where(x > best, x, best)
    return best


# -- many values to few --------------------------------------------------------------------------


@register("Reduction")
class Reduction(Layer):
    """Sum, sum of absolute values or of squares, or mean, over all axes from `axis` on."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        param = self.param.reduction_param
        rows = x.flatten(param.axis % x.ndim)
        if param.operation == ReductionParameter.MEAN:
            return rows.mean(-1) * param.coeff
        if param.operation == ReductionParameter.ASUM:
            rows = rows.abs()
        elif param.operation == ReductionParameter.SUMSQ:
            rows = rows * rows
        return rows.sum(-1) * param.coeff


@register("ArgMax")
class ArgMax(Layer):
    """The indices of the `top_k` largest values, their values, or both; without a gradient.

    With an axis, the top has size `top_k` along it. Without one, each image is flattened and the
    top is (N, 1, top_k), or (N, 2, top_k) with indices first and values second. Among equal values
    Caffe lists the later index first.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        param, x = self.param.argmax_param, x.detach()
        if param.HasField("axis"):
            values, index = _largest(x, param.top_k, param.axis)
            return values if param.out_max_val else index
        values, index = _largest(x.flatten(1), param.top_k, 1)
        top = torch.stack([index, values] if param.out_max_val else [index], 1)
        return top.reshape(top.shape + (1,) * (x.ndim - 3))


def _largest(x: Tensor, k: int, axis: int) -> tuple[Tensor, Tensor]:
    """The k largest values along an axis and their indices; later ones first among equals."""
    values, index = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    index = x.shape[axis] - 1 - index
    return values.narrow(axis, 0, k), index.narrow(axis, 0, k).to(x.dtype)
