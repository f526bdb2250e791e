"""Fusion of consecutive layers: ``x -> relu((w * x + b) * factor + offset + other)``.

Writing an activation and reading it back costs more than the arithmetic of most layers, and newly
allocated memory costs most, as the system maps it page by page. So a pass fuses a convolution,
layers that scale its channels (BatchNorm with stored statistics, Scale, Bias), a sum with another
value (He et al. 2016, "Deep Residual Learning for Image Recognition") and a ReLU. Factors are
folded into the filters beforehand, in float64, so that fused values differ from unfused ones by
rounding only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.derived import Derived
from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops
from deepvis_caffe.engines.torch.layers.activation import ReLU
from deepvis_caffe.engines.torch.layers.convolution import ImageConvolution
from deepvis_caffe.engines.torch.layers.layout import Eltwise


class Runnable(Protocol):
    """The forward and backward pass of a `Layer`, or of several fused layers."""

    def infer(self, *bottoms: Tensor) -> Tops:
        """The tops, if no backward pass will follow."""

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """The tops, and what :meth:`bwd` needs."""

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The bottoms' diffs, given the tops'."""

    def last_bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The same; may overwrite what was saved."""


def fused(
    below: Runnable, layer: Layer, scale: bool = True
) -> FusedConvolution | FusedAffine | None:
    """Fuse `layer` with the producer of one of its bottoms; None if that is not possible.

    Parameters
    ----------
    below
        The producer: a layer, or several fused layers.
    layer
        The only reader of its top.
    scale
        Whether factors may be folded into filters.
    """
    if isinstance(below, ImageConvolution):
        below = FusedConvolution(below)
    elif scale and isinstance(below, Layer) and below.affine() is not None:
        below = FusedAffine((below,))
    if not isinstance(below, FusedConvolution | FusedAffine) or below.relu is not None:
        return None
    if isinstance(layer, ReLU):
        return None if layer.slope else replace(below, relu=layer)
    if isinstance(below, FusedConvolution) and below.adds:
        return None
    if scale and layer.affine() is not None:
        return replace(below, affine=(*below.affine, layer))
    if isinstance(below, FusedConvolution) and isinstance(layer, Eltwise) and layer.plain_sum:
        return replace(below, adds=True)
    return None


@dataclass(frozen=True, eq=False)
class FusedConvolution:
    """A convolution fused with the layers that follow it.

    Attributes
    ----------
    convolution
        The convolution.
    affine
        Layers that scale its channels, in order.
    adds
        Whether another value, the second bottom, is then added.
    relu
        A final ReLU without a negative slope.
    """

    convolution: ImageConvolution
    affine: tuple[Layer, ...] = ()
    adds: bool = False
    relu: ReLU | None = None
    _folded: Derived[ImageConvolution] = field(default_factory=Derived, init=False)

    def infer(self, *bottoms: Tensor) -> Tops:
        """The last layer's top."""
        return (self._top(self._current(), bottoms),)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the top, for the ReLU's sign, and the height and width of x."""
        convolution = self._current()
        y = self._top(convolution, bottoms)
        return (y,), (convolution, y if self.relu else None, bottoms[0].shape[2:])

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The ReLU's diff, which is also that of the added value, then the convolution's."""
        return self._bwd(saved, dys, mode, last=False)

    def last_bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The same; overwrites the top."""
        return self._bwd(saved, dys, mode, last=True)

    def _bwd(self, saved: Any, dys: Diffs, mode: str, last: bool) -> Diffs:
        convolution, y, size = saved
        dys = _below_relu(self.relu, y, dys, mode, last)
        (dx,) = convolution.bwd(size, dys, mode)
        return (dx, *dys) if self.adds else (dx,)

    def _top(self, convolution: ImageConvolution, bottoms: tuple[Tensor, ...]) -> Tensor:
        x, *others = bottoms
        return convolution.correlate(x, self.relu is not None, *others)

    def _current(self) -> ImageConvolution:
        """The convolution with all factors folded into its filters."""
        if not self.affine:
            return self.convolution
        weights = [*learned(self.convolution), *learned(*self.affine)]
        return self._folded.get(weights, None, self._fold)

    def _fold(self, weights: Sequence[Tensor], _: None) -> ImageConvolution:
        whole = self.convolution
        factor, offset = affine_of(self.affine, whole.weight)
        bias = offset if whole.bias is None else whole.bias.double() * factor + offset
        return whole.like(whole.weight.double() * factor[:, None, None, None], bias)


@dataclass(frozen=True, eq=False)
class FusedAffine:
    """Fused layers that scale the channels of a value, and a ReLU after them.

    Attributes
    ----------
    affine
        The layers, in order.
    relu
        A final ReLU without a negative slope.
    """

    affine: tuple[Layer, ...]
    relu: ReLU | None = None
    _whole: Derived[tuple[Tensor, Tensor]] = field(default_factory=Derived, init=False)

    def infer(self, *bottoms: Tensor) -> Tops:
        """The last layer's top."""
        return self.fwd(*bottoms)[0]

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the top, for the ReLU's sign."""
        (x,) = bottoms
        factor, offset = self._whole.get(learned(*self.affine), x.ndim, self._make)
        y = torch.addcmul(offset, x, factor)
        if self.relu is None:
            return (y,), (factor, None)
        y.clamp_(min=0)
        return (y,), (factor, y)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The ReLU's diff, then ``dx = dy * factor``."""
        return self._bwd(saved, dys, mode, last=False)

    def last_bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The same; overwrites the top."""
        return self._bwd(saved, dys, mode, last=True)

    def _bwd(self, saved: Any, dys: Diffs, mode: str, last: bool) -> Diffs:
        factor, y = saved
        (dy,) = _below_relu(self.relu, y, dys, mode, last)
        assert dy is not None
        return (dy * factor,)

    def _make(self, weights: Sequence[Tensor], axes: int) -> tuple[Tensor, Tensor]:
        shape = -1, *(1,) * (axes - 2)
        factor, offset = affine_of(self.affine, weights[0])
        own = weights[0].dtype
        return factor.to(own).reshape(shape), offset.to(own).reshape(shape)


def _below_relu(relu: ReLU | None, y: Any, dys: Diffs, mode: str, last: bool) -> Diffs:
    """The diffs below a ReLU with the top y, if there is one; the last pass overwrites y."""
    if relu is None:
        return dys
    return relu.last_bwd(y, dys, mode) if last else relu.bwd(y, dys, mode)


def affine_of(layers: Sequence[Layer], like: Tensor) -> tuple[Tensor, Tensor]:
    """The layers' combined factor and offset per channel, float64 (C,), on the device of `like`."""
    factor = torch.ones((), dtype=torch.float64, device=like.device)
    offset = torch.zeros_like(factor)
    for layer in layers:
        found = layer.affine()
        assert found is not None
        factor, offset = factor * found[0], offset * found[0] + found[1]
    return factor, offset.expand_as(factor)


def learned(*layers: Layer) -> list[Tensor]:
    """The learned blobs of some layers."""
    blobs = (layer.blob(name) for layer in layers for name in layer.blobs)
    return [blob for blob in blobs if blob is not None]
