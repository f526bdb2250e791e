"""Translates fork-specific fields to stock Caffe: ``V2 net -> equivalent V2 net``.

A fork's field is either computed or reported for its layer; it is never silently ignored. If stock
layers are equivalent, the net is rewritten here, so that every engine computes it:

- A ReLU fused into a layer becomes a ReLU after it (Caffe's opencl branch: ``relu_param`` or
  ``fuse_type`` in ``convolution_param``; Intel: ``relu``).
- A Dropout with ``scale_train: false`` multiplies by 1 - ratio in phase TEST (py-faster-rcnn).
- ``hole`` is ``dilation`` (DeepLab 1).
- A 3-D convolution has its sizes in other fields (C3D, video-caffe); see `volumes`.
- A depthwise convolution has as many groups as channels (MobileNets); if their number is not given,
  it follows from the weights.
- Ristretto's layers are those that they simulate on fixed-point hardware, without its rounding, and
  a CuDNNDeconvolution is a Deconvolution.
- A Reorg without a stride has stride 2 (caffe-yolo9000; other forks refuse it).
- A Normalize without weights, or with a second top, is caffe-windows's, not SSD's.
- A BatchNorm with ``scale_bias: true`` is followed by a Scale (NVIDIA).
- A fork layer that several stock layers can express becomes these; see `composites`.

Known Python layers get types of their own; see `python_layers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from deepvis_caffe.model import composites, python_layers, volumes
from deepvis_caffe.model.fork_types import is_understood
from deepvis_caffe.model.graph import Layer
from deepvis_caffe.model.prototxt import HARMLESS
from deepvis_caffe.model.schema_pb2 import (
    BatchNormParameter,
    ConvolutionParameter,
    LayerParameter,
    NetParameter,
)

# Fields that a fork's own Caffe must not see: those that become separate layers here, and SSD's
# DetectionOutput fields for result files and windows, for which Caffe reads files or aborts.
NOT_FOR_CAFFE = {
    "convolution_param": (
        *("relu_param", "fuse_type", "relu", "negative_slope"),
        *volumes.REWRITTEN["convolution_param"],
    ),
    "inner_product_param": ("relu",),
    "batch_norm_param": ("relu", "fused_relu", "scale_bias", "scale_filler", "bias_filler"),
    "dropout_param": ("scale_train",),
    "detection_output_param": (
        *("save_output_param", "visualize", "visualize_threshold", "save_file"),
    ),
}

Blobs = Sequence[NDArray[np.float32]]
Weights = Mapping[str, Blobs]

FUSED = "/relu"  # suffix of a ReLU that a fork fuses into a layer
SCALED = "/scale"  # suffix of the Scale inside NVIDIA's BatchNorm
NVIDIA_BLOBS = 5  # in its BatchNorm: mean, variance, factor, scale, bias


def translate(
    net: NetParameter,
    faults: dict[str, str],
    found: Weights | None = None,
    trains: bool = False,
) -> NetParameter:
    """A copy of a net in stock Caffe's layers and fields.

    Parameters
    ----------
    net
        In V2 form. Not changed.
    faults
        If a layer cannot be translated, the reason is added here under its name.
    found
        The weights by layer name, if known: a BatchNorm with five blobs contains a Scale, even if
        the prototxt does not say so.
    trains
        Whether the net is for phase TRAIN, in which a Dropout is active.
    """
    translated = NetParameter()
    translated.CopyFrom(net)
    translated.ClearField("layer")
    taken = {layer.name for layer in net.layer}
    for layer in net.layer:
        blobs = (found or {}).get(layer.name, ())
        *before, last = composites.parts(layer, blobs, faults)
        for part in before:
            if part.name in taken:
                faults[layer.name] = (
                    f"it stands for stock layers, one of which would be named {part.name!r}, "
                    "the name of another layer of the net; rename that layer"
                )
                before, last = [], layer
        translated.layer.extend(before)
        copy = translated.layer.add()
        copy.CopyFrom(last)
        for step in (_hole, _rename, _reorg, python_layers.recognize):
            step(copy)
        if not trains:
            _dropout(copy)
        _depthwise(copy, blobs)
        _normalize(copy, has_weights=bool(blobs or not found))
        volumes.rewrite(copy, faults)
        if copy.type == "BatchNorm" and len(blobs) == NVIDIA_BLOBS:
            copy.batch_norm_param.scale_bias = True
        if why := _why_not_fused(copy):
            faults[copy.name] = why
        for follow in (_scale_of, _relu_of):
            if behind := follow(copy):
                while behind.name in taken:
                    behind.name += "'"
                translated.layer.append(behind)
    return translated


def split_weights(net: Iterable[Layer], found: Weights) -> Weights:
    """Weights by layer name, with those of a split layer distributed to its parts."""
    parts: dict[str, Sequence[NDArray[np.float32]]] = dict(found)
    names = {layer.name: layer.type for layer in net}
    for name, blobs in found.items():
        for part, theirs in composites.part_weights(name, blobs, names).items():
            parts[part] = theirs
        scale = f"{name}{SCALED}"
        both = (names.get(name), names.get(scale)) == ("BatchNorm", "Scale")
        if both and len(blobs) == NVIDIA_BLOBS:
            parts[name], parts[scale] = _nvidia_blobs(blobs)
    return parts


def _nvidia_blobs(
    blobs: Sequence[NDArray[np.float32]],
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """(mean, variance, factor) and (scale, bias) from five blobs, whose order depends on version.

    NVIDIA's Caffe 0.16 and later, and Intel's: mean, variance, factor, scale, bias. 0.15: scale,
    bias, mean, variance, and one unused value. 0.14: scale, bias, one unused zero, mean, variance.
    """
    one = np.ones(1, np.float32)
    sizes = [np.size(blob) for blob in blobs]
    if sizes[4] == 1 and sizes[2] > 1:
        scale, bias, mean, variance, _ = blobs
        return [mean, variance, one], [scale, bias]
    if sizes[2] == 1 and not np.any(blobs[2]) and sizes[0] > 1:
        scale, bias, _, mean, variance = blobs
        return [mean, variance, one], [scale, bias]
    return list(blobs[:3]), list(blobs[3:])


def ignored_fields(layer: LayerParameter) -> Iterator[str]:
    """The dotted paths of fork fields that a layer sets and that have no effect here."""
    return _ignored(layer, "")


def _ignored(message: Message, path: str) -> Iterator[str]:
    for field, value in message.ListFields():
        name = f"{path}.{field.name}" if path else field.name
        default = not isinstance(value, Message) and value == field.default_value
        if default or HARMLESS.search(name):
            continue
        if not is_understood(field):
            yield name
        elif isinstance(value, Message):
            yield from _ignored(value, name)


# -- fields ----------------------------------------------------------------------------------------


def _hole(layer: LayerParameter) -> None:
    conv = layer.convolution_param
    names = ("hole", "hole_h", "hole_w")
    if not any(conv.HasField(name) for name in names):
        return
    both = conv.hole if conv.HasField("hole") else 1
    holes = [getattr(conv, name) if conv.HasField(name) else both for name in names[1:]]
    if not conv.dilation and holes != [1, 1]:
        conv.dilation.extend(holes[:1] if holes[0] == holes[1] else holes)
    for name in names:
        conv.ClearField(name)


DEPTHWISE = ("DepthwiseConvolution", "ConvolutionDepthwise", "DepthWiseConvolution")


def _depthwise(layer: LayerParameter, blobs: Blobs) -> None:
    conv = layer.convolution_param
    if layer.type in DEPTHWISE and (conv.num_output or blobs):
        layer.type = "Convolution"
        if not conv.num_output:
            conv.num_output = len(blobs[0])
        if not conv.HasField("group"):
            conv.group = conv.num_output


RENAMED = {
    "ConvolutionRistretto": "Convolution",
    "CuDNNDeconvolution": "Deconvolution",
    "DeconvolutionRistretto": "Deconvolution",
    "FcRistretto": "InnerProduct",
    "LRNRistretto": "LRN",
}


def _rename(layer: LayerParameter) -> None:
    if layer.type in RENAMED:
        layer.type = RENAMED[layer.type]


def _reorg(layer: LayerParameter) -> None:
    if layer.type == "Reorg" and not layer.reorg_param.HasField("stride"):
        layer.reorg_param.stride = 2


def _normalize(layer: LayerParameter, has_weights: bool) -> None:
    """Give a Normalize that is not SSD's the (possibly empty) parameters of happynear's."""
    of_ssd = layer.HasField("norm_param") or (has_weights and len(layer.top) == 1)
    if layer.type == "Normalize" and not of_ssd:
        layer.normalize_param.SetInParent()


def _dropout(layer: LayerParameter) -> None:
    dropout = layer.dropout_param
    if layer.type == "Dropout" and dropout.HasField("scale_train") and not dropout.scale_train:
        layer.type = "Power"
        layer.power_param.scale = 1 - dropout.dropout_ratio
        layer.ClearField("dropout_param")


# -- layers in layers ------------------------------------------------------------------------------


def _scale_of(layer: LayerParameter) -> LayerParameter | None:
    norm: BatchNormParameter = layer.batch_norm_param
    said = norm.scale_bias or norm.HasField("scale_filler") or norm.HasField("bias_filler")
    if layer.type != "BatchNorm" or not said:
        return None
    for name in ("scale_bias", "scale_filler", "bias_filler"):
        norm.ClearField(name)
    del layer.param[3:]
    scale = _behind(layer, SCALED, "Scale")
    scale.scale_param.bias_term = True
    return scale


def _relu_of(layer: LayerParameter) -> LayerParameter | None:
    slope: float | None = None
    conv: ConvolutionParameter = layer.convolution_param
    if conv.HasField("relu_param"):
        slope = conv.relu_param.negative_slope
    elif conv.fuse_type == ConvolutionParameter.FUSED_CONV_RELU:
        slope = 0.0
    elif conv.relu:
        slope = conv.negative_slope
    elif (
        layer.type == "BatchNorm"
        and (layer.batch_norm_param.relu or layer.batch_norm_param.fused_relu)
    ) or layer.inner_product_param.relu:
        slope = 0.0
    for member in ("convolution_param", "inner_product_param", "batch_norm_param"):
        for name in set(NOT_FOR_CAFFE[member]) - {"scale_bias", "scale_filler", "bias_filler"}:
            if layer.HasField(member):
                getattr(layer, member).ClearField(name)
    if slope is None or not layer.top:
        return None
    relu = _behind(layer, FUSED, "ReLU")
    relu.relu_param.negative_slope = slope
    return relu


def _why_not_fused(layer: LayerParameter) -> str:
    """Why what a fork fuses into a convolution cannot be computed; empty if it can."""
    kind = layer.convolution_param.fuse_type
    if kind in (
        ConvolutionParameter.FUSED_CONV_MAX_POOLING_RELU,
        ConvolutionParameter.FUSED_CONV_ELTWISE_RELU,
    ):
        return (
            f"fuse_type {ConvolutionParameter.FuseType.Name(kind)} is not supported; write its "
            "parts as separate layers"
        )
    return ""


def _behind(layer: LayerParameter, ending: str, kind: str) -> LayerParameter:
    """A layer that works in place on another one's top, with the same rules."""
    name = f"{layer.name}{ending}"
    new = LayerParameter(name=name, type=kind, bottom=layer.top[:1], top=layer.top[:1])
    new.include.extend(layer.include)
    new.exclude.extend(layer.exclude)
    return new
