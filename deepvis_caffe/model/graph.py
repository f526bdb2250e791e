"""The graph of a deploy net: which layer reads and writes which version of which blob.

Caffe reuses blob names: a convolution writes ``conv1``, and its ReLU overwrites it in place. Here
each version is a separate :class:`Value`, so that "conv1 below its ReLU" and "conv1 as the next
layer sees it" are distinct, as a backward pass requires.

What a name means
-----------------
Only this file decides it. In a net with ``conv1`` and, in place on it, ``bn1`` (BatchNorm),
``scale1`` (Scale) and ``relu1`` (ReLU):

``conv1``
    The layer's activation: what a full forward pass leaves in its top, after ``relu1``. A backward
    pass from it starts below the trailing rectifiers, here at the value that ``scale1`` writes. An
    active unit has the same value and gradient there; an inactive one still has a gradient. The
    Deep Visualization Toolbox also starts below in-place ReLUs.
``conv1:raw``
    The layer's own output, before any in-place layer.
``bn1``, ``relu1``
    An in-place layer's own output, in both directions.

A blob's name means the same as the name of the layer that writes it first. If a layer or a blob is
actually called ``x:raw``, that name means this layer or blob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from deepvis_caffe.errors import ModelError, UnknownNameError
from deepvis_caffe.model.schema_pb2 import LayerParameter

RAW = ":raw"  # after a name: the value before any in-place layer


class Value(NamedTuple):
    """A version of a blob: 0 is written by the first layer, later ones by in-place layers."""

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

    Every method that takes a layer's name also takes ``name:raw`` and a blob's name; see the top of
    this file. A layer takes precedence over a blob of the same name, except in :meth:`blob_value`
    and :meth:`blob_diff`.
    """

    name: str
    layers: tuple[Layer, ...]

    @classmethod
    def from_layers(cls, name: str, params: Iterable[LayerParameter]) -> Graph:
        """Link V2 layers into a graph.

        Raises
        ------
        ModelError
            A bottom that no earlier layer writes, a top written twice but not in place, a blob
            overwritten in place after another layer reads it, or two layers with the same name.
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
                        "not the matching bottom; only an in-place layer may overwrite a blob"
                    )
                if blob in version and len(readers[bottoms[position]]) > 1:
                    # Caffe splits a blob with several readers, so the layer would not be in place.
                    raise ModelError(
                        f"{where}: it overwrites {blob!r} in place, which is read "
                        f"{len(readers[bottoms[position]])} times up to here, by "
                        f"{', '.join(readers[bottoms[position]])}; Caffe rejects that, so give "
                        "its top another name"
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
        """The layer of that name; otherwise raises `UnknownNameError` with the closest names."""
        if name not in self.by_name:
            raise UnknownNameError("layer", name, self.by_name, f"net {self.name!r}")
        return self.by_name[name]

    # -- what a name means -------------------------------------------------------------------

    def activation(self, name: str) -> Value:
        """The value that a layer's name means.

        Raises
        ------
        UnknownNameError
            The net has no such layer or blob.
        ModelError
            The layer has several tops, or none: name the blob instead.
        """
        own = self.own_output(name)
        return own if self._means_own_output(name, own) else self.blobs[own.blob]

    def gradient_start(self, name: str) -> Value:
        """The value where a backward pass from `name` starts: below trailing in-place ReLUs.

        This includes ReLUs with a negative slope and ReLU6. Dropouts are skipped, because they do
        nothing in the TEST phase.

        Raises
        ------
        UnknownNameError, ModelError
            As :meth:`activation`.
        """
        own = self.own_output(name)
        if self._means_own_output(name, own):
            return own
        return self._below(self.blobs[own.blob], ("ReLU", "ReLU6", "Dropout"))

    def own_output(self, name: str) -> Value:
        """A layer's own top, or a blob's first version: the value before any in-place layer.

        Raises
        ------
        UnknownNameError, ModelError
            As :meth:`activation`.
        """
        base, _ = self._without_suffix(name)
        if base in self.by_name:
            tops = self.by_name[base].tops
            if len(tops) == 1:
                return tops[0]
            named = [top for top in tops if top.blob == base]
            if named:
                return named[0]
            raise ModelError(
                f"layer {base!r} has {len(tops)} tops"
                + (f"; name one of them instead: {', '.join(t.blob for t in tops)}" if tops else "")
            )
        if base in self.blobs:
            return Value(base)
        raise UnknownNameError(
            "layer or blob", base, [*self.by_name, *self.blobs], f"net {self.name!r}"
        )

    def blob_value(self, name: str) -> Value:
        """The value that a forward pass reads under a name; a blob takes precedence over a layer.

        Raises
        ------
        UnknownNameError, ModelError
            As :meth:`activation`.
        """
        base, raw = self._without_suffix(name)
        if base in self.blobs:
            return Value(base) if raw else self.blobs[base]
        return self.activation(name)

    def blob_diff(self, name: str) -> Value:
        """The value whose diff is read under a name; a blob takes precedence over a layer.

        It is the blob's first version, whose diff Caffe leaves in a blob that in-place layers
        overwrite; for an in-place layer it is its own output.

        Raises
        ------
        UnknownNameError, ModelError
            As :meth:`activation`.
        """
        base, _ = self._without_suffix(name)
        return Value(base) if base in self.blobs else self.own_output(name)

    def activation_name(self, name: str) -> str:
        """The name under which a forward pass reads the activation of `name`, usually its blob's.

        Raises
        ------
        UnknownNameError, ModelError
            As :meth:`activation`.
        """
        return self.value_name(self.activation(name)) or name

    def value_name(self, value: Value) -> str | None:
        """A name under which a forward pass reads exactly this value, if there is one."""
        if self.blobs[value.blob] == value:
            return value.blob
        return self._matching(value, self.blob_value)

    def diff_name(self, value: Value) -> str | None:
        """A name under which a backward pass reads the diff of exactly this value, if any."""
        return self._matching(value, self.blob_diff)

    def start_name(self, value: Value) -> str | None:
        """A name from which a backward pass starts at exactly this value, if there is one."""
        return self._matching(value, self.gradient_start)

    def start_layer(self, name: str) -> str | None:
        """The layer at whose output a backward pass from `name` starts, if not obvious.

        None if this is the named layer's own output, or the named blob's final value.

        Raises
        ------
        UnknownNameError, ModelError
            As :meth:`activation`.
        """
        base, raw = self._without_suffix(name)
        plain = self.own_output(name)
        if not raw and base not in self.by_name:
            plain = self.blobs[base]
        start = self.gradient_start(name)
        return None if self.same(start, plain) else self.producer[start].name

    def same(self, one: Value, other: Value) -> bool:
        """Whether two versions of a blob are equal: only in-place Dropouts between them."""
        return self._below(one, ("Dropout",)) == self._below(other, ("Dropout",))

    def _without_suffix(self, name: str) -> tuple[str, bool]:
        """A name without ``:raw``, and whether it had that, unless it is really part of it."""
        if name in self.by_name or name in self.blobs or not name.endswith(RAW):
            return name, False
        return name.removesuffix(RAW), True

    def _means_own_output(self, name: str, own: Value) -> bool:
        return self._without_suffix(name)[1] or own.version > 0  # an in-place layer's

    def _below(self, value: Value, types: tuple[str, ...]) -> Value:
        """The value below trailing in-place layers of these types."""
        while value.version > 0 and self.producer[value].type in types:
            value = Value(value.blob, value.version - 1)
        return value

    def _matching(self, value: Value, meaning: Callable[[str], Value]) -> str | None:
        first, last = self.producer[Value(value.blob)], self.producer[value]
        for name in dict.fromkeys((first.name, last.name, value.blob)):
            for spelling in (name, f"{name}{RAW}"):
                try:
                    if meaning(spelling) == value:
                        return spelling
                except ModelError:  # a layer with several tops
                    continue
        return None

    # -- what depends on what ----------------------------------------------------------------

    def sources(self, targets: Iterable[Value]) -> tuple[Value, ...]:
        """The values of layers without bottoms that `targets` depend on, in order of writing."""
        found, wanted = set(), list(targets)
        seen = set(wanted)
        while wanted:
            value = wanted.pop()
            layer = self.producer[value]
            if not layer.bottoms:
                found.add(value)
            wanted += [bottom for bottom in layer.bottoms if bottom not in seen]
            seen.update(layer.bottoms)
        return tuple(value for value in self.producer if value in found)

    def ancestors(self, targets: Iterable[Value], have: Iterable[Value] = ()) -> tuple[Layer, ...]:
        """The layers that must run to compute `targets` from `have`, in order."""
        known = set(have)
        wanted = [value for value in targets if value not in known]
        found: set[int] = set()
        while wanted:
            layer = self.producer[wanted.pop()]
            if layer.index not in found:
                found.add(layer.index)
                wanted += [value for value in layer.bottoms if value not in known]
        return tuple(self.layers[index] for index in sorted(found))
