"""L2 normalisation (Liu et al. 2015, ParseNet): ``x (N, C, ...) -> scale * x / norm``."""

from __future__ import annotations

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.explicit import explicit
from deepvis_caffe.engines.torch.registry import Run, Setup, register


class Normalize:
    """scale * x / sqrt(sum x^2 + eps), the sum over channels or over the whole image.

    In its gradient Caffe multiplies by the scale last, which is the gradient only where all
    channels have one scale. The engines must agree, so we do as Caffe does.
    """

    def __init__(self, scale: Tensor, across_spatial: bool, eps: float) -> None:
        self.scale, self.across_spatial, self.eps = scale, across_spatial, eps

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``y = scale * u, u = x / norm``."""
        norm = torch.sqrt(self._total(x * x) + self.eps)
        unit = x / norm
        return unit * self._per_channel(x), (unit, norm)

    def backward(self, dy: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
        """``dx = scale * (dy - u * sum(u * dy)) / norm``."""
        along_unit = unit * self._total(unit * dy)
        return self._per_channel(dy) * (dy - along_unit) / norm

    def _total(self, x: Tensor) -> Tensor:
        axes = list(range(1, x.ndim)) if self.across_spatial else [1]
        return x.sum(axes, keepdim=True)

    def _per_channel(self, x: Tensor) -> Tensor:
        return self.scale.reshape(-1, *(1,) * (x.ndim - 2))


@register("Normalize")
def normalize(setup: Setup) -> Run:
    """Unit length times a learned scale, one for each channel or one for all."""
    param = setup.layer.param.norm_param
    return explicit(Normalize(setup.weights[0], param.across_spatial, param.eps), setup)
