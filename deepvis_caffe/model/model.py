"""A Caffe model, whole and checked: ``(prototxt, weights) -> Model``. Engines run it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ModelError, WeightsError
from deepvis_caffe.model.caffemodel import read_caffemodel
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.prototxt import parse_prototxt
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import RULES, infer
from deepvis_caffe.model.upgrade import Generation, generation, upgrade
from deepvis_caffe.model.weights import match_weights

Weights = Mapping[str, Sequence[NDArray[np.float32]]]


@dataclass(frozen=True, eq=False)  # two models are equal only if they are one
class Model:
    """What a net computes, on any engine.

    Attributes
    ----------
    graph
        Its layers, TEST phase, with ``Input`` layers in front.
    params
        The same as a message, the deploy net, V2 form. Parameters that stock Caffe does not have
        are not in it; they are in the file at `prototxt` only.
    input_shapes
        Declared shape of every input blob, batch axis first.
    shapes
        Shape of every value at that input size, as far as known; see `unknown_types`.
    weights
        float32 arrays by layer name, in Caffe's order. Arrays shared by layers are one object.
    prototxt, caffemodel
        The files, None where the model came from memory.
    generation
        How the prototxt is written.
    """

    graph: Graph
    params: NetParameter = field(repr=False)
    input_shapes: Mapping[str, tuple[int, ...]]
    shapes: Mapping[Value, tuple[int, ...]] = field(repr=False)
    weights: Weights = field(repr=False)
    prototxt: Path | None = None
    caffemodel: Path | None = None
    generation: Generation = "V2"

    @property
    def unknown_types(self) -> tuple[str, ...]:
        """Layer types without a shape rule: custom layers, which only their own Caffe runs."""
        return tuple(sorted({layer.type for layer in self.graph} - set(RULES)))

    def with_input_shapes(self, input_shapes: Mapping[str, Sequence[int]]) -> Model:
        """The same model for inputs of another size; inputs that are not named keep theirs.

        Raises
        ------
        ModelError
            A layer cannot work at that size, or its weights belong to another one: an
            InnerProduct fixes the size of what it reads.
        UnknownNameError
            `input_shapes` names no input.
        """
        params = deploy(self.params, input_shapes)
        graph = Graph.from_layers(params.name, params.layer)
        shapes = infer(graph)
        for name, expected in shapes.weights.items():
            got = tuple(blob.shape for blob in self.weights[name])
            if got != expected:
                raise ModelError(
                    f"layer {name!r} ({graph.layer(name).type}) has weights {got}, and would need "
                    f"{expected} for inputs of {_sizes(graph, shapes.values)}; this net works at "
                    f"{_sizes(self.graph, self.shapes)} only"
                )
        return dataclasses.replace(
            self,
            graph=graph,
            params=params,
            input_shapes=_inputs(graph, shapes.values),
            shapes=shapes.values,
        )


def load_model(
    prototxt: str | Path | NetParameter,
    weights: str | Path | Weights | None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Model:
    """Read a net and its weights, and check that they belong together.

    Parameters
    ----------
    prototxt
        Path of a deploy or train_val file of any generation, or a message of the schema.
    weights
        Path of a ``.caffemodel`` or ``.caffemodel.h5``; or arrays by layer name; or None for a
        net that needs none.
    input_shapes
        Shape by input blob, batch axis first: (N, C, H, W) for images. Takes precedence over the
        file's, and is needed where that does not tell.

    Raises
    ------
    ModelError
        The prototxt cannot be read, or describes a net that cannot be built.
    WeightsError
        The weights cannot be read, or belong to another net.
    UnknownNameError
        `input_shapes` names no input.

    Examples
    --------
    >>> model = load_model("deploy.prototxt", "net.caffemodel")
    >>> model.input_shapes
    {'data': (10, 3, 227, 227)}
    """
    path = None if isinstance(prototxt, NetParameter) else Path(prototxt)
    written = prototxt if isinstance(prototxt, NetParameter) else parse_prototxt(prototxt)
    try:
        params = deploy(upgrade(written), input_shapes)
        graph = Graph.from_layers(params.name, params.layer)
        shapes = infer(graph)
    except ModelError as error:
        raise ModelError(f"{path}: {error}" if path else str(error)) from None

    if weights is None and shapes.weights:
        raise WeightsError(
            f"net {graph.name!r} has {len(shapes.weights)} layers with weights "
            f"({', '.join(list(shapes.weights)[:5])}, ...), and no weights are given"
        )
    file = Path(weights) if isinstance(weights, str | Path) else None
    found = read_caffemodel(weights) if isinstance(weights, str | Path) else weights or {}
    return Model(
        graph=graph,
        params=params,
        input_shapes=_inputs(graph, shapes.values),
        shapes=shapes.values,
        weights=match_weights(graph, shapes, found, str(file or "the given weights")),
        prototxt=path,
        caffemodel=file,
        generation=generation(written),
    )


def _inputs(graph: Graph, shapes: Mapping[Value, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shapes[Value(name)] for name in graph.inputs}


def _sizes(graph: Graph, shapes: Mapping[Value, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in _inputs(graph, shapes).items())
