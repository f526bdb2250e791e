"""The graph of a deploy net: which layer reads and writes which version of which blob.

A Caffe blob's name is reused: ``conv1`` is written by the convolution and again, in place, by its
ReLU. Here each writing is its own :class:`Value`, so "conv1 below its ReLU" and "conv1 as the next
layer sees it" are two different things, as they are for a backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.schema_pb2 import LayerParameter


class Value(NamedTuple):
    """One writing of a blob: version 0 is the first layer's that writes it, then in-place ones."""

    blob: str
    version: int = 0


@dataclass(frozen=True)
class Layer:
    """One layer of a deploy net, V2 form, TEST phase.

    Attributes
    ----------
    index
        Position in the net, from 0.
    name, type
        As in the prototxt; ``type`` is the V2 string, for example ``"Convolution"``.
    bottoms, tops
        The values read and written.
    param
        The layer's full parameters.
    """

    index: int
    name: str
    type: str
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    param: LayerParameter = field(repr=False, compare=False)

    @property
    def in_place(self) -> bool:
        """Whether a top overwrites a bottom."""
        return bool({v.blob for v in self.tops} & {v.blob for v in self.bottoms})


@dataclass(frozen=True)
class Graph:
    """The layers of a net in order, input layers included.

    Names are resolved as Caffe's users mean them: :meth:`seed` takes a layer's name first, then a
    blob's; :meth:`final` takes a blob's name.
    """

    name: str
    layers: tuple[Layer, ...]

    @classmethod
    def from_layers(cls, name: str, params: Iterable[LayerParameter]) -> Graph:
        """Link V2 layers into a graph.

        Raises
        ------
        ModelError
            A bottom that no earlier layer writes, a top written twice without being read in place,
            a blob written in place that another layer reads before, or two layers of one name.
        """
        version: dict[str, int] = {}
        readers: dict[Value, list[str]] = {}
        layers: list[Layer] = []
        names: dict[str, int] = {}
        for index, param in enumerate(params):
            where = f"layer {param.name!r} ({param.type})"
            if param.name in names:
                raise ModelError(
                    f"{where}: two layers have this name (number {names[param.name]} and number "
                    f"{index}); weights are matched by name, so rename one"
                )
            names[param.name] = index
            for blob in param.bottom:
                if blob not in version:
                    unknown = UnknownNameError("blob", blob, version, f"the bottoms of {where}")
                    raise ModelError(str(unknown))
            bottoms = tuple(Value(blob, version[blob]) for blob in param.bottom)
            for value in bottoms:
                readers.setdefault(value, []).append(param.name)
            tops = []
            for position, blob in enumerate(param.top):
                if blob in version and list(param.bottom[position : position + 1]) != [blob]:
                    raise ModelError(
                        f"{where}: its top {blob!r} is already written by an earlier layer and is "
                        "not the bottom at its place; only an in-place layer may write a blob again"
                    )
                if blob in version and len(readers[bottoms[position]]) > 1:
                    # Caffe splits a blob of several readers, and then its in-place layer is none.
                    raise ModelError(
                        f"{where}: it overwrites {blob!r} in place, which is read "
                        f"{len(readers[bottoms[position]])} times up to here, by "
                        f"{', '.join(readers[bottoms[position]])}; Caffe refuses that, so give "
                        "its top a name of its own"
                    )
                version[blob] = version[blob] + 1 if blob in version else 0
                tops.append(Value(blob, version[blob]))
            layers.append(Layer(index, param.name, param.type, bottoms, tuple(tops), param))
        return cls(name, tuple(layers))

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @cached_property
    def by_name(self) -> Mapping[str, Layer]:
        """Layers by name."""
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def producer(self) -> Mapping[Value, Layer]:
        """The layer that writes each value, in order of writing."""
        return {top: layer for layer in self.layers for top in layer.tops}

    @cached_property
    def blobs(self) -> Mapping[str, Value]:
        """Every blob's final value, in the order in which blobs first appear."""
        return {value.blob: value for value in self.producer}

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the blobs that the user fills."""
        return tuple(v.blob for layer in self.layers if layer.type == "Input" for v in layer.tops)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the blobs that no layer reads."""
        read = {value for layer in self.layers for value in layer.bottoms}
        return tuple(blob for blob, value in self.blobs.items() if value not in read)

    def layer(self, name: str) -> Layer:
        """The layer of that name; `UnknownNameError` with the nearest names otherwise."""
        if name not in self.by_name:
            raise UnknownNameError("layer", name, self.by_name, f"net {self.name!r}")
        return self.by_name[name]

    def final(self, blob: str) -> Value:
        """The last version of a blob, which is what Caffe shows after a whole forward pass."""
        if blob not in self.blobs:
            raise UnknownNameError("blob", blob, self.blobs, f"net {self.name!r}")
        return self.blobs[blob]

    def seed(self, name: str) -> Value:
        """The value at which a backward pass from `name` starts.

        A layer's name means that layer's own top, before any in-place layer after it: seeding
        ``conv1`` starts below its ReLU. Any other name means that blob's final value.

        Raises
        ------
        ModelError
            The layer has several tops, or none: name the blob instead.
        """
        if name in self.by_name:
            tops = self.by_name[name].tops
            if len(tops) == 1:
                return tops[0]
            named = [top for top in tops if top.blob == name]
            if named:
                return named[0]
            raise ModelError(
                f"layer {name!r} has {len(tops)} tops"
                + (f"; name one of them instead: {', '.join(t.blob for t in tops)}" if tops else "")
            )
        if name in self.blobs:
            return self.blobs[name]
        raise UnknownNameError(
            "layer or blob", name, [*self.by_name, *self.blobs], f"net {self.name!r}"
        )

    def ancestors(self, targets: Iterable[Value], have: Iterable[Value] = ()) -> tuple[Layer, ...]:
        """The layers that must run to get `targets`, in order, where `have` is there already."""
        known = set(have)
        wanted = [value for value in targets if value not in known]
        found: set[int] = set()
        while wanted:
            layer = self.producer[wanted.pop()]
            if layer.index not in found:
                found.add(layer.index)
                wanted += [value for value in layer.bottoms if value not in known]
        return tuple(self.layers[index] for index in sorted(found))
