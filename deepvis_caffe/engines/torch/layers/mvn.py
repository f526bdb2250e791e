"""Mean-variance normalisation: ``x (N, C, H, W) -> (x - mean) / (std + eps)``."""

from __future__ import annotations

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.explicit import explicit
from deepvis_caffe.engines.torch.registry import Run, Setup, register
from deepvis_caffe.model.shapes.registry import legacy


class Standardise:
    """(x - mean) / (std + eps) over the last axis.

    In its gradient Caffe leaves eps out of the derivative of std. With the tiny eps of practice
    that is the gradient, and it stays finite where all values are equal; so we do as Caffe does.
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``y = (x - mean) / (std + eps)``."""
        std, mean = torch.std_mean(x, -1, correction=0, keepdim=True)
        std = std + self.eps
        y = (x - mean) / std
        return y, (y, std)

    def backward(self, dy: Tensor, y: Tensor, std: Tensor) -> Tensor:
        """``dx = (dy - mean(dy) - y * mean(dy * y)) / (std + eps)``."""
        along_y = y * (dy * y).mean(-1, keepdim=True)
        return (dy - dy.mean(-1, keepdim=True) - along_y) / std


@register("MVN")
def mvn(setup: Setup) -> Run:
    """Zero mean, and unit variance if asked for, for each channel or across them."""
    param = setup.layer.param.mvn_param
    first = 1 if param.across_channels else 2
    standardise = explicit(Standardise(param.eps), setup)

    def run(x: Tensor) -> Tensor:
        x = x.reshape(legacy(tuple(x.shape)))
        rows = x.flatten(first)
        if param.normalize_variance:
            return standardise(rows).reshape(x.shape)
        return (rows - rows.mean(-1, keepdim=True)).reshape(x.shape)

    return run
