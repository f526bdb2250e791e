"""What is known of a net's layers without running them: ``(model, shapes) -> (LayerInfo, ...)``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.receptive import ReceptiveField


@dataclass(frozen=True)
class LayerInfo:
    """What is known of one layer without running it.

    Attributes
    ----------
    name, type, bottoms, tops
        As in the prototxt.
    shape
        Shape of the first top at the declared input size, batch axis first; None where the net has
        to run to know.
    receptive_field
        What one position of the first top sees of the input; None where that is not a window.
    weights
        Number of learned values.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    shape: tuple[int, ...] | None
    receptive_field: ReceptiveField | None
    weights: int


def layer_infos(model: Model, shapes: Mapping[Value, tuple[int, ...]]) -> tuple[LayerInfo, ...]:
    """Every layer of a model in order, input layers included; it need not have its weights.

    Parameters
    ----------
    model
        Layers and weights.
    shapes
        Shape of every value, as far as known: the model's own, or an engine's.
    """
    fields = model.receptive_fields
    return tuple(
        LayerInfo(
            name=layer.name,
            type=layer.type,
            bottoms=tuple(v.blob for v in layer.bottoms),
            tops=tuple(v.blob for v in layer.tops),
            shape=shapes.get(layer.tops[0]) if layer.tops else None,
            receptive_field=fields.get(layer.tops[0]) if layer.tops else None,
            weights=_count_weights(model, layer.name),
        )
        for layer in model.graph
    )


def _count_weights(model: Model, layer: str) -> int:
    known = model.weight_shapes.get(layer, [blob.shape for blob in model.weights.get(layer, ())])
    return sum(map(math.prod, known))
