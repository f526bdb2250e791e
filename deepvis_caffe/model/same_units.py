"""Units that are the same as units of other layers: ``(model, name) -> (SameUnits, ...)``.

A concatenation, a rectifier or a pooling has no units of its own: unit 70 of ``fire3/concat`` is
unit 6 of ``fire3/expand3x3`` wherever that is on. What shows one of them shows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.graph import Graph, Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.unit_sources import makes_or_sums_units, unit_sources

# Types of which each unit is one of a bottom, which it rises with. A Scale may turn it around.
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
        What that layer is called, the name that counts more first.
    units
        Its units, by those of the layer that was asked about.
    """

    names: tuple[str, ...]
    units: Mapping[int, int]


def same_units(
    model: Model, name: str, pictures_from: Mapping[str, str] | None = None
) -> tuple[SameUnits, ...]:
    """The units of other layers that those of a layer are; none where it makes its own.

    Parameters
    ----------
    name
        A layer or blob.
    pictures_from
        By layer another one whose units are to count as the same, in their order. They come first.

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
            with suppress(ModelError, UnknownNameError):  # it may be in the results alone
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
    """What a blob's units are called: by the layer that writes it first, and by the blob."""
    return tuple(dict.fromkeys((graph.producer[Value(value.blob)].name, value.blob)))
