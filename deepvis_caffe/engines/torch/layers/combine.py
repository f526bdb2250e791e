"""Several blobs into one, and one blob several times: Concat, Eltwise, Split, Silence."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register
from deepvis_caffe.model.schema_pb2 import EltwiseParameter
from deepvis_caffe.model.shapes.layout import joined_axis


@register("Concat")
class Concat:
    """Blobs joined along an axis; `concat_dim` is the axis's older name."""

    def __init__(self, setup: Setup) -> None:
        self.axis = joined_axis(setup.layer.param)

    def __call__(self, *bottoms: Tensor) -> Tensor:
        """One blob after the other."""
        return torch.cat(bottoms, self.axis)

    def forward(self, *bottoms: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        """The same for an ascent."""
        return (self(*bottoms),), [x.shape[self.axis] for x in bottoms]

    def backward(
        self, dys: Sequence[Tensor | None], saved: Any, own: bool
    ) -> tuple[Sequence[Tensor], bool]:
        """Each bottom's part of the diff, not copied."""
        (dy,) = dys
        assert dy is not None
        return dy.split(saved, self.axis), own


@register("Split")
def split(setup: Setup) -> Run:
    """The same values several times; each top is its own node, so that each has its own diff."""
    tops = len(setup.layer.tops)
    return lambda x: tuple(x.view_as(x) for _ in range(tops))


@register("Silence")
def silence(setup: Setup) -> Run:
    """Nothing: it keeps Caffe from listing its bottoms as outputs."""
    return lambda *bottoms: ()


@register("Eltwise")
def eltwise(setup: Setup) -> Run:
    """Product, sum with coefficients, or maximum of blobs of one shape."""
    param = setup.layer.param.eltwise_param
    if param.operation == EltwiseParameter.PROD:
        # Caffe's `stable_prod_grad: false` divides the product by each factor: the same gradient,
        # but NaN where a factor is 0. The product of the others serves both.
        return _product
    if param.operation == EltwiseParameter.MAX:
        return _maximum
    coefficients = list(param.coeff) or [1.0] * len(setup.layer.bottoms)
    return functools.partial(_sum, coefficients)


def _product(*bottoms: Tensor) -> Tensor:
    return functools.reduce(operator.mul, bottoms)


def _sum(coefficients: list[float], *bottoms: Tensor) -> Tensor:
    first, *rest = bottoms
    total = first if coefficients[0] == 1 else first * coefficients[0]
    for x, coefficient in zip(rest, coefficients[1:], strict=True):
        total = torch.add(total, x, alpha=coefficient)
    return total


def _maximum(*bottoms: Tensor) -> Tensor:
    # Caffe's ties: of the first two bottoms the second wins, later ones lose; so goes the gradient.
    first, second, *rest = bottoms
    best = torch.where(first > second, first, second)
    for x in rest:
        best = torch.where(x > best, x, best)
    return best
