"""Whether a net processes the images of a batch independently: ``(model, value) -> why not``.

Most layers do. Exceptions are a BatchNorm with batch statistics, a layer that joins or splits axis
0, a Reshape with a fixed batch size, and recurrent layers: their output for one image depends on
the others, or their rows are not images at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Layer, Value

if TYPE_CHECKING:
    from deepvis_caffe.model.model import Model

Shape = tuple[int, ...]


def _batch_norm(layer: Layer) -> str:
    norm = layer.param.batch_norm_param
    # If unset, Caffe uses the stored statistics, because deploy nets run in its TEST phase.
    own = norm.HasField("use_global_stats") and not norm.use_global_stats
    return "normalizes by the statistics of the batch (use_global_stats: false)" if own else ""


def _softmax(layer: Layer) -> str:
    return "" if layer.param.softmax_param.axis else "normalizes along axis 0, the batch"


def _recurs(layer: Layer) -> str:
    return "treats axis 0 as steps of a sequence"


def _filter(layer: Layer) -> str:
    return "drops rows of axis 0"


def _gather(layer: Layer) -> str:
    return "" if layer.param.gather_param.axis else "picks rows of axis 0"


def _reverse(layer: Layer) -> str:
    return "" if 0 not in (layer.param.reverse_param.axis or [0]) else "reverses axis 0"


# How a layer type mixes images, in words; empty if its parameters keep them independent. Layers
# that change the number of rows are recognized by their shapes.
MIXING: Mapping[str, Callable[[Layer], str]] = MappingProxyType(
    {
        "BatchNorm": _batch_norm,
        "Filter": _filter,
        "Gather": _gather,
        "LSTM": _recurs,
        "Lstm": _recurs,
        "RNN": _recurs,
        "Reverse": _reverse,
        "Softmax": _softmax,
    }
)


def why_mixed(model: Model, value: Value) -> str:
    """Why rows of a value do not each depend on one image alone; empty if they do.

    Parameters
    ----------
    model
        The net.
    value
        One of its values.
    """
    for layer in model.graph.ancestors([value]):
        if layer.type in MIXING and (why := MIXING[layer.type](layer)):
            return f"{layer.name!r} ({layer.type}) {why}"
    try:
        one, two = (shape_for(model, value, images) for images in (1, 2))
    except ModelError as error:
        return str(error)
    if one is None or two is None or two == (2, *one[1:]):
        return ""
    return f"{value.blob!r} has shape {one} for one image and {two} for two"


def batch_norms(model: Model, value: Value) -> list[str]:
    """The names of the layers below a value that normalize with batch statistics."""
    return [
        layer.name
        for layer in model.graph.ancestors([value])
        if layer.type == "BatchNorm" and _batch_norm(layer)
    ]


def shape_for(model: Model, value: Value, images: int) -> Shape | None:
    """The shape of a value for a number of images; None if only an engine knows.

    Raises
    ------
    ModelError
        The layers below do not fit this number of images.
    """
    shapes, faults = model.shapes_for(images)
    if value not in shapes and faults:
        for layer in model.graph.ancestors([value]):
            if layer.name in faults:
                raise ModelError(f"layer {layer.name!r} ({layer.type}): {faults[layer.name]}")
    return shapes.get(value)
