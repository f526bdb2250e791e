"""What the first axis of a value counts: ``graph -> {value: the layer that determines it}``.

In most layers it counts images. A layer that detects things, usually boxes, has one row for each,
and so has everything that depends on it: the fc7 of a Faster R-CNN has one row for each region of
its Proposal. The units of such a layer have no single value for an image.
"""

from __future__ import annotations

from collections.abc import Mapping

from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Graph, Layer, Value

# Types with rows for detections; for most of them, how many depends on the values.
FINDERS = frozenset(
    {
        *("BoxOutput", "DetectionOutput", "Filter", "Proposal", "ProposalLayer", "RegionOutput"),
        *("YoloDetectionOutput", "Yolov3DetectionOutput"),
    }
)
# Types whose top is the same for every image: at most, it depends on the bottoms' shapes.
CONSTANTS = frozenset({"DummyData", "PriorBox", "PriorBoxClustered"})


def finders(graph: Graph) -> Mapping[Value, Layer]:
    """The values with one row per detection, and the first layer below that detects."""
    found: dict[Value, Layer] = {}
    for layer in graph:
        first = next((found[value] for value in layer.bottoms if value in found), None)
        if first is None and is_finder(layer):
            first = layer
        if first is not None:
            found.update(dict.fromkeys(layer.tops, first))
    return found


def is_finder(layer: Layer) -> bool:
    """Whether a layer has rows for detections, not for images."""
    return layer.type in FINDERS or (layer.type == "Region" and len(layer.tops) == 2)


def constants(graph: Graph) -> frozenset[Value]:
    """The values that are the same for every image and all inputs."""
    same: set[Value] = set()
    for layer in graph:
        all_same = layer.bottoms and same.issuperset(layer.bottoms)
        if layer.type in CONSTANTS or all_same:
            same.update(layer.tops)
    return frozenset(same)


def without_units(graph: Graph) -> Mapping[Value, str]:
    """The values that do not have a row of units for each image, and the reason in words."""
    same = "it is the same for every image, since it does not depend on the values of the inputs"
    reasons = dict.fromkeys(constants(graph), same)
    for value, finder in finders(graph).items():
        who = "it" if finder is graph.producer[value] else f"{finder.name!r} ({finder.type})"
        reasons[value] = (
            f"it has one row for each thing that {who} finds, not one for each image; use a layer "
            f"that does not depend on {finder.name!r}"
        )
    return reasons


def check_has_units(graph: Graph, name: str, value: Value) -> None:
    """Raise `ModelError` if a value, called `name`, has no row of units for each image."""
    if why := without_units(graph).get(value):
        raise ModelError(f"layer {name!r} ({graph.producer[value].type}) has no units: {why}")
