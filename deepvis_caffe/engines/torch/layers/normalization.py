"""Normalization layers, and the affine layers that go with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, one_or_all, register
from deepvis_caffe.engines.torch.layers.layout import top_shapes
from deepvis_caffe.model import graph
from deepvis_caffe.model.schema_pb2 import LRNParameter
from deepvis_caffe.model.shapes.registry import legacy


@register("BatchNorm")
class BatchNorm(Layer):
    """``(x - mean) / sqrt(variance + eps)`` for each channel, with the stored statistics.

    If `use_global_stats` is false, with the batch's own. The third blob scales the other two: Caffe
    keeps running sums, not running means.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor
    blobs = ("mean", "variance", "count")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...)."""
        param = self.param.batch_norm_param
        if param.HasField("use_global_stats") and not param.use_global_stats:
            axes = [0, *range(2, x.ndim)]
            variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
            return (x - mean) / torch.sqrt(variance + param.eps)
        mean, variance = self._statistics()
        return F.batch_norm(x, mean, variance, eps=param.eps)

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Only with the stored statistics."""
        param = self.param.batch_norm_param
        if param.HasField("use_global_stats") and not param.use_global_stats:
            return None
        mean, variance = (one.double() for one in self._statistics())
        factor = (variance + param.eps).rsqrt()
        return factor, -mean * factor

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, (C,)."""
        mean, variance, count = (b.reshape(-1) for b in (self.mean, self.variance, self.count))
        factor = torch.where(count == 0, torch.zeros_like(count), 1 / count)
        return mean * factor, variance * factor


def aligned(factor: Tensor, x: Tensor, axis: int) -> Tensor:
    """`factor` with its axes aligned to those of x from `axis` on, for broadcasting."""
    first = axis % x.ndim if factor.ndim else 0
    return factor.reshape(factor.shape + (1,) * (x.ndim - first - factor.ndim))


@register("Scale")
class Scale(Layer):
    """Multiply along some axes by learned factors or the second bottom; add a bias, if any."""

    scale: Tensor
    bias: Tensor

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        self.blobs = ("scale", "bias") if len(layer.bottoms) == 1 else ("bias",)
        super().__init__(layer, weights)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:  # noqa: D102
        param = self.param.scale_param
        factor = aligned(given[0] if given else self.scale, x, param.axis)
        if not param.bias_term:
            return x * factor
        return torch.addcmul(aligned(self.bias, x, param.axis), x, factor)

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Only with learned factors per channel."""
        param = self.param.scale_param
        if len(self.layer.bottoms) > 1 or param.axis != 1 or self.scale.ndim != 1:
            return None
        factor = self.scale.double()
        return factor, self.bias.double() if param.bias_term else torch.zeros_like(factor)


@register("Bias")
class Bias(Layer):
    """Add learned values or the second bottom along some axes."""

    bias: Tensor
    blobs = ("bias",)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:  # noqa: D102
        return x + aligned(given[0] if given else self.bias, x, self.param.bias_param.axis)

    def affine(self) -> tuple[Tensor, Tensor] | None:
        """Only with learned values per channel."""
        if len(self.layer.bottoms) > 1 or self.param.bias_param.axis != 1 or self.bias.ndim != 1:
            return None
        offset = self.bias.double()
        return torch.ones_like(offset), offset


@register("LRN")
class LRN(Layer):
    """Local response normalization (Krizhevsky et al. 2012): ``y = x * scale ** -beta``.

    ``scale = k + alpha * m(x^2)``, where m is the mean over a window of `local_size` with zeros
    outside the blob. Windows run across channels, or over an area within each; within channels
    Caffe ignores k. In deconv mode `deconv_ignore` passes diffs through.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * self._scale(x * x) ** -self.param.lrn_param.beta

    def infer(self, *bottoms: Tensor) -> Tops:
        """The same to the last bit as `fwd`."""
        return self._with_powers(*bottoms)[0]

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves x, the scale and its power."""
        return self._with_powers(*bottoms)

    def _with_powers(self, x: Tensor) -> tuple[Tops, Any]:
        squares = x * x
        scale = self._scale(squares)
        beta = self.param.lrn_param.beta
        # Every well-known net has 0.75, and roots are far faster than powers. The squares' memory
        # is used again: the system takes longer to map a new tensor's pages than these roots take.
        if beta == 0.75:
            power = torch.sqrt(scale, out=squares).mul_(scale).rsqrt_()
        else:
            power = scale**-beta
        return (x * power,), (x, scale, power)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """``dx = dy * scale^-beta - 2 alpha beta x m(dy * y / scale)``.

        m is its own transpose: windows are symmetric, and all have the same divisor.
        """
        (dy,), (x, scale, power), rule = dys, saved, self.rule(mode)
        assert dy is not None
        if rule is not None:
            return (rule(dy, x),)
        direct = dy * power
        around = self._mean((direct * x).div_(scale))
        p = self.param.lrn_param
        return (direct.addcmul_(x, around, value=-2 * p.alpha * p.beta),)

    def _scale(self, squares: Tensor) -> Tensor:
        p = self.param.lrn_param
        k = 1.0 if p.norm_region == LRNParameter.WITHIN_CHANNEL else p.k
        return self._mean(squares, p.alpha, k)

    def _mean(self, z: Tensor, factor: float = 1.0, offset: float = 0.0) -> Tensor:
        """``factor * m(z) + offset``."""
        p = self.param.lrn_param
        size, margin = p.local_size, (p.local_size - 1) // 2
        if p.norm_region == LRNParameter.WITHIN_CHANNEL:
            return F.avg_pool2d(z, size, 1, margin) * factor + offset
        # Sums of shifted channels: faster than a product with a band matrix, and than cumulative
        # sums or poolings over channels.
        each = factor / size
        total = torch.add(z.new_full((), offset), z, alpha=each)
        for shift in range(1, margin + 1):
            total[:, shift:].add_(z[:, :-shift], alpha=each)
            total[:, :-shift].add_(z[:, shift:], alpha=each)
        return total


@register("MVN")
class MVN(Layer):
    """Zero mean and, optionally, unit variance, for each channel or across them.

    Caffe divides by ``std + eps`` but ignores eps in the derivative of std. For the tiny eps in use
    that equals the gradient, and it stays finite where all values are equal. `bwd` does the same,
    while autograd through `forward` gives the exact derivative.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), with missing axes of size 1."""
        return self.fwd(x)[0][0]

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the top and the deviations."""
        (x,) = bottoms
        param, shape = self.param.mvn_param, x.shape
        x = x.reshape(legacy(tuple(shape)))
        rows = x.flatten(1 if param.across_channels else 2)
        std, mean = torch.std_mean(rows, -1, correction=0, keepdim=True)
        y, std = rows - mean, std + param.eps
        if param.normalize_variance:
            y = y / std
        return (y.reshape(x.shape),), (y, std, shape)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """``dx = (dy - mean(dy) - y * mean(dy * y)) / (std + eps)``."""
        (dy,), (y, std, shape) = dys, saved
        assert dy is not None
        dy = dy.reshape(y.shape)
        dx = dy - dy.mean(-1, keepdim=True)
        if self.param.mvn_param.normalize_variance:
            dx = (dx - y * (dy * y).mean(-1, keepdim=True)) / std
        return (dx.reshape(shape),)


@register("Normalize")
def normalize(layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> Layer:
    """SSD's Normalize, or that of caffe-windows, which has no weights."""
    of_ssd = not layer.param.HasField("normalize_param")
    return ScaledNormalize(layer, weights) if of_ssd else ChannelNormalize(layer, weights)


class ChannelNormalize(Layer):
    """x divided by its L1 or L2 norm along the channels, and the norm (caffe-windows)."""

    def forward(self, x: Tensor) -> Tensor | Tops:  # noqa: D102
        tops = top_shapes(self, x)
        if self.param.normalize_param.normalize_type == "L1":
            norm = x.abs().sum(1, keepdim=True) + 1e-6
        else:
            norm = torch.sqrt((x * x).sum(1, keepdim=True) + 1e-6)
        found = zip((x / norm, norm), tops, strict=False)
        return one_or_all([y.reshape(top) for y, top in found])


@register("NormalizationL2", "L2Normalize")
class ImageNormalize(Layer):
    """x divided by the L2 norm of the whole image (GGL; C3D 1.1)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        small = 1e-10 if self.layer.type == "NormalizationL2" else 1e-7
        rows = x.flatten(1)
        return (rows / torch.sqrt((rows * rows).sum(1, keepdim=True) + small)).reshape(x.shape)


@register("GRN")
class GRN(Layer):
    """x divided by its L2 norm along the channels (OpenVINO).

    With `dummy_backward` the diff passes through unchanged, as in OpenVINO.
    """

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.grn_param
        unit = x / torch.sqrt((x * x).sum(1, keepdim=True) + p.bias)
        return unit.detach() + (x - x.detach()) if p.dummy_backward else unit


@register("GroupNorm")
class GroupNorm(Layer):
    """Zero mean and unit variance over each group of channels (Wu and He 2018)."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        p = self.param.group_norm_param
        return F.group_norm(x, p.group_num, eps=p.eps)


@register("ChannelScale")
class ChannelScale(Layer):
    """x times a factor per position, the same for all channels, or times one learned factor.

    From caffe-windows, where it undoes a Normalize with the norms.
    """

    scale: Tensor
    blobs = ("scale",)

    def forward(self, x: Tensor, factors: Tensor) -> Tensor | Tops:  # noqa: D102
        p = self.param.channel_scale_param
        if not p.global_scale:
            scale = factors.reshape(x.shape[0], 1, *x.shape[2:])
            return x * scale if p.do_forward else x.view_as(x)
        scale = self.scale.clamp(p.min_global_scale, p.max_global_scale)
        scaled = x * scale if p.do_forward else x.view_as(x)
        return one_or_all([scaled, scale][: len(self.layer.tops)])


class ScaledNormalize(Layer):
    """L2 normalization (Liu et al. 2015, ParseNet): ``scale * x / sqrt(sum x^2 + eps)``.

    The sum is over channels or over the whole image; there is one scale per channel or one for all.
    Caffe's backward pass multiplies by the scale last, which gives the gradient only if all
    channels share one scale. The engines must agree, so `bwd` does the same.
    """

    scale: Tensor
    blobs = ("scale",)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.fwd(x)[0][0]

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """``y = scale * u, u = x / norm``."""
        (x,) = bottoms
        norm = torch.sqrt(self._total(x * x) + self.param.norm_param.eps)
        unit = x / norm
        return (unit * self._per_channel(x),), (unit, norm)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """``dx = scale * (dy - u * sum(u * dy)) / norm``."""
        (dy,), (unit, norm) = dys, saved
        assert dy is not None
        along_unit = unit * self._total(unit * dy)
        return (self._per_channel(dy) * (dy - along_unit) / norm,)

    def _total(self, x: Tensor) -> Tensor:
        whole = self.param.norm_param.across_spatial
        return x.sum(list(range(1, x.ndim)) if whole else [1], keepdim=True)

    def _per_channel(self, x: Tensor) -> Tensor:
        return self.scale.reshape(-1, *(1,) * (x.ndim - 2))
