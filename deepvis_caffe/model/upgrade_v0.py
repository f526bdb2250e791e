"""V0 to V1: one flat list of parameters per layer becomes one message per layer type."""

from __future__ import annotations

import logging
from typing import Any

from google.protobuf.message import Message

from deepvis_caffe.errors import ModelError, did_you_mean
from deepvis_caffe.model.schema_pb2 import NetParameter, V0LayerParameter, V1LayerParameter

log = logging.getLogger(__name__)

TYPES = {
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

# Where a field of a layer type goes: V0 field -> V1 field. Training's own fields are left out.
_CONVOLUTION = {
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
FIELDS: dict[str, tuple[str, dict[str, str]]] = {
    "conv": ("convolution_param", _CONVOLUTION),
    "innerproduct": (
        "inner_product_param",
        {k: _CONVOLUTION[k] for k in ("num_output", "biasterm", "weight_filler", "bias_filler")},
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
_SHAPING = set().union(*(table for _, table in FIELDS.values())) - set(_SOURCE)


def upgrade_v0(net: NetParameter) -> NetParameter:
    """A V1 copy of a V0 net, its padding layers folded into the layers that read them."""
    upgraded = NetParameter()
    upgraded.CopyFrom(net)
    upgraded.ClearField("layers")
    upgraded.layers.extend(_upgrade_layer(layer) for layer in _fold_padding(net))
    return upgraded


def _fold_padding(net: NetParameter) -> list[V1LayerParameter]:
    """The layers without padding layers, whose ``pad`` goes to the convolution or pool above."""
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


def _upgrade_layer(connection: V1LayerParameter) -> V1LayerParameter:
    old: V0LayerParameter = connection.layer
    if old.type not in TYPES:
        raise ModelError(
            f"layer {old.name!r}: {old.type!r} is not a layer type of generation V0"
            f"{did_you_mean(old.type, TYPES)}"
        )
    new = V1LayerParameter(
        name=old.name,
        type=TYPES[old.type],
        bottom=connection.bottom,
        top=connection.top,
        blobs=old.blobs,
        blobs_lr=old.blobs_lr,
        weight_decay=old.weight_decay,
    )
    member, table = FIELDS.get(old.type, ("", {}))
    for field, value in old.ListFields():
        if field.name in table:
            _put(getattr(new, member), table[field.name], value)
        elif field.name in _TRANSFORM:
            _put(new.transform_param, _TRANSFORM[field.name], value)
        elif field.name in _SHAPING:
            log.warning("layer %r (%s): ignored %s, as Caffe does", old.name, old.type, field.name)
    return new


def _put(message: Message, name: str, value: Any) -> None:
    """Set or, where the newer field is repeated or a message, add or copy."""
    place = getattr(message, name)
    if hasattr(place, "append"):
        place.append(value)
    elif isinstance(place, Message):
        place.CopyFrom(value)
    else:
        setattr(message, name, value)
