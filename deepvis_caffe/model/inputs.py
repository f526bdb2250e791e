"""Which blobs of a net the user fills, and their shapes: data layers become ``Input`` layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.schema_pb2 import LayerParameter

SINKS = ("Accuracy", "DetectionEvaluate", "HDF5Output")
WEIGHTED = (
    *("BatchNorm", "Bias", "Convolution", "Deconvolution", "Embed", "InnerProduct"),
    *("LSTM", "Normalize", "PReLU", "RNN", "Scale"),
)


def is_loss(layer: LayerParameter) -> bool:
    """Whether a layer only measures or records: a loss, an accuracy, an output to a file."""
    return layer.type in SINKS or layer.type.endswith("Loss")


def is_data(layer: LayerParameter) -> bool:
    """Whether a layer reads data from somewhere: a data layer of any kind, a Python one too.

    DummyData is none: its constants belong to the net.
    """
    named = layer.type.endswith("Data") and layer.type != "DummyData"
    return not layer.bottom and (named or layer.type == "Python")


def to_input(layer: LayerParameter, shapes: Mapping[str, Sequence[int]]) -> LayerParameter:
    """An ``Input`` layer with one shape per top in place of a data layer; others as they are.

    A shape is the one in `shapes`, or else what the file declares: that of an Input layer, a crop
    size, an image size; batches of 1 where it came from a data layer. An unknown shape is empty.
    A data layer's ``transform_param`` stays: it says how pictures were prepared.
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
    """Shape of a data layer's first top, as far as its parameters tell; else empty."""
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


def labels(layers: Sequence[LayerParameter], trains: bool) -> set[str]:
    """The blobs that only training needs, among those that sources of data fill.

    A label reaches no layer with weights, and either it reaches a loss, or nothing reads it but
    Silence layers. This finds sliced labels, and labels that come before the prediction among a
    loss's bottoms. Where the file `trains` nothing, in no phase, every Input is meant: one that
    nothing reads is more likely a misspelt bottom.
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
            # The file tells the shape of images, never that of labels.
            images = layer.top[:1] if is_data(layer) and _image_shape(layer) else ()
            found.update(set(layer.top) - set(images) - (read - lossy))
        elif layer.type == "DummyData":
            found.update(lossy.intersection(layer.top))
    return found - weighted
