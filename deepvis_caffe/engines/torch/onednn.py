"""oneDNN's convolution and matrix product with weights laid out once, and a ReLU in one sweep.

PyTorch's public functions lay the weights out anew in each call. These operators, which its own
compiler emits, do not: on a CPU a product with few rows takes half the time, and small
convolutions lose a tenth to a quarter. Where this PyTorch lacks them, :func:`usable` says no.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

_OPERATORS = (
    "_convolution_pointwise",
    "_convolution_pointwise_",
    "_linear_pointwise",
    "_reorder_convolution_weight",
    "_reorder_linear_weight",
)


def usable(x: Tensor) -> bool:
    """Whether x is a float32 tensor on a CPU for which this PyTorch has the operators."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and _available()


@functools.cache
def _available() -> bool:
    present = all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
    return present and torch.backends.mkldnn.is_available()


class PackedConvolution:
    """``conv2d`` with packed weights; parameters as there."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        group: int,
    ) -> None:
        self._weight, self._bias = weight, bias
        self._window = (pad, stride, dilation, group)
        self._packed: Tensor | None = None
        self._packed_for: torch.Size | None = None

    def __call__(self, x: Tensor, rectify: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, O, OH, OW), channels last; max(y, 0) if `rectify`."""
        after = "relu" if rectify else "none"
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._packed_for_size(x), self._bias, *self._window, after, [], None
        )

    def add(self, y: Tensor, x: Tensor, rectify: bool = False) -> Tensor:
        """The same, added to y in its memory."""
        after = "relu" if rectify else None
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            y, x, self._packed_for_size(x), self._bias, *self._window, "add", 1.0, after, [], None
        )

    def _packed_for_size(self, x: Tensor) -> Tensor:
        if x.shape != self._packed_for:  # the best layout depends on the images' number and size
            pack = torch.ops.mkldnn._reorder_convolution_weight
            self._packed = pack(self._weight, *self._window, x.shape)
            self._packed_for = x.shape
        assert self._packed is not None
        return self._packed


class PackedLinear:
    """``linear`` with packed weights: (N, I) -> (N, O)."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias
        self._packed: Tensor | None = None
        self._packed_for = 0

    def __call__(self, x: Tensor) -> Tensor:
        """The product with the transposed weight, plus the bias."""
        if len(x) != self._packed_for:
            weight = self._weight.contiguous()
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, len(x))
            self._packed_for = len(x)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], None)
