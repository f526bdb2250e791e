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
    for blob, shape in zip(layer.top, declared, strict=True):
        new.input_param.shape.add(dim=shapes.get(blob, shape))
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


def labels(layers: Sequence[LayerParameter]) -> set[str]:
    """The blobs that hold labels, among those that sources of data fill.

    A label reaches a loss and no layer with weights. This finds sliced labels, and labels that
    come before the prediction among a loss's bottoms.
    """
    reaches_weights: set[str] = set()
    reaches_loss: set[str] = set()
    for layer in reversed(layers):
        # An in-place layer's top is its bottom: once found, a blob stays found.
        weighted = layer.type in WEIGHTED or not reaches_weights.isdisjoint(layer.top)
        lossy = is_loss(layer) or any(layer.loss_weight) or not reaches_loss.isdisjoint(layer.top)
        if weighted:
            reaches_weights.update(layer.bottom)
        if lossy:
            reaches_loss.update(layer.bottom)
    sources = {
        blob
        for layer in layers
        if is_data(layer) or layer.type in ("Input", "DummyData")
        for blob in layer.top
    }
    images = {layer.top[0] for layer in layers if is_data(layer) and _image_shape(layer)}
    return (sources & reaches_loss) - reaches_weights - images
