"""What the first axis of a value counts: ``graph -> {value: the layer that decides it}``.

In most layers it counts images. A layer that finds things, boxes above all, has a row for each of
them, however many there are, and so has everything behind it: the fc7 of a Faster R-CNN has a row
for each region that its Proposal finds. Such a layer has no value of a unit for an image.
"""

from __future__ import annotations

from collections.abc import Mapping

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Graph, Layer, Value

# Types with rows for what is found in an image, in most of them as many as the values tell.
FINDERS = frozenset(
    {
        *("BoxOutput", "DetectionOutput", "Filter", "Proposal", "ProposalLayer", "RegionOutput"),
        *("YoloDetectionOutput", "Yolov3DetectionOutput"),
    }
)
# Types whose top is the same for every image: of bottoms only the shapes count.
CONSTANTS = frozenset({"DummyData", "PriorBox", "PriorBoxClustered"})


def finders(graph: Graph) -> Mapping[Value, Layer]:
    """The values with a row for each thing found, and the first layer on the way that finds."""
    found: dict[Value, Layer] = {}
    for layer in graph:
        first = next((found[value] for value in layer.bottoms if value in found), None)
        if first is None and is_finder(layer):
            first = layer
        if first is not None:
            found.update(dict.fromkeys(layer.tops, first))
    return found


def is_finder(layer: Layer) -> bool:
    """Whether a layer has rows for what it finds, not for images."""
    return layer.type in FINDERS or (layer.type == "Region" and len(layer.tops) == 2)


def constants(graph: Graph) -> frozenset[Value]:
    """The values that are the same for every image, whatever the inputs hold."""
    same: set[Value] = set()
    for layer in graph:
        all_same = layer.bottoms and same.issuperset(layer.bottoms)
        if layer.type in CONSTANTS or all_same:
            same.update(layer.tops)
    return frozenset(same)


def without_units(graph: Graph) -> Mapping[Value, str]:
    """The values that do not have a row of units for each image, and in words why not."""
    same = "it is the same for every image, since it does not depend on what the inputs hold"
    reasons = dict.fromkeys(constants(graph), same)
    for value, finder in finders(graph).items():
        who = "it" if finder is graph.producer[value] else f"{finder.name!r} ({finder.type})"
        reasons[value] = (
            f"it has a row for each thing that {who} finds, not one for each image, so its units "
            f"have no value for an image; take a layer that does not need {finder.name!r}"
        )
    return reasons


def check_has_units(graph: Graph, name: str, value: Value) -> None:
    """Raise `ModelError` where a value, called `name`, has no row of units for each image."""
    if why := without_units(graph).get(value):
        raise ModelError(f"layer {name!r} ({graph.producer[value].type}) has no units: {why}")
