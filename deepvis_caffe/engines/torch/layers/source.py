"""Layers without bottoms: Input, whose tops the net fills, Parameter and DummyData."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from deepvis_caffe.engines.torch.layer import Layer, register
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model import graph
from deepvis_caffe.model.schema_pb2 import FillerParameter
from deepvis_caffe.model.shapes import RULES


@register("Input")
class Input(Layer):
    """Never runs: its tops are the user's inputs."""

    def forward(self) -> Tensor:  # noqa: D102
        names = ", ".join(value.blob for value in self.layer.tops)
        raise EngineError(f"no value was given for {names}")


@register("Parameter")
class Parameter(Layer):
    """A learned blob."""

    values: Tensor
    blobs = ("values",)

    def forward(self) -> Tensor:  # noqa: D102
        return self.values.view_as(self.values)


@register("DummyData")
class DummyData(Layer):
    """Constant or random blobs. Random ones are drawn once, seeded by the layer's position."""

    def __init__(self, layer: graph.Layer, weights: Sequence[nn.Parameter] = ()) -> None:
        super().__init__(layer, weights)
        fillers = list(layer.param.dummy_data_param.data_filler) or [FillerParameter()]
        shapes = RULES[layer.type](layer.param, []).tops
        if len(fillers) == 1:  # one for all tops
            fillers *= len(shapes)
        rng = np.random.default_rng(layer.index)
        for i, (filler, shape) in enumerate(zip(fillers, shapes, strict=True)):
            values = torch.tensor(self._fill(filler, shape, rng), dtype=torch.float32)
            self.register_buffer(f"values{i}", values, persistent=False)

    def forward(self) -> tuple[Tensor, ...]:  # noqa: D102
        return tuple(self.buffers())

    def _fill(
        self, filler: FillerParameter, shape: tuple[int, ...], rng: np.random.Generator
    ) -> np.ndarray:
        if filler.type == "constant":
            return np.full(shape, filler.value)
        if filler.type == "uniform":
            return rng.uniform(filler.min, filler.max, shape)
        return rng.normal(filler.mean, filler.std, shape)
