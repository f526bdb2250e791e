"""What is known of a net's layers without running them: ``(model, shapes) -> (LayerInfo, ...)``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deepvis_caffe.engines.rules import NO_GRADIENT
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.receptive import ReceptiveField
from deepvis_caffe.model.rows import finders


@dataclass(frozen=True)
class LayerInfo:
    """What is known of one layer without running it.

    Attributes
    ----------
    name, type, bottoms, tops
        As in the prototxt.
    shape
        Shape of the first top at the declared input size, batch axis first; None if it is only
        known once the net runs.
    receptive_field
        Receptive field of the first top; None if it is not a window.
    weights
        Number of learned values.
    why_not
        Why the layer cannot run; empty if it can.
    differentiable
        Whether gradients of the layer reach the image: some path to it has no layer that chooses,
        sorts or compares.
    finder
        The layer that determines its number of rows, one per detection; empty if it has one row per
        image. See `deepvis_caffe.model.rows`.
    """

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    shape: tuple[int, ...] | None
    receptive_field: ReceptiveField | None
    weights: int
    why_not: str = ""
    differentiable: bool = True
    finder: str = ""

    @property
    def has_own_units(self) -> bool:
        """Whether it is a convolution of some kind or an inner product, and can run on images.

        All other layers pass on units of the layers below: rectified, pooled, scaled or joined.
        """
        learned = self.type.endswith(("Convolution", "Deconvolution", "InnerProduct"))
        return learned and self.weights > 0 and not self.why_not and not self.finder


def layer_infos(
    model: Model,
    shapes: Mapping[Value, tuple[int, ...]],
    opaque: OpaqueLayers | None = None,
) -> tuple[LayerInfo, ...]:
    """Every layer of a model in order, input layers included; the weights need not be loaded.

    Parameters
    ----------
    model
        Layers and weights.
    shapes
        Known shapes of values: the model's own, or an engine's.
    opaque
        The layers that an engine cannot run; by default the model's own.
    """
    fields = model.receptive_fields
    opaque = model.opaque if opaque is None else opaque
    reaching, found = _reaching_the_image(model), finders(model.graph)
    return tuple(
        LayerInfo(
            name=layer.name,
            type=layer.type,
            bottoms=tuple(v.blob for v in layer.bottoms),
            tops=tuple(v.blob for v in layer.tops),
            shape=shapes.get(layer.tops[0]) if layer.tops else None,
            receptive_field=fields.get(layer.tops[0]) if layer.tops else None,
            weights=_count_weights(model, layer.name),
            why_not=opaque.why_not(layer.name),
            differentiable=layer.name in reaching,
            finder=next((found[top].name for top in layer.tops if top in found), ""),
        )
        for layer in model.graph
    )


def _reaching_the_image(model: Model) -> set[str]:
    """The layers with a path to the image through differentiable layers only."""
    values = set(map(Value, model.image_inputs))
    found = set()
    for layer in model.graph:
        from_image = not values.isdisjoint(layer.tops)
        if from_image and not layer.bottoms:
            found.add(layer.name)  # not its other tops: those are other inputs
        elif layer.type not in NO_GRADIENT and not values.isdisjoint(layer.bottoms):
            values.update(layer.tops)
            found.add(layer.name)
    return found


def _count_weights(model: Model, layer: str) -> int:
    known = model.weight_shapes.get(layer, [blob.shape for blob in model.weights.get(layer, ())])
    return sum(map(math.prod, known))
