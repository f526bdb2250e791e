"""Shape rules of pointwise layers, inner products, and sources of data."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.errors import did_you_mean
from deepvis_caffe.model.schema_pb2 import BlobShape, EltwiseParameter, LayerParameter
from deepvis_caffe.model.shapes.registry import (
    Outcome,
    Shape,
    canonical_axis,
    count,
    legacy,
    require,
    rule,
)

FILLERS = (
    *("bilinear", "constant", "gaussian", "msra"),
    *("positive_unitball", "uniform", "xavier"),
)


@rule(
    *("BNLL", "Clip", "Dropout", "ELU", "Exp", "HardSigmoid", "HardSwish", "Log", "Mish"),
    *("Power", "ReLU", "ReLU6", "SeLu", "SeLuDropout", "Sigmoid", "Swish", "TanH", "Threshold"),
)
def neuron(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape."""
    for kind, options in (("Exp", param.exp_param), ("Log", param.log_param)):
        usable = options.base == -1 or (options.base > 0 and options.base != 1)
        require(
            param.type != kind or usable,
            f"base must be positive and not 1, or -1 for e; got {options.base}",
        )
    return Outcome([bottoms[0]])


@rule("AbsVal", in_place=False)
def absolute(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape."""
    return Outcome([bottoms[0]])


@rule("Softmax")
def softmax(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape, which must have the axis."""
    canonical_axis(bottoms[0], param.softmax_param.axis)
    return Outcome([bottoms[0]])


@rule("MVN")
def mvn(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The top has 4 axes in Caffe, however many the bottom has."""
    return Outcome([legacy(bottoms[0])])


@rule("GRN")
def grn(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape."""
    require(2 <= len(bottoms[0]) <= 4, f"takes a bottom of 2 to 4 axes, got {len(bottoms[0])}")
    require(param.grn_param.bias >= 0, f"bias must be 0 or more, got {param.grn_param.bias}")
    return Outcome([bottoms[0]])


@rule("PReLU")
def prelu(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """One slope per channel, or one for all."""
    (shape,) = bottoms
    require(len(shape) >= 2, "takes a bottom of 2 or more axes")
    return Outcome([shape], [() if param.prelu_param.channel_shared else shape[1:2]])


@rule("Normalize", tops=(1, 2))
def normalize(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """SSD's: one scale per channel, or one for all.

    With `normalize_param`, caffe-windows's: no weights, and the norms as a second top.
    """
    (shape,) = bottoms
    require(len(shape) >= 2, "takes a bottom of 2 or more axes")
    images = legacy(shape)
    if param.HasField("normalize_param"):
        kind = param.normalize_param.normalize_type
        require(kind in ("L1", "L2"), f"normalize_type must be L1 or L2, got {kind!r}")
        top = shape if param.top[0] == param.bottom[0] else images
        return Outcome([top, (images[0], 1, *images[2:])][: len(param.top)])
    require(len(param.top) == 1, f"takes 1 top, got {len(param.top)}")
    return Outcome([shape], [() if param.norm_param.channel_shared else shape[1:2]])


@rule("NormalizationL2")
def normalize_images(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape."""
    return Outcome([bottoms[0]])


@rule("L2Normalize", in_place=False)
def normalize_videos(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape."""
    return Outcome([bottoms[0]])


@rule("GroupNorm")
def group_norm(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The bottom's shape; its channels must be divisible into the groups."""
    (shape,), groups = bottoms, param.group_norm_param.group_num
    require(len(shape) >= 2, "takes a bottom of 2 or more axes")
    require(
        groups > 0 and shape[1] % groups == 0,
        f"its bottom's {shape[1]} channels cannot be split into {groups} groups",
    )
    return Outcome([shape])


@rule("ChannelScale", bottoms=(2, 2), tops=(1, 2))
def channel_scale(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The first bottom's shape; one scale per position, or a single learned one."""
    shape, scale = bottoms
    require(len(shape) >= 2, "takes a bottom of 2 or more axes")
    require(
        shape[0] == scale[0] and count(shape[:1] + shape[2:]) == count(scale),
        "its second bottom must have one number for each position of the first",
    )
    learned = param.channel_scale_param.global_scale
    require(learned or len(param.top) == 1, "has a second top only with global_scale")
    return Outcome([shape, (1,)][: len(param.top)], [(1,)] if learned else [])


@rule("BatchNorm")
def batch_norm(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Weights are the sums of means and of variances, and the factor by which both are divided."""
    (shape,) = bottoms
    require(len(shape) >= 2, "takes a bottom of 2 or more axes")
    return Outcome([shape], [shape[1:2], shape[1:2], (1,)])


@rule("Scale", bottoms=(1, 2))
def scale(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The factor is a weight, or the second bottom; the optional bias is always a weight."""
    options = param.scale_param
    along = _operand(bottoms, options.axis, options.num_axes)
    weights = [along] if len(bottoms) == 1 else []
    return Outcome([bottoms[0]], weights + [along] * options.bias_term)


@rule("Bias", bottoms=(1, 2))
def bias(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The addend is a weight, or the second bottom."""
    along = _operand(bottoms, param.bias_param.axis, param.bias_param.num_axes)
    return Outcome([bottoms[0]], [along] if len(bottoms) == 1 else [])


def _operand(bottoms: Sequence[Shape], axis: int, num_axes: int) -> Shape:
    """The shape of the operand that a Scale or Bias broadcasts over its first bottom."""
    shape = bottoms[0]
    if len(bottoms) == 2 and not bottoms[1]:
        return ()  # a scalar fits at any axis
    start = canonical_axis(shape, axis)
    if len(bottoms) == 2:
        num_axes = len(bottoms[1])
    require(num_axes >= -1, f"num_axes must be -1 or more, got {num_axes}")
    end = len(shape) if num_axes == -1 else start + num_axes
    require(
        end <= len(shape), f"axis {start} and {num_axes} axes run past its bottom's {len(shape)}"
    )
    if len(bottoms) == 2:
        require(
            bottoms[1] == shape[start:end],
            f"the second bottom {bottoms[1]} does not fit axes {start} to {end - 1} of the first",
        )
    return shape[start:end]


@rule("Eltwise", bottoms=(2, None))
def eltwise(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Bottoms of the same shape; coefficients for SUM only."""
    options = param.eltwise_param
    require(
        len(options.coeff) in (0, len(bottoms)),
        f"takes one coeff per bottom, got {len(options.coeff)} for {len(bottoms)} bottoms",
    )
    require(
        not options.coeff or options.operation != EltwiseParameter.PROD,
        "takes coeff for SUM, not for PROD",
    )
    require(all(shape == bottoms[0] for shape in bottoms), "its bottoms must have one shape")
    return Outcome([bottoms[0]])


@rule("InnerProduct")
def inner_product(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Axes from `axis` on become one of `num_output`; weights (output, input), or transposed."""
    (shape,) = bottoms
    options = param.inner_product_param
    axis = canonical_axis(shape, options.axis)
    inputs, outputs = count(shape[axis:]), options.num_output
    require(outputs > 0, "num_output must be given and positive")
    weight = (inputs, outputs) if options.transpose else (outputs, inputs)
    return Outcome([(*shape[:axis], outputs)], [weight, (outputs,)][: 1 + options.bias_term])


@rule("InnerDistance", bottoms=(1, 2))
def inner_distance(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """As an inner product without a bias; a second bottom may replace the weights."""
    (shape, *centers), options = bottoms, param.inner_distance_param
    axis = canonical_axis(shape, options.axis)
    inputs, outputs = count(shape[axis:]), options.num_output
    require(
        options.distance_type in ("L1", "L2"),
        f"distance_type must be L1 or L2, got {options.distance_type!r}",
    )
    if centers:
        require(
            not options.update_center_only, "update_center_only is for training: it reads labels"
        )
        outputs = (*centers[0], 0)[0]
        require(
            count(centers[0]) == outputs * inputs,
            f"needs rows of {inputs} values as its second bottom, got {centers[0]}",
        )
    require(outputs > 0, "num_output must be given and positive")
    weight = (inputs, outputs) if options.transpose else (outputs, inputs)
    return Outcome([(*shape[:axis], outputs)], [] if centers else [weight])


@rule("Embed")
def embed(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """Each number in the bottom selects a row of the weights, (input_dim, num_output)."""
    options = param.embed_param
    inputs, outputs = options.input_dim, options.num_output
    require(inputs > 0 and outputs > 0, "input_dim and num_output must be given and positive")
    weights: list[Shape] = [(inputs, outputs), (outputs,)]
    return Outcome([(*bottoms[0], outputs)], weights[: 1 + options.bias_term])


@rule("Input", bottoms=(0, 0), tops=(1, None))
def input_layer(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """The shapes declared in the prototxt: one for all tops, or one for each."""
    return Outcome(_declared(param.input_param.shape, len(param.top)))


@rule("DummyData", bottoms=(0, 0), tops=(1, None))
def dummy_data(param: LayerParameter, bottoms: Sequence[Shape]) -> Outcome:
    """As for Input, or in the legacy form with four numbers."""
    options, tops = param.dummy_data_param, len(param.top)
    fillers = [filler.type for filler in options.data_filler]
    require(
        len(fillers) in (0, 1, tops),
        f"takes no data_filler, one, or one per top; got {len(fillers)}",
    )
    for kind in fillers:
        require(
            kind in FILLERS,
            f"has a data_filler of unknown type {kind!r}{did_you_mean(kind, FILLERS)}",
        )
    legacy_form = [options.num, options.channels, options.height, options.width]
    if not any(legacy_form):
        return Outcome(_declared(options.shape, tops))
    require(not options.shape, "takes shape, or num, channels, height and width; not both")
    require(
        all(len(numbers) in (1, tops) for numbers in legacy_form),
        "needs num, channels, height and width, each once or once per top",
    )
    return Outcome([tuple(n[0] if len(n) == 1 else n[i] for n in legacy_form) for i in range(tops)])


def _declared(shapes: Sequence[BlobShape], tops: int) -> list[Shape]:
    require(
        len(shapes) in (1, tops),
        f"needs one shape, or one for each of its {tops} tops; got {len(shapes)}",
    )
    dims = [tuple(shape.dim) for shape in shapes]
    return dims * tops if len(dims) == 1 else dims
