"""Pooling: ``x (N, C, H, W) -> y (N, C, OH, OW)`` and, for MAX, ``-> (y, mask)``.

Blobs with one or three spatial axes are pooled the same way, as in some forks.

Caffe rounds the output size up, and if there is padding, drops a last window that would start in
it. AVE divides by the part of the window inside the *padded* image. torch's pooling does the same
if the padding is at most half the window and no window is entirely outside the image; otherwise the
image is padded explicitly first.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.torch.derived import Derived
from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, register
from deepvis_caffe.model import graph
from deepvis_caffe.model.schema_pb2 import LayerParameter, PoolingParameter
from deepvis_caffe.model.shapes.windows import pooled_size, pyramid_levels
from deepvis_caffe.model.sliding_window import pooling_window

# Caffe's initial value of a maximum, which remains in a window without pixels.
_LOWEST = float(np.finfo(np.float32).min)


class _Axis(NamedTuple):
    """One axis: its pixels, and the windows that slide along them."""

    size: int
    kernel: int
    stride: int
    pad: int
    windows: int

    @property
    def as_torch(self) -> bool:
        """Whether torch places the same windows."""
        last_inside = (self.windows - 1) * self.stride < self.size + self.pad
        return 2 * self.pad <= self.kernel and last_inside

    @property
    def pad_after(self) -> int:
        """Padding up to the end of the last window."""
        return max((self.windows - 1) * self.stride + self.kernel - self.size - self.pad, 0)

    def lengths(self) -> list[int]:
        """The length of each window inside the padded image; 1 for a window outside it."""
        starts = [i * self.stride - self.pad for i in range(self.windows)]
        return [max(min(s + self.kernel, self.size + self.pad) - s, 1) for s in starts]


_MAXIMUM = {2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {2: F.avg_pool2d, 3: F.avg_pool3d}


@register("NdPooling", "Pooling", "Pooling3D")
class Pooling(Layer):
    """MAX or AVE pooling with Caffe's windows."""

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        super().__init__(layer, weights)
        p = layer.param.pooling_param
        self.maximum, self.with_mask = p.pool == PoolingParameter.MAX, len(layer.tops) > 1
        self._options = self._options_within()
        # PyTorch's module, if there is one for it, for tools that look for it; see `Function`.
        self.function: nn.MaxPool2d | None = None
        if self._options is not None:
            kernel, stride, pad, dilation, ceil_mode = self._options
            self.function = nn.MaxPool2d(kernel, stride, pad, dilation, ceil_mode=ceil_mode)

    def forward(self, x: Tensor) -> Tensor | Tops:
        """Pool x."""
        if self.function is not None and x.ndim == 4:
            y: Tensor = self.function(x)
            return y
        p, size = self.param.pooling_param, x.shape[2:]
        if p.global_pooling and not self.maximum and x.is_cuda:
            # On a GPU windows this large are slow. On a CPU the order of a mean's sum, unlike that
            # of a window's, depends on the number of images, channels and threads.
            return x.mean(list(range(2, x.ndim)), keepdim=True)
        window = pooling_window(p, size)
        windows = pooled_size(size, window, p.ceil_mode, self.layer.type)
        geometry = (size, window.kernel, window.stride, window.pad, windows)
        axes = [_Axis(*numbers) for numbers in zip(*geometry, strict=True)]
        if len(axes) > 1:
            return self._pool(x, axes)
        found = self._pool(x.unsqueeze(2), [_Axis(1, 1, 1, 0, 1), *axes])  # an image of one row
        return tuple(y.squeeze(2) for y in found) if isinstance(found, tuple) else found.squeeze(2)

    def _pool(self, x: Tensor, axes: list[_Axis]) -> Tensor | Tops:
        return self._maximum(x, axes) if self.maximum else self._average(x, axes)

    def infer(self, *bottoms: Tensor) -> Tops:
        """Without hooks, as in all of a net's own passes."""
        if self.function is None or bottoms[0].ndim != 4:
            return super().infer(*bottoms)
        return (self.function.forward(*bottoms),)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """For a maximum within the image, saves its indices."""
        (x,) = bottoms
        if self._options is None or x.ndim != 4:
            return super().fwd(x)
        y, index = torch.ops.aten.max_pool2d_with_indices(x, *self._options)
        return (y,), (x, index)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """``dx``: dy at the maxima."""
        if self._options is None or isinstance(saved[0], list):  # saved by the base class
            return super().bwd(saved, dys, mode)
        (dy,), (x, index) = dys, saved
        assert dy is not None
        return (torch.ops.aten.max_pool2d_with_indices_backward(dy, x, *self._options, index),)

    def _options_within(self) -> tuple[Any, ...] | None:
        """Options of torch's MAX pooling if no window extends past the image; otherwise None."""
        p = self.param.pooling_param
        over_edges = p.pad or p.pad_h or p.pad_w or p.HasField("pad_shape")
        if not self.maximum or self.with_mask or p.global_pooling or over_edges:
            return None
        if p.HasField("kernel_shape"):
            return None
        window = pooling_window(p, (1, 1))
        if any(s > k for s, k in zip(window.stride, window.kernel, strict=True)):
            return None
        return window.kernel, window.stride, (0, 0), (1, 1), p.ceil_mode

    def _maximum(self, x: Tensor, axes: list[_Axis]) -> Tensor | Tops:
        # Among equal values both Caffe and torch choose the first in the window, row by row, and
        # send the gradient there.
        kernel, stride, pad = _geometry(axes)
        ceil_mode = self.param.pooling_param.ceil_mode
        if not all(axis.as_torch for axis in axes):
            x = _padded(x, axes, _LOWEST)
            pad, ceil_mode = (0,) * len(axes), False
        pool = _MAXIMUM[len(axes)]
        y, index = pool(x, kernel, stride, pad, 1, ceil_mode, return_indices=True)
        if not self.with_mask:
            return y
        # The mask counts positions in the blob without the padding added here.
        mask, count = torch.zeros_like(index), 1
        for axis, width, inside in reversed(list(zip(axes, x.shape[2:], pad, strict=True))):
            mask = mask + (index % width - (axis.pad - inside)) * count
            index, count = index // width, count * axis.size
        return y, mask.to(x.dtype)

    def _average(self, x: Tensor, axes: list[_Axis]) -> Tensor:
        (kernel, stride, pad), pool = _geometry(axes), _AVERAGE[len(axes)]
        if all(axis.as_torch for axis in axes):
            return pool(x, kernel, stride, pad, self.param.pooling_param.ceil_mode)
        total = pool(_padded(x, axes, 0.0), kernel, stride, divisor_override=1)
        (area,) = self.constants(x, tuple(axes), lambda: [_areas(axes).to(x.dtype)])
        return total / area


@register("SPP")
class SpatialPyramidPooling(Layer):
    """Pooling into 1, 4, 16, ... windows, concatenated: the same length for any image size.

    He et al. 2014, "Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition".
    """

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        super().__init__(layer, weights)
        self._pools: Derived[list[Pooling]] = Derived()

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        size = tuple(x.shape[2:])
        pools = self._pools.get((), size, lambda *_: self._make_pools(size))
        tops = [pool.infer(x)[0] for pool in pools]
        return torch.cat([y.flatten(1) for y in tops], 1) if len(tops) > 1 else tops[0]

    def _make_pools(self, size: tuple[int, ...]) -> list[Pooling]:
        levels = pyramid_levels(self.param, size)
        params = [LayerParameter(type="Pooling", pooling_param=level) for level in levels]
        return [Pooling(replace(self.layer, type="Pooling", param=param)) for param in params]


def _geometry(axes: list[_Axis]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernel, stride and padding, with an entry per axis."""
    kernel, stride, pad = zip(*((axis.kernel, axis.stride, axis.pad) for axis in axes), strict=True)
    return kernel, stride, pad


def _areas(axes: list[_Axis]) -> Tensor:
    """The area of each window, as Caffe counts it."""
    lengths = [np.array(one.lengths()) for one in axes]
    return torch.as_tensor(functools.reduce(np.multiply.outer, lengths))


def _padded(x: Tensor, axes: list[_Axis], value: float) -> Tensor:
    widths = [width for axis in reversed(axes) for width in (axis.pad, axis.pad_after)]
    return F.pad(x, widths, value=value)
