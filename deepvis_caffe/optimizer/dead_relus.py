"""What to climb where a ReLU leaves nothing to climb: ``(net, layer) -> layers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepvis_caffe.model.shapes.layout import joined_axis

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net
    from deepvis_caffe.model.graph import Value

HANDS_ON = ("Dropout", "LRN", "Pooling", "Split")  # a channel of theirs is one of their bottom's


def below_relus(net: Net, name: str) -> list[str]:
    """The layers right below the ReLUs that `name` reads, by way of layers without weights.

    A unit that is off behind a ReLU has a gradient of exactly 0; below the ReLU it has one.

    Parameters
    ----------
    name
        A layer or blob, as in `optimize`: ``pool1`` gives ``["conv1"]``.
    """
    graph = net.model.graph
    found: dict[str, None] = {}
    wanted = [graph.seed(name)]
    for value in wanted:  # grows on the way
        layer = graph.producer[value]
        if layer.type == "ReLU" and layer.param.relu_param.negative_slope == 0:
            found[graph.producer[layer.bottoms[0]].name] = None
        elif not net.model.weights.get(layer.name):
            wanted += layer.bottoms
    return list(found)


def unit_below(net: Net, name: str, unit: int) -> tuple[str, int] | None:
    """The same unit right below the ReLU that it comes from, by its layer's name and its number.

    Parameters
    ----------
    name, unit
        A layer or blob, and a channel of it. Of a concatenation, the channel of that bottom.

    Returns
    -------
    tuple or None
        None where the unit does not come from a ReLU, or not unchanged.
    """
    graph = net.model.graph
    value = graph.seed(name)
    while True:
        layer = graph.producer[value]
        if layer.type == "ReLU" and layer.param.relu_param.negative_slope == 0:
            return _named(net, layer.bottoms[0], unit)
        if layer.type == "Concat" and joined_axis(layer.param) == 1:
            for value in layer.bottoms:
                channels = (net.shapes.get(value) or (0, 0))[1]
                if unit < channels:
                    break
                unit -= channels
            else:
                return None
        elif layer.type in HANDS_ON:
            value = layer.bottoms[0]
        else:
            return None


def _named(net: Net, value: Value, unit: int) -> tuple[str, int] | None:
    """The name at which a pass from this value starts; an in-place layer may have taken it."""
    graph = net.model.graph
    layer = graph.producer[value]
    names = [layer.name] if len(layer.tops) == 1 else []
    return next(((n, unit) for n in (*names, value.blob) if graph.seed(n) == value), None)
