"""Upgrade a net's description to V2: ``NetParameter -> NetParameter``.

Caffe had three generations of text and weights: V0 (``layers { layer { type: "conv" } }``), V1
(``layers { type: CONVOLUTION }``) and V2 (``layer { type: "Convolution" }``). A V0 net becomes V1
first. Old fields are interpreted as by Caffe's own ``upgrade_net_proto_text`` tool.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Literal

from google.protobuf.message import Message

from deepvis_caffe.errors import ModelError, did_you_mean
from deepvis_caffe.model.fork_types import FORK_V1_NUMBERS, FORK_V1_TYPES
from deepvis_caffe.model.schema_pb2 import (
    LayerParameter,
    NetParameter,
    PoolingParameter,
    V0LayerParameter,
    V1LayerParameter,
)

log = logging.getLogger(__name__)

Generation = Literal["V0", "V1", "V2"]


def generation(net: NetParameter) -> Generation:
    """The generation of a parsed net's format.

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
    """A V2 copy of a net of any generation; its ``input`` fields become an Input layer.

    Raises
    ------
    ModelError
        The net mixes generations, has a layer type that V0 did not know, or does not give four
        ``input_dim`` for each input.
    """
    written = generation(net)
    upgraded = NetParameter()
    upgraded.CopyFrom(_upgrade_v0(net) if written == "V0" else net)
    for layer in upgraded.layers:
        upgraded.layer.append(upgrade_v1_layer(layer))
    upgraded.ClearField("layers")
    _upgrade_inputs(upgraded)
    for layer in upgraded.layer:
        pooling = layer.pooling_param
        if pooling.HasField("round_mode"):  # Caffe after 1.0; earlier forks had ceil_mode
            pooling.ceil_mode = pooling.round_mode == PoolingParameter.CEIL
            pooling.ClearField("round_mode")
        if layer.type == "BatchNorm" and len(layer.param) == 3:
            # Early BatchNorm layers declared their statistics as three parameters.
            layer.ClearField("param")
    return upgraded


# -- V0 to V1 ----------------------------------------------------------------------------------

_V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

# The fields of a layer type: V0 field -> V1 field. Fields for training are left out.
_CONVOLUTION_FIELDS = {
    "num_output": "num_output",
    "biasterm": "bias_term",
    "weight_filler": "weight_filler",
    "bias_filler": "bias_filler",
    "pad": "pad",
    "kernelsize": "kernel_size",
    "group": "group",
    "stride": "stride",
}
_SOURCE = {"source": "source", "batchsize": "batch_size"}
_V0_FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "conv": ("convolution_param", _CONVOLUTION_FIELDS),
    "innerproduct": (
        "inner_product_param",
        {
            k: _CONVOLUTION_FIELDS[k]
            for k in ("num_output", "biasterm", "weight_filler", "bias_filler")
        },
    ),
    "pool": (
        "pooling_param",
        {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride", "pool": "pool"},
    ),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "lrn": ("lrn_param", {name: name for name in ("local_size", "alpha", "beta", "k")}),
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "data": ("data_param", _SOURCE),
    "hdf5_data": ("hdf5_data_param", _SOURCE),
    "images": (
        "image_data_param",
        {**_SOURCE, "new_height": "new_height", "new_width": "new_width"},
    ),
    "window_data": ("window_data_param", _SOURCE),
}
_TRANSFORM = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}
_SHAPING = set().union(*(table for _, table in _V0_FIELDS.values())) - set(_SOURCE)


def _upgrade_v0(net: NetParameter) -> NetParameter:
    """A V1 copy of a V0 net, its padding layers folded into the layers that read them."""
    upgraded = NetParameter()
    upgraded.CopyFrom(net)
    upgraded.ClearField("layers")
    upgraded.layers.extend(_upgrade_v0_layer(layer) for layer in _fold_padding(net))
    return upgraded


def _fold_padding(net: NetParameter) -> list[V1LayerParameter]:
    """The layers without V0's padding layers, whose ``pad`` moves to the layers that read them."""
    source: dict[str, V1LayerParameter] = {}
    kept = []
    for connection in net.layers:
        layer = V1LayerParameter()
        layer.CopyFrom(connection)
        for i, blob in enumerate(connection.bottom):
            padding = source.get(blob)
            if padding is None or padding.layer.type != "padding":
                continue
            where = f"layer {layer.layer.name!r}, above padding layer {padding.layer.name!r}"
            if layer.layer.type not in ("conv", "pool"):
                raise ModelError(f"{where}, must be a conv or pool, is {layer.layer.type!r}")
            if len(layer.bottom) != 1 or len(padding.bottom) != 1 or len(padding.top) != 1:
                raise ModelError(f"{where}: both must have a single bottom")
            layer.layer.pad = padding.layer.pad
            layer.bottom[i] = padding.bottom[0]
        if layer.layer.type != "padding":
            kept.append(layer)
        source.update(dict.fromkeys(connection.top, connection))
    return kept


def _upgrade_v0_layer(connection: V1LayerParameter) -> V1LayerParameter:
    old: V0LayerParameter = connection.layer
    if old.type not in _V0_TYPES:
        raise ModelError(
            f"layer {old.name!r}: {old.type!r} is not a layer type of generation V0"
            f"{did_you_mean(old.type, _V0_TYPES)}"
        )
    new = V1LayerParameter(
        name=old.name,
        type=_V0_TYPES[old.type],
        bottom=connection.bottom,
        top=connection.top,
        blobs=old.blobs,
        blobs_lr=old.blobs_lr,
        weight_decay=old.weight_decay,
    )
    member, table = _V0_FIELDS.get(old.type, ("", {}))
    for field, value in old.ListFields():
        if field.name in table:
            _put(getattr(new, member), table[field.name], value)
        elif field.name in _TRANSFORM:
            _put(new.transform_param, _TRANSFORM[field.name], value)
        elif field.name in _SHAPING:
            log.warning("layer %r (%s): ignored %s, as Caffe does", old.name, old.type, field.name)
    return new


def _put(message: Message, name: str, value: Any) -> None:
    """Set a field; append if the new one is repeated, copy if it is a message."""
    place = getattr(message, name)
    if hasattr(place, "append"):
        place.append(value)
    elif isinstance(place, Message):
        place.CopyFrom(value)
    else:
        setattr(message, name, value)


# -- V1 to V2 ----------------------------------------------------------------------------------

_V1_TYPES = {
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
    **FORK_V1_TYPES,
}
_TRANSFORMED = {
    "DATA": "data_param",
    "IMAGE_DATA": "image_data_param",
    "WINDOW_DATA": "window_data_param",
}


def modern_type(written: str, fields: Iterable[str] = ()) -> str:
    """The V2 type for a type in any form.

    Parameters
    ----------
    written
        ``"Convolution"``, ``"CONVOLUTION"``, or the number of a V1 type.
    fields
        Names of the layer's fields: if forks use a number for several types, the type with a
        parameter of its own among them is chosen, otherwise stock Caffe's, otherwise the first.

    Returns
    -------
    str
        The type; an unknown one in capitals is converted, such as ``FOO_BAR`` to ``"FooBar"``.
    """
    if written.isdigit():
        names = FORK_V1_NUMBERS.get(int(written), ())
        stock = V1LayerParameter.LayerType.DESCRIPTOR.values_by_number.get(int(written))
        names = (*([stock.name] if stock else []), *names)
        fields = set(fields)
        own = [name for name in names if f"{name.lower()}_param" in fields]
        written = next(iter([*own, *names]), f"Number{written}")
    if written in _V1_TYPES:
        return _V1_TYPES[written]
    if written.isupper() and ("_" in written or len(written) > 5):
        return "".join(part.capitalize() for part in written.split("_"))
    return written


def upgrade_v1_layer(old: V1LayerParameter, kind: str = "") -> LayerParameter:
    """A V2 copy of a V1 layer.

    Parameters
    ----------
    old
        The layer.
    kind
        Its type in V2 form, if the enumeration of V1 types does not have it.
    """
    new = LayerParameter()
    fields = LayerParameter.DESCRIPTOR.fields_by_name
    for field, value in old.ListFields():
        if field.name in ("type", "param") or field.name not in fields:
            continue
        place = getattr(new, field.name)
        if isinstance(place, Message):
            place.CopyFrom(value)
        elif hasattr(place, "extend"):
            place.extend(value)
        else:
            setattr(new, field.name, value)
    v1_kind = V1LayerParameter.LayerType.Name(old.type)
    new.type = kind or _V1_TYPES[v1_kind]
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
    if v1_kind in _TRANSFORMED:
        data = getattr(new, _TRANSFORMED[v1_kind])
        for name in ("scale", "mean_file", "crop_size", "mirror"):
            if data.HasField(name):
                setattr(new.transform_param, name, getattr(data, name))
                data.ClearField(name)
    return new


# -- input fields ------------------------------------------------------------------------------


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
