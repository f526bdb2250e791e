"""Which layers to climb where a ReLU leaves nothing to climb: ``(net, layer) -> layers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net


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
