"""Convolution and its transpose: ``(x, ...) -> (y, ...)``, one top for each bottom.

Groups; rectangular kernels, strides, paddings and dilations; one to three spatial axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.joined import JoinedConvolutionOp
from deepvis_caffe.engines.torch.kernels import Convolution2d, ConvolutionOp
from deepvis_caffe.engines.torch.ops import Op
from deepvis_caffe.engines.torch.registry import RuleNow, Run, Setup, register
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.sliding_window import convolution_window

_CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSE = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


@register("Convolution")
class Convolution:
    """Cross-correlation, as Caffe and torch both mean it: (N, C, ...) -> (N, O, ...)."""

    def __init__(self, setup: Setup) -> None:
        weight, bias, axes = _filters(setup)
        param = setup.layer.param.convolution_param
        window = convolution_window(param, axes)
        self.setup, self.axis, self.bottoms = setup, param.axis, len(setup.layer.bottoms)
        self.images = Convolution2d(weight, bias, window, param.group) if axes == 2 else None
        options = (bias, window.stride, window.pad, window.dilation, param.group)
        self._plain = lambda x: _CONVOLVE[axes - 1](x, weight, *options)

    def __call__(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        """One top for each bottom."""
        return _each(self.images or self._plain, self.axis, bottoms)

    def op(self, relu_rule: RuleNow | None, few: bool, joined: bool = False) -> Op | None:
        """The one convolution over images that this layer is, with a ReLU behind it; or None.

        Where its bottom is `joined`, the op takes what it is joined of.
        """
        if self.images is None or not self._is_one:
            return None
        if joined:
            return JoinedConvolutionOp(self.images, relu_rule)
        return ConvolutionOp(self.images, relu_rule, few)

    @property
    def _is_one(self) -> bool:
        """Whether it has one bottom, of (N, C, ...)."""
        return self.axis == 1 and self.bottoms == 1

    @property
    def joins(self) -> bool:
        """Whether :meth:`op` may take a joined bottom; not on a GPU, where nobody measured it."""
        on_cpu = torch.device(self.setup.device).type == "cpu"
        return on_cpu and self.images is not None and self.images.group == 1 and self._is_one

    def narrowed(self, channels: Sequence[int]) -> Convolution | None:
        """Only some of its filters, for one bottom of (N, C, ...) and filters that see all of C."""
        if not self._is_one or self.setup.layer.param.convolution_param.group > 1:
            return None
        weights = tuple(blob[list(channels)] for blob in self.setup.weights)
        return Convolution(replace(self.setup, weights=weights))


@register("Deconvolution")
def deconvolution(setup: Setup) -> Run:
    """The gradient of a convolution as a forward pass; its weights are (C, O / group, ...)."""
    weight, bias, axes = _filters(setup)
    param = setup.layer.param.convolution_param
    window = convolution_window(param, axes)
    no_extra = (0,) * axes
    options = (bias, window.stride, window.pad, no_extra, param.group, window.dilation)
    transpose = _TRANSPOSE[axes - 1]
    return lambda *bottoms: _each(lambda x: transpose(x, weight, *options), param.axis, bottoms)


def _filters(setup: Setup) -> tuple[Tensor, Tensor | None, int]:
    """Weight in the device's memory format, bias or None, number of spatial axes."""
    weight = setup.weights[0]
    axes = weight.ndim - 2
    if not 1 <= axes <= 3:
        raise EngineError(
            f"layer {setup.layer.name!r} ({setup.layer.type}): {axes} spatial axes; the torch "
            "engine convolves over one, two or three"
        )
    if axes == 2:
        weight = weight.contiguous(memory_format=setup.memory_format)
    has_bias = setup.layer.param.convolution_param.bias_term
    return weight, setup.weights[1] if has_bias else None, axes


def _each(
    run: Callable[[Tensor], Tensor], axis: int, bottoms: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """`run` on every bottom, the axes before the channels folded into one, as `axis` asks."""

    def folded(x: Tensor) -> Tensor:
        channels = axis % x.ndim
        if channels == 1:
            return run(x)
        y = run(x.reshape(-1, *x.shape[channels:]))
        return y.reshape(*x.shape[:channels], *y.shape[1:])

    return tuple(folded(x) for x in bottoms)
