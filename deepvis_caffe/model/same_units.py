"""Units that are the same as units of other layers: ``(model, name) -> (SameUnits, ...)``.

A concatenation, a rectifier or a pooling has no units of its own: unit 70 of ``fire3/concat`` is
unit 6 of ``fire3/expand3x3`` wherever that is active. Pictures of one are pictures of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.unit_sources import makes_or_sums_units, unit_sources

# Types whose units each increase with a unit of a bottom. Not Scale, which may flip the sign.
SAME = frozenset(
    {
        *("BNLL", "Clip", "Concat", "Dropout", "ELU", "LRN", "Pooling", "ReLU", "ReLU6"),
        *("ShuffleChannel", "Sigmoid", "Slice", "Split", "TanH"),
    }
)


@dataclass(frozen=True)
class SameUnits:
    """Units of another layer.

    Attributes
    ----------
    names
        The layer's names, the primary one first.
    units
        Its units, by the corresponding units of the layer in question.
    """

    names: tuple[str, ...]
    units: Mapping[int, int]


def same_units(
    model: Model, name: str, pictures_from: Mapping[str, str] | None = None
) -> tuple[SameUnits, ...]:
    """The units of other layers that a layer's units equal; empty if it has its own.

    Parameters
    ----------
    name
        A layer or blob.
    pictures_from
        For a layer, another one whose units count as the same, in their order. These come first.

    Raises
    ------
    UnknownNameError, ModelError
        The net has no such layer or blob, or it has several tops.
    """
    graph = model.graph
    value = graph.activation(name)
    shape = model.shapes.get(value, ())
    found = []
    own_names = _names(graph, value)
    for own in own_names:
        other = (pictures_from or {}).get(own)
        if other is not None and shape:
            names: tuple[str, ...] = (other,)
            with suppress(ModelError, UnknownNameError):  # it may exist only in the results
                names = _names(graph, graph.activation(other))
            found.append(SameUnits(names, {unit: unit for unit in range((*shape[1:], 1)[0])}))
    for source in unit_sources(model, value, lambda layer: _ends(model, layer)):
        made = source.layer.tops[0]
        if source.channels is None or source.is_input or made.blob == value.blob:
            continue
        called = dict.fromkeys((*_names(graph, source.value), *_names(graph, made)))
        units = {unit: int(other) for unit, other in enumerate(source.channels) if other >= 0}
        found.append(SameUnits(tuple(name for name in called if name not in own_names), units))
    return tuple(found)


def _ends(model: Model, layer: Layer) -> bool:
    return layer.type not in SAME or makes_or_sums_units(model, layer)


def _names(graph: Graph, value: Value) -> tuple[str, ...]:
    """The names for a blob's units: the layer that writes it first, and the blob."""
    return tuple(dict.fromkeys((graph.producer[Value(value.blob)].name, value.blob)))
