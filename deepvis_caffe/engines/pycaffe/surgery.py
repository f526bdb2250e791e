"""The net that Caffe is given: ``Model -> prototxt text``, with the same values and gradients.

Stock Caffe runs backward only for blobs between a learnable parameter and a loss, and an in-place
layer overwrites what it read. So the copy differs from the user's net in this:

- every writing of a blob has a name of its own: no layer works in place, so a value below a ReLU
  can be read, and gradients that need it are right (those of Caffe's in-place Power are not);
- after each layer without bottoms stands a learnable Bias of one zero, which makes Caffe carry
  gradients down to the inputs; every other parameter has ``lr_mult: 0``, so no weight gradient is
  computed, as ``force_backward`` would;
- a Flatten is a Reshape: Caffe's Flatten gives the diff of the blob below other memory on the way
  back, and where a Reshape wrote that blob, which has its diff in one memory with its own bottom's,
  the diff would get no further;
- what nothing reads has ``loss_weight: 1``, so that Caffe skips no layer; layers without tops,
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

TAP = " (gradient tap)"  # ends the name of a Bias that makes Caffe carry gradients

# Bottoms that hold indices or flags: Caffe aborts where it is asked for their gradient.
INDEX_BOTTOMS = {"BatchReindex": 1, "Filter": -1, "LSTM": 1, "LSTMUnit": 2, "RNN": 1}


@dataclass(frozen=True)
class CaffeNetText:
    """What to give to Caffe.

    Attributes
    ----------
    text
        The prototxt.
    blobs
        The blob's name in it, for every value of the model's graph, left out or not.
    """

    text: str
    blobs: Mapping[Value, str]


def write_net(model: Model, pb: Any, opaque: OpaqueLayers) -> CaffeNetText:
    """Write the copy of a model's net that this Caffe runs.

    Parameters
    ----------
    model
        The model. Where its file holds parameters of a fork, which have other numbers in this
        Caffe's schema than in ours, they are read from there.
    pb
        This Caffe's ``caffe.proto.caffe_pb2``.
    opaque
        The layers to leave out, with all that depends on them.

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
    """The file's layers as this Caffe reads them, by name; none in the older generations.

    Of layers of one name that of phase TEST counts.
    """
    if model.prototxt is None:
        return {}
    layers = {}
    for block in layer_blocks(model.prototxt):
        layer = pb.LayerParameter()
        fill_message(layer, block)  # what this Caffe's schema lacks is passed over
        trains = any(rule.HasField("phase") and rule.phase == pb.TRAIN for rule in layer.include)
        if not trains or layer.name not in layers:
            layers[layer.name] = layer
    return layers


def _strip_known(message: Message, schema: Descriptor | None) -> None:
    """Leave only the fields, at every depth, that our own schema lacks or numbers otherwise.

    A layer goes from our schema to this Caffe's as bytes, so by number; our numbers for the fields
    of forks are no fork's own.
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
    """Remove what layers of the copy say, and what writes files or opens windows."""
    for member, names in NOT_FOR_CAFFE.items():
        if member in layer.DESCRIPTOR.fields_by_name and layer.HasField(member):
            held = getattr(layer, member)
            for name in names:
                if name in held.DESCRIPTOR.fields_by_name:
                    held.ClearField(name)
            if not held.ListFields():
                layer.ClearField(member)


def _set_rounding(pooling: Any, layer: Layer) -> None:
    """Say how sizes are rounded in this Caffe's own words; field 13 is a bool or an enum."""
    ceil = layer.param.pooling_param.ceil_mode
    known = pooling.DESCRIPTOR.fields_by_name
    if "round_mode" in known:
        pooling.round_mode = pooling.CEIL if ceil else pooling.FLOOR
    elif "ceil_mode" in known:
        pooling.ceil_mode = ceil
    elif not ceil:
        raise EngineError(
            f"layer {layer.name!r} (Pooling) rounds its size down, and this Caffe can only round "
            "up; use the Caffe that the net was made with, or engine='torch'"
        )


def _flatten_by_reshape(param: Any, axes: int) -> None:
    first, last = param.flatten_param.axis % axes, param.flatten_param.end_axis % axes
    param.type = "Reshape"
    param.reshape_param.axis, param.reshape_param.num_axes = first, last - first + 1
    param.reshape_param.shape.dim.append(-1)


def _ask_for_gradients(param: Any, layer: Layer, read: set[Value]) -> None:
    param.ClearField("loss_weight")
    # A loss weight counts as a reader. A source's top has one already, its tap. With two readers
    # Caffe would split that blob.
    if layer.bottoms and any(value not in read for value in layer.tops):
        param.loss_weight.extend(float(value not in read) for value in layer.tops)
    param.ClearField("propagate_down")
    if layer.type in INDEX_BOTTOMS:
        without = INDEX_BOTTOMS[layer.type] % len(layer.bottoms)
        param.propagate_down.extend(i != without for i in range(len(layer.bottoms)))


def _freeze(param: Any, model: Model, layer: Layer) -> None:
    """``lr_mult: 0`` on every parameter; names stay, since layers share weights through them."""
    count = len(model.weights.get(layer.name, ()))
    del param.param[count:]
    while len(param.param) < count:
        param.param.add()
    for spec in param.param:
        spec.lr_mult = 0
        spec.ClearField("decay_mult")  # shared parameters must agree on it


def _tap(pb: Any, blob: str) -> Any:
    """A scalar Bias, in place: layers that never run, but make Caffe carry gradients to `blob`."""
    tap = pb.LayerParameter(name=blob + TAP, type="Bias", bottom=[blob], top=[blob])
    tap.bias_param.num_axes = 0
    tap.bias_param.axis = 0
    tap.param.add(lr_mult=1)
    return tap
