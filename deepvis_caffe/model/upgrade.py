"""Bring a net's description to V2: ``NetParameter -> NetParameter``.

Caffe had three generations of text and weights: V0 (``layers { layer { type: "conv" } }``), V1
(``layers { type: CONVOLUTION }``) and V2 (``layer { type: "Convolution" }``). The meaning of every
old field is Caffe's own, as its ``upgrade_net_proto_text`` tool applies it.
"""

from __future__ import annotations

from typing import Literal

from google.protobuf.message import Message

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import (
    LayerParameter,
    NetParameter,
    PoolingParameter,
    V1LayerParameter,
)
from deepvis_caffe.model.upgrade_v0 import upgrade_v0

Generation = Literal["V0", "V1", "V2"]

TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "SLICE": "Slice",
    "TANH": "TanH",
    "WINDOW_DATA": "WindowData",
    "THRESHOLD": "Threshold",
}
_TRANSFORMED = {"DATA": "data_param", "IMAGE_DATA": "image_data_param"}
_TRANSFORMED["WINDOW_DATA"] = "window_data_param"


def generation(net: NetParameter) -> Generation:
    """Which generation a net as parsed is written in.

    Raises
    ------
    ModelError
        ``layer`` and ``layers`` in one file, or V0 and V1 among its ``layers``.
    """
    if net.layer and net.layers:
        raise ModelError(
            f"the net mixes {len(net.layer)} `layer` with {len(net.layers)} `layers` fields, which "
            'Caffe refuses; write all of them as `layer { type: "Name" }`'
        )
    nested = [layer.HasField("layer") for layer in net.layers]
    if any(nested) and not all(nested):
        name = net.layers[nested.index(False)].name
        raise ModelError(
            f"the net is of generation V0 (`layers {{ layer {{ ... }} }}`), but its layer {name!r} "
            "is of V1; write all of them in one form"
        )
    return "V0" if any(nested) else "V1" if net.layers else "V2"


def upgrade(net: NetParameter) -> NetParameter:
    """A V2 copy of `net`, whatever its generation; ``input:`` fields become an Input layer.

    Raises
    ------
    ModelError
        The net mixes generations, uses a type or field that Caffe cannot upgrade, or its
        ``input_dim`` do not come in fours.
    """
    written = generation(net)
    upgraded = NetParameter()
    upgraded.CopyFrom(upgrade_v0(net) if written == "V0" else net)
    for layer in upgraded.layers:
        upgraded.layer.append(_upgrade_v1(layer))
    upgraded.ClearField("layers")
    _upgrade_inputs(upgraded)
    for layer in upgraded.layer:
        pooling = layer.pooling_param
        if pooling.HasField("round_mode"):  # of Caffe after 1.0; forks before it had ceil_mode
            pooling.ceil_mode = pooling.round_mode == PoolingParameter.CEIL
            pooling.ClearField("round_mode")
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            # Early BatchNorm layers declared their statistics as three parameters.
            layer.ClearField("param")
    return upgraded


def _upgrade_v1(old: V1LayerParameter) -> LayerParameter:
    new = LayerParameter()
    fields = LayerParameter.DESCRIPTOR.fields_by_name
    for field, value in old.ListFields():
        if field.name in ("type", "param") or field.name not in fields:
            continue
        if isinstance(value, Message):
            getattr(new, field.name).CopyFrom(value)
        elif isinstance(value, str):
            setattr(new, field.name, value)
        else:
            getattr(new, field.name).extend(value)
    kind = V1LayerParameter.LayerType.Name(old.type)
    new.type = TYPES[kind]
    for name, values in (
        ("name", old.param),
        ("share_mode", old.blob_share_mode),
        ("lr_mult", old.blobs_lr),
        ("decay_mult", old.weight_decay),
    ):
        for i, value in enumerate(values):
            while len(new.param) <= i:
                new.param.add()
            setattr(new.param[i], name, value)
    if kind in _TRANSFORMED:
        data = getattr(new, _TRANSFORMED[kind])
        for name in ("scale", "mean_file", "crop_size", "mirror"):
            if data.HasField(name):
                setattr(new.transform_param, name, getattr(data, name))
                data.ClearField(name)
    return new


def _upgrade_inputs(net: NetParameter) -> None:
    """Turn ``input``, ``input_shape`` and ``input_dim`` into one Input layer in front."""
    if not net.input:
        return
    layer = LayerParameter(name="input", type="Input", top=net.input)
    if net.input_shape:
        if len(net.input_shape) != len(net.input):
            raise ModelError(
                f"{len(net.input)} input fields need as many input_shape, "
                f"got {len(net.input_shape)}"
            )
        layer.input_param.shape.extend(net.input_shape)
    elif net.input_dim:
        if len(net.input_dim) != 4 * len(net.input):
            raise ModelError(
                f"{len(net.input)} input fields need 4 input_dim each (batch, channels, height, "
                f"width), got {len(net.input_dim)} in all"
            )
        for i in range(len(net.input)):
            layer.input_param.shape.add(dim=net.input_dim[4 * i : 4 * i + 4])
    rest = list(net.layer)
    for name in ("input", "input_shape", "input_dim", "layer"):
        net.ClearField(name)
    net.layer.extend([layer, *rest])
