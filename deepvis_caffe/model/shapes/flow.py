"""Shape rules of FlowNet's layers for optical flow."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.model.schema_pb2 import LayerParameter
from deepvis_caffe.model.shapes.registry import Outcome, Shape, require, rule


@rule("Correlation", bottoms=(2, 2))
def correlation(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """One channel per displacement (rows, columns), ordered row by row."""
    options, (shape, other) = param.correlation_param, bottoms
    require(len(shape) == 4, f"takes bottoms of 4 axes, got {len(shape)}")
    require(shape == other, "its bottoms must have one shape")
    require(
        options.HasField("max_displacement") and options.kernel_size % 2 == 1,
        "max_displacement must be given, and an odd kernel_size",
    )
    require(min(options.stride_1, options.stride_2) > 0, "its strides must be positive")
    border = options.max_displacement + options.kernel_size // 2
    room = [size + 2 * options.pad - 2 * border for size in shape[2:]]
    require(
        min(room) > 0,
        f"a border of {border} pixels leaves nothing of its bottoms of {shape[2:]} with pad "
        f"{options.pad}",
    )
    height, width = (-(-pixels // options.stride_1) for pixels in room)
    return Outcome([(shape[0], displacements(param) ** 2, height, width)])


def displacements(param: LayerParameter) -> int:
    """The number of displacements of a Correlation along one axis."""
    options = param.correlation_param
    return options.max_displacement // options.stride_2 * 2 + 1


@rule("FlowWarp", bottoms=(2, 2))
def flow_warp(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The shape of the first bottom, an image; the second has the flow along x and along y."""
    image, flow = bottoms
    require(len(image) == 4, f"takes bottoms of 4 axes, got {len(image)}")
    require(
        flow == (image[0], 2, *image[2:]),
        "its second bottom must have 2 channels, and the size of the first",
    )
    return Outcome([image])
