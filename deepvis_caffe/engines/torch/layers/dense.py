"""InnerProduct and Embed: ``x -> y`` through a learned matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.arrays import copy_on_device
from deepvis_caffe.engines.torch.derived import Derived
from deepvis_caffe.engines.torch.device import has_packed
from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, register
from deepvis_caffe.model import graph


@register("InnerProduct")
class InnerProduct(Layer):
    """The axes from `axis` on, flattened in (C, H, W) order, times the weights, plus the bias."""

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
        """Only some of its outputs, if they are axis 1 of the top."""
        if self.axis != 1:
            return None
        some = copy_on_device(torch.tensor(channels, dtype=torch.long), self.weight.device)
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


class EvenInnerProduct:
    """For ascents: an inner product with the same values for an image alone as in a batch.

    A product of one row uses a different kernel, which sums in a different order. So a single image
    is computed as a batch of two copies, which reads the weights no more often.

    Parameters
    ----------
    inner
        The inner product.
    """

    def __init__(self, inner: InnerProduct) -> None:
        self._inner = inner

    def infer(self, *bottoms: Tensor) -> Tops:
        """The inner product's own, which does not pack weights for one image."""
        return self._inner.infer(*bottoms)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the shape of x only."""
        (x,) = bottoms
        if not self._is_alone(x):
            return self._inner.fwd(x)
        return (self._inner.infer(torch.cat([x, x]))[0][:1],), x.shape

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """``dx = dy w``."""
        (dy,) = dys
        assert dy is not None
        if not self._is_alone(dy):
            return self._inner.bwd(saved, dys, mode)
        (dx,) = self._inner.bwd((2, *saved[1:]), [torch.cat([dy, dy])], mode)
        assert dx is not None
        return (dx[:1],)

    def last_bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The same: nothing was saved that could be overwritten."""
        return self.bwd(saved, dys, mode)

    def _is_alone(self, x: Tensor) -> bool:
        return len(x) == 1 and self._inner.axis == 1 and has_packed(x)


class _Product:
    """``x w^T + b``, (N, I) -> (N, O), with weights packed for oneDNN.

    For one row, each weight is read once in any layout. For more rows, packed weights are up to 1.3
    times as fast on a CPU, and worth the memory of the copies. They also make the order of each
    output's sum independent of the number of rows, of threads and, if there are at least two, of
    outputs.

    Parameters
    ----------
    transpose
        Whether the given weights are ``w^T``.
    """

    def __init__(self, transpose: bool) -> None:
        self._transpose = transpose
        self._packed: Derived[Tensor] = Derived()  # by number of rows

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
    """The weights' row for each integer in x, plus the bias; without a gradient."""

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        rows = F.embedding(x.long(), self.weight)
        return rows + self.bias if self.param.embed_param.bias_term else rows


@register("InnerDistance")
class InnerDistance(Layer):
    """The squared L2 or the L1 distance of each row to each of several centers.

    The centers are its weights, or the rows of a second bottom. From caffe-windows, which has no
    bias here either, and reads weights row by row even with `transpose`.
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
        # A matrix product would lose the differences between close rows to rounding.
        mode = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(x.reshape(-1, inputs), rows, order, mode)
        distance = distance if order == 1 else distance.square()
        return distance.reshape(*before, len(rows))
