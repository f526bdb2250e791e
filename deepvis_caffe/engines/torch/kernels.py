"""Two-dimensional convolutions, each with its own gradient: ``(x, w, b) -> y`` and ``dy -> dx``.

Autograd would do as well. This is faster on a CPU, where the ascent spends its time: weights are
laid out for oneDNN once instead of in each call, a ReLU that follows is computed in the same
sweep, the input need not be kept for the backward pass, and the gradient of a strided
convolution over few channels (the net's first) takes a quarter to a half of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deepvis_caffe.engines.torch.device import memory_format
from deepvis_caffe.engines.torch.onednn import PackedConvolution, usable
from deepvis_caffe.engines.torch.ops import rectified
from deepvis_caffe.engines.torch.registry import RuleNow
from deepvis_caffe.model.sliding_window import SlidingWindow

Size = tuple[int, ...]
# With fewer input channels than this, most lanes of oneDNN's strided backward idle.
_FEW_CHANNELS = 8
_FEW_LIVE = 16  # leave the others out where at most one channel in this many has a diff


class Correlate:
    """Cross-correlation with fixed filters, and an optional ReLU after it.

    Parameters
    ----------
    weight, bias
        (O, C / group, KH, KW) and (O,) or None.
    stride, pad, dilation, group
        As in ``conv2d``.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Size = (1, 1),
        pad: Size = (0, 0),
        dilation: Size = (1, 1),
        group: int = 1,
    ) -> None:
        self._options = (weight, bias, stride, pad, dilation, group)
        self._packed = PackedConvolution(*self._options)

    def __call__(self, x: Tensor, rectify: bool = False) -> Tensor:
        """(N, C, H, W) -> (N, O, OH, OW)."""
        if usable(x):
            return self._packed(x, rectify)
        y = F.conv2d(x, *self._options)
        return y.clamp_(min=0) if rectify else y

    def add(self, y: Tensor, x: Tensor, rectify: bool = False) -> Tensor:
        """``y`` and the correlation of x, in the memory of y, which nobody else may read."""
        if usable(x):
            return self._packed.add(y, x, rectify)
        y += F.conv2d(x, *self._options)
        return y.clamp_(min=0) if rectify else y


class Convolution2d:
    """A convolution over images and its gradient.

    Parameters
    ----------
    weight, bias
        (O, C / group, KH, KW) and (O,) or None.
    window
        Kernel, stride, pad and dilation.
    group
        Number of groups of channels.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, window: SlidingWindow, group: int
    ) -> None:
        self.weight, self.bias, self.window, self.group = weight, bias, window, group
        self.forward = Correlate(weight, bias, window.stride, window.pad, window.dilation, group)
        self._backward: Callable[[Tensor, Size], Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The top, for autograd."""
        return _Node.apply(x, self)

    def backward(self, dy: Tensor, size: Size, channels: Tensor | None = None) -> Tensor:
        """The diff of a bottom of height and width `size`; `dy` may be of some channels only."""
        if channels is not None:
            if not len(channels):  # a dead unit's, which torch would not convolve
                return dy.new_zeros((len(dy), self.weight.shape[1], *size))
            return self._transposed(dy, size, self.weight[channels])
        if self._backward is None:  # filters of the backward pass take memory: when first needed
            self._backward = self._make_backward()
        return self._backward(dy, size)

    def parts(self, channels: Sequence[int]) -> list[Convolution2d]:
        """One for each so many channels of the bottom, of one group; their tops add up to its."""
        layout = memory_format(self.weight.device)
        return [
            Convolution2d(
                weight.contiguous(memory_format=layout),
                None if place else self.bias,
                self.window,
                1,
            )
            for place, weight in enumerate(self.weight.split(list(channels), dim=1))
        ]

    def _make_backward(self) -> Callable[[Tensor, Size], Tensor]:
        window, one = self.window, (1, 1)
        margin = tuple(e - 1 - p for e, p in zip(window.extent, window.pad, strict=True))
        if window.stride == one and min(margin) >= 0:
            turned = Correlate(
                _turned(self.weight, self.group), None, one, margin, window.dilation, self.group
            )
            return lambda dy, size: turned(dy)
        few = self.weight.shape[1] < _FEW_CHANNELS
        if few and window.dilation == one and self.group == 1:
            return _ByPhases(self.weight, window)
        return lambda dy, size: self._transposed(dy, size, self.weight)

    def _transposed(self, dy: Tensor, size: Size, weight: Tensor) -> Tensor:
        window = self.window
        # Rows and columns at the end that no window reaches.
        rest = [
            (n + 2 * p - e) % s
            for n, p, e, s in zip(size, window.pad, window.extent, window.stride, strict=True)
        ]
        return F.conv_transpose2d(
            dy, weight, None, window.stride, window.pad, rest, self.group, window.dilation
        )

    def live_channels(self, dy: Tensor) -> Tensor | None:
        """The channels with a diff, where they are so few that the others are better left out.

        An ascent climbs one unit an image: of the 1000 channels below a pooling, one has a diff.
        On a GPU, looking would wait for the device, and cost more than it saves.
        """
        if self.group > 1 or dy.device.type != "cpu":
            return None
        channels = dy.abs().amax((0, 2, 3)).nonzero()[:, 0]
        return channels if _FEW_LIVE * len(channels) <= dy.shape[1] else None


def _turned(weight: Tensor, group: int) -> Tensor:
    """(O, C / group, KH, KW) -> (C, O / group, KH, KW), kernels turned by half a turn."""
    outputs, channels, height, width = weight.shape
    split = weight.reshape(group, outputs // group, channels, height, width)
    turned = split.transpose(1, 2).reshape(group * channels, outputs // group, height, width)
    return turned.flip(2, 3).contiguous(memory_format=memory_format(weight.device))


class _ByPhases:
    """The gradient of a strided convolution as a plain one that makes each phase a channel.

    Pixel s * q + r of the bottom gets, through tap s * t + r of the kernel, from position q - t of
    the top: for each phase r in 0..s-1 a convolution over q. All phases together are one
    convolution with s times s times C outputs, which are then interleaved.
    """

    def __init__(self, weight: Tensor, window: SlidingWindow) -> None:
        outputs, channels, height, width = weight.shape
        self.channels, self.stride, self.pad = channels, window.stride, window.pad
        rows, columns = self.stride
        taps = (-(-height // rows), -(-width // columns))
        whole = F.pad(weight, (0, taps[1] * columns - width, 0, taps[0] * rows - height))
        split = whole.reshape(outputs, channels, taps[0], rows, taps[1], columns).flip(2, 4)
        phases = split.permute(1, 3, 5, 0, 2, 4).reshape(-1, outputs, *taps)
        self.correlate = Correlate(
            phases.contiguous(memory_format=memory_format(weight.device)),
            None,
            pad=(taps[0] - 1, taps[1] - 1),
        )

    def __call__(self, dy: Tensor, size: Size) -> Tensor:
        z = self.correlate(dy)
        n, _, height, width = z.shape
        rows, columns = self.stride
        z = z.reshape(n, self.channels, rows, columns, height, width).permute(0, 1, 4, 2, 5, 3)
        dx = z.reshape(n, self.channels, height * rows, width * columns)
        # Cut the padding off; where no window reaches the image's end, there are zeros.
        top, left = self.pad
        return F.pad(dx, (-left, size[1] + left - dx.shape[3], -top, size[0] + top - dx.shape[2]))


class ConvolutionOp:
    """A convolution over images, and its ReLU, for an ascent.

    Parameters
    ----------
    layer
        The convolution.
    relu_rule
        The rule of the ReLU behind it; None where there is none.
    few
        Whether to look, in the backward pass, for the few channels that have a diff.
    """

    def __init__(self, layer: Convolution2d, relu_rule: RuleNow | None, few: bool) -> None:
        self._layer, self._rule, self._few = layer, relu_rule, few

    def forward(self, x: Tensor) -> tuple[tuple[Tensor, ...], Any]:
        """(N, C, H, W) -> (N, O, OH, OW)."""
        y = self._layer.forward(x, rectify=self._rule is not None)
        return (y,), (y if self._rule else None, tuple(x.shape[2:]))

    def backward(
        self, dys: Sequence[Tensor | None], saved: Any, own: bool
    ) -> tuple[list[Tensor], bool]:
        """The diff of x, in memory of its own."""
        (dy,), (y, size) = dys, saved
        assert dy is not None
        channels = self._layer.live_channels(dy) if self._few else None
        if channels is not None:
            dy, own = dy[:, channels], True
            y = None if y is None else y[:, channels]
        if self._rule is not None:
            dy = rectified(dy, y, self._rule, own)
        return [self._layer.backward(dy, size, channels)], True


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Convolution2d) -> Tensor:
        ctx.layer, ctx.size = layer, tuple(x.shape[2:])
        return layer.forward(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return ctx.layer.backward(dy, ctx.size), None
