"""Resizing of maps without weights: ``x (N, C, H, W) -> y (N, C, OH, OW)``."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.device import vector
from deepvis_caffe.engines.torch.layer import Layer, Tops, register
from deepvis_caffe.engines.torch.layers.layout import top_shapes
from deepvis_caffe.model.schema_pb2 import ResampleParameter, UnpoolingParameter
from deepvis_caffe.model.shapes.resampling import (
    given_theta,
    unpooling_window,
    upsampling_factors,
)


def scattered(layer: Layer, x: Tensor, index: Tensor, size: tuple[int, ...]) -> Tensor:
    """Zeros of (..., *size) with x at the positions in `index`, which count row by row.

    If two values go to the same position the later one wins, and both get its gradient, as in
    Caffe.

    A position outside of the map is an error. On a GPU, whose values the host reads only in the
    first pass of a shape, all is NaN if there is one later.
    """
    positions = math.prod(size)
    where = index.flatten(2).long()

    def check() -> Tops:
        if where.numel() and not 0 <= int(where.min()) <= int(where.max()) < positions:
            raise layer.cannot_run(
                (x, index),
                f"its mask refers to position {int(where.max())} of a map of {positions}; scale or "
                "size does not match the pooling that made the mask",
            )
        return ()

    plane, flat = x.new_zeros(*x.shape[:2], positions), x.flatten(2)
    if x.device.type == "cpu":
        check()
        plane = plane.scatter(2, where, flat)
    else:
        layer.constants(x, (tuple(index.shape), size), check)
        inside = ((where >= 0) & (where < positions)).all()
        plane = plane.scatter(2, where.clamp(0, positions - 1), flat)
        plane = torch.where(inside, plane, float("nan"))
    return plane.reshape(*x.shape[:2], *size)


@register("Upsample")
class Upsample(Layer):
    """Each value repeated over a block, or, with a mask, at the position that the mask gives.

    The mask is a MAX pooling's second top: SegNet's decoder (Badrinarayanan et al. 2015,
    "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation").
    """

    def forward(self, x: Tensor, *mask: Tensor) -> Tensor:  # noqa: D102
        if mask:
            return scattered(self, x, mask[0], top_shapes(self, x, *mask)[0][2:])
        for axis, factor in enumerate(upsampling_factors(self.param)):
            x = x.repeat_interleave(factor, axis)
        return x


@register("Unpooling")
class Unpooling(Layer):
    """The reverse of a pooling (Noh et al. 2015, "Learning Deconvolution Network").

    MAX puts each value at the position given by the mask, the second bottom, or without one at the
    first position of its window. AVE spreads it over its window, TILE repeats it there; overlaps
    add up.
    """

    def forward(self, x: Tensor, *mask: Tensor) -> Tensor:  # noqa: D102
        size = top_shapes(self, x, *mask)[0][2:]
        kernel, stride = unpooling_window(self.param)
        if self.param.unpooling_param.unpool in (UnpoolingParameter.FIXED, UnpoolingParameter.MAX):
            return scattered(self, x, mask[0] if mask else _corners(x, stride, size), size)
        if self.param.unpooling_param.unpool == UnpoolingParameter.AVE:
            rows, columns = (
                (limit - torch.arange(n, device=x.device) * s).clamp(1, k)
                for n, k, s, limit in zip(x.shape[2:], kernel, stride, size, strict=True)
            )
            x = x / torch.outer(rows, columns)
        planes = x.reshape(-1, 1, *x.shape[2:])
        spread = F.conv_transpose2d(planes, x.new_ones(1, 1, *kernel), None, stride)
        spread = spread[:, :, : size[0], : size[1]]
        room = size[0] - spread.shape[2], size[1] - spread.shape[3]
        return F.pad(spread, (0, room[1], 0, room[0])).reshape(*x.shape[:2], *size)


@register("MaxUnPool")
class MaxUnPool(Layer):
    """Each value at the position that a MAX pooling's mask gives, zeros elsewhere."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # noqa: D102
        return scattered(self, x, mask, top_shapes(self, x, mask)[0][2:])


@register("BilinearInterpolate")
class BilinearInterpolate(Layer):
    """Bilinear interpolation, with or without `align_corners`."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        corners = self.param.bilinear_interpolate_param.align_corners
        size = top_shapes(self, x)[0][2:]
        return F.interpolate(x, size, mode="bilinear", align_corners=corners)


@register("SpatialTransformer")
class SpatialTransformer(Layer):
    """Each image warped by its own affine map, bilinearly, with zeros around it.

    Jaderberg et al. 2015, "Spatial Transformer Networks", as in K. Mo's code for Caffe. There rows
    come first, and row i of n has the coordinate 2 i / n - 1. Coefficients of the affine map that
    the parameters do not fix come from the second bottom, in order. They have a diff, and so has x,
    whatever `to_compute_dU` says.
    """

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:  # noqa: D102
        rows, columns = top_shapes(self, x, theta)[0][2:]
        free = iter(theta.flatten(1).unbind(1))
        given = given_theta(self.param)
        numbers = [next(free) if n is None else x.new_full((len(x),), n) for n in given]
        maps = torch.stack(numbers, 1).reshape(-1, 2, 3)
        count = partial(torch.arange, dtype=x.dtype, device=x.device)
        row, column = (count(n) * 2 / n - 1 for n in (rows, columns))
        row, column = row[:, None].expand(rows, columns), column.expand(rows, columns)
        places = torch.stack([row, column, torch.ones_like(row)], -1)
        seen = places.reshape(-1, 3) @ maps.transpose(1, 2)  # (N, positions, 2)
        # In grid_sample -1 and 1 are the map's edges, and columns come first.
        grid = (seen + 1 / vector(seen, x.shape[2:])).flip(2).unflatten(1, (rows, columns))
        return F.grid_sample(x, grid, align_corners=False)


def _corners(x: Tensor, stride: tuple[int, int], size: tuple[int, ...]) -> Tensor:
    """The first position of each window, as a mask."""
    rows, columns = (
        (torch.arange(n, device=x.device) * s).clamp(max=limit - 1)
        for n, s, limit in zip(x.shape[2:], stride, size, strict=True)
    )
    return (rows[:, None] * size[1] + columns).expand(x.shape)


@register("Interp")
class Interp(Layer):
    """Bilinear interpolation that maps corners to corners.

    From the code of Chen et al. 2014, "Semantic Image Segmentation with Deep Convolutional Nets and
    Fully Connected CRFs". A second bottom gives only the size.
    """

    def forward(self, x: Tensor, *like: Tensor) -> Tensor:  # noqa: D102
        options, size = self.param.interp_param, top_shapes(self, x, *like)[0][2:]
        rows, columns = (slice(-options.pad_beg, n + options.pad_end) for n in x.shape[2:])
        x = x[:, :, rows, columns]
        return F.interpolate(x, size, mode="bilinear", align_corners=True)


@register("Resample")
class Resample(Layer):
    """Nearest, linear or cubic resampling, with wider filters for downsampling (`antialias`).

    From the code of Ilg et al. 2016, "FlowNet 2.0", which runs on GPUs only. It offsets the first
    row by the horizontal factor and the first column by the vertical one, which differs from the
    usual if the factors differ.
    """

    def forward(self, x: Tensor, *like: Tensor) -> Tensor:  # noqa: D102
        sizes = tuple(x.shape[2:]), top_shapes(self, x, *like)[0][2:]
        make = partial(self._matrices, *sizes, x.dtype)
        rows, columns = self.constants(x, sizes, make)
        return rows @ x @ columns.T

    def _matrices(
        self, inputs: tuple[int, ...], outputs: tuple[int, ...], dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        down, across = (old / new for old, new in zip(inputs, outputs, strict=True))
        less = self.param.resample_param.antialias and max(down, across) > 1
        rows = self._matrix(inputs[0], outputs[0], across, less)
        columns = self._matrix(inputs[1], outputs[1], down, less)
        return rows.to(dtype), columns.to(dtype)

    def _matrix(self, inputs: int, outputs: int, other: float, antialias: bool) -> Tensor:
        """(outputs, inputs): the weight of each row or column of the bottom in each of the top."""
        kind, factor = self.param.resample_param.type, inputs / outputs
        at = torch.arange(outputs, dtype=torch.float64) * factor + other / 2 - 0.5
        nearest = torch.trunc(at + torch.where(at < 0, -0.5, 0.5))  # half away from zero
        position = torch.arange(inputs, dtype=torch.float64)
        if kind == ResampleParameter.NEAREST:
            weights = (nearest.clamp(0, inputs - 1)[:, None] == position).double()
        else:
            cubic = kind == ResampleParameter.CUBIC
            narrow = 1 / factor if antialias else 1.0
            radius = 2 if factor < 1 else math.ceil((4 if cubic else 2) / narrow)
            distance = narrow * (at[:, None] - position)
            weights = _cubic(distance) if cubic else (1 - distance.abs()).clamp(min=0)
            weights = weights * ((nearest[:, None] - position).abs() <= radius)
            total = weights.sum(1, keepdim=True)
            weights = torch.where(total == 0, total, weights / total)
        return weights


def _cubic(distance: Tensor) -> Tensor:
    """Keys's cubic filter with a = -1/2."""
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
