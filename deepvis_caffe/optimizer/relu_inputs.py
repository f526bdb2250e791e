"""The inputs of ReLUs: ``(net, layer) -> layers below``, where a silent unit has a gradient.

A unit that is 0 behind a ReLU has a gradient of exactly 0, so an ascent cannot start from it. At
the ReLU's input it has a gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepvis_caffe.model.shapes.layout import joined_axis

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.graph import Layer

# Layers whose channels each depend on the same channel of their bottom.
CHANNEL_BY_CHANNEL = ("Dropout", "LRN", "Pooling", "Split")


def layers_below_relus(net: Net, name: str) -> list[str]:
    """The layers directly below the ReLUs that `name` depends on through layers without weights.

    Parameters
    ----------
    name
        A layer or blob, as in `optimize`: ``pool1`` gives ``["conv1"]``.
    """
    graph = net.model.graph
    found: dict[str, None] = {}
    wanted = [graph.gradient_start(name)]
    for value in wanted:  # grows during the loop
        layer = graph.producer[value]
        if _silences(layer):
            found |= dict.fromkeys(filter(None, [graph.start_name(layer.bottoms[0])]))
        elif not net.model.weights.get(layer.name):
            wanted += layer.bottoms
    return list(found)


def unit_below_relu(net: Net, name: str, unit: int) -> tuple[str, int] | None:
    """The same unit directly below its ReLU: the layer's name and the channel.

    Parameters
    ----------
    name, unit
        A layer or blob, and one of its channels. A channel of a concatenation is traced to its
        bottom.

    Returns
    -------
    tuple or None
        None if there is no channel-by-channel path to a ReLU.
    """
    graph = net.model.graph
    value = graph.gradient_start(name)
    while True:
        layer = graph.producer[value]
        if _silences(layer):
            below = graph.start_name(layer.bottoms[0])
            return (below, unit) if below else None
        if layer.type == "Concat" and joined_axis(layer.param) == 1:
            for value in layer.bottoms:
                channels = (net.shapes.get(value) or (0, 0))[1]
                if unit < channels:
                    break
                unit -= channels
            else:
                return None
        elif layer.type in CHANNEL_BY_CHANNEL:
            value = layer.bottoms[0]
        else:
            return None


def _silences(layer: Layer) -> bool:
    """Whether it is a rectifier without a negative slope, whose inactive units have no gradient."""
    relu, relu6 = layer.param.relu_param, layer.param.relu6_param
    slope = {"ReLU": relu.negative_slope, "ReLU6": relu6.negative_slope}
    return slope.get(layer.type) == 0
