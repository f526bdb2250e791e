"""Shape rules of the forks' layers that resize maps without weights."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.model.schema_pb2 import LayerParameter
from deepvis_caffe.model.shapes.registry import Outcome, Shape, count, require, rule


@rule("Upsample", bottoms=(1, 2), in_place=False)
def upsample(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """With one bottom each value becomes a block (YOLO); with two it goes where a mask points.

    The mask is the second top of a MAX pooling (SegNet); the top has the size of its bottom.
    """
    options, first = param.upsample_param, bottoms[0]
    if len(bottoms) == 1:
        factors = upsampling_factors(param)
        require(len(first) == len(factors), f"takes a bottom of {len(factors)} axes")
        return Outcome([tuple(s * f for s, f in zip(first, factors, strict=True))])
    require(len(first) == 4, f"takes bottoms of 4 axes, got {len(first)}")
    require(bottoms[1] == first, "the second bottom, a pooling's mask, must have the first's shape")
    if options.HasField("upsample_h") and options.HasField("upsample_w"):
        size = (options.upsample_h, options.upsample_w)
    else:
        scales, cut = _scales(param, 2), (options.pad_out_h, options.pad_out_w)
        require(
            all(scale == 2 for scale, one in zip(scales, cut, strict=True) if one),
            f"pad_out_h and pad_out_w need a scale of 2, got {scales}",
        )
        size = (first[2] * scales[0] - cut[0], first[3] * scales[1] - cut[1])
    require(min(size) > 1, f"its top would be {size} pixels; both must be 2 or more")
    return Outcome([first[:2] + size])


def upsampling_factors(param: LayerParameter) -> tuple[int, ...]:
    """The repetitions of values by an Upsample with one bottom, per axis."""
    rows, columns = _scales(param, 1)
    require(min(rows, columns) > 0, f"scale must be positive, got {(rows, columns)}")
    axes = param.upsample_param.dims_num
    require(axes in (3, 4), f"dims_num must be 3 or 4, got {axes}")
    return (1, 1, columns) if axes == 3 else (1, 1, rows, columns)


def _scales(param: LayerParameter, default: int) -> tuple[int, int]:
    options = param.upsample_param
    if options.HasField("scale_h") or options.HasField("scale_w"):
        require(
            options.HasField("scale_h")
            and options.HasField("scale_w")
            and not options.HasField("scale"),
            "needs either scale or both scale_h and scale_w",
        )
        return options.scale_h, options.scale_w
    scale = options.scale if options.HasField("scale") else default
    return scale, scale


@rule("Unpooling", bottoms=(1, 2), in_place=False)
def unpooling(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The given size, or otherwise one that holds all windows (DeconvNet)."""
    options, first = param.unpooling_param, bottoms[0]
    require(len(first) == 4, f"takes bottoms of 4 axes, got {len(first)}")
    require(all(shape == first for shape in bottoms), "its bottoms must have one shape")
    method = options.UnpoolMethod.Name(options.unpool)
    require(
        method in ("MAX", "AVE", "TILE") or not options.HasField("unpool"),
        f"unpools by MAX, AVE or TILE, not by {method}",
    )
    require(
        not (options.pad or options.pad_h or options.pad_w), "Caffe unpools without padding only"
    )
    kernel, stride = unpooling_window(param)
    if options.HasField("unpool_size"):
        size = (options.unpool_size,) * 2
    elif options.HasField("unpool_h") and options.HasField("unpool_w"):
        size = (options.unpool_h, options.unpool_w)
    else:
        rows, columns = (
            max((n - 1) * s + k, n * s + 1)
            for n, k, s in zip(first[2:], kernel, stride, strict=True)
        )
        size = (rows, columns)
    require(min(size) > 0, f"its top would be {size} pixels")
    return Outcome([first[:2] + size])


def unpooling_window(param: LayerParameter) -> tuple[tuple[int, int], tuple[int, int]]:
    """Kernel and stride of an Unpooling, (rows, columns) each."""
    options = param.unpooling_param
    both = options.HasField("kernel_h") and options.HasField("kernel_w")
    require(
        options.HasField("kernel_size") != both,
        "needs either kernel_size or both kernel_h and kernel_w",
    )
    kernel = (options.kernel_h, options.kernel_w) if both else (options.kernel_size,) * 2
    strided = options.HasField("stride_h")
    stride = (options.stride_h, options.stride_w) if strided else (options.stride,) * 2
    require(min(kernel + stride) > 0, f"kernel {kernel} and stride {stride} must be positive")
    return kernel, stride


@rule("MaxUnPool", bottoms=(2, 2), in_place=False)
def max_unpool(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """A map of `dst_h` by `dst_w`; the second bottom is a pooling's mask of positions."""
    (first, mask), options = bottoms, param.max_unpool_param
    require(len(first) == 4, f"takes bottoms of 4 axes, got {len(first)}")
    require(mask == first, "the second bottom, a pooling's mask, must have the first's shape")
    size = (options.dst_h, options.dst_w)
    require(min(size) > 0, f"dst_h and dst_w must be given and positive, got {size}")
    return Outcome([first[:2] + size])


@rule("BilinearInterpolate", in_place=False)
def bilinear_interpolate(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """`dst_h` by `dst_w`, one of which is optional, or scaled by a factor."""
    (shape,), options = bottoms, param.bilinear_interpolate_param
    require(len(shape) == 4, f"takes a bottom of 4 axes, got {len(shape)}")
    given = options.HasField("dst_h") or options.HasField("dst_w")
    require(
        given != options.HasField("scale_factor"), "needs either dst_h and dst_w or scale_factor"
    )
    size = (options.dst_h or shape[2], options.dst_w or shape[3])
    if not given:
        size = (int(shape[2] * options.scale_factor), int(shape[3] * options.scale_factor))
    require(min(size) > 0, f"its top would be {size} pixels")
    return Outcome([shape[:2] + size])


@rule("SpatialTransformer", bottoms=(2, 2), in_place=False)
def spatial_transformer(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """`output_H` by `output_W`, or the bottom's size; the second bottom has an affine map for each.

    It has only the coefficients that the parameters do not fix.
    """
    (shape, theta), options = bottoms, param.st_param
    require(len(shape) == 4, f"takes a first bottom of 4 axes, got {len(shape)}")
    require(
        (options.transform_type, options.sampler_type) == ("affine", "bilinear"),
        "takes transform_type affine and sampler_type bilinear only",
    )
    free = 6 - sum(one is not None for one in given_theta(param))
    require(
        theta[:1] == shape[:1] and count(theta[1:]) == free,
        f"needs {free} numbers for each of {shape[0]} images as its second bottom, got {theta}",
    )
    size = (
        options.output_H if options.HasField("output_H") else shape[2],
        options.output_W if options.HasField("output_W") else shape[3],
    )
    require(min(size) > 0, f"its top would be {size} pixels")
    return Outcome([shape[:2] + size])


def given_theta(param: LayerParameter) -> list[float | None]:
    """The six coefficients of a SpatialTransformer's affine map, None for those from a bottom."""
    options = param.st_param
    names = [f"theta_{row}_{column}" for row in (1, 2) for column in (1, 2, 3)]
    return [getattr(options, name) if options.HasField(name) else None for name in names]


@rule("Interp", bottoms=(1, 2), in_place=False)
def interp(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Interpolated with aligned corners, after cropping rows and columns (DeepLab, PSPNet).

    The size is the second bottom's, or given, or follows from a factor.
    """
    options, (first, *others) = param.interp_param, bottoms
    require(all(len(shape) == 4 for shape in bottoms), "takes bottoms of 4 axes")
    require(
        options.pad_beg <= 0 and options.pad_end <= 0,
        "pad_beg and pad_end cut off where they are negative; Caffe refuses positive ones",
    )
    size = tuple(s + options.pad_beg + options.pad_end for s in first[2:])
    require(min(size) > 0, f"pad_beg and pad_end leave {size} of its {first[2:]} pixels")
    has = options.HasField
    shrink, zoom = has("shrink_factor"), has("zoom_factor")
    given = has("height") and has("width")
    require(
        options.shrink_factor > 0 and options.zoom_factor > 0 and options.full_zoom_factor > 0,
        "its factors must be positive",
    )
    if others and (options.use_blob_size or not (shrink or zoom or given)):
        new = others[0][2:]
    elif given and shrink == zoom:
        new = (options.height, options.width)
    elif shrink or zoom:
        less = [(s - 1) // options.shrink_factor + 1 for s in size]
        new = tuple(s + (s - 1) * (options.zoom_factor - 1) for s in less)
    else:
        require(
            has("full_zoom_factor"),
            "needs a zoom_factor, a shrink_factor, height and width, or a second bottom",
        )
        new = tuple(s * options.full_zoom_factor for s in size)
    require(min(new) > 0, f"its top would be {new} pixels")
    return Outcome([first[:2] + new])


@rule("Resample", bottoms=(1, 2), in_place=False)
def resample(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The given size, or that of a second bottom (FlowNet 2)."""
    options, (first, *others) = param.resample_param, bottoms
    require(all(len(shape) == 4 for shape in bottoms), "takes bottoms of 4 axes")
    size = others[0][2:] if others else (options.height, options.width)
    require(min(size) > 0, "needs height and width, or a second bottom of the size wanted")
    require(
        options.type != options.AREA, "is only defined for NEAREST, LINEAR and CUBIC, not for AREA"
    )
    return Outcome([first[:2] + size])
