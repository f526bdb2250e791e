"""Pooling: ``x (N, C, H, W) -> y (N, C, OH, OW)`` and, for MAX, ``-> (y, mask)``.

Caffe rounds the output's size up, and drops a last window that would start in the padding, but
only where there is padding. AVE divides by the part of the window that lies in the *padded* image.
Torch's pooling agrees in all of that where the padding is at most half the window and no window
lies wholly outside the image; elsewhere the image is padded here first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, register
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model import graph
from deepvis_caffe.model.schema_pb2 import PoolingParameter
from deepvis_caffe.model.shapes.windows import pooled_size
from deepvis_caffe.model.sliding_window import pooling_window

# What Caffe starts every maximum from, and so leaves in a window that holds no pixel.
_LOWEST = float(np.finfo(np.float32).min)


class _Axis(NamedTuple):
    """One axis: pixels, and the windows that slide along them."""

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
        """The part of each window in the padded image; 1 for a window wholly outside of it."""
        starts = [i * self.stride - self.pad for i in range(self.windows)]
        return [max(min(s + self.kernel, self.size + self.pad) - s, 1) for s in starts]


@register("Pooling")
class Pooling(Layer):
    """MAX or AVE pooling with Caffe's windows."""

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        super().__init__(layer, weights)
        p = layer.param.pooling_param
        if p.pool == PoolingParameter.STOCHASTIC:
            raise EngineError(
                f"layer {layer.name!r} (Pooling): STOCHASTIC pooling is not defined outside "
                "training, not by Caffe on a CPU either; set pool: AVE or pool: MAX in the deploy "
                "prototxt"
            )
        self.maximum, self.with_mask = p.pool == PoolingParameter.MAX, len(layer.tops) > 1
        self._options = self._options_within()
        # Where PyTorch has a module for it, that one, for tools that look for such; see `Function`.
        self.function: nn.MaxPool2d | None = None
        if self._options is not None:
            kernel, stride, pad, dilation, ceil_mode = self._options
            self.function = nn.MaxPool2d(kernel, stride, pad, dilation, ceil_mode=ceil_mode)

    def forward(self, x: Tensor) -> Tensor | Tops:
        """Pool x; global average pooling is a mean."""
        if self.function is not None:
            y: Tensor = self.function(x)
            return y
        p = self.param.pooling_param
        if p.global_pooling and not self.maximum:
            return x.mean((2, 3), keepdim=True)
        size = x.shape[2:]
        window = pooling_window(p, size)
        windows = pooled_size(size, window, p.ceil_mode)
        geometry = (size, window.kernel, window.stride, window.pad, windows)
        rows, columns = (_Axis(*numbers) for numbers in zip(*geometry, strict=True))
        return self._maximum(x, rows, columns) if self.maximum else self._average(x, rows, columns)

    def infer(self, *bottoms: Tensor) -> Tops:
        """Without hooks, as in all of a net's own passes."""
        if self.function is None:
            return super().infer(*bottoms)
        return (self.function.forward(*bottoms),)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Of a maximum within the image, saves where it is."""
        (x,) = bottoms
        if self._options is None:
            return super().fwd(x)
        y, index = torch.ops.aten.max_pool2d_with_indices(x, *self._options)
        return (y,), (x, index)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """``dx``, dy at the maxima."""
        if self._options is None:
            return super().bwd(saved, dys, mode)
        (dy,), (x, index) = dys, saved
        assert dy is not None
        return (torch.ops.aten.max_pool2d_with_indices_backward(dy, x, *self._options, index),)

    def _options_within(self) -> tuple[Any, ...] | None:
        """Torch's options of a maximum none of whose windows reaches over the image; else None."""
        p = self.param.pooling_param
        if not self.maximum or self.with_mask or p.global_pooling or p.pad or p.pad_h or p.pad_w:
            return None
        window = pooling_window(p, (1, 1))
        if any(s > k for s, k in zip(window.stride, window.kernel, strict=True)):
            return None
        return window.kernel, window.stride, (0, 0), (1, 1), p.ceil_mode

    def _maximum(self, x: Tensor, rows: _Axis, columns: _Axis) -> Tensor | tuple[Tensor, ...]:
        # On equal values both Caffe and torch take, and send the gradient to, the first in the
        # window, row by row.
        kernel, stride = _pairs(rows, columns)
        pad, ceil_mode = (rows.pad, columns.pad), self.param.pooling_param.ceil_mode
        if not (rows.as_torch and columns.as_torch):
            x = _padded(x, rows, columns, _LOWEST)
            pad, ceil_mode = (0, 0), False
        y, index = F.max_pool2d(x, kernel, stride, pad, 1, ceil_mode, return_indices=True)
        if not self.with_mask:
            return y
        # The mask counts positions of the image without the padding that was put around it here.
        row = index // x.shape[3] - (rows.pad - pad[0])
        column = index % x.shape[3] - (columns.pad - pad[1])
        return y, (row * columns.size + column).to(x.dtype)

    def _average(self, x: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
        kernel, stride = _pairs(rows, columns)
        if rows.as_torch and columns.as_torch:
            pad = (rows.pad, columns.pad)
            return F.avg_pool2d(x, kernel, stride, pad, self.param.pooling_param.ceil_mode)
        total = F.avg_pool2d(_padded(x, rows, columns, 0.0), kernel, stride, divisor_override=1)
        area = np.outer(rows.lengths(), columns.lengths())
        return total / torch.as_tensor(area, dtype=x.dtype, device=x.device)


def _pairs(rows: _Axis, columns: _Axis) -> tuple[tuple[int, int], tuple[int, int]]:
    return (rows.kernel, columns.kernel), (rows.stride, columns.stride)


def _padded(x: Tensor, rows: _Axis, columns: _Axis, value: float) -> Tensor:
    widths = (columns.pad, columns.pad_after, rows.pad, rows.pad_after)
    return F.pad(x, widths, value=value)
