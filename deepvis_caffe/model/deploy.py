"""Convert the net of a prototxt to a TEST-phase deploy net.

A deploy file passes nearly unchanged. A train_val file loses what only training needs: the layers
of the other phase, data layers (they become inputs), labels, losses and accuracies.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain, count

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.schema_pb2 import (
    TEST,
    ConvolutionParameter,
    LayerParameter,
    NetParameter,
    NetState,
    NetStateRule,
)

log = logging.getLogger(__name__)

SINKS = ("Accuracy", "DetectionEvaluate", "HDF5Output")
WEIGHTED = (
    *("BatchNorm", "Bias", "Convolution", "Deconvolution", "Embed", "InnerProduct"),
    *("LSTM", "Lstm", "Normalize", "PReLU", "RNN", "Scale"),
)
HEADS = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}
PROBABILITIES = "prob"

_ENGINES = (
    *("convolution_param", "pooling_param", "lrn_param", "relu_param"),
    *("sigmoid_param", "softmax_param", "tanh_param"),
)
_FILLERS = {
    "convolution_param": ("weight_filler", "bias_filler"),
    "inner_product_param": ("weight_filler", "bias_filler"),
    "scale_param": ("filler", "bias_filler"),
    "bias_param": ("filler",),
    "prelu_param": ("filler",),
    "norm_param": ("scale_filler",),
}


def deploy(
    net: NetParameter,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    stages: Sequence[str] = (),
) -> NetParameter:
    """The TEST phase of a net, fed by the user and ending in its activations.

    - ``include`` and ``exclude`` rules are applied for phase TEST, level 0, and the stages of the
      file and of `stages`.
    - Data layers become ``Input`` layers, with a batch of 1 where the file tells the image's size.
      Their labels are removed, and so is everything that labels feed.
    - The last SoftmaxWithLoss or SigmoidCrossEntropyLoss becomes a Softmax or Sigmoid named
      ``prob``, unless the net has a ``prob`` already. One with a second top always becomes a layer
      that writes that top. Other losses, accuracies and file outputs are removed.
    - If two layers have one name, the second is renamed, unless it may have weights.
    - What only steers training is removed, too: fillers (they cost Caffe seconds, and weights come
      from a file), loss weights, ``propagate_down``, and ``engine: CUDNN``, which a Caffe built
      without cuDNN refuses.

    Parameters
    ----------
    net
        In V2 form, as `deepvis_caffe.model.prototxt.read_prototxt` gives it. Not changed.
    input_shapes
        Shape by input blob, batch axis first: (N, C, H, W) for images. Needed where the file does
        not say; where it does, this wins.
    stages
        Stages to set beside those in the file's ``state``.

    Raises
    ------
    ModelError
        The shape of an input is unknown, a layer has no type or both kinds of rules, or no layers
        are left.
    UnknownNameError
        `input_shapes` names a blob that is not an input.
    """
    shapes = {name: tuple(int(d) for d in shape) for name, shape in (input_shapes or {}).items()}
    state = NetState(phase=TEST, stage=[*net.state.stage, *stages])
    included = [layer for layer in net.layer if _included(layer, state)]
    dropped = _labels(included, trains=any(map(is_loss, net.layer))) - set(shapes)
    kept = _without(dropped, [_to_input(_stripped(layer), shapes) for layer in included])
    if all(layer.type == "Input" for layer in kept):
        raise ModelError(
            f"net {net.name!r}: in phase TEST no layer is left that does not need labels"
        )
    _check_inputs(net.name, kept, shapes)
    _rename_duplicates(kept)
    return NetParameter(name=net.name, layer=kept)


def is_loss(layer: LayerParameter) -> bool:
    """Whether a layer only measures or records: a loss, an accuracy, an output to a file."""
    return layer.type in SINKS or layer.type.endswith("Loss")


def is_data(layer: LayerParameter) -> bool:
    """Whether a layer is a source of data, a Python layer without bottoms included.

    DummyData is not: its constants belong to the net.
    """
    named = layer.type.endswith("Data") and layer.type != "DummyData"
    return not layer.bottom and (named or layer.type == "Python")


# -- the layers of the TEST phase ------------------------------------------------------------------


def _included(layer: LayerParameter, state: NetState) -> bool:
    if layer.include and layer.exclude:
        raise ModelError(
            f"layer {layer.name!r} has include and exclude rules; Caffe takes one kind only"
        )
    if layer.include:
        return any(_meets(state, rule) for rule in layer.include)
    return not any(_meets(state, rule) for rule in layer.exclude)


def _meets(state: NetState, rule: NetStateRule) -> bool:
    stages = set(state.stage)
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )


def _stripped(layer: LayerParameter) -> LayerParameter:
    """A copy without what only steers training."""
    if not layer.type:
        raise ModelError(f"layer {layer.name!r} has no type")
    copy = LayerParameter()
    copy.CopyFrom(layer)
    for name in ("include", "exclude", "phase", "loss_weight", "propagate_down", "blobs"):
        copy.ClearField(name)
    for member, fillers in _FILLERS.items():
        if copy.HasField(member):
            for name in fillers:
                getattr(copy, member).ClearField(name)
    for member in _ENGINES:
        if copy.HasField(member):
            options = getattr(copy, member)
            if options.engine == ConvolutionParameter.CUDNN:
                options.ClearField("engine")
    return copy


# -- inputs ----------------------------------------------------------------------------------------


def _to_input(layer: LayerParameter, shapes: Mapping[str, Sequence[int]]) -> LayerParameter:
    """Replace an Input or data layer by an ``Input`` layer with one shape for each top.

    Other layers are returned as they are. The shape comes from `shapes`, or else from the file: an
    Input layer's own shape, or a data layer's crop or image size with a batch of 1. An unknown
    shape is empty. A data layer's ``transform_param`` is kept, because it says how pictures were
    prepared.
    """
    tops = len(layer.top)
    if layer.type == "Input":
        declared = [tuple(shape.dim) for shape in layer.input_param.shape]
        if len(declared) == 1:
            declared *= tops
        if len(declared) not in (0, tops):
            raise ModelError(
                f"layer {layer.name!r} (Input) has {tops} tops and {len(declared)} shapes; give "
                "one shape, or one for each top"
            )
        declared = declared or [()] * tops
    elif is_data(layer):
        declared = [_image_shape(layer)] + [()] * (tops - 1)
    else:
        return layer
    new = LayerParameter(name=layer.name, type="Input", top=layer.top)
    if layer.HasField("transform_param"):
        new.transform_param.CopyFrom(layer.transform_param)
    for blob, shape in zip(layer.top, declared, strict=True):
        given = tuple(shapes.get(blob, shape))
        if shape and len(given) != len(shape):
            raise ModelError(
                f"input {blob!r} has {len(shape)} axes, as in {shape}, and the shape {given} that "
                f"is given for it has {len(given)}; the first one is the batch, 1 for one image"
            )
        new.input_param.shape.add(dim=given)
    return new


def _image_shape(layer: LayerParameter) -> tuple[int, ...]:
    """The shape of a data layer's first top; empty where its parameters do not tell."""
    transform, images, memory = (
        layer.transform_param,
        layer.image_data_param,
        layer.memory_data_param,
    )
    if layer.type == "MemoryData":
        size = (memory.channels, memory.height, memory.width)
        return (1, *size) if all(size) else ()
    if layer.type in ("HDF5Data", "Python"):
        return ()
    height = transform.crop_size or images.new_height
    width = transform.crop_size or images.new_width
    gray = transform.force_gray or (layer.type == "ImageData" and not images.is_color)
    means = len(transform.mean_value)
    channels = 1 if gray else means if means > 1 else 3
    return (1, channels, height, width) if height and width else ()


def _check_inputs(
    net: str, layers: list[LayerParameter], given: Mapping[str, Sequence[int]]
) -> None:
    inputs = {
        blob: tuple(shape.dim)
        for layer in layers
        if layer.type == "Input"
        for blob, shape in zip(layer.top, layer.input_param.shape, strict=True)
    }
    for name in given:
        if name not in inputs:
            raise UnknownNameError("input", name, inputs, f"net {net!r}")
    unknown = [blob for blob, shape in inputs.items() if not shape]
    if unknown:
        in_code = ", ".join(f"{blob!r}: (1, 3, 224, 224)" for blob in unknown)
        as_flag = ";".join(f"{blob}:1,3,224,224" for blob in unknown)
        raise ModelError(
            f"net {net!r}: the file does not tell the shape of input {', '.join(unknown)}; "
            "give it (batch, channels, height, width), for example as the setting input_shape = "
            f"{{{in_code}}}, as the flag --input-shape '{as_flag}', or in Python as input_shapes"
        )
    for blob, shape in inputs.items():
        if min(shape) < 1:
            raise ModelError(f"net {net!r}: input {blob!r} has shape {shape}; sizes are 1 or more")


# -- labels and losses -----------------------------------------------------------------------------


def _labels(layers: Sequence[LayerParameter], trains: bool) -> set[str]:
    """The blobs that only training needs, among those that data layers and inputs fill.

    A label reaches no layer with weights. Either it reaches a loss, or only Silence layers read it.
    This finds labels behind a Slice, and labels that a loss reads before the prediction. Where no
    phase of the file has a loss (`trains` is false), an Input is never a label: one that nothing
    reads more likely belongs to a misspelled bottom.
    """
    weighted: set[str] = set()  # blobs that reach a layer with weights
    lossy: set[str] = set()  # blobs that reach a loss
    read: set[str] = set()  # blobs that reach any layer but Silence
    for layer in reversed(layers):
        if layer.type in WEIGHTED or not weighted.isdisjoint(layer.top):
            weighted.update(layer.bottom)
        if is_loss(layer) or any(layer.loss_weight) or not lossy.isdisjoint(layer.top):
            lossy.update(layer.bottom)
        if layer.type != "Silence":
            read.update(layer.bottom)
    found: set[str] = set()
    for layer in layers:
        if is_data(layer) or (layer.type == "Input" and trains):
            # A file gives the shape of images, never that of labels.
            images = layer.top[:1] if is_data(layer) and _image_shape(layer) else ()
            found.update(set(layer.top) - set(images) - (read - lossy))
        elif layer.type == "DummyData":
            found.update(lossy.intersection(layer.top))
    return found - weighted


def _without(dropped: set[str], layers: list[LayerParameter]) -> list[LayerParameter]:
    """The layers without losses, `dropped` blobs, and everything that reads either."""
    last = next((layer for layer in reversed(layers) if layer.type in HEADS), None)
    others = [layer for layer in layers if layer is not last]
    names = {layer.name for layer in others} | {blob for layer in others for blob in layer.top}
    gone = set(dropped)
    kept = []
    for layer in layers:
        if layer.type in HEADS:
            _to_head(layer, rename=layer is last and PROBABILITIES not in names)
        if layer.type == "Input":
            _drop_tops(layer, dropped)
        is_sink = is_loss(layer) or not (layer.top or layer.type == "Silence")
        is_label = not layer.bottom and dropped.issuperset(layer.top)
        if is_sink or is_label or not gone.isdisjoint(layer.bottom):
            gone.update(layer.top)
        else:
            kept.append(layer)
    return kept


def _to_head(layer: LayerParameter, rename: bool) -> None:
    """Turn a loss into the Softmax or Sigmoid that it contains, where its result is wanted."""
    probabilities = layer.top[1:2] or [PROBABILITIES]
    if rename or len(layer.top) == 2:
        layer.name = PROBABILITIES if rename else layer.name
        layer.type = HEADS[layer.type]
        del layer.bottom[1:], layer.top[:]
        layer.top.extend(probabilities)


def _drop_tops(layer: LayerParameter, dropped: set[str]) -> None:
    kept = [i for i, blob in enumerate(layer.top) if blob not in dropped]
    tops = [layer.top[i] for i in kept]
    shapes = [layer.input_param.shape[i] for i in kept]
    layer.ClearField("top")
    layer.ClearField("input_param")
    layer.top.extend(tops)
    layer.input_param.shape.extend(shapes)


# -- names -----------------------------------------------------------------------------------------


def _rename_duplicates(layers: list[LayerParameter]) -> None:
    """Rename layers whose name is taken, unless weights may be looked up by it."""
    names: set[str] = set()
    for layer in layers:
        name = layer.name
        if layer.type not in WEIGHTED:
            copies = (f"{name}#{i}" for i in count(2))
            layer.name = next(n for n in chain([name], copies) if n not in names)
            if layer.name != name:
                log.warning("two layers are named %r; the later one is now %r", name, layer.name)
        names.add(layer.name)
