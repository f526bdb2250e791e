"""Many values into few: Reduction and ArgMax."""

from __future__ import annotations

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register
from deepvis_caffe.model.schema_pb2 import ReductionParameter


@register("Reduction")
def reduction(setup: Setup) -> Run:
    """Sum, sum of absolutes or of squares, or mean, over all axes from `axis` on."""
    param = setup.layer.param.reduction_param
    coefficient, operation = param.coeff, param.operation

    def run(x: Tensor) -> Tensor:
        axis = param.axis % x.ndim
        rows = x.reshape(*x.shape[:axis], -1)
        if operation == ReductionParameter.MEAN:
            return rows.mean(-1) * coefficient
        if operation == ReductionParameter.ASUM:
            rows = rows.abs()
        elif operation == ReductionParameter.SUMSQ:
            rows = rows * rows
        return rows.sum(-1) * coefficient

    return run


@register("ArgMax")
def argmax(setup: Setup) -> Run:
    """The `top_k` largest: their indices, their values, or both; it has no gradient.

    Along an axis, the top has `top_k` there. Without one, each image is flattened and the top is
    (N, 1, top_k), or (N, 2, top_k) with indices first and values second. On equal values Caffe
    lists the later index first.
    """
    param = setup.layer.param.argmax_param
    k = param.top_k

    def run(x: Tensor) -> Tensor:
        x = x.detach()
        if param.HasField("axis"):
            values, index = _largest(x, k, param.axis)
            return values if param.out_max_val else index
        values, index = _largest(x.flatten(1), k, 1)
        rows = [index, values] if param.out_max_val else [index]
        top = torch.stack(rows, 1)
        return top.reshape(top.shape + (1,) * (x.ndim - 3))

    return run


def _largest(x: Tensor, k: int, axis: int) -> tuple[Tensor, Tensor]:
    """The k largest along an axis and their indices, later ones first among equals."""
    values, index = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    index = x.shape[axis] - 1 - index
    return values.narrow(axis, 0, k), index.narrow(axis, 0, k).to(x.dtype)
