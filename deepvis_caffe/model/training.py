"""The parts of a net that only training needs: losses, metrics, labels, and layers for labels.

A label is recognized by its readers, not by its name: it reaches a loss, but no layer with weights.
Names only matter if that is ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from deepvis_caffe.model.schema_pb2 import LayerParameter
from deepvis_caffe.model.shapes import RULES

WEIGHTED = (
    *("BatchNorm", "Bias", "Convolution", "Deconvolution", "DeformableConvolution", "Embed"),
    *(
        "InnerDistance",
        "InnerProduct",
        "LSTM",
        "Local",
        "Lstm",
        "ModulatedDeformableConvolution",
        "Normalize",
    ),
    *("PReLU", "Parameter", "RNN", "Scale"),
)
# Losses that contain a layer whose output is wanted.
HEADS = {"SoftmaxWithLoss": "Softmax", "SigmoidCrossEntropyLoss": "Sigmoid"}
PROBABILITIES = "prob"
# Layers without bottoms that generate values; all others without bottoms read data.
GENERATORS = ("ContinuationIndicator", "DummyData", "Parameter")

_SINKS = ("HDF5Output", "ImageOutput", "mAP")
_MEASURES = re.compile(r"Loss(?!less)|(^|_)loss(_|$)|Accuracy|Evaluat|^Eval|Eval$")
_LABELS = re.compile(
    r"label|(^|[_-])gt([_-]|$)|truth|target|(inside|outside|loss)_weights",
    re.IGNORECASE,
)


def class_of(layer: LayerParameter) -> str:
    """A layer's type, or a Python layer's class name."""
    return layer.python_param.layer if layer.type == "Python" else layer.type


def is_loss(layer: LayerParameter) -> bool:
    """Whether a layer only measures or records: a loss, an accuracy, or a file output."""
    kind = class_of(layer)
    custom = layer.type not in RULES and layer.type not in HEADS
    return (
        kind in _SINKS
        or bool(_MEASURES.search(kind))
        or (custom and any(weight > 0 for weight in layer.loss_weight))
    )


def needed_bottoms(layer: LayerParameter) -> Sequence[str]:
    """The blobs that a layer reads for purposes other than a loss."""
    if layer.type in HEADS:
        return layer.bottom[:1]
    return [] if is_loss(layer) else layer.bottom


def is_learned(layer: LayerParameter, weights: Collection[str] = ()) -> bool:
    """Whether a layer has weights; for an unknown type, a best guess.

    Parameters
    ----------
    layer
        The layer.
    weights
        The layers in the weights file.
    """
    if layer.type in WEIGHTED or layer.name in weights:
        return True
    if layer.type in RULES or is_loss(layer):
        return False
    return bool(layer.param) or any(
        field.message_type is not None
        and not field.is_repeated
        and "num_output" in field.message_type.fields_by_name
        and value.HasField("num_output")
        for field, value in layer.ListFields()
    )


def is_data(layer: LayerParameter, weights: Collection[str] = ()) -> bool:
    """Whether a layer reads external data: any without bottoms that does not generate values."""
    return not (
        layer.bottom
        or layer.type in ("", *GENERATORS, *RULES)  # Input included
        or is_learned(layer, weights)
        or is_loss(layer)
    )


def is_source(layer: LayerParameter, weights: Collection[str] = ()) -> bool:
    """Whether a layer needs no other layer: it is data, an input or generates values."""
    if layer.bottom:
        return False
    return layer.type in ("Input", *GENERATORS) or is_data(layer, weights)


def is_label_name(blob: str) -> bool:
    """Whether a blob has a typical name for labels."""
    return bool(_LABELS.search(blob))


def find_labels(
    layers: Sequence[LayerParameter], trains: bool, weights: Collection[str] = ()
) -> set[str]:
    """The blobs that only training needs, among those that data layers and inputs fill.

    A label reaches no layer with weights. Either it reaches a loss, or nothing but Silence reads
    it. This finds labels behind a Slice, and labels that are a loss's first bottom. If no phase of
    the file has a loss (`trains` is false), an Input is never a label: one that nothing reads more
    likely belongs to a misspelled bottom.

    If that leaves no input, as in a net without known layers with weights, the first blob without a
    typical label name is the image.
    """
    weighted: set[str] = set()  # blobs that reach a layer with weights
    lossy: set[str] = set()  # blobs that reach a loss
    read: set[str] = set()  # blobs that reach any layer but Silence
    for layer in reversed(layers):
        if is_learned(layer, weights) or not weighted.isdisjoint(layer.top):
            weighted.update(layer.bottom)
        if is_loss(layer) or any(layer.loss_weight) or not lossy.isdisjoint(layer.top):
            lossy.update(layer.bottom)
        if layer.type != "Silence":
            read.update(layer.bottom)
    found: set[str] = set()
    filled: list[str] = []
    for layer in layers:
        if is_data(layer, weights) or (layer.type == "Input" and trains):
            found.update(set(layer.top) - (read - lossy))
            filled += layer.top
        elif layer.type == "DummyData":
            found.update(lossy.intersection(layer.top))
        elif layer.type == "Input":
            filled += layer.top
    found -= weighted
    if found.issuperset(filled):
        direct = {blob for layer in layers if is_loss(layer) for blob in layer.bottom[1:]}
        unlike = [blob for blob in filled if not is_label_name(blob) and blob not in direct]
        found -= set(unlike[:1])
    return found


def target_layers(
    layers: Sequence[LayerParameter], weights: Collection[str] = ()
) -> list[LayerParameter]:
    """The layers of unknown types that transform labels for losses only.

    An example is Faster R-CNN's AnchorTargetLayer, which compares boxes with the ground truth. Such
    a layer reads a blob with a typical label name, and only losses and similar layers read its
    tops.
    """
    given = {blob for layer in layers if is_source(layer, weights) for blob in layer.top}
    targets: list[LayerParameter] = []
    made: set[str] = set()
    for layer in layers:
        foreign = layer.type not in RULES and not is_learned(layer, weights) and not is_loss(layer)
        labelled = any(
            blob in made or (blob in given and is_label_name(blob)) for blob in layer.bottom
        )
        if foreign and labelled and layer.bottom and layer.top:
            targets.append(layer)
            made.update(layer.top)
    while True:
        kept = [one for one in targets if not _is_read(one, layers, targets)]
        if len(kept) == len(targets):
            return targets
        targets = kept


def without_training(
    layers: Sequence[LayerParameter], dropped: Collection[str], weights: Collection[str] = ()
) -> list[LayerParameter]:
    """The layers without losses, `dropped` blobs, and everything that reads either.

    The last loss of `HEADS`, and each with a second top, becomes the layer that it contains.
    """
    last = next((layer for layer in reversed(layers) if layer.type in HEADS), None)
    others = [layer for layer in layers if layer is not last]
    names = {layer.name for layer in others} | {blob for layer in others for blob in layer.top}
    gone = set(dropped)
    kept = []
    for layer in layers:
        if layer.type in HEADS:
            _to_head(layer, rename=layer is last and PROBABILITIES not in names)
        if layer.type == "Input" or is_data(layer, weights):
            drop_tops(layer, dropped)
        is_sink = is_loss(layer) or not (layer.top or layer.type == "Silence")
        is_label = not layer.bottom and set(dropped).issuperset(layer.top)
        if is_sink or is_label or not gone.isdisjoint(layer.bottom):
            gone.update(layer.top)
        else:
            kept.append(layer)
    return kept


def _to_head(layer: LayerParameter, rename: bool) -> None:
    """Turn a loss into the Softmax or Sigmoid that it contains."""
    probabilities = layer.top[1:2] or [PROBABILITIES]
    if rename or len(layer.top) == 2:
        layer.name = PROBABILITIES if rename else layer.name
        layer.type = HEADS[layer.type]
        del layer.bottom[1:], layer.top[:]
        layer.top.extend(probabilities)


def drop_tops(layer: LayerParameter, dropped: Collection[str]) -> None:
    """Remove tops of a layer without bottoms, and their parameters."""
    dummy = layer.dummy_data_param
    per_top = (
        *(layer.input_param.shape, dummy.shape, dummy.data_filler),
        *(dummy.num, dummy.channels, dummy.height, dummy.width),
        layer.top,
    )
    count = len(layer.top)
    numbers = [i for i, blob in enumerate(layer.top) if blob in dropped]
    for values in per_top:
        if len(values) == count and (count > 1 or values is per_top[-1]):
            for i in reversed(numbers):
                del values[i]


def _is_read(
    layer: LayerParameter, layers: Iterable[LayerParameter], targets: Sequence[LayerParameter]
) -> bool:
    tops = set(layer.top)
    return any(
        not tops.isdisjoint(other.bottom)
        and not is_loss(other)
        and other.type != "Silence"
        and not any(other is one for one in targets)
        for other in layers
    )
