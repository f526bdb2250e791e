"""Whether real Caffe computes the same values. Runs in a child process: Caffe may abort it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.engines.pycaffe import PycaffeNet
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.model import load_model
from tools.corpus.trial import (
    INPUTS,
    VALUES,
    Options,
    Tell,
    in_words,
    read,
    read_model,
    weights_for,
)

EQUAL = 1e-3  # relative to a value's largest number; float32 through a hundred layers

Array = Any  # numpy.ndarray of float32


def compare(path: Path, options: Options, folder: Path, tell: Tell) -> None:
    """Run the net of a trial on Caffe, and compare every value that both have.

    Parameters
    ----------
    path, options
        As for the trial.
    folder
        The trial's folder, with the inputs and every value.
    tell
        Takes the ``caffe`` fields of a `Record`.
    """
    try:
        tell(**_compared(path, options, folder))
    except Exception as error:
        tell(caffe="failed", caffe_reason=in_words(error, path))


def _compared(path: Path, options: Options, folder: Path) -> dict[str, Any]:
    model, sizes, _ = read_model(path, options)
    model = load_model(path, weights_for(model, options), sizes)
    values = [Value(*one) for one in json.loads((folder / VALUES).read_text(encoding="utf-8"))]
    ran = {model.graph.producer[value].name for value in values}
    # Layers that we cannot run may stop Caffe, too, for example because they name a missing file.
    left_out = {
        layer.name: "it did not run in the trial" for layer in model.graph if layer.name not in ran
    }
    try:
        net = PycaffeNet(replace(model, faults={**model.faults, **left_out}), None, "cpu")
    except EngineError as error:  # Caffe lacks every layer with weights, or cannot build the net
        return {"caffe": "n/a", "caffe_reason": in_words(error, path)}
    net.forward(dict(np.load(folder / INPUTS)))
    drawn = depend_on_chance(model.graph)
    errors: dict[Value, float] = {}
    lacking: dict[str, str] = {}
    for number, value in enumerate(values):
        layer = model.graph.producer[value]
        if not net.opaque.runs(layer.name):
            culprit = net.opaque.culprit[layer.name]
            lacking[culprit.name] = culprit.type
        elif layer.type != "Input" and value not in drawn:
            measure = share_unequal if holds_indices(layer, value) else relative_error
            errors[value] = measure(np.load(folder / f"{number}.npy"), read(net, value))
    return verdict(errors, model.graph, [f"{name} ({kind})" for name, kind in lacking.items()])


def depend_on_chance(graph: Graph) -> set[Value]:
    """The values that are drawn at random, or computed from such values."""
    drawn: set[Value] = set()
    for layer in graph:
        fillers = layer.param.dummy_data_param.data_filler
        if any(filler.type != "constant" for filler in fillers) or not drawn.isdisjoint(
            layer.bottoms
        ):
            drawn.update(layer.tops)
    return drawn


def holds_indices(layer: Layer, value: Value) -> bool:
    """Whether a value holds indices, which a rounding error elsewhere may change completely."""
    return layer.type == "ArgMax" or (layer.type == "Pooling" and value in layer.tops[1:])


def share_unequal(got: Array, expected: Array) -> float:
    """The fraction of numbers that differ."""
    return float((got != expected).mean()) if got.shape == expected.shape else 1.0


def relative_error(got: Array, expected: Array) -> float:
    """``max |got - expected| / max |expected|``; infinite if different numbers are not finite."""
    finite = np.isfinite(expected)
    if got.shape != expected.shape or not np.array_equal(
        got[~finite], expected[~finite], equal_nan=True
    ):
        return float("inf")
    if not finite.any():
        return 0.0
    got, expected = got[finite], expected[finite]
    error = float(np.abs(got - expected).max())
    return error / (float(np.abs(expected).max()) or 1.0)


def verdict(errors: Mapping[Value, float], graph: Graph, lacking: Sequence[str]) -> dict[str, Any]:
    """The ``caffe`` fields of a record.

    Parameters
    ----------
    errors
        The relative error of every value compared, in the net's order.
    graph
        The net.
    lacking
        The layers that Caffe lacks.
    """
    first = next((value for value, error in errors.items() if not error < EQUAL), None)
    said = []
    if first is not None:
        layer = graph.producer[first]
        said.append(f"first at {layer.name} ({layer.type}): {errors[first]:.2g}")
    if lacking:
        said.append(f"Caffe lacks {', '.join(lacking)}")
    return {
        "caffe": "differs" if first is not None else "n/a" if lacking else "equal",
        "caffe_values": len(errors),
        "caffe_error": max(errors.values(), default=None),
        "caffe_reason": "; ".join(said),
    }
