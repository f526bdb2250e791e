"""Shape rules of the layers that rearrange values: concatenate, slice, reshape, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from deepvis_caffe.model.schema_pb2 import (
    ConcatParameter,
    LayerParameter,
    PadParameter,
    SliceParameter,
)
from deepvis_caffe.model.shapes.registry import (
    Outcome,
    Shape,
    canonical_axis,
    count,
    require,
    rule,
)


@rule("Concat", bottoms=(1, None))
def concat(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottoms joined along one axis; their other axes must agree."""
    first = bottoms[0]
    axis = canonical_axis(first, joined_axis(param))
    for shape in bottoms[1:]:
        require(
            len(shape) == len(first)
            and shape[:axis] + shape[axis + 1 :] == first[:axis] + first[axis + 1 :],
            f"its bottoms must agree on every axis but {axis}",
        )
    return Outcome([_replaced(first, axis, sum(shape[axis] for shape in bottoms))])


@rule("Slice", tops=(1, None))
def slice_layer(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom split along one axis at `slice_point`, or into equal parts."""
    options, (shape,), tops = param.slice_param, bottoms, len(param.top)
    axis = canonical_axis(shape, joined_axis(param))
    size = shape[axis]
    if options.slice_point:
        points = list(options.slice_point)
        require(len(points) == tops - 1, f"{tops} tops need {tops - 1} slice points")
        cuts = [0, *points, size]
        require(
            all(a < b for a, b in pairwise(cuts)),
            f"slice points {points} must increase and lie within axis {axis}, of size {size}",
        )
    else:
        require(size % tops == 0, f"axis {axis}, of size {size}, has no {tops} equal parts")
        cuts = list(range(0, size + 1, size // tops)) if size else [0] * (tops + 1)
    return Outcome([_replaced(shape, axis, b - a) for a, b in pairwise(cuts)])


@rule("Split", tops=(1, None), in_place=False)
def split(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Every top has the bottom's shape."""
    return Outcome([bottoms[0]] * len(param.top))


@rule("Silence", bottoms=(1, None), tops=(0, 0))
def silence(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """No tops."""
    return Outcome([])


@rule("Flatten", in_place=False)
def flatten(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Axes from `axis` to `end_axis` (included) are merged."""
    (shape,) = bottoms
    start = canonical_axis(shape, param.flatten_param.axis)
    end = canonical_axis(shape, param.flatten_param.end_axis, "end_axis") + 1
    require(start <= end, f"axis {start} comes after end_axis {end - 1}")
    return Outcome([(*shape[:start], count(shape[start:end]), *shape[end:])])


@rule("Reshape", in_place=False)
def reshape(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """`num_axes` axes from `axis` become `shape`: 0 copies an axis, -1 is inferred."""
    (shape,) = bottoms
    options = param.reshape_param
    # A negative axis counts the gaps between axes, so -1 is after the last axis.
    start = options.axis if options.axis >= 0 else len(shape) + options.axis + 1
    require(0 <= start <= len(shape), f"axis {options.axis} is out of range")
    require(options.num_axes >= -1, f"num_axes must be -1 or more, got {options.num_axes}")
    end = len(shape) if options.num_axes == -1 else start + options.num_axes
    require(end <= len(shape), f"axis {start} and {options.num_axes} axes run past its bottom")
    new = list(options.shape.dim)
    require(min(new, default=0) >= -1, f"dim must be -1 or more, got {new}")
    require(new.count(-1) <= 1, f"at most one dim may be -1, got {new}")
    for position, dim in enumerate(new):
        if dim == 0:
            require(
                start + position < len(shape),
                f"dim {position} is 0, but its bottom has no axis {start + position} to copy",
            )
            new[position] = shape[start + position]
    top = [*shape[:start], *new, *shape[end:]]
    if -1 in top:
        total, rest = count(shape), -count(top)
        if rest == 0:  # without rows, infer a row's size as for one row
            total, rest = (count([abs(size) or 1 for size in sizes]) for sizes in (shape, top))
        require(total % rest == 0, f"its bottom's {total} values are not divisible by {rest}")
        top[top.index(-1)] = total // rest
    require(
        count(top) == count(shape),
        f"its bottom has {count(shape)} values, but its top {tuple(top)} would have {count(top)}",
    )
    return Outcome([tuple(top)])


@rule("Permute", "Transpose")
def permute(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The axes in the given order, followed by the others.

    SSD's Permute has an `order`; CTPN's Transpose names every axis as `dim`.
    """
    (shape,) = bottoms
    if param.type == "Transpose":
        named = len(param.transpose_param.dim)
        require(
            named == len(shape),
            f"needs a dim for each of its bottom's {len(shape)} axes, got {named}; forks disagree "
            "on a Transpose without any",
        )
    return Outcome([tuple(shape[axis] for axis in permuted_axes(param, len(shape)))])


def permuted_axes(param: LayerParameter, axes: int) -> tuple[int, ...]:
    """For each top axis of a Permute or Transpose, the bottom axis that it comes from."""
    options = param.permute_param.order if param.type == "Permute" else param.transpose_param.dim
    order = list(options)
    require(
        min(order, default=0) >= 0 and max(order, default=0) < axes,
        f"order {order} names an axis its bottom does not have",
    )
    require(len(set(order)) == len(order), f"order {order} names an axis twice")
    return (*order, *(axis for axis in range(axes) if axis not in order))


@rule("Squeeze", in_place=False)
def squeeze(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The given axes of size 1 removed; by default all of them (Synopsys)."""
    (shape,) = bottoms
    named = {canonical_axis(shape, axis) for axis in param.squeeze_param.axis}
    require(
        all(shape[axis] == 1 for axis in named),
        f"its axes {sorted(named)} must all have size 1, got {shape}",
    )
    gone = named or range(len(shape))
    return Outcome([tuple(size for i, size in enumerate(shape) if size > 1 or i not in gone)])


@rule("Unsqueeze")
def unsqueeze(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """An axis of size 1 inserted before axis `dim`."""
    (shape,) = bottoms
    require(param.unsqueeze_param.HasField("dim"), "dim must be given")
    axis = canonical_axis((*shape, 1), param.unsqueeze_param.dim, "dim")
    return Outcome([(*shape[:axis], 1, *shape[axis:])])


@rule("Reduction")
def reduction(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Axes from `axis` on become one number."""
    return Outcome([bottoms[0][: canonical_axis(bottoms[0], param.reduction_param.axis)]])


@rule("Tile")
def tile(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """One axis repeated."""
    (shape,) = bottoms
    axis = canonical_axis(shape, param.tile_param.axis)
    require(param.tile_param.tiles > 0, "tiles must be given and positive")
    return Outcome([_replaced(shape, axis, shape[axis] * param.tile_param.tiles)])


@rule("ArgMax")
def argmax(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """With an axis, its size becomes `top_k`; otherwise (N, 1 or 2, `top_k`) and trailing ones."""
    options, (shape,) = param.argmax_param, bottoms
    require(options.top_k >= 1, "top_k must be 1 or more")
    if options.HasField("axis"):
        axis = canonical_axis(shape, options.axis)
        size, top = shape[axis], _replaced(shape, axis, options.top_k)
    else:
        require(len(shape) > 0, "takes a bottom of 1 or more axes")
        size = count(shape[1:])
        top = (shape[0], 1 + options.out_max_val, options.top_k) + (1,) * (len(shape) - 3)
    require(options.top_k <= size, f"top_k {options.top_k} is more than the {size} candidates")
    return Outcome([top])


@rule("ShuffleChannel")
def shuffle_channel(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape; its channels must be divisible into the groups."""
    (shape,) = bottoms
    group = param.shuffle_channel_param.group
    require(len(shape) >= 2, "takes a bottom of 2 or more axes")
    require(
        group > 0 and shape[1] % group == 0,
        f"its bottom's {shape[1]} channels cannot be split into {group} groups",
    )
    return Outcome([shape])


@rule("PixelShuffle", in_place=False)
def pixel_shuffle(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Blocks of factor x factor channels become blocks of positions."""
    (shape,), factor = bottoms, upscale_factor(param)
    require(len(shape) == 4, f"takes a bottom of 4 axes, got {len(shape)}")
    require(factor > 0, "upscale_factor must be given and positive")
    images, channels, height, width = shape
    require(
        channels % factor**2 == 0,
        f"its bottom's {channels} channels cannot be split into {factor} x {factor} blocks",
    )
    return Outcome([(images, channels // factor**2, height * factor, width * factor)])


def upscale_factor(param: LayerParameter) -> int:
    """The factor of a PixelShuffle, which forks spell in two ways."""
    spelled = param.HasField("pixel_shuffle_param")
    return (param.pixel_shuffle_param if spelled else param.pixelshuffle_param).upscale_factor


@rule("Reorg", in_place=False)
def reorg(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Blocks of stride x stride positions become channels; with `reverse`, the other way around."""
    (shape,), stride = bottoms, param.reorg_param.stride
    require(len(shape) == 4, f"takes a bottom of 4 axes, got {len(shape)}")
    require(stride > 0, "stride must be given and positive")
    images, channels, height, width = shape
    # Darknet's order needs divisible channels in both directions: see the torch engine's layer.
    require(
        channels % stride**2 == 0,
        f"its bottom's {channels} channels cannot be split into {stride} x {stride} groups",
    )
    if param.reorg_param.reverse:
        return Outcome([(images, channels // stride**2, height * stride, width * stride)])
    require(
        height % stride == 0 and width % stride == 0,
        f"its bottom's {height} x {width} positions cannot be cut into {stride} x {stride} blocks",
    )
    return Outcome([(images, channels * stride**2, height // stride, width // stride)])


@rule("Reverse", in_place=False)
def reverse(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape."""
    reversed_axes(param, bottoms[0])
    return Outcome([bottoms[0]])


def reversed_axes(param: LayerParameter, shape: Shape) -> list[int]:
    """The axes that a Reverse reverses; by default the first."""
    return [canonical_axis(shape, axis) for axis in param.reverse_param.axis or [0]]


@rule("Flip")
def flip(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape."""
    require(len(bottoms[0]) == 4, f"takes a bottom of 4 axes, got {len(bottoms[0])}")
    return Outcome([bottoms[0]])


# The forks' names for the ends: brocolli-caffe; DeepLab and sophgo.
PADDED_ENDS = {
    "Pad": ("pad_u", "pad_d", "pad_l", "pad_r"),
    "Padding": ("pad_beg", "pad_end", "pad_t", "pad_l", "pad_b", "pad_r"),
}


@rule("Pad", "Padding", in_place=False)
def pad(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom padded at both ends of each axis; cropped if negative."""
    (shape,) = bottoms
    added = padded_ends(param, len(shape))
    top = tuple(size + sum(ends) for size, ends in zip(shape, added, strict=True))
    require(min(top) > 0, f"leaves nothing of {shape}")
    if param.type == "Pad" and param.pad_param.pad_type == PadParameter.REFLECT:
        require(
            all(max(ends) < size for size, ends in zip(shape, added, strict=True)),
            f"reflects fewer positions than {shape} has",
        )
    return Outcome([top])


def padded_ends(param: LayerParameter, axes: int) -> list[tuple[int, int]]:
    """The padding of a Pad or Padding before and after each axis."""
    options = param.pad_param if param.type == "Pad" else param.padding_param
    if param.type == "Pad" and options.paddings:  # Synopsys
        ends = list(options.paddings)
        require(len(ends) == 2 * axes, f"needs two paddings for each of {axes} axes, got {ends}")
        return list(zip(ends[::2], ends[1::2], strict=True))
    require(axes == 4, f"takes a bottom of 4 axes, got {axes}")
    ends_of = PADDED_ENDS[param.type]
    require(any(map(options.HasField, ends_of)), f"needs one of {', '.join(ends_of)}")
    if param.type == "Pad":
        rows, columns = (options.pad_u, options.pad_d), (options.pad_l, options.pad_r)
    elif options.HasField("pad_beg") or options.HasField("pad_end"):  # DeepLab
        rows = columns = (options.pad_beg, options.pad_end)
    else:
        rows, columns = (options.pad_t, options.pad_b), (options.pad_l, options.pad_r)
        require(options.pad_method == PadParameter.CONSTANT, "pad_method must be CONSTANT")
    require(
        min(*rows, *columns) >= 0 or max(*rows, *columns) <= 0,
        f"cannot add at some ends and cut off at others, got {rows} rows and {columns} columns",
    )
    return [(0, 0), (0, 0), rows, columns]


@rule("CropCenter", in_place=False)
def crop_center(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom cropped by `crop_size` at both ends of each axis."""
    (shape,), cut = bottoms, list(param.crop_center_param.crop_size)
    require(
        len(cut) == len(shape), f"takes one crop_size for each of its bottom's {len(shape)} axes"
    )
    top = tuple(size - 2 * ends for size, ends in zip(shape, cut, strict=True))
    require(min(top) > 0, f"crop_size {cut} leaves nothing of {shape}")
    return Outcome([top])


@rule("Gather")
def gather(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The positions `indices` of one axis, in the form `shape`."""
    options, (first,) = param.gather_param, bottoms
    require(len(options.indices) > 0, "needs indices")
    axis = canonical_axis(first, options.axis)
    indices, shape = list(options.indices), [size for size in options.shape if size]
    require(len(indices) == count(shape), f"its {len(indices)} indices do not fill shape {shape}")
    require(max(indices) < first[axis], f"indices {indices} run past axis {axis} of {first}")
    return Outcome([(*first[:axis], *shape, *first[axis + 1 :])])


@rule("BatchReindex", bottoms=(2, 2))
def batch_reindex(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """As many images as the second bottom has indices."""
    first, index = bottoms
    require(len(first) > 0, "takes a bottom of 1 or more axes")
    require(len(index) == 1, f"its second bottom must have 1 axis, got {len(index)}")
    return Outcome([index + first[1:]])


@rule("Filter", bottoms=(2, None), tops=(1, None))
def filter_layer(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottoms but the last, as if it selects all images; the true number depends on values."""
    *first, selector = bottoms
    require(len(param.top) == len(first), "needs one top for each bottom but the last")
    require(len(selector) > 0, "its last bottom must have 1 or more axes")
    require(count(selector[1:]) == 1, "its last bottom must have one number for each image")
    require(
        all(shape[:1] == selector[:1] for shape in first), "its bottoms must have one batch size"
    )
    return Outcome(first)


@rule("Parameter", bottoms=(0, 0))
def parameter(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """A learned blob of the declared shape."""
    shape = tuple(param.parameter_param.shape.dim)
    return Outcome([shape], [shape])


def _replaced(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def joined_axis(param: LayerParameter) -> int:
    """The axis of a Concat or Slice as written: `axis`, or the older ``concat_dim`` etc."""
    options: ConcatParameter | SliceParameter
    options, old = (
        (param.concat_param, "concat_dim")
        if param.type == "Concat"
        else (param.slice_param, "slice_dim")
    )
    has_old = options.HasField(old)
    require(not (options.HasField("axis") and has_old), f"takes either axis or {old}, not both")
    return getattr(options, old if has_old else "axis")
