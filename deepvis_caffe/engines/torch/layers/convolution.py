"""Convolution and its transpose: ``(x, ...) -> (y, ...)``, one top for each bottom.

Groups; rectangular kernels, strides, paddings and dilations; one to three spatial axes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepvis_caffe.engines.arrays import copy_on_device
from deepvis_caffe.engines.torch.derived import Derived
from deepvis_caffe.engines.torch.device import has_packed, memory_format
from deepvis_caffe.engines.torch.layer import Diffs, Layer, Tops, one_or_all, register
from deepvis_caffe.engines.torch.layers.layout import top_shapes
from deepvis_caffe.model import graph
from deepvis_caffe.model.shapes.windows import local_window
from deepvis_caffe.model.sliding_window import SlidingWindow, convolution_window

Size = tuple[int, ...]
InputGradient = Callable[[Tensor, Size], Tensor]

_CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSE = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)

# With fewer input channels than this, most SIMD lanes of oneDNN's strided backward pass idle.
_FEW_CHANNELS = 8


class _Filters(Layer):
    """Base class of a convolution and its transpose."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter]) -> None:
        super().__init__(layer, weights)
        param, axes = layer.param.convolution_param, weights[0].ndim - 2
        self.axes, self.group, self.axis = axes, param.group, param.axis
        self.window = convolution_window(param, axes)
        if not param.bias_term:
            self.bias = None

    def each(self, run: Callable[[Tensor], Tensor], bottoms: Sequence[Tensor]) -> Tensor | Tops:
        """`run` on every bottom, with the axes before the channels (`axis`) merged into one."""

        def folded(x: Tensor) -> Tensor:
            channels = self.axis % x.ndim
            if channels == 1:
                return run(x)
            y = run(x.reshape(-1, *x.shape[channels:]))
            return y.reshape(*x.shape[:channels], *y.shape[1:])

        return one_or_all([folded(x) for x in bottoms])


class Convolution(_Filters):
    """Cross-correlation, as in Caffe and torch: (N, C, ...) -> (N, O, ...)."""

    def forward(self, *bottoms: Tensor) -> Tensor | Tops:
        """One top for each bottom."""
        w, convolve = self.window, _CONVOLVE[self.axes - 1]
        options = (self.weight, self.bias, w.stride, w.pad, w.dilation, self.group)
        return self.each(lambda x: convolve(x, *options), bottoms)


class ImageConvolution(Convolution):
    """A convolution of one blob of images, (N, C, H, W), with a backward pass of its own.

    Autograd's would give the same, but keeps the bottom.
    """

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter]) -> None:
        super().__init__(layer, weights)
        self._correlate = Correlation(self.window, self.group)
        # The backward filters take memory, so they are built on first use.
        self._gradient: Derived[InputGradient] = Derived()

    def correlate(self, x: Tensor, rectify: bool = False, other: Tensor | None = None) -> Tensor:
        """The top, optionally with another value added and a ReLU applied; see `Correlation`."""
        return self._correlate(x, self.blob("weight"), self.blob("bias"), rectify, other)

    def infer(self, *bottoms: Tensor) -> Tops:  # noqa: D102
        (x,) = bottoms
        return (self.correlate(x),)

    def fwd(self, *bottoms: Tensor) -> tuple[Tops, Any]:
        """Saves only the height and width of x."""
        (x,) = bottoms
        return (self.correlate(x),), x.shape[2:]

    def bwd(self, saved: Size, dys: Diffs, mode: str) -> Diffs:
        """``dx``, the correlation of dy with the flipped filters."""
        (dy,) = dys
        assert dy is not None
        return (self._gradient.get((self.blob("weight"),), None, self._make_gradient)(dy, saved),)

    def _make_gradient(self, weights: Sequence[Tensor], _: None) -> InputGradient:
        return _input_gradient(weights[0], self.window, self.group)

    def narrowed(self, channels: Sequence[int]) -> Layer | None:
        """Only some of its filters, if there are no groups."""
        if self.group > 1:
            return None
        some = copy_on_device(torch.tensor(channels, dtype=torch.long), self.weight.device)
        return self.like(self.weight[some], None if self.bias is None else self.bias[some])

    def like(self, weight: Tensor, bias: Tensor | None) -> ImageConvolution:
        """The same convolution with other filters and biases, converted to its own type."""
        layout, own = memory_format(weight.device), self.weight.dtype
        filters = weight.to(own).contiguous(memory_format=layout)
        other = ImageConvolution(self.layer, [nn.Parameter(filters, requires_grad=False)])
        other.bias = None if bias is None else nn.Parameter(bias.to(own), requires_grad=False)
        return other


class Correlation:
    """Cross-correlation of images with filters, optionally fused with a sum and a ReLU.

    PyTorch's public functions repack the filters for oneDNN on each call. The operators that its
    compiler emits take packed filters, and fuse the rest. They are used for float32 on a CPU, if
    this PyTorch has them.

    Parameters
    ----------
    window, group
        As for a convolution.
    """

    def __init__(self, window: SlidingWindow, group: int = 1) -> None:
        self._window = (window.pad, window.stride, window.dilation, group)
        self._options = (window.stride, window.pad, window.dilation, group)
        # By input shape and number of threads: oneDNN's layout differs, and packed filters in
        # another layout are reordered in each call, slowly.
        self._packed: Derived[Tensor] = Derived()

    def __call__(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        rectify: bool = False,
        other: Tensor | None = None,
    ) -> Tensor:
        """(N, C, H, W) -> (N, O, OH, OW).

        Parameters
        ----------
        x
            Images.
        weight, bias
            (O, C / group, KH, KW) and (O,) or None. Packed once, as long as they do not change.
        rectify
            Whether to apply a ReLU at the end.
        other
            (N, O, OH, OW), added before the ReLU.
        """
        if not has_packed(x):
            y = F.conv2d(x, weight, bias, *self._options)
            y = y if other is None else y.add_(other)
            return y.clamp_(min=0) if rectify else y
        packed = self._packed.get((weight,), (x.shape, torch.get_num_threads()), self._pack)
        if other is None:
            after = "relu" if rectify else "none"
            return torch.ops.mkldnn._convolution_pointwise(
                x, packed, bias, *self._window, after, [], None
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            *(x, other, packed, bias, *self._window, "add", None),
            *("relu" if rectify else None, [], None),
        )

    def _pack(self, weights: Sequence[Tensor], key: tuple[torch.Size, int]) -> Tensor:
        shape, _ = key
        return torch.ops.mkldnn._reorder_convolution_weight(weights[0], *self._window, shape)


@register("Convolution")
def convolution(layer: graph.Layer, weights: Sequence[nn.Parameter]) -> Layer:
    """A convolution of the class for its number of bottoms and axes."""
    images = weights[0].ndim == 4 and len(layer.bottoms) == 1
    simple = images and layer.param.convolution_param.axis == 1
    return (ImageConvolution if simple else Convolution)(layer, weights)


@register("Deconvolution")
class Deconvolution(_Filters):
    """The gradient of a convolution as a forward pass; its weights are (C, O / group, ...)."""

    def forward(self, *bottoms: Tensor) -> Tensor | Tops:
        """One top for each bottom."""
        w, transpose, no_extra = self.window, _TRANSPOSE[self.axes - 1], (0,) * self.axes
        options = (self.weight, self.bias, w.stride, w.pad, no_extra, self.group, w.dilation)
        return self.each(lambda x: transpose(x, *options), bottoms)


def unfolded(x: Tensor, window: SlidingWindow) -> Tensor:
    """(N, C, ...) -> (N, C, *kernel, *positions): the contents of each position's window."""
    axes = len(window.kernel)
    for axis, pad in enumerate(window.pad, 2):
        x = F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [pad, pad])
    for axis, (extent, stride, step) in enumerate(
        zip(window.extent, window.stride, window.dilation, strict=True), 2
    ):
        x = x.unfold(axis, extent, stride)[..., ::step]
    positions, kernel = range(2, 2 + axes), range(2 + axes, 2 + 2 * axes)
    return x.permute(0, 1, *kernel, *positions)


@register("Im2col")
class Im2col(Layer):
    """The windows that a convolution multiplies, as channels ordered by channel, then tap."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        param = self.param.convolution_param
        axis = param.axis % x.ndim
        window = convolution_window(param, x.ndim - axis - 1)
        windows = unfolded(x.reshape(-1, *x.shape[axis:]), window)
        return windows.reshape(top_shapes(self, x)[0])


@register("Local")
class Local(Layer):
    """A convolution without weight sharing: each position has its own filters.

    Taigman et al. 2014, "DeepFace"; LeCun 1989, "Generalization and Network Design Strategies".
    """

    weight: Tensor
    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        windows = unfolded(x, local_window(self.param))
        size = windows.shape[4:]
        y = torch.einsum("nkp,okp->nop", windows.flatten(4).flatten(1, 3), self.weight[:, 0])
        if self.param.local_param.bias_term:
            y = y + self.bias.reshape(y.shape[1:])
        return y.unflatten(2, size)


def _input_gradient(weight: Tensor, window: SlidingWindow, group: int) -> InputGradient:
    """``(dy, size of the bottom) -> dx`` for a convolution over images, by the fastest method."""
    weight = weight.detach()
    margin = tuple(e - 1 - p for e, p in zip(window.extent, window.pad, strict=True))
    if window.stride == (1, 1) and min(margin) >= 0:
        back = SlidingWindow(window.kernel, (1, 1), margin, window.dilation)
        correlate, turned = Correlation(back, group), _turned(weight, group)
        return lambda dy, size: correlate(dy, turned)
    plain = group == 1 and window.dilation == (1, 1)
    if plain and weight.shape[1] < _FEW_CHANNELS:
        return _gradient_by_phases(weight, window)

    def transposed(dy: Tensor, size: Size) -> Tensor:
        # Rows and columns at the end that no window covers.
        rest = [
            (n + 2 * p - e) % s
            for n, p, e, s in zip(size, window.pad, window.extent, window.stride, strict=True)
        ]
        return F.conv_transpose2d(
            dy, weight, None, window.stride, window.pad, rest, group, window.dilation
        )

    return transposed


def _turned(weight: Tensor, group: int) -> Tensor:
    """(O, C / group, KH, KW) -> (C, O / group, KH, KW), kernels flipped along both axes."""
    outputs, channels, height, width = weight.shape
    split = weight.reshape(group, outputs // group, channels, height, width)
    turned = split.transpose(1, 2).reshape(group * channels, outputs // group, height, width)
    return turned.flip(2, 3).contiguous(memory_format=memory_format(weight.device))


def _gradient_by_phases(weight: Tensor, window: SlidingWindow) -> InputGradient:
    """The gradient of a strided convolution as an unstrided one, with each phase as channels.

    Pixel s * q + r of the bottom receives from position q - t of the top through tap s * t + r of
    the kernel: for each phase r in 0..s-1 that is a convolution over q. All phases together are one
    convolution with s * s * C outputs, which are then interleaved.
    """
    outputs, channels, height, width = weight.shape
    rows, columns = window.stride
    taps = (-(-height // rows), -(-width // columns))
    whole = F.pad(weight, (0, taps[1] * columns - width, 0, taps[0] * rows - height))
    split = whole.reshape(outputs, channels, taps[0], rows, taps[1], columns).flip(2, 4)
    phases = split.permute(3, 5, 1, 0, 2, 4).reshape(-1, outputs, *taps)
    phases = phases.contiguous(memory_format=memory_format(weight.device))
    back = SlidingWindow(taps, (1, 1), (taps[0] - 1, taps[1] - 1), (1, 1))
    correlate = Correlation(back)

    def gradient(dy: Tensor, size: Size) -> Tensor:
        padded = _interleaved(correlate(dy, phases), window.stride)
        (top, left), (height, width) = window.pad, size
        dx = padded[:, :, top : top + height, left : left + width]
        # Rows and columns at the end that no window covers.
        rest = (0, width - dx.shape[3], 0, height - dx.shape[2])
        return F.pad(dx, rest) if any(rest) else dx

    return gradient


def _interleaved(z: Tensor, stride: Size) -> Tensor:
    """(N, rows * columns * C, Q, P) -> (N, C, Q * rows, P * columns), in the memory format of z."""
    images, _, q, p = z.shape
    rows, columns = stride
    phases = z.reshape(images, rows, columns, -1, q, p)
    if z.is_contiguous(memory_format=torch.channels_last):
        pixels = phases.permute(0, 4, 1, 5, 2, 3).reshape(images, q * rows, p * columns, -1)
        return pixels.permute(0, 3, 1, 2)
    return phases.permute(0, 3, 4, 1, 5, 2).reshape(images, -1, q * rows, p * columns)
