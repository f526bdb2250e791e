"""Layers that cannot run, and the rest of the net: ``(graph, reasons) -> OpaqueLayers``.

A net always loads. A layer of an unknown type, or with invalid parameters or bottoms, is opaque: it
is reported once, with the reason, and everything that does not depend on it works as usual.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from deepvis_caffe.model.graph import Graph, Layer, Value


@dataclass(frozen=True)
class OpaqueLayer:
    """A layer that cannot run.

    Attributes
    ----------
    name, type
        As in the prototxt.
    reason
        Why it cannot run, in words.
    dependents
        The layers that cannot run because they need it, directly or not, in the net's order.
    """

    name: str
    type: str
    reason: str
    dependents: tuple[str, ...]

    def __str__(self) -> str:
        behind = f"; nor can {_listed(self.dependents)}, downstream of it"
        return (
            f"layer {self.name!r} ({self.type}): {self.reason}{behind if self.dependents else ''}"
        )


@dataclass(frozen=True)
class OpaqueLayers(Mapping[str, OpaqueLayer]):
    """The opaque layers of a net by name, in its order, without their dependents.

    Attributes
    ----------
    graph
        The net.
    reasons
        Why each of the opaque layers cannot run, by name.
    """

    graph: Graph
    reasons: Mapping[str, str]

    @cached_property
    def _layers(self) -> dict[str, OpaqueLayer]:
        return {
            layer.name: OpaqueLayer(
                layer.name, layer.type, self.reasons[layer.name], self._dependents(layer)
            )
            for layer in self.graph
            if layer.name in self.reasons
        }

    def __getitem__(self, name: str) -> OpaqueLayer:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    @cached_property
    def culprit(self) -> Mapping[str, OpaqueLayer]:
        """For every layer that cannot run, by name, the first opaque layer that prevents it."""
        found: dict[str, OpaqueLayer] = {}
        for layer in self.values():
            for name in layer.dependents:
                found.setdefault(name, layer)
        return {**found, **self}

    def why_not(self, layer: str) -> str:
        """Why a layer cannot run, in words; empty if it can."""
        culprit = self.culprit.get(layer)
        if culprit is None:
            return ""
        if culprit.name == layer:
            return culprit.reason
        return f"needs layer {culprit.name!r} ({culprit.type}), which cannot run: {culprit.reason}"

    def runs(self, layer: str) -> bool:
        """Whether a layer can run."""
        return layer not in self.culprit

    @property
    def running(self) -> tuple[Layer, ...]:
        """The layers that can run, in order, input layers included."""
        return tuple(layer for layer in self.graph if self.runs(layer.name))

    @cached_property
    def output_values(self) -> tuple[Value, ...]:
        """The values that running layers write and no running layer reads, in order of blobs."""
        running = self.running
        read = {value for layer in running for value in layer.bottoms}
        last = {top.blob: top for layer in running for top in layer.tops}
        return tuple(value for value in last.values() if value not in read)

    def _dependents(self, layer: Layer) -> tuple[str, ...]:
        lost: set[Value] = set(layer.tops)
        behind = []
        for other in self.graph.layers[layer.index + 1 :]:
            if not lost.isdisjoint(other.bottoms):
                lost.update(other.tops)
                behind.append(other.name)
        return tuple(behind)


def _listed(names: Iterable[str], most: int = 4) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ("layer " if len(names) == 1 else "layers ") + ", ".join(names[:most]) + more
