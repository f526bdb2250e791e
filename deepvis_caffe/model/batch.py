"""Whether a net keeps the images of a batch apart: ``(model, value) -> why not, in words``.

Most layers do. A BatchNorm by the statistics of the batch, a layer that joins or cuts axis 0, a
Reshape that names the batch's size, and recurrent layers do not: what they give for one image
depends on the others, or its rows are no images at all.
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
    # Unset, Caffe uses the stored statistics: deploy nets run in its TEST phase.
    own = norm.HasField("use_global_stats") and not norm.use_global_stats
    return "normalizes by the statistics of the batch (use_global_stats: false)" if own else ""


def _softmax(layer: Layer) -> str:
    return "" if layer.param.softmax_param.axis else "normalizes along axis 0, the batch"


def _recurs(layer: Layer) -> str:
    return "takes the rows of axis 0 for steps of a sequence"


def _filter(layer: Layer) -> str:
    return "leaves rows of axis 0 out"


def _gather(layer: Layer) -> str:
    return "" if layer.param.gather_param.axis else "picks rows of axis 0"


def _reverse(layer: Layer) -> str:
    return "" if 0 not in (layer.param.reverse_param.axis or [0]) else "turns axis 0 round"


# What a layer type does to a batch, in words; empty where its parameters keep the images apart.
# Layers that change the number of rows are found by their shapes.
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
    """Why the rows of a value are not its images, each by itself; empty where they are.

    Parameters
    ----------
    model
        The net.
    value
        Which of its values.
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
    """The layers below a value that normalize by the statistics of the batch, by name."""
    return [
        layer.name
        for layer in model.graph.ancestors([value])
        if layer.type == "BatchNorm" and _batch_norm(layer)
    ]


def shape_for(model: Model, value: Value, images: int) -> Shape | None:
    """The shape of a value for so many images; None where only an engine knows.

    Raises
    ------
    ModelError
        The layers below do not fit so many images.
    """
    shapes, faults = model.shapes_for(images)
    if value not in shapes and faults:
        for layer in model.graph.ancestors([value]):
            if layer.name in faults:
                raise ModelError(f"layer {layer.name!r} ({layer.type}): {faults[layer.name]}")
    return shapes.get(value)
