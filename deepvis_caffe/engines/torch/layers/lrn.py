"""Local response normalisation (Krizhevsky et al. 2012): ``x -> x * scale ** -beta``.

With m the mean over a window, zeros outside the blob, and a window that Caffe calls `local_size`:
scale = k + alpha * m(x^2). Windows run across channels, or over an area within each; within
channels Caffe ignores k.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.explicit import explicit
from deepvis_caffe.engines.torch.kernels import Correlate
from deepvis_caffe.engines.torch.registry import Run, Setup, register
from deepvis_caffe.model.schema_pb2 import LRNParameter

Mean = Callable[[Tensor], Tensor]


class LRN:
    """The normalisation by any mean over windows.

    `mean` is its own transpose: windows are symmetric and all divide by the same number.
    """

    def __init__(self, mean: Mean, alpha: float, beta: float, k: float) -> None:
        self.mean, self.alpha, self.beta, self.k = mean, alpha, beta, k

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``y = x * scale^-beta, scale = k + alpha m(x^2)``."""
        scale = self.mean(x * x).mul_(self.alpha).add_(self.k)
        power = _power(scale, -self.beta)
        return x * power, (x, scale, power)

    def backward(self, dy: Tensor, x: Tensor, scale: Tensor, power: Tensor) -> Tensor:
        """``dx = dy * scale^-beta - 2 alpha beta x m(dy * y / scale)``."""
        direct = dy * power
        around = self.mean((direct * x).div_(scale))
        return direct.addcmul_(x, around, value=-2 * self.alpha * self.beta)


def _power(scale: Tensor, exponent: float) -> Tensor:
    if exponent == -0.75:  # as in every net of note; roots are far faster than powers
        return (scale * scale.sqrt()).rsqrt_()
    return scale**exponent


@register("LRN")
def lrn(setup: Setup) -> Run:
    """Across channels or within each; `deconv_ignore` passes the deconv mode's diff through."""
    param = setup.layer.param.lrn_param
    if param.norm_region == LRNParameter.WITHIN_CHANNEL:
        return explicit(LRN(_area(param.local_size), param.alpha, param.beta, 1.0), setup)
    return explicit(LRN(_Channels(param.local_size), param.alpha, param.beta, param.k), setup)


def _area(size: int) -> Mean:
    return lambda z: F.avg_pool2d(z, size, 1, (size - 1) // 2)


class _Channels:
    """Mean over neighbouring channels, as a 1x1 convolution with a band matrix.

    The zeros outside the band cost multiplications but no precision, and over channels a matrix
    product is the fastest way on a CPU, in either memory format.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._bands: dict[int, Correlate] = {}

    def __call__(self, z: Tensor) -> Tensor:
        channels = z.shape[1]
        if channels not in self._bands:
            position = torch.arange(channels, device=z.device)
            near = (position[:, None] - position).abs() <= (self.size - 1) // 2
            self._bands[channels] = Correlate(near.to(z.dtype)[:, :, None, None] / self.size, None)
        return self._bands[channels](z)
