"""Convolutions whose taps move: ``(x (N, C, H, W), offsets, ...) -> (N, O, OH, OW)``.

Every tap of the kernel is taken from where an offset points, in bilinear interpolation. Each of G
parts of the channels has offsets of its own, at every position of the top. Diffs get to x, to the
offsets and to the weights of taps.
"""

from __future__ import annotations

import math
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.layer import Layer, register
from deepvis_caffe.engines.torch.layers.layout import top_shapes
from deepvis_caffe.model.shapes.windows import deformable_groups, deformable_options
from deepvis_caffe.model.sliding_window import SlidingWindow, convolution_window

AT_ONCE = 2**24  # values of taps: 64 MiB


class _Deformable(Layer):
    """What both kinds share."""

    weight: Tensor
    bias: Tensor

    def moved(self, x: Tensor, offsets: Tensor, size: tuple[int, ...]) -> Tensor:
        """Row and column of x that each tap reads: (N, G, kernel, OH, OW, 2).

        Parameters
        ----------
        x
            (N, C, H, W).
        offsets
            (N, G * kernel * 2, ...), for each tap down, then across.
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
        """The top: interpolated values of x, 0 off the map, times the filters.

        So many images at a time as keep the taps, a kernel's area of times x, within `AT_ONCE`.
        """
        # grid_sample counts columns first, and from -1 to 1 between the edges of the map.
        grid = (2 * at.flip(-1) + 1) / at.new_tensor(x.shape[:1:-1]) - 1
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
        """The top of some images. Of a matrix product autograd keeps only the filters."""
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
    """Of a bottom that has a value for each position, those for the positions of the top.

    Some forks ask for bottoms of the size of x, and read them as if they had the top's.
    """
    if values.shape[2:] == size:
        return values
    used = values.shape[1] * math.prod(size)
    return values.flatten(1)[:, :used].reshape(*values.shape[:2], *size)


def _places(window: SlidingWindow, size: tuple[int, ...], like: Tensor) -> Tensor:
    """Row and column of every tap without offsets: (kernel, OH, OW, 2)."""
    rows, columns = (
        torch.arange(kernel)[:, None] * dilation + torch.arange(positions) * stride - pad
        for kernel, dilation, positions, stride, pad in zip(
            window.kernel, window.dilation, size, window.stride, window.pad, strict=True
        )
    )
    down = rows[:, None, :, None].expand(-1, len(columns), -1, size[1])
    across = columns[None, :, None, :].expand(len(rows), -1, size[0], -1)
    return torch.stack([down, across], -1).flatten(0, 1).to(like)


@register("DeformableConvolution")
class DeformableConvolution(_Deformable):
    """Taps before the first row or column, or a whole one past the last, are 0.

    Dai et al. 2017, "Deformable Convolutional Networks". Between the last row and where the next
    would be, its code repeats the last.
    """

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:  # noqa: D102
        size = top_shapes(self, x, offsets)[0][2:]
        at, limit = self.moved(x, offsets, size), x.new_tensor(x.shape[2:])
        inside = ((at >= 0) & (at < limit)).all(-1, keepdim=True)
        return self.convolved(x, torch.where(inside, at.minimum(limit - 1), -2), size)


@register("ModulatedDeformableConvolution")
class ModulatedDeformableConvolution(_Deformable):
    """Each tap also has a weight, from a third bottom; the map goes on with zeros.

    Zhu et al. 2018, "Deformable ConvNets v2: More Deformable, Better Results".
    """

    def forward(self, x: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:  # noqa: D102
        size = top_shapes(self, x, offsets, weights)[0][2:]
        return self.convolved(x, self.moved(x, offsets, size), size, _of_top(weights, size))
