"""The sliding windows of convolution and pooling: kernel, stride, padding and dilation per axis.

A prototxt may give each of them in two ways (``kernel_size`` once or once per axis, or ``kernel_h``
and ``kernel_w``). Here they become a :class:`SlidingWindow`, which the shape rules, the engines and
the receptive fields all use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import (
    ConvolutionParameter,
    DeformableConvolutionParameter,
    PoolingParameter,
)


@dataclass(frozen=True)
class SlidingWindow:
    """How a kernel slides over its bottom: one number per spatial axis (height, width for images).

    Attributes
    ----------
    kernel, stride, pad, dilation
        In pixels of the layer's bottom; for a deconvolution, in pixels of its top, as in Caffe.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """Pixels that the kernel spans, with the holes of its dilation."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


def convolution_window(
    param: ConvolutionParameter | DeformableConvolutionParameter, axes: int
) -> SlidingWindow:
    """The window of a convolution of any kind over `axes` spatial axes.

    Raises
    ------
    ModelError
        The fields contradict each other, do not fit the number of axes, or are zero.
    """
    kernel = _per_axis(param, "kernel", "kernel_size", axes, default=None)
    stride = _per_axis(param, "stride", "stride", axes, default=1)
    pad = _per_axis(param, "pad", "pad", axes, default=0)
    dilation = _spread("dilation", list(param.dilation), axes, default=1)
    return SlidingWindow(
        _positive("kernel_size", kernel),
        _positive("stride", stride),
        pad,
        _positive("dilation", dilation),
    )


def pooling_window(param: PoolingParameter, size: Sequence[int]) -> SlidingWindow:
    """The window of a pooling layer over a bottom whose spatial axes have these sizes.

    Raises
    ------
    ModelError
        No kernel, or fields that contradict each other or do not fit the number of axes.
    """
    has, axes = param.HasField, len(size)
    for name in ("pad", "stride"):
        either = has(f"{name}_h") or has(f"{name}_w")
        both = has(f"{name}_h") and has(f"{name}_w")
        if either and (has(name) or not both):
            raise ModelError(f"needs either {name} or both {name}_h and {name}_w")
    if param.global_pooling:
        if (has("kernel_size") or has("kernel_h") or has("kernel_w")) and not has("kernel_shape"):
            raise ModelError("global_pooling takes no kernel size; remove one of the two")
        kernel = tuple(size)
    else:
        both = has("kernel_h") and has("kernel_w")
        if not has("kernel_shape") and has("kernel_size") == both:
            raise ModelError("needs either kernel_size or both kernel_h and kernel_w")
        kernel = _pooling_axes(param, "kernel", "kernel_size", axes)
    pad = _pooling_axes(param, "pad", "pad", axes)
    stride = _pooling_axes(param, "stride", "stride", axes)
    if param.global_pooling and (any(pad) or stride != (1,) * axes):
        raise ModelError("global_pooling needs pad 0 and stride 1")
    window = SlidingWindow(
        _positive("kernel_size", kernel), _positive("stride", stride), pad, (1,) * axes
    )
    if any(p >= k for p, k in zip(pad, kernel, strict=True) if p):
        raise ModelError(f"pad {pad} must be smaller than the kernel {kernel}")
    return window


def _pooling_axes(param: PoolingParameter, stem: str, single: str, axes: int) -> tuple[int, ...]:
    if param.HasField(f"{stem}_shape"):
        return _spread(f"{stem}_shape", list(getattr(param, f"{stem}_shape").dim), axes, None)
    if not param.HasField(f"{stem}_h"):
        return (getattr(param, single),) * axes
    if axes != 2:
        raise ModelError(f"{stem}_h and {stem}_w need 2 spatial axes, got {axes}")
    return getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")


def _per_axis(
    param: ConvolutionParameter | DeformableConvolutionParameter,
    stem: str,
    repeated: str,
    axes: int,
    default: int | None,
) -> tuple[int, ...]:
    listed = list(getattr(param, repeated))
    if not (param.HasField(f"{stem}_h") or param.HasField(f"{stem}_w")):
        return _spread(repeated, listed, axes, default)
    if axes != 2:
        raise ModelError(f"{stem}_h and {stem}_w need 2 spatial axes, got {axes}")
    if listed:
        raise ModelError(f"needs either {repeated} or {stem}_h and {stem}_w, not both")
    return getattr(param, f"{stem}_h"), getattr(param, f"{stem}_w")


def _spread(name: str, listed: list[int], axes: int, default: int | None) -> tuple[int, ...]:
    if not listed and default is not None:
        listed = [default]
    if len(listed) == 1:
        return tuple(listed) * axes
    if len(listed) != axes or not listed:
        raise ModelError(
            f"{name} must be given once, or once per spatial axis ({axes}); "
            f"got {len(listed)} values"
        )
    return tuple(listed)


def _positive(name: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
    if any(number < 1 for number in numbers):
        raise ModelError(f"{name} {numbers} must be positive")
    return numbers
