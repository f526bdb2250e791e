"""Shapes of a net's blobs and weights, without running it: ``(graph, input shapes) -> Shapes``.

A net on which Caffe would abort raises an error here that names the layer and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.shapes import (  # noqa: F401 (fill the registry)
    detection,
    flow,
    layout,
    pointwise,
    python,
    recurrent,
    resampling,
    windows,
)
from deepvis_caffe.model.shapes.registry import RULES, Outcome, Shape, count

INT_MAX = 2**31 - 1

__all__ = ["RULES", "Shapes", "infer"]


@dataclass(frozen=True)
class Shapes:
    """Shapes at one input size.

    Attributes
    ----------
    values
        Shapes of all values for which they can be determined.
    weights
        Shapes of every layer's weights, in Caffe's order, without layers that have none.
    """

    values: Mapping[Value, Shape]
    weights: Mapping[str, tuple[Shape, ...]]


def infer(
    graph: Graph,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    faults: dict[str, str] | None = None,
) -> Shapes:
    """Shapes of all values and weights of `graph`.

    Parameters
    ----------
    graph
        A deploy net.
    input_shapes
        Shape by input blob, batch axis first; by default those that the Input layers declare.
    faults
        If given, a layer that does not fit its bottoms is not an error: the reason is added here
        under the layer's name. Layers with an entry are skipped.

    Returns
    -------
    Shapes
        Without the tops of layers whose type has no rule (Python layers, for example), of those
        with faults, and of everything that depends on them.

    Raises
    ------
    ModelError
        A layer does not fit its bottoms, and `faults` is not given. The message gives the layer,
        its type, the shapes and the reason.
    UnknownNameError
        `input_shapes` names a blob that is not an input.
    """
    given = {name: tuple(int(d) for d in shape) for name, shape in (input_shapes or {}).items()}
    for name in given:
        if name not in graph.inputs:
            raise UnknownNameError("input", name, graph.inputs, f"net {graph.name!r}")
    values: dict[Value, Shape] = {}
    weights: dict[str, tuple[Shape, ...]] = {}
    for layer in graph:
        known = layer.type in RULES and all(value in values for value in layer.bottoms)
        if not known or layer.name in (faults or ()):
            continue
        bottoms = [values[v] for v in layer.bottoms]
        try:
            if layer.type == "Input" and given.keys() >= {top.blob for top in layer.tops}:
                outcome = Outcome([given[top.blob] for top in layer.tops])  # none is declared
            else:
                outcome = RULES[layer.type](layer.param, bottoms)
            _check(layer, bottoms, outcome)
        except (ModelError, ArithmeticError, LookupError, ValueError) as error:
            listed = ", ".join(
                f"{v.blob} {shape}" for v, shape in zip(layer.bottoms, bottoms, strict=True)
            )
            reason = f"{error}" + (f" (its bottoms: {listed})" if listed else "")
            if faults is None:
                raise ModelError(f"layer {layer.name!r} ({layer.type}): {reason}") from None
            faults[layer.name] = reason
            continue
        values.update(zip(layer.tops, outcome.tops, strict=True))
        if layer.type == "Input":
            values.update((v, given[v.blob]) for v in layer.tops if v.blob in given)
        if outcome.weights:
            weights[layer.name] = tuple(outcome.weights)
    return Shapes(values, weights)


def _check(layer: Layer, bottoms: Sequence[Shape], outcome: Outcome) -> None:
    """Check Caffe's limits on blobs, and that in-place layers keep shapes."""
    for shape in (*outcome.tops, *outcome.weights):
        if min(shape, default=1) < 0 or len(shape) > 32:
            raise ModelError(f"a blob of shape {shape} is not possible in Caffe")
        if count(shape) > INT_MAX:
            raise ModelError(
                f"a blob of shape {shape} would have {count(shape):,} values, but Caffe allows at "
                f"most {INT_MAX:,}"
            )
    for top, shape in zip(layer.tops, outcome.tops, strict=True):
        for bottom, before in zip(layer.bottoms, bottoms, strict=True):
            if top.blob == bottom.blob and shape != before:
                raise ModelError(f"cannot work in place: it turns {before} into {shape}")
