"""Shapes of what is maximized: ``(net, layer) -> shape of a layer's value``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepvis_caffe.errors import EngineError, ModelError
from deepvis_caffe.model.batch import shape_for
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.rows import check_has_units

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net


def unit_shape(net: Net, layer: str) -> tuple[int, ...]:
    """The shape of a layer's value for one image, channels first.

    Raises
    ------
    EngineError
        The layer's first axis is not the batch axis, or the net cannot run with batch size 1.
    ModelError
        The layer has one row per detection, or is the same for every image.
    """
    graph, start = net.model.graph, net.model.graph.gradient_start(layer)
    check_has_units(graph, layer, start)
    try:
        shape = shape_for(net.model, start, 1)
    except ModelError as error:
        raise EngineError(f"the net cannot run with batch size 1: {error}") from error
    if shape is None:  # only the engine knows the shapes of this type
        x = np.zeros((1, *net.preprocessor.shape), np.float32)
        shape = tuple(net.evaluate(net.ops.asarray(x), layer).shape)
    if shape[:1] != (1,):
        raise EngineError(
            f"layer {layer!r} has shape {shape} for one image: its first axis is not the batch "
            "axis, so it has no units to optimize"
        )
    return shape[1:]


def layers_below(net: Net, layer: str) -> Graph:
    """The layers that a layer's value depends on."""
    graph = net.model.graph
    return Graph(graph.name, graph.ancestors([graph.gradient_start(layer)]))
