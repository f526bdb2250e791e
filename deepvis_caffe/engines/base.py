"""The contract that every engine fulfils: a net with forward, backward and an ascent path.

It has three interfaces:

- For users: :meth:`Net.forward` and :meth:`Net.backward`, numpy in and numpy out.
- For many images: :meth:`Net.reduce`, numpy in and only a reduction of each blob out.
- For gradient ascent: :meth:`Net.evaluate` and :meth:`Net.input_gradient`, or for several layers
  :meth:`Net.evaluate_layers` and :meth:`Net.layers_gradient`. They take and return the engine's own
  arrays on its device, copy nothing to the host and compute nothing that is not read.

``tests/engines/test_contract.py`` specifies the contract and runs on every engine.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, TypeVar

import numpy as np

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.engines.layer_info import LayerInfo, layer_infos
from deepvis_caffe.engines.rules import ASCENT_MODES, NO_GRADIENT, check_mode
from deepvis_caffe.errors import (
    EngineError,
    ImageError,
    ModelError,
    SettingsError,
    UnknownNameError,
)
from deepvis_caffe.image import Floats
from deepvis_caffe.model.batch import shape_for, why_mixed
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.held import Held
from deepvis_caffe.model.labels import Labels, class_values, label_of, unit_of
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.model.rows import CONSTANTS
from deepvis_caffe.model.unit_text import MOST_UNITS, Units, parse_units

Reduced = TypeVar("Reduced")


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs a net, and why.

    Attributes
    ----------
    engine
        ``"torch"`` or ``"pycaffe"``.
    device
        Where it computes, for example ``"cpu"`` or ``"cuda:0"``.
    reason
        Why it was chosen, in words.
    """

    engine: str
    device: str
    reason: str

    def __str__(self) -> str:
        return f"{self.engine} on {self.device} ({self.reason})"


class Net(abc.ABC):
    """A Caffe model on an engine.

    Parameters
    ----------
    model
        Graph, shapes and weights.
    preprocessor
        Converts a picture to the net's input and back; None if the input holds no pictures.

    Attributes
    ----------
    engine
        The engine's name, ``"torch"`` or ``"pycaffe"``.
    ops
        Operations on this engine's arrays, for the ascent.
    reentrant
        Whether several threads may call :meth:`reduce` at once, each on a core of its own.
    reason
        Why this engine was chosen, in words.
    precision
        The type in which it computes, ``"float32"`` or ``"bfloat16"``.
    labels
        The class names, in the net's order; empty if unknown.
    """

    engine: ClassVar[str]
    ops: ArrayOps
    reentrant: bool = False
    reason: str = "made directly"
    precision: str = "float32"
    labels: Labels = ()

    def __init__(self, model: Model, preprocessor: Preprocessor | None) -> None:
        model.check_weights()
        self.model = model
        self._preprocessor = preprocessor
        # The evaluation that a gradient call may follow: its method, values and shapes.
        self._evaluated: tuple[str, Mapping[str, tuple[Value, tuple[int, ...]]]] | None = None

    def __repr__(self) -> str:
        shapes = (f"{name} {' x '.join(map(str, shape))}" for name, shape in self.inputs.items())
        return (
            f"<{self.model.graph.name or 'net'}: {len(self.layers)} layers, input "
            f"{', '.join(shapes)}, {self.engine} on {self.device}>"
        )

    # -- what the net is ---------------------------------------------------------------------

    def loaded(self) -> Net:
        """The net, ready to run: itself, unless it was loaded with ``run=False``."""
        return self

    @property
    @abc.abstractmethod
    def device(self) -> str:
        """Where the net computes, for example ``"cpu"`` or ``"cuda:0"``."""

    @property
    def choice(self) -> EngineChoice:
        """The engine, its device, and why it was chosen."""
        return EngineChoice(self.engine, self.device, self.reason)

    def computes_with(self) -> dict[str, Any]:
        """The engine's parts that determine the last bits of its values, as JSON types.

        Returns
        -------
        dict
            ``"threads"``; for the torch engine also the version of ``"torch"`` and either
            ``"kernels"``, the instruction set it uses, or ``"gpu"``; for the pycaffe engine also
            ``"caffe"`` and ``"blas"``.
        """
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the net's layers, weights, preprocessing and precision.

        The same files give the same digest.

        Raises
        ------
        ImageError
            The input holds no pictures.
        """
        digest = hashlib.blake2b(digest_size=16)
        # The parsed deploy net, not the file, so that comments do not matter.
        digest.update(self.model.params.SerializeToString(deterministic=True))
        digest.update(self.model.foreign.encode())
        for name, blobs in sorted(self.model.weights.items()):
            digest.update(name.encode())
            for blob in blobs:
                digest.update(blob.tobytes())
        p = self.preprocessor
        digest.update(repr((p.shape, p.channel_swap, p.raw_scale, p.input_scale)).encode())
        digest.update(p.low.tobytes())
        for name, held in self.model.held.items():  # zeros, the default, are left out
            if held.array is None or held.array.any():
                digest.update(name.encode())
                digest.update(b"image" if held.array is None else held.array.tobytes())
        if self.image_input() != next(iter(self.inputs)):
            digest.update(self.image_input().encode())
        if self.precision != "float32":
            digest.update(self.precision.encode())
        return digest.hexdigest()

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Every layer in order, including input layers and layers that cannot run."""
        return layer_infos(self.model, self.shapes, self.opaque)

    @property
    def opaque(self) -> OpaqueLayers:
        """The layers that this engine cannot run, by name; the others run as if without them."""
        return self.model.opaque

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs of the part of the net that runs, as names for :meth:`forward`."""
        names = map(self.model.graph.value_name, self.opaque.output_values)
        return tuple(name for name in names if name is not None)

    @cached_property
    def class_values(self) -> frozenset[Value]:
        """The values whose units may be the net's classes, and so have labels."""
        return class_values(self.opaque.running)

    def labels_of(self, layer: str) -> Labels:
        """The names of a layer's units: `labels` if the units may be the classes, otherwise none.

        Raises
        ------
        UnknownNameError
            The net has no such layer or blob.
        """
        value = self.model.graph.activation(layer)
        if value not in self.class_values:
            return ()
        shape = self.shapes.get(value)
        fits = shape is None or len(self.labels) == (*shape, 1)[1]
        return self.labels if fits else ()

    def label(self, layer: str, unit: int | str) -> str | None:
        """The name of a unit; None if it has none.

        >>> net.label("pool10", 281)
        'tabby, tabby cat'
        """
        labels = self.labels_of(layer)
        known = isinstance(unit, (int, np.integer)) and 0 <= unit < len(labels)
        return label_of(labels, int(unit), len(labels)) if known else None

    def unit(self, layer: str, label: str) -> int:
        """The unit with a given name: a full label, one of its synonyms, or the unit's number.

        >>> net.unit("pool10", "tabby"), net.unit("pool10", "281")
        (281, 281)

        Raises
        ------
        UnknownNameError
            The net has no such layer, or no unit of it has this name.
        SettingsError
            Several units have this name, or the layer's units have no names.
        """
        labels = self.labels_of(layer)
        number = label.strip()
        if number.isascii() and number.isdecimal():
            with suppress(UnknownNameError):
                return unit_of(labels, label, layer)
            return int(number)
        if not labels:
            why = "they are not the net's classes" if self.labels else "load_net got no labels"
            raise SettingsError(
                f"layer {layer!r} has no unit names, so {label!r} cannot be looked up: {why}; give "
                "the unit's number"
            )
        return unit_of(labels, label, layer)

    def named(self, layer: str) -> Callable[[str], int] | None:
        """`unit` for one layer; None if its units have no names."""
        return partial(self.unit, layer) if self.labels_of(layer) else None

    def units(self, layer: str, text: str) -> Units:
        """The units that a text names, in the command line's syntax.

        >>> net.units("pool10", "tabby,0-2,130+340")
        [281, 0, 1, 2, (130, 340)]

        Raises
        ------
        UnknownNameError
            The net has no such layer, or no unit of it has this name.
        SettingsError
            The text has another syntax, or the layer has no such unit.
        """
        named = self.named(layer)
        if named is not None:
            with suppress(UnknownNameError):  # a label may look like another unit's number
                return [unit_of(self.labels, text, layer)]
        shape = self.shapes.get(self.model.graph.activation(layer))
        count = MOST_UNITS if shape is None else (*shape[1:], 1)[0]
        return parse_units(text, count, named)

    def check_runs(self, values: Iterable[Value]) -> None:
        """Raise `EngineError` if a value needs a layer that cannot run."""
        for value in values:
            layer = self._writer(value)
            if why := self.opaque.why_not(layer.name):
                own = Value(value.blob)
                name = self.model.graph.value_name(own)
                works = value.version and name and self.opaque.runs(self._writer(own).name)
                hint = f"; {name!r}, the value before it, still works" if works else ""
                raise EngineError(f"layer {layer.name!r} ({layer.type}) cannot run: {why}{hint}")

    def check_gradient(self, name: str) -> None:
        """Raise `EngineError` if a backward pass from `name` cannot reach the image.

        Raises
        ------
        EngineError
            A layer on the way cannot run, or every path contains a layer without a gradient.
        UnknownNameError
            The net has no such layer or blob.
        """
        start = self.model.graph.gradient_start(name)
        self.check_runs([start])
        writer = self._writer(start)
        if not self._infos[writer.name].differentiable:
            below = self.model.graph.ancestors([start])
            # A PriorBox contributes to boxes, but is not what blocks their gradient.
            without = [one for one in below if one.type in NO_GRADIENT - CONSTANTS]
            reason = (
                f"it depends on {without[0].name!r} ({without[0].type}), which selects, sorts or "
                "compares; use a layer below that"
                if without
                else f"it does not depend on the image, {self.image_input()!r}{self._but_on(start)}"
            )
            raise EngineError(f"layer {name!r} has no gradient: {reason}")

    def why_mixed(self, name: str, *, start: bool = False) -> str:
        """Why rows of a layer's value do not each depend on one image alone; empty if they do.

        Parameters
        ----------
        name
            A layer or blob.
        start
            Whether to look at the value where a backward pass from it starts, not its activation.
        """
        graph = self.model.graph
        value = graph.gradient_start(name) if start else graph.activation(name)
        if why := why_mixed(self.model, value):
            return why
        readable = graph.value_name(value)
        if readable is None or shape_for(self.model, value, 2) is not None:
            return ""
        try:  # a layer of a type that only the engine knows
            image = self.image_input()
            two = np.zeros((2, *self.inputs[image][1:]), np.float32)
            inputs = {image: two, **self.other_inputs(two)}
            shape = self.forward(inputs, [readable])[readable].shape
        except EngineError as error:
            return str(error)
        return "" if shape[0] == 2 else f"{name!r} has shape {shape} for two images"

    def _writer(self, value: Value) -> Layer:
        return self.model.graph.producer[value]

    @cached_property
    def _infos(self) -> Mapping[str, LayerInfo]:
        return {layer.name: layer for layer in self.layers}

    @property
    def shapes(self) -> Mapping[Value, tuple[int, ...]]:
        """Shape of every value at the declared input size, where known."""
        return self.model.shapes

    @property
    def inputs(self) -> Mapping[str, tuple[int, ...]]:
        """Declared shape of every input blob, batch axis first."""
        return self.model.input_shapes

    def image_input(self) -> str:
        """The input blob that holds the image: see `Model.image_input`."""
        return self.model.image_input

    def other_inputs(self, images: Floats) -> dict[str, Floats]:
        """The contents of all other inputs, for images (N, C, H, W); see `Model.held`."""
        return {name: one.for_images(images) for name, one in self.model.held.items()}

    @property
    def held(self) -> tuple[Held, ...]:
        """The inputs other than the image that running layers read, and their contents."""
        running = [one for one in self.opaque.running if one.bottoms and one.type != "Silence"]
        read = {value.blob for one in running for value in one.bottoms if not value.version}
        return tuple(one for name, one in self.model.held.items() if name in read)

    def held_below(self, name: str) -> list[str]:
        """Descriptions of the fixed inputs that a backward pass from `name` would depend on."""
        below = self._held_below(self.model.graph.gradient_start(name))
        return [str(one) for one in below if not one.is_image]

    def _held_below(self, value: Value) -> list[Held]:
        below = {source.blob for source in self.model.graph.sources([value])}
        return [one for name, one in self.model.held.items() if name in below]

    def _but_on(self, value: Value) -> str:
        """For messages: the inputs that a value depends on instead, and how to change that."""
        held = self._held_below(value)
        if not held:
            return ""
        listed = ", ".join(f"{one.name!r}, held at {one.what}" for one in held)
        one = held[0].name
        return (
            f", but only on {listed}. To visualize it, make {one!r} the image (image_input, "
            f"--image-input {one}) or feed it the image as well (inputs, --inputs {one}:image)"
        )

    @property
    def preprocessor(self) -> Preprocessor:
        """Converts a picture to the net's input and back.

        Raises
        ------
        ImageError
            The input holds no pictures.
        """
        if self._preprocessor is None:
            name = self.image_input()
            raise ImageError(
                f"the image input, {name!r}, has shape {tuple(self.inputs[name])}; images need 4 "
                "axes, (N, C, H, W). Layers can still be listed, and forward and backward still "
                "take arrays of that shape"
            )
        return self._preprocessor

    # -- for users ---------------------------------------------------------------------------

    def forward(
        self, x: Floats | Mapping[str, Floats], blobs: Iterable[str] | None = None
    ) -> dict[str, Floats]:
        """Run the net and read blobs.

        Parameters
        ----------
        x
            The net's input, preprocessed: float32 (N, C, H, W), channels in the net's order; or a
            mapping by blob name if the net has several inputs. N and, if the layers allow it, H and
            W may differ from the prototxt's.
        blobs
            Blobs or layers to read, by default `outputs`: each as a full forward pass leaves it,
            or with ``:raw`` before any in-place layer. A blob takes precedence over a layer of the
            same name. Only the layers that they depend on are computed.

        Returns
        -------
        dict
            A float32 copy of each.

        Raises
        ------
        EngineError
            x has the wrong shape or is not finite, or a blob needs a layer that cannot run.
        UnknownNameError
            The net has no such blob or layer.
        """
        names = list(self.outputs if blobs is None else blobs)
        values = [self.model.graph.blob_value(name) for name in names]
        self.check_runs(values)
        arrays = self._forward(self._checked_inputs(x), values)
        return dict(zip(names, arrays, strict=True))

    def read(self, blobs: Iterable[str]) -> dict[str, Floats]:
        """Read more blobs of the last :meth:`forward`, computing only what it left out.

        Raises
        ------
        EngineError
            There was no forward pass.
        UnknownNameError
            The net has no such blob or layer.
        """
        names = list(blobs)
        values = [self.model.graph.blob_value(name) for name in names]
        self.check_runs(values)
        arrays = self._read(values)
        return dict(zip(names, arrays, strict=True))

    def backward(
        self,
        name: str,
        diff: Floats,
        mode: str = "gradient",
        blobs: Iterable[str] | None = None,
        partial: bool = False,
    ) -> dict[str, Floats]:
        """Propagate a diff down the net, through the last forward pass.

        Parameters
        ----------
        name
            Where the pass starts: at the activation of that layer or blob, but below trailing
            in-place ReLUs, so that inactive units have a gradient, too. With ``:raw`` at its own
            output, before any in-place layer. See `deepvis_caffe.model.graph`.
        diff
            float32 of that value's shape. Above it all diffs are zero.
        mode
            ``"gradient"``, ``"deconv"`` or ``"guided"``; see `deepvis_caffe.engines.rules`.
        blobs
            Blobs or layers whose diff to read, by default the image input. For a blob that in-place
            layers overwrite this is the diff of its first version, as Caffe leaves it; for a blob
            that the pass does not reach it is zero.
        partial
            Whether each diff is a partial derivative, with the other `blobs` held constant: the
            pass stops at each of them and does not continue through one to those below.

        Raises
        ------
        EngineError
            There was no forward pass, or `diff` has the wrong shape.
        UnknownNameError
            Unknown layer, blob or mode.
        """
        check_mode(mode)
        graph = self.model.graph
        start = graph.gradient_start(name)
        names = [self.image_input()] if blobs is None else list(blobs)
        values = [graph.blob_diff(blob) for blob in names]
        self.check_runs([start, *values])
        arrays = self._backward(start, np.asarray(diff, np.float32), mode, values, partial)
        return dict(zip(names, arrays, strict=True))

    # -- for many images ---------------------------------------------------------------------

    def reduce(
        self,
        x: Floats | Mapping[str, Floats],
        blobs: Iterable[str],
        reducer: Callable[[str, Any], Reduced],
    ) -> dict[str, Reduced]:
        """Run the net and keep only a reduction of each blob.

        For many images, where copying every blob to the host would take longer than computing it.
        Nothing is recorded, so :meth:`backward` still refers to the last :meth:`forward`.

        Parameters
        ----------
        x, blobs
            As in :meth:`forward`.
        reducer
            ``reducer(blob, value)``, called once for each value with the first of its names in
            `blobs`. The value is the engine's own array on its device (see `ops`). It must be
            neither changed nor kept: the engine frees or reuses it.

        Returns
        -------
        dict
            What `reducer` returned for each blob, in the order of `blobs`.
        """
        values = {name: self.model.graph.blob_value(name) for name in blobs}
        self.check_runs(values.values())
        names: dict[Value, str] = {}
        for name, value in values.items():
            names.setdefault(value, name)
        found: dict[Value, Reduced] = {}

        def take(value: Value, array: Any) -> None:
            found[value] = reducer(names[value], array)

        self._reduce(self._checked_inputs(x), list(names), take)
        return {name: found[value] for name, value in values.items()}

    # -- for the ascent ----------------------------------------------------------------------

    def evaluate(self, x: Any, name: str, channels: tuple[int, ...] | None = None) -> Any:
        """The value where a backward pass from `name` starts, for images `x`.

        Parameters
        ----------
        x
            The image input: the engine's own array, float32 (N, C, H, W). Any other inputs hold
            what `other_inputs` returns.
        name
            As in :meth:`backward`.
        channels
            The channels (axis 1) to return; None for all.

        Returns
        -------
        array
            The engine's own, valid until the next call; only `channels`, if given.
        """
        return self._evaluate_starts("evaluate", x, [name], channels)[name]

    def evaluate_layers(self, x: Any, layers: Sequence[str]) -> dict[str, Any]:
        """The values where backward passes from several layers start, in one forward pass.

        Parameters
        ----------
        x
            As in :meth:`evaluate`.
        layers
            Names, as in :meth:`backward`; may include an input that holds the image.

        Returns
        -------
        dict
            The engine's own arrays by name, valid until the next call. Names of the same value
            share one array.
        """
        return self._evaluate_starts("evaluate_layers", x, layers)

    def saves_channels(self, name: str) -> bool:
        """Whether :meth:`evaluate` at `name` computes less if only some channels are wanted."""
        return False

    def input_gradient(self, diff: Any, mode: str = "gradient") -> Any:
        """The diff of the image, given `diff` at the value that :meth:`evaluate` returned.

        It is the sum over all inputs that hold the image. May be called once after each
        :meth:`evaluate`.

        Parameters
        ----------
        mode
            As in :meth:`backward`, or ``"redirected"``: a ReLU that would block all of an image's
            diff passes the part that would switch its units on.

        Returns
        -------
        array
            The engine's own, (N, C, H, W), valid until the next call.

        Raises
        ------
        EngineError
            There was no :meth:`evaluate`, or `diff` has another shape than its value.
        """
        check_mode(mode, ASCENT_MODES)
        ((name, (start, shape)),) = self._last_starts("evaluate", "input_gradient").items()
        check_diff(name, shape, diff)
        return self._image_diff({start: diff}, mode)

    def layers_gradient(self, diffs: Mapping[str, Any], mode: str = "gradient") -> Any:
        """The diff of the image, given diffs at values that :meth:`evaluate_layers` returned.

        This is a single backward pass; on reaching a layer with a diff of its own, it adds that. In
        mode ``"gradient"`` the result is the sum of what each diff would give alone. In the other
        modes it is not, because their rules see the sum of the diffs that meet at a ReLU. May be
        called once after each :meth:`evaluate_layers`.

        Parameters
        ----------
        diffs
            The engine's own arrays by name, each of its value's shape; missing ones are zero.
            Diffs for two names of one value add up; that of an input that holds the image is added
            to the result.
        mode
            As in :meth:`input_gradient`.

        Returns
        -------
        array
            As in :meth:`input_gradient`.

        Raises
        ------
        EngineError
            There was no :meth:`evaluate_layers`, or a diff has another shape than its value.
        UnknownNameError
            A name that was not passed to :meth:`evaluate_layers`.
        """
        check_mode(mode, ASCENT_MODES)
        starts = self._last_starts("evaluate_layers", "layers_gradient")
        sums: dict[Value, Any] = {}
        for name, diff in diffs.items():
            if name not in starts:
                raise UnknownNameError("layer", name, starts, "what was evaluated")
            start, shape = starts[name]
            check_diff(name, shape, diff)
            sums[start] = sums[start] + diff if start in sums else diff
        return self._image_diff(sums, mode)

    def _evaluate_starts(
        self, method: str, x: Any, names: Sequence[str], channels: tuple[int, ...] | None = None
    ) -> dict[str, Any]:
        starts = {name: self.model.graph.gradient_start(name) for name in names}
        self.check_runs(starts.values())
        self._evaluated = None
        distinct = tuple(dict.fromkeys(starts.values()))
        found = dict(zip(distinct, self._evaluate(x, distinct, channels), strict=True))
        shapes = {name: (start, tuple(found[start].shape)) for name, start in starts.items()}
        self._evaluated = method, shapes
        return {name: found[start] for name, start in starts.items()}

    def _last_starts(
        self, method: str, gradient: str
    ) -> Mapping[str, tuple[Value, tuple[int, ...]]]:
        """What `method` evaluated last; can be taken only once."""
        evaluated, self._evaluated = self._evaluated, None
        if evaluated is None or evaluated[0] != method:
            raise EngineError(f"{gradient} can be called only once after each {method}")
        return evaluated[1]

    # -- what an engine implements -----------------------------------------------------------

    @abc.abstractmethod
    def _forward(self, inputs: dict[str, Floats], values: list[Value]) -> list[Floats]:
        """Run the layers that `values` need; return host copies of the values."""

    @abc.abstractmethod
    def _read(self, values: list[Value]) -> list[Floats]:
        """Values of the last forward pass; host copies."""

    @abc.abstractmethod
    def _reduce(
        self, inputs: dict[str, Floats], values: list[Value], take: Callable[[Value, Any], None]
    ) -> None:
        """Run the layers that `values` need and call `take` once with each; record nothing."""

    @abc.abstractmethod
    def _backward(
        self, seed: Value, diff: Floats, mode: str, values: list[Value], partial: bool
    ) -> list[Floats]:
        """Diffs of `values` for `diff` at `seed`; host copies."""

    @abc.abstractmethod
    def _evaluate(
        self, x: Any, starts: tuple[Value, ...], channels: tuple[int, ...] | None
    ) -> list[Any]:
        """Values for images, only `channels` if given; the engine's own arrays."""

    @abc.abstractmethod
    def _image_diff(self, diffs: Mapping[Value, Any], mode: str) -> Any:
        """The image's diff, given diffs of what `_evaluate` returned; called once after it."""

    def _checked_inputs(self, x: Floats | Mapping[str, Floats]) -> dict[str, Floats]:
        if not isinstance(x, Mapping):
            x = {self.image_input(): x}
        for name in x:
            if name not in self.inputs:
                raise UnknownNameError("input", name, self.inputs)
        missing = [name for name in self.inputs if name not in x]
        if missing:
            raise EngineError(
                f"the net has {len(self.inputs)} inputs and got no value for "
                f"{', '.join(missing)}; pass a mapping from blob name to array"
            )
        checked = {}
        for name, expected in self.inputs.items():
            array = np.asarray(x[name], np.float32)
            fits = array.ndim == len(expected) and array.shape[1:2] == tuple(expected[1:2])
            if not fits or array.size == 0:  # Caffe divides by the number of images
                raise EngineError(
                    f"input {name!r}: got shape {array.shape}, expected "
                    f"(N, {', '.join(map(str, expected[1:]))})"
                )
            if not np.isfinite(array).all():
                raise EngineError(
                    f"input {name!r} holds {int((~np.isfinite(array)).sum())} values that are NaN "
                    "or infinite"
                )
            checked[name] = np.ascontiguousarray(array)
        return checked


def check_diff(name: str, shape: tuple[int, ...], diff: Any) -> None:
    """Raise `EngineError` if a diff has another shape than the value that `name` means."""
    if tuple(diff.shape) != shape:
        raise EngineError(
            f"backward pass from {name!r}: expected a diff of shape {shape}, got one of "
            f"{tuple(diff.shape)}"
        )


def same_net(make_net: Callable[[], Net], expected: str) -> Net:
    """Make a worker's net and check that its fingerprint is `expected`.

    Raises
    ------
    ModelError
        It is a different net.
    """
    net = make_net()
    if net.fingerprint != expected:
        raise ModelError(
            "a worker's net differs from this one in prototxt, weights or mean; copy the files "
            f"again (prototxt {net.model.prototxt}, weights {net.model.caffemodel})"
        )
    return net
