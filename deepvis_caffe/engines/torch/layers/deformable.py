"""Deformable convolutions: ``(x (N, C, H, W), offsets, ...) -> (N, O, OH, OW)``.

Each tap of the kernel reads x, bilinearly interpolated, at a place that an offset moves. Each of G
groups of channels has offsets of its own, for each position of the top. Diffs reach x, the offsets
and the taps' weights.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.device import vector
from deepvis_caffe.engines.torch.layer import Layer, register
from deepvis_caffe.engines.torch.layers.layout import top_shapes
from deepvis_caffe.model.shapes.windows import deformable_groups, deformable_options
from deepvis_caffe.model.sliding_window import SlidingWindow, convolution_window

AT_ONCE = 2**24  # tap values: 64 MiB


class _Deformable(Layer):
    """Base class of both versions."""

    weight: Tensor
    bias: Tensor

    def moved(self, x: Tensor, offsets: Tensor, size: tuple[int, ...]) -> Tensor:
        """Row and column of x that each tap reads: (N, G, kernel, OH, OW, 2).

        Parameters
        ----------
        x
            (N, C, H, W).
        offsets
            (N, G * kernel * 2, ...); for each tap first the vertical, then the horizontal one.
        size
            (OH, OW).
        """
        window = convolution_window(deformable_options(self.param), 2)
        groups = deformable_groups(self.param, offsets.shape)
        taps = math.prod(window.kernel)
        moves = _of_top(offsets, size).reshape(len(x), groups, taps, 2, *size)
        return moves.movedim(3, -1) + _places(window, size, x)

    def convolved(
        self, x: Tensor, at: Tensor, size: tuple[int, ...], weights: Tensor | None = None
    ) -> Tensor:
        """The top: interpolated values of x, 0 outside the map, times the filters.

        Processes as many images at a time as keep the tap values, a kernel's area times as many as
        x has, within `AT_ONCE`.
        """
        # grid_sample takes columns first, from -1 to 1 between the map's edges.
        grid = (2 * at.flip(-1) + 1) / vector(at, x.shape[:1:-1]) - 1
        taps = math.prod(x.shape[1:2] + at.shape[2:-1])
        images = max(1, AT_ONCE // taps)
        parts = zip(
            x.split(images),
            grid.split(images),
            repeat(None) if weights is None else weights.split(images),
            strict=False,
        )
        top = torch.cat([self._some(*part, size) for part in parts])
        options = deformable_options(self.param)
        return top + self.bias[:, None, None] if options.bias_term else top

    def _some(
        self, x: Tensor, grid: Tensor, weights: Tensor | None, size: tuple[int, ...]
    ) -> Tensor:
        """The top of some images, by a matrix product: autograd keeps only its filters."""
        options = deformable_options(self.param)
        filters = self.weight.reshape(options.group, options.num_output // options.group, -1)
        parts = grid.shape[1]
        maps = x.reshape(len(x) * parts, x.shape[1] // parts, *x.shape[2:])
        taps = F.grid_sample(maps, grid.flatten(2, 3).flatten(0, 1), align_corners=False)
        if weights is not None:
            taps = taps * weights.reshape(len(maps), 1, *taps.shape[2:])
        columns = taps.reshape(len(x), *filters.shape[::2], math.prod(size)).permute(1, 2, 0, 3)
        found = torch.bmm(filters, columns.flatten(2))
        return found.reshape(options.num_output, len(x), *size).transpose(0, 1)


def _of_top(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """The values of a bottom for the positions of the top.

    Some forks require bottoms of the size of x, but read them as if they had the top's size.
    """
    if values.shape[2:] == size:
        return values
    used = values.shape[1] * math.prod(size)
    return values.flatten(1)[:, :used].reshape(*values.shape[:2], *size)


def _places(window: SlidingWindow, size: tuple[int, ...], like: Tensor) -> Tensor:
    """Row and column of each tap before offsets: (kernel, OH, OW, 2)."""
    count = partial(torch.arange, device=like.device)
    rows, columns = (
        count(kernel)[:, None] * dilation + count(positions) * stride - pad
        for kernel, dilation, positions, stride, pad in zip(
            window.kernel, window.dilation, size, window.stride, window.pad, strict=True
        )
    )
    down = rows[:, None, :, None].expand(-1, len(columns), -1, size[1])
    across = columns[None, :, None, :].expand(len(rows), -1, size[0], -1)
    return torch.stack([down, across], -1).flatten(0, 1).to(like.dtype)


@register("DeformableConvolution")
class DeformableConvolution(_Deformable):
    """Taps before the first row or column, or at least one past the last, are 0.

    Dai et al. 2017, "Deformable Convolutional Networks". Within one row or column past the last,
    its code repeats the last.
    """

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:  # noqa: D102
        size = top_shapes(self, x, offsets)[0][2:]
        at, limit = self.moved(x, offsets, size), vector(x, x.shape[2:])
        inside = ((at >= 0) & (at < limit)).all(-1, keepdim=True)
        return self.convolved(x, torch.where(inside, at.minimum(limit - 1), -2), size)


@register("ModulatedDeformableConvolution")
class ModulatedDeformableConvolution(_Deformable):
    """Each tap also has a weight, from a third bottom; the map is padded with zeros.

    Zhu et al. 2018, "Deformable ConvNets v2: More Deformable, Better Results".
    """

    def forward(self, x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:  # noqa: D102
        size = top_shapes(self, x, offsets, weights)[0][2:]
        return self.convolved(x, self.moved(x, offsets, size), size, _of_top(weights, size))
