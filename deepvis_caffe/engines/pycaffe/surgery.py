"""The net that Caffe loads: ``Model -> prototxt text``, with the same values and gradients.

Stock Caffe runs backward only for blobs between a learnable parameter and a loss, and an in-place
layer overwrites its input. So the copy differs from the user's net as follows:

- Each version of a blob has a name of its own. No layer works in place, so values below a ReLU can
  be read, and gradients that need them are right (those of Caffe's in-place Power are not).
- After each layer without bottoms there is a learnable Bias with a single zero, which makes Caffe
  propagate gradients down to the inputs. Every other parameter has ``lr_mult: 0``, so that no
  weight gradient is computed, unlike with ``force_backward``.
- A Flatten is a Reshape. In its backward pass Caffe's Flatten makes its bottom's diff share its
  top's memory; if a Reshape wrote that blob, whose diff shares memory with its own bottom's, the
  diff would get no further.
- What nothing reads has ``loss_weight: 1``, so that Caffe skips no layer. Layers without tops,
  which compute nothing that can be read, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.dialects import NOT_FOR_CAFFE
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.prototxt import fill_message, layer_blocks
from deepvis_caffe.model.python_layers import caffe_type

TAP = " (gradient tap)"  # suffix of the Bias layers that make Caffe propagate gradients

# Bottoms that hold indices or flags: Caffe aborts if asked for their gradient.
INDEX_BOTTOMS = {"BatchReindex": 1, "Filter": -1, "LSTM": 1, "LSTMUnit": 2, "RNN": 1}


@dataclass(frozen=True)
class CaffeNetText:
    """The text for Caffe, and the blobs' names in it.

    Attributes
    ----------
    text
        The prototxt.
    blobs
        The blob's name in it for every value of the model's graph, left out or not.
    """

    text: str
    blobs: Mapping[Value, str]


def write_net(model: Model, pb: Any, opaque: OpaqueLayers) -> CaffeNetText:
    """Write the copy of a model's net that this Caffe runs.

    Parameters
    ----------
    model
        The model. Parameters of forks, whose field numbers differ between this Caffe's schema and
        ours, are read from its file.
    pb
        This Caffe's ``caffe.proto.caffe_pb2``.
    opaque
        The layers to leave out, and all that depend on them.

    Raises
    ------
    EngineError
        This Caffe cannot read the model's file.
    """
    blobs = _own_names(model.graph)
    originals = _original_layers(model, pb)
    layers = [layer for layer in opaque.running if layer.tops]
    read = {value for layer in layers for value in layer.bottoms}
    net = pb.NetParameter(name=model.graph.name)
    for layer in layers:
        param = net.layer.add()
        param.ParseFromString(layer.param.SerializeToString())
        param.type = caffe_type(layer.type)
        if layer.name in originals:
            foreign = originals[layer.name]
            _strip_known(foreign, layer.param.DESCRIPTOR)
            _strip_not_for_caffe(foreign)
            param.MergeFrom(foreign)
        if layer.type == "Pooling":
            _set_rounding(param.pooling_param, layer)
        if layer.type == "Flatten" and layer.bottoms[0] in model.shapes:
            _flatten_by_reshape(param, len(model.shapes[layer.bottoms[0]]))
        param.bottom[:] = [blobs[value] for value in layer.bottoms]
        param.top[:] = [blobs[value] for value in layer.tops]
        _ask_for_gradients(param, layer, read)
        _freeze(param, model, layer)
        if not layer.bottoms:
            net.layer.extend(_tap(pb, blobs[value]) for value in layer.tops)
    return CaffeNetText(text_format.MessageToString(net), blobs)


def _own_names(graph: Graph) -> dict[Value, str]:
    names: dict[Value, str] = {}
    taken = set(graph.blobs)
    for value in graph.producer:
        name = value.blob
        if value.version:
            name = f"{value.blob}#{value.version}"
            while name in taken:
                name += "#"
        taken.add(name)
        names[value] = name
    return names


def _original_layers(model: Model, pb: Any) -> dict[str, Any]:
    """The file's layers as this Caffe reads them, by name; none for the older formats.

    Of layers that share a name, the one in phase TEST counts.
    """
    if model.prototxt is None:
        return {}
    layers = {}
    for block in layer_blocks(model.prototxt):
        layer = pb.LayerParameter()
        fill_message(layer, block)  # skips fields that this Caffe's schema lacks
        trains = any(rule.HasField("phase") and rule.phase == pb.TRAIN for rule in layer.include)
        if not trains or layer.name not in layers:
            layers[layer.name] = layer
    return layers


def _strip_known(message: Message, schema: Descriptor | None) -> None:
    """Keep only the fields, at every depth, that our schema lacks or numbers differently.

    A layer goes from our schema to this Caffe's as bytes, hence by field number, and our numbers
    for the fields of forks are not the forks' own.
    """
    for field, value in message.ListFields():
        known = schema.fields_by_name.get(field.name) if schema else None
        if known is None or known.number != field.number:
            continue
        if isinstance(value, Message):
            _strip_known(value, known.message_type)
        else:
            message.ClearField(field.name)


def _strip_not_for_caffe(layer: Any) -> None:
    """Remove what the copy's layers set themselves, and what writes files or opens windows."""
    for member, names in NOT_FOR_CAFFE.items():
        if member in layer.DESCRIPTOR.fields_by_name and layer.HasField(member):
            held = getattr(layer, member)
            for name in names:
                if name in held.DESCRIPTOR.fields_by_name:
                    held.ClearField(name)
            if not held.ListFields():
                layer.ClearField(member)


def _set_rounding(pooling: Any, layer: Layer) -> None:
    """Set the rounding of sizes in this Caffe's own way: field 13 is a bool or an enum."""
    ceil = layer.param.pooling_param.ceil_mode
    known = pooling.DESCRIPTOR.fields_by_name
    if "round_mode" in known:
        pooling.round_mode = pooling.CEIL if ceil else pooling.FLOOR
    elif "ceil_mode" in known:
        pooling.ceil_mode = ceil
    elif not ceil:
        raise EngineError(
            f"layer {layer.name!r} (Pooling) rounds its output size down, but this Caffe can only "
            "round it up; use the Caffe that the net was made with, or engine='torch'"
        )


def _flatten_by_reshape(param: Any, axes: int) -> None:
    first, last = param.flatten_param.axis % axes, param.flatten_param.end_axis % axes
    param.type = "Reshape"
    param.reshape_param.axis, param.reshape_param.num_axes = first, last - first + 1
    param.reshape_param.shape.dim.append(-1)


def _ask_for_gradients(param: Any, layer: Layer, read: set[Value]) -> None:
    param.ClearField("loss_weight")
    # A loss weight counts as a reader. A source's top already has one, its tap, and with a second
    # one Caffe would split the blob.
    if layer.bottoms and any(value not in read for value in layer.tops):
        param.loss_weight.extend(float(value not in read) for value in layer.tops)
    param.ClearField("propagate_down")
    if layer.type in INDEX_BOTTOMS:
        without = INDEX_BOTTOMS[layer.type] % len(layer.bottoms)
        param.propagate_down.extend(i != without for i in range(len(layer.bottoms)))


def _freeze(param: Any, model: Model, layer: Layer) -> None:
    """Set ``lr_mult: 0`` on every parameter; keep names, through which layers share weights."""
    count = len(model.weights.get(layer.name, ()))
    del param.param[count:]
    while len(param.param) < count:
        param.param.add()
    for spec in param.param:
        spec.lr_mult = 0
        spec.ClearField("decay_mult")  # shared parameters must agree on it


def _tap(pb: Any, blob: str) -> Any:
    """A scalar in-place Bias, which never runs but makes Caffe propagate gradients to `blob`."""
    tap = pb.LayerParameter(name=blob + TAP, type="Bias", bottom=[blob], top=[blob])
    tap.bias_param.num_axes = 0
    tap.bias_param.axis = 0
    tap.param.add(lr_mult=1)
    return tap
