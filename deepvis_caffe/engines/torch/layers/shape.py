"""The same values in another shape or order: Flatten, Reshape, Permute, Slice, Crop, Tile.

What becomes of the shape is said once, by the rules in `deepvis_caffe.model.shapes`.
"""

from __future__ import annotations

from torch import Tensor

from deepvis_caffe.engines.torch.registry import Run, Setup, register
from deepvis_caffe.model.shapes import RULES
from deepvis_caffe.model.shapes.layout import joined_axis, permuted_axes


def top_shapes(setup: Setup, *bottoms: Tensor) -> list[tuple[int, ...]]:
    """Shapes of a layer's tops over these bottoms."""
    rule = RULES[setup.layer.type]
    return list(rule(setup.layer.param, [tuple(x.shape) for x in bottoms]).tops)


@register("Flatten", "Reshape")
def reshape(setup: Setup) -> Run:
    """Axes made one, or replaced; values stay in (C, H, W) order."""

    def run(x: Tensor) -> Tensor:
        y = x.reshape(top_shapes(setup, x)[0])
        # Torch hands x itself back where the shape does not change; the top is a node of its own.
        return y.view_as(y) if y is x else y

    return run


@register("Permute")
def permute(setup: Setup) -> Run:
    """Axes in the given order, the others after them (SSD)."""
    param = setup.layer.param
    return lambda x: x.permute(permuted_axes(param, x.ndim))


@register("Slice")
def slice_(setup: Setup) -> Run:
    """A blob cut along an axis at the slice points, or into equal parts."""
    axis = joined_axis(setup.layer.param)
    return lambda x: x.split([shape[axis] for shape in top_shapes(setup, x)], axis)


@register("Crop")
def crop(setup: Setup) -> Run:
    """The first blob cut to the second's size, from `axis` on, after the offsets."""
    param = setup.layer.param.crop_param
    offset = list(param.offset) or [0]

    def run(x: Tensor, like: Tensor) -> Tensor:
        size = top_shapes(setup, x, like)[0]
        axes = range(param.axis % x.ndim, x.ndim)
        for axis, start in zip(axes, offset * len(axes), strict=False):
            x = x.narrow(axis, start, size[axis])
        return x

    return run


@register("Tile")
def tile(setup: Setup) -> Run:
    """The blob repeated along an axis."""
    param = setup.layer.param.tile_param

    def run(x: Tensor) -> Tensor:
        times = [1] * x.ndim
        times[param.axis] = param.tiles
        return x.repeat(times)

    return run
