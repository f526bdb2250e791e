"""InnerProduct and Embed: ``x -> y`` through a learned matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.torch.derived import Derived
from deepvis_caffe.engines.torch.device import has_packed
from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, register
from deepvis_caffe.model import graph


@register("InnerProduct")
class InnerProduct(Layer):
    """All axes from `axis` on, flattened in (C, H, W) order, times the weights, plus the bias."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter]) -> None:
        super().__init__(layer, weights)
        p = layer.param.inner_product_param
        self.axis, self.transpose = p.axis, p.transpose
        if not p.bias_term:
            self.bias = None
        self._up, self._down = _Product(self.transpose), _Product(not self.transpose)

    @property
    def matrix(self) -> Tensor:
        """(O, I)."""
        return self.weight.T if self.transpose else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """(..., I...) -> (..., O)."""
        return self._apart(x, F.linear(self._rows(x), self.matrix, self.bias))

    def infer(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        (x,) = bottoms
        return (self._apart(x, self._up(self._rows(x), self.blob("weight"), self.blob("bias"))),)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the shape of x only."""
        (x,) = bottoms
        return self.infer(x), x.shape

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """``dx = dy w``."""
        (dy,) = dys
        assert dy is not None
        dx = self._down(dy.reshape(-1, dy.shape[-1]), self.blob("weight"))
        return (dx.reshape(saved),)

    def narrowed(self, channels: Sequence[int]) -> Layer | None:
        """Only some of its outputs, where they are axis 1 of the top."""
        if self.axis != 1:
            return None
        some = list(channels)
        weights = [self.weight[:, some] if self.transpose else self.weight[some]]
        weights += [] if self.bias is None else [self.bias[some]]
        return InnerProduct(
            self.layer, [nn.Parameter(blob, requires_grad=False) for blob in weights]
        )

    def _rows(self, x: Tensor) -> Tensor:
        axis = self.axis % x.ndim
        return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))

    def _apart(self, x: Tensor, rows: Tensor) -> Tensor:
        return rows.reshape(*x.shape[: self.axis % x.ndim], rows.shape[1])


class _Product:
    """``x w^T + b``, (N, I) -> (N, O), with weights packed for oneDNN.

    Of one row a product reads every weight once whichever way they lie. For more rows packed
    weights are up to 1.3 times as fast on a CPU, and worth the memory of their copies.

    Parameters
    ----------
    transpose
        Whether the weights that it is given are those of ``w^T``.
    """

    def __init__(self, transpose: bool) -> None:
        self._transpose = transpose
        self._packed: Derived[Tensor] = Derived()  # for so many rows

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if len(x) < 2 or not has_packed(x):
            return F.linear(x, self._matrix(weight), bias)
        packed = self._packed.get((weight,), len(x), self._pack)
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], None)

    def _pack(self, weights: Sequence[Tensor], rows: int) -> Tensor:
        matrix = self._matrix(weights[0]).contiguous()
        return torch.ops.mkldnn._reorder_linear_weight(matrix, rows)

    def _matrix(self, weight: Tensor) -> Tensor:
        matrix = weight.detach()
        return matrix.T if self._transpose else matrix


@register("Embed")
class Embed(Layer):
    """The weights' row for each integer of x, plus the bias; it has no gradient."""

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        rows = F.embedding(x.long(), self.weight)
        return rows + self.bias if self.param.embed_param.bias_term else rows


@register("InnerDistance")
class InnerDistance(Layer):
    """The distance of every row to each of several centers: squared, or the sum of absolutes.

    The centers are its weights, or the rows of a second bottom. Of caffe-windows, which has no bias
    here either. It reads weights with `transpose` row by row all the same.
    """

    weight: Tensor

    def forward(self, x: Tensor, *centers: Tensor) -> Tensor:  # noqa: D102
        p = self.param.inner_distance_param
        before, inputs = x.shape[: p.axis % x.ndim], math.prod(x.shape[p.axis % x.ndim :])
        rows = centers[0] if centers else self.weight
        rows = rows.reshape(-1, inputs)
        if p.normalize and not centers:
            rows = rows / torch.sqrt((rows * rows).sum(1, keepdim=True) + 1e-6)
        order = 1.0 if p.distance_type == "L1" else 2.0
        # By products the differences of near rows would be lost to rounding.
        mode = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(x.reshape(-1, inputs), rows, order, mode)
        distance = distance if order == 1 else distance.square()
        return distance.reshape(*before, len(rows))
