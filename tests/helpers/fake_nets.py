"""Nets whose activations are a formula, for tests of the loop itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from google.protobuf import text_format

from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps
from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.receptive import receptive_fields
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import infer
from helpers.engine_nets import layer, net_text

Formula = Callable[[np.ndarray], tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]]


class FakeNet:
    """The part of an engine that the ascent uses, over any formula.

    Parameters
    ----------
    formula
        Maps images (N, C, H, W) to the values (N, units) and to the function from a diff of these
        to the gradient.
    units
        How many there are; or the shape of the values of one image.
    shape
        Of the input, (C, H, W).
    """

    engine, device = "fake", "cpu"

    def __init__(
        self,
        formula: Formula,
        units: int | tuple[int, ...] = 1,
        shape: tuple[int, int, int] = (3, 8, 7),
        ops: ArrayOps | None = None,
        mean: Any = 100,
        raw_scale: float = 255,
    ) -> None:
        self.formula, self.ops = formula, ops or NumpyOps()
        self.preprocessor = Preprocessor(shape, mean, raw_scale=raw_scale)
        self.inputs = {"data": (1, *shape)}
        graph = _graph(self.inputs["data"], (units,) if isinstance(units, int) else units)
        shapes = {Value("data"): self.inputs["data"]}
        self.model = SimpleNamespace(
            input_shapes=self.inputs,
            shapes=shapes,
            weights={},
            graph=graph,
            receptive_fields=receptive_fields(graph, shapes, ["data"]),
            image_input="data",
            image_inputs=("data",),
        )
        self.model.shapes_for = self._shapes_for
        self.seen: list[np.ndarray] = []

    def _shapes_for(self, images: int) -> tuple[Any, dict[str, str]]:
        graph, (_, *shape) = self.model.graph, self.inputs["data"]
        return infer(graph, {"data": (images, *shape)}).values, {}

    def why_mixed(self, name: str, *, start: bool = False) -> str:
        return ""  # a formula is of each image by itself

    def saves_channels(self, name: str) -> bool:
        return False

    def check_gradient(self, name: str) -> None:
        self.model.graph.gradient_start(name)  # every value of a formula has one

    def computes_with(self) -> dict[str, Any]:
        return {}  # nothing beside numpy

    def image_input(self) -> str:
        return "data"

    def label(self, layer: str, unit: int | str) -> None:
        """Formulas have no names."""

    def evaluate(self, x: Any, name: str, channels: tuple[int, ...] | None = None) -> Any:
        images = self.ops.numpy(x)
        self.seen.append(images)
        values, self.pull = self.formula(images)
        self.part = (slice(None), slice(None) if channels is None else channels)
        self.whole = np.zeros_like(values)
        return self.ops.asarray(values[self.part] if values.ndim > 1 else values)

    def input_gradient(self, diff: Any, mode: str = "gradient") -> Any:
        if self.whole.ndim > 1:
            self.whole[self.part] = self.ops.numpy(diff)
            return self.ops.asarray(self.pull(self.whole))
        return self.ops.asarray(self.pull(self.ops.numpy(diff)))


def _graph(data: tuple[int, ...], values: tuple[int, ...]) -> Graph:
    """A graph in which "unit" has values of that shape; its formula is not run."""
    flat = f"inner_product_param {{ num_output: {math.prod(values)} }}"
    dims = " ".join(f"dim: {size}" for size in (0, *values))
    text = net_text(
        layer("flat", "InnerProduct", "data", "", flat),
        layer("unit", "Reshape", "flat", "", f"reshape_param {{ shape {{ {dims} }} }}"),
        data=data,
    )
    return Graph.from_layers("fake", text_format.Parse(text, NetParameter()).layer)


def linear(weights: np.ndarray) -> Formula:
    """Unit u of `weights` (U, C, H, W) is its product with the image."""

    def formula(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        return (x[:, None] * weights).sum((2, 3, 4)), lambda diff: (
            diff[:, :, None, None, None] * weights
        ).sum(1)

    return formula


def bumps(centers: np.ndarray, width: float = 60.0) -> Formula:
    """Unit u is a gaussian bump around its center (U, C, H, W): smooth, curved, in (0, 1]."""

    def formula(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        away = (x[:, None] - centers) / width
        height = np.exp(-(away**2).mean((2, 3, 4)))
        slope = -2 * away / width / away[0, 0].size * height[:, :, None, None, None]
        return height, lambda diff: (diff[:, :, None, None, None] * slope).sum(1)

    return formula
