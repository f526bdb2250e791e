"""Layers that follow each other, run as one: ``x -> relu((w * x + b) * factor + offset + other)``.

A tensor of activations that is written and read again costs more than the arithmetic of most
layers, and a fresh one costs most: the system hands out its pages one by one. So a pass runs a
convolution, what scales its channels (BatchNorm by stored statistics, Scale, Bias), a sum with
another value (He et al. 2016, "Deep Residual Learning for Image Recognition") and a ReLU in one
sweep. Factors are multiplied into the filters beforehand, in float64, so that values differ from
those layer by layer by rounding only.
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
    """A `Layer`'s two directions, or those of several layers in one; see there."""

    def infer(self, *bottoms: Tensor) -> Tops:
        """The tops, where no diff will come back."""

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """The tops, and what :meth:`bwd` needs."""

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The bottoms' diffs for the tops'."""


def fused(
    below: Runnable, layer: Layer, scale: bool = True
) -> FusedConvolution | FusedAffine | None:
    """What runs `layer` together with what makes one of its bottoms; None if nothing does.

    Parameters
    ----------
    below
        A layer, or several as one.
    layer
        The only reader of its top.
    scale
        Whether filters may be scaled beforehand.
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
    """A convolution and what follows it.

    Attributes
    ----------
    convolution
        The convolution.
    affine
        Layers that scale its channels, in order.
    adds
        Whether another value, the second bottom, is added then.
    relu
        A ReLU without a slope, at the end.
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
        """Saves the top, whose sign the ReLU needs, and the height and width of x."""
        convolution = self._current()
        y = self._top(convolution, bottoms)
        return (y,), (convolution, y if self.relu else None, bottoms[0].shape[2:])

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The ReLU's, which is the other value's too, then the convolution's."""
        convolution, y, size = saved
        if self.relu is not None:
            dys = self.relu.bwd(y, dys, mode)
        (dx,) = convolution.bwd(size, dys, mode)
        return (dx, *dys) if self.adds else (dx,)

    def _top(self, convolution: ImageConvolution, bottoms: tuple[Tensor, ...]) -> Tensor:
        x, *others = bottoms
        return convolution.correlate(x, self.relu is not None, *others)

    def _current(self) -> ImageConvolution:
        """The convolution whose filters hold all factors."""
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
    """Layers that scale the channels of a value, and a ReLU after them.

    Attributes
    ----------
    affine
        The layers, in order.
    relu
        A ReLU without a slope, at the end.
    """

    affine: tuple[Layer, ...]
    relu: ReLU | None = None
    _whole: Derived[tuple[Tensor, Tensor]] = field(default_factory=Derived, init=False)

    def infer(self, *bottoms: Tensor) -> Tops:
        """The last layer's top."""
        return self.fwd(*bottoms)[0]

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves the top, whose sign the ReLU needs."""
        (x,) = bottoms
        factor, offset = self._whole.get(learned(*self.affine), x.ndim, self._make)
        y = torch.addcmul(offset, x, factor)
        if self.relu is None:
            return (y,), (factor, None)
        y.clamp_(min=0)
        return (y,), (factor, y)

    def bwd(self, saved: Any, dys: Diffs, mode: str) -> Diffs:
        """The ReLU's, then ``dx = dy * factor``."""
        factor, y = saved
        if self.relu is not None:
            dys = self.relu.bwd(y, dys, mode)
        (dy,) = dys
        assert dy is not None
        return (dy * factor,)

    def _make(self, weights: Sequence[Tensor], axes: int) -> tuple[Tensor, Tensor]:
        shape = -1, *(1,) * (axes - 2)
        factor, offset = affine_of(self.affine, weights[0])
        own = weights[0].dtype
        return factor.to(own).reshape(shape), offset.to(own).reshape(shape)


def affine_of(layers: Sequence[Layer], like: Tensor) -> tuple[Tensor, Tensor]:
    """Factor and offset of each channel through some layers, float64 (C,), where `like` is."""
    factor = torch.ones((), dtype=torch.float64, device=like.device)
    offset = torch.zeros_like(factor)
    for layer in layers:
        found = layer.affine()
        assert found is not None
        factor, offset = factor * found[0], offset * found[0] + found[1]
    return factor, offset.expand_as(factor)


def learned(*layers: Layer) -> list[Tensor]:
    """The blobs of some layers."""
    blobs = (layer.blob(name) for layer in layers for name in layer.blobs)
    return [blob for blob in blobs if blob is not None]
