"""Shape rules of layers that slide a window or need images: convolution, pooling, LRN, crop."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deepvis_caffe.model.schema_pb2 import (
    DeformableConvolutionParameter,
    LayerParameter,
    PoolingParameter,
)
from deepvis_caffe.model.shapes.registry import Outcome, Shape, canonical_axis, require, rule
from deepvis_caffe.model.sliding_window import SlidingWindow, convolution_window, pooling_window


@rule("Convolution", "Deconvolution", bottoms=(1, None), tops=(1, None))
def convolution(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """``(size + 2 pad - extent) // stride + 1``, rounded down; the inverse for a Deconvolution.

    A kernel larger than its padded bottom is an error. Caffe accepts some of these, because in C++
    -1 / 2 is 0, and computes one meaningless output.

    Weights are (output, input / group, *kernel), or for a Deconvolution (input, output / group,
    *kernel), and an optional bias (output,).
    """
    conv = param.convolution_param
    first = bottoms[0]
    axis = canonical_axis(first, conv.axis)
    channels, size = first[axis], first[axis + 1 :]
    window = convolution_window(conv, len(size))
    group, outputs = conv.group, conv.num_output
    require(len(bottoms) == len(param.top), "needs one top for each bottom")
    require(all(shape == first for shape in bottoms), "all bottoms must have one shape")
    require(outputs > 0, "num_output must be given and positive")
    require(
        group > 0 and channels % group == 0,
        f"its bottom's {channels} channels cannot be split into {group} groups",
    )
    require(outputs % group == 0, f"num_output {outputs} cannot be split into {group} groups")
    if param.type == "Deconvolution":
        out = _deconvolved(size, window)
        weight = (channels, outputs // group, *window.kernel)
    else:
        out = _convolved(size, window)
        weight = (outputs, channels // group, *window.kernel)
    top = (*first[:axis], outputs, *out)
    return Outcome([top] * len(bottoms), [weight, (outputs,)] if conv.bias_term else [weight])


@rule("DeformableConvolution", "ModulatedDeformableConvolution", bottoms=(2, 3), in_place=False)
def deformable_convolution(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """A convolution's top and weights; more bottoms move and weight its taps at each position.

    These are (N, groups * kernel * 2, H, W), a row and a column offset for each tap of each
    deformable group, and for a modulated one also (N, groups * kernel, H, W). Most forks expect the
    bottom's height and width there, others the top's.
    """
    options, (shape, *moves) = deformable_options(param), bottoms
    modulated = param.type == "ModulatedDeformableConvolution"
    expected = 3 if modulated else 2
    require(len(bottoms) == expected, f"takes {expected} bottom blobs, got {len(bottoms)}")
    require(all(len(one) == 4 for one in bottoms), "takes bottoms of 4 axes")
    require(options.axis in (1, -3), f"its channels are on axis 1, not {options.axis}")
    window, channels, outputs = convolution_window(options, 2), shape[1], options.num_output
    require(outputs > 0, "num_output must be given and positive")
    require(
        options.group > 0 and channels % options.group == outputs % options.group == 0,
        f"{channels} channels and num_output {outputs} cannot be split into {options.group} groups",
    )
    groups = deformable_groups(param, moves[0])
    require(
        groups > 0 and channels % groups == 0,
        f"its bottom's {channels} channels cannot be split into {groups} deformable groups",
    )
    size = _convolved(shape[2:], window)
    taps = groups * math.prod(window.kernel)
    for name, move, each in zip(("offsets", "weights"), moves, (2, 1), strict=False):
        require(
            move[:2] == (shape[0], taps * each),
            f"{groups} deformable groups of {window.kernel} taps need {taps * each} channels of "
            f"{name} for each of {shape[0]} images, got {move}",
        )
        of_bottom = move[2:] == shape[2:] and math.prod(size) <= math.prod(move[2:])
        require(
            move[2:] == size or of_bottom,
            f"its {name} must be of the top's {size} positions, got {move[2:]}",
        )
    weights: list[Shape] = [(outputs, channels // options.group, *window.kernel), (outputs,)]
    return Outcome([(shape[0], outputs, *size)], weights[: 1 + options.bias_term])


def deformable_options(param: LayerParameter) -> DeformableConvolutionParameter:
    """The parameters of a deformable convolution, modulated or not."""
    if param.type == "ModulatedDeformableConvolution":
        return param.modulated_deformable_convolution_param
    return param.deformable_convolution_param


def deformable_groups(param: LayerParameter, offsets: Sequence[int]) -> int:
    """The number of channel groups with offsets of their own; by default from the offsets' shape.

    Forks have different defaults.
    """
    options = deformable_options(param)
    if options.HasField("deformable_group"):
        return options.deformable_group
    return offsets[1] // (2 * math.prod(convolution_window(options, 2).kernel))


def _convolved(size: Shape, window: SlidingWindow) -> Shape:
    padded = tuple(s + 2 * p for s, p in zip(size, window.pad, strict=True))
    require(
        all(e <= s for e, s in zip(window.extent, padded, strict=True)),
        f"the kernel spans {window.extent} pixels, but its padded bottom has only {padded}",
    )
    return tuple(
        (s - e) // stride + 1
        for s, e, stride in zip(padded, window.extent, window.stride, strict=True)
    )


def _deconvolved(size: Shape, window: SlidingWindow) -> Shape:
    out = tuple(
        stride * (s - 1) + e - 2 * p
        for s, e, p, stride in zip(size, window.extent, window.pad, window.stride, strict=True)
    )
    require(all(s > 0 for s in out), f"the padding leaves nothing: its top would be {out} pixels")
    return out


@rule("NdPooling", "Pooling", "Pooling3D", tops=(1, 2))
def pooling(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Round up, then drop a last window that would start in the padding.

    A second top, for MAX only, holds the position of each maximum. Stock Caffe pools images only;
    forks pool along up to three axes.
    """
    pool, (shape,) = param.pooling_param, bottoms
    require(
        3 <= len(shape) <= 5,
        f"takes a bottom of 4 axes, in some forks of 3 or 5, got {len(shape)}",
    )
    require(
        len(param.top) == 1 or pool.pool == PoolingParameter.MAX,
        "only MAX pooling has a second top",
    )
    require(
        pool.pool != PoolingParameter.STOCHASTIC,
        "STOCHASTIC pooling is random, and Caffe implements it only on GPUs; use MAX or AVE",
    )
    window = pooling_window(pool, shape[2:])
    top = shape[:2] + pooled_size(shape[2:], window, pool.ceil_mode, param.type)
    require(
        min(top[2:]) > 0,
        f"the kernel {window.kernel} is too large for a bottom of {shape[2:]} pixels",
    )
    return Outcome([top] * len(param.top))


def pooled_size(
    size: Sequence[int], window: SlidingWindow, ceil: bool, kind: str = "Pooling"
) -> Shape:
    """The spatial axes of a pooling layer's top. Caffe rounds up (`ceil`), some forks down.

    Whether a last window that starts in the padding is dropped depends on the layer's type.
    """
    rounded = math.ceil if ceil else math.floor
    out = [
        rounded((s + 2 * p - k) / stride) + 1
        for s, p, k, stride in zip(size, window.pad, window.kernel, window.stride, strict=True)
    ]
    if any(window.pad) and kind != "Pooling3D":
        # Caffe clips all axes once any is padded, video-caffe the padded ones, C3D none.
        out = [
            o - 1 if (o - 1) * stride >= s + p and (p or kind == "Pooling") else o
            for o, s, p, stride in zip(out, size, window.pad, window.stride, strict=True)
        ]
    return tuple(out)


@rule("SPP")
def spatial_pyramid(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The poolings of all levels, concatenated; a single level stays a map."""
    (shape,) = bottoms
    require(len(shape) == 4, f"takes a bottom of 4 axes, got {len(shape)}")
    levels = pyramid_levels(param, shape[2:])
    sizes = [pooled_size(shape[2:], pooling_window(pool, shape[2:]), ceil=True) for pool in levels]
    if len(sizes) == 1:
        return Outcome([shape[:2] + sizes[0]])
    return Outcome([(shape[0], sum(shape[1] * math.prod(size) for size in sizes))])


def pyramid_levels(param: LayerParameter, size: Sequence[int]) -> list[PoolingParameter]:
    """The poolings of an SPP layer over a map of height and width `size`.

    Level i has 2^i windows per side.
    """
    options = param.spp_param
    require(options.pyramid_height > 0, "pyramid_height must be given and positive")
    method = options.PoolMethod.Name(options.pool)
    require(method != "STOCHASTIC", "STOCHASTIC pooling is random; use MAX or AVE")
    levels = []
    for level in range(options.pyramid_height):
        kernel = [math.ceil(pixels / 2**level) for pixels in size]
        pad = [(k * 2**level - pixels + 1) // 2 for k, pixels in zip(kernel, size, strict=True)]
        levels.append(
            PoolingParameter(
                pool=PoolingParameter.PoolMethod.Value(method),
                kernel_h=kernel[0],
                kernel_w=kernel[1],
                stride_h=kernel[0],
                stride_w=kernel[1],
                pad_h=pad[0],
                pad_w=pad[1],
            )
        )
    return levels


@rule("Local")
def local(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """A convolution with filters of its own for each position of the top.

    Weights are (output, 1, input * kernel, positions), and an optional bias (output, positions).
    """
    (shape,), options = bottoms, param.local_param
    require(len(shape) == 4, f"takes a bottom of 4 axes, got {len(shape)}")
    window, outputs = local_window(param), options.num_output
    require(outputs > 0, "num_output must be given and positive")
    require(
        min(shape[2:]) >= window.kernel[0],
        f"the kernel spans {window.kernel} pixels, but its bottom has only {shape[2:]}",
    )
    size = _convolved(shape[2:], window)
    inputs, positions = shape[1] * math.prod(window.kernel), math.prod(size)
    weights: list[Shape] = [(outputs, 1, inputs, positions), (1, 1, outputs, positions)]
    return Outcome([(shape[0], outputs, *size)], weights[: 1 + options.bias_term])


def local_window(param: LayerParameter) -> SlidingWindow:
    """The window of a Local layer, the same for height and width."""
    p = param.local_param
    require(p.kernel_size > 0 and p.stride > 0, "kernel_size and stride must be given and positive")
    return SlidingWindow((p.kernel_size,) * 2, (p.stride,) * 2, (p.pad,) * 2, (1, 1))


@rule("Im2col")
def im2col(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The windows of a convolution as channels: (..., C * kernel, positions)."""
    (shape,), options = bottoms, param.convolution_param
    axis = canonical_axis(shape, options.axis)
    size = shape[axis + 1 :]
    require(len(size) > 0, f"has no axes after axis {axis}")
    window = convolution_window(options, len(size))
    channels = shape[axis] * math.prod(window.kernel)
    return Outcome([(*shape[:axis], channels, *_convolved(size, window))])


@rule("LRN")
def lrn(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape; windows have an odd size, and bottoms are images."""
    (shape,) = bottoms
    size = param.lrn_param.local_size
    require(size % 2 == 1, f"local_size must be odd, got {size}")
    require(len(shape) == 4, f"takes a bottom of 4 axes, got {len(shape)}")
    return Outcome([shape])


@rule("Crop", bottoms=(2, 2))
def crop(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The first bottom, cropped to the second's size from `axis` on."""
    shape, like = bottoms
    offset = list(param.crop_param.offset)
    start = canonical_axis(shape, param.crop_param.axis)
    cropped = len(shape) - start
    require(
        len(offset) in (0, 1, cropped),
        f"takes one offset, or one for each of the {cropped} axes it crops, got {len(offset)}",
    )
    require(len(like) >= len(shape), "the second bottom has fewer axes than the first")
    if len(offset) < 2:
        offset = (offset or [0]) * cropped
    for axis, begin in enumerate(offset, start):
        require(
            begin + like[axis] <= shape[axis],
            f"axis {axis} cannot be cropped to {like[axis]} from offset {begin}: "
            f"it has only {shape[axis]}",
        )
    return Outcome([shape[:start] + like[start : len(shape)]])
