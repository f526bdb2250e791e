"""A Caffe model, read and checked: ``(prototxt, weights) -> Model``. Engines run it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ModelError, WeightsError
from deepvis_caffe.memory import in_gib, machine_memory
from deepvis_caffe.model.caffemodel import read_caffemodel
from deepvis_caffe.model.crop_alignment import align_crops
from deepvis_caffe.model.deploy import Given, deploy
from deepvis_caffe.model.dialects import ignored_fields, split_weights, translate
from deepvis_caffe.model.graph import Graph, Value
from deepvis_caffe.model.held import Given as GivenInputs
from deepvis_caffe.model.held import Held, held_inputs
from deepvis_caffe.model.input_shape import image_input as choose_image
from deepvis_caffe.model.input_shape import times
from deepvis_caffe.model.opaque import OpaqueLayers
from deepvis_caffe.model.prototxt import Prototxt, parse_prototxt, warn_once
from deepvis_caffe.model.python_layers import allow, why_not_allowed
from deepvis_caffe.model.receptive import ReceptiveField, receptive_fields
from deepvis_caffe.model.schema_pb2 import NetParameter
from deepvis_caffe.model.shapes import RULES, infer
from deepvis_caffe.model.upgrade import Generation, generation, upgrade
from deepvis_caffe.model.weights import match_weights, without_weights

Shape = tuple[int, ...]
Weights = Mapping[str, Sequence[NDArray[np.float32]]]

FLOAT = 4  # bytes
MOST_NOTES = 100  # warnings about what was read differently from Caffe


@dataclass(frozen=True, eq=False)  # a model is equal only to itself
class Model:
    """A net's layers, shapes and weights, independent of an engine.

    Attributes
    ----------
    graph
        Its layers in the TEST phase, with ``Input`` layers first.
    params
        The same deploy net as a message in V2 form, without parameters that the schema does not
        have; those are only in the file at `prototxt`.
    input_shapes
        Declared shape of every input blob, batch axis first.
    shapes
        Shape of every value at that input size, except those of layers in `opaque` and their
        dependents.
    weights
        float32 arrays by layer name, in Caffe's order. Layers that share an array share the object.
        Empty for a net that was read without its weights; see `check_weights`.
    weight_shapes
        Shapes of the weights that layers of known types need, by layer name.
    prototxt, caffemodel
        The files; None if the model came from memory.
    generation
        The generation of the prototxt's format.
    foreign
        The tokens of a prototxt with parameters that the schema does not have; otherwise empty.
    faults
        Why layers of known types cannot work, by name: their parameters are invalid, or they do not
        fit their bottoms.
    image_input
        The input that holds the image; see `deepvis_caffe.model.input_shape.image_input`.
    held
        The values of the other inputs, by name.
    """

    graph: Graph
    params: NetParameter = field(repr=False)
    input_shapes: Mapping[str, tuple[int, ...]]
    shapes: Mapping[Value, tuple[int, ...]] = field(repr=False)
    weights: Weights = field(repr=False)
    weight_shapes: Mapping[str, Sequence[tuple[int, ...]]] = field(repr=False)
    prototxt: Path | None = None
    caffemodel: Path | None = None
    generation: Generation = "V2"
    foreign: str = field(default="", repr=False)
    faults: Mapping[str, str] = field(default_factory=dict, repr=False)
    image_input: str = ""
    held: Mapping[str, Held] = field(default_factory=dict)

    @property
    def image_inputs(self) -> tuple[str, ...]:
        """The inputs that hold the image: `image_input`, then others that also hold it."""
        return (self.image_input, *(name for name, one in self.held.items() if one.is_image))

    @property
    def unknown_types(self) -> tuple[str, ...]:
        """Layer types without a shape rule: custom layers, which only their own Caffe runs."""
        return tuple(sorted({layer.type for layer in self.graph} - set(RULES)))

    @cached_property
    def opaque(self) -> OpaqueLayers:
        """The layers that are not understood: those with `faults` or of unknown types.

        An engine may know a type that is unknown here; see `Net.opaque`.
        """
        unknown = {
            layer.name: why_not_allowed(layer.param)
            if layer.type == "Python"
            else "its type is unknown"
            for layer in self.graph
            if layer.type not in RULES
        }
        return OpaqueLayers(self.graph, {**unknown, **self.faults})

    @cached_property
    def receptive_fields(self) -> Mapping[Value, ReceptiveField]:
        """The receptive field of each value on the image, see `receptive_fields`."""
        return receptive_fields(self.graph, self.shapes, self.image_inputs)

    def shapes_for(self, images: int) -> tuple[Mapping[Value, tuple[int, ...]], Mapping[str, str]]:
        """Shapes of all values for a batch of `images`, and why layers do not fit it.

        Returns
        -------
        shapes
            By value; without those that depend on layers of unknown types or that do not fit.
        faults
            Why layers do not fit, by name.
        """
        if images not in self._batches:
            sizes = {name: (images, *shape[1:]) for name, shape in self.input_shapes.items()}
            faults: dict[str, str] = dict(self.faults)
            self._batches[images] = infer(self.graph, sizes, faults).values, faults
        return self._batches[images]

    @cached_property
    def _batches(self) -> dict[int, tuple[Mapping[Value, tuple[int, ...]], Mapping[str, str]]]:
        return {}

    def check_weights(self) -> None:
        """Raise `WeightsError` if a net that has weights was read without them."""
        if self.weight_shapes and not self.weights:
            first, count = list(self.weight_shapes)[:5], len(self.weight_shapes)
            raise WeightsError(
                f"net {self.graph.name!r} has {count} layer{'s' * (count > 1)} with weights "
                f"({', '.join(first)}{', ...' * (count > len(first))}), but no weights were given: "
                "set `weights` to its .caffemodel (--weights)"
            )


def load_model(
    prototxt: str | Path | NetParameter,
    weights: str | Path | Weights | None,
    input_shapes: Given | None = None,
    *,
    stages: Sequence[str] = (),
    python_layers: Sequence[str] = (),
    image_input: str | None = None,
    inputs: GivenInputs | None = None,
    need_weights: bool = True,
) -> Model:
    """Read a net and its weights, and check that they fit together.

    Parameters
    ----------
    prototxt
        Path of a deploy or train_val file of any generation, or a message of the schema.
    weights
        Path of a ``.caffemodel`` or ``.caffemodel.h5``, or arrays by layer name, or None for a net
        without weights.
    input_shapes
        Shape by input blob, batch axis first: (N, C, H, W) for images; or one shape, for the image.
        Overrides the file's, and is required if neither the file nor the weights imply it.
    stages
        The stages to enable, if the file's layers have stages.
    python_layers
        The modules whose Python layers the embedded engine may import and run.
    image_input
        The input that holds the image, if not the first one of an image's shape.
    inputs
        The values of the other inputs; see `held_inputs`.
    need_weights
        Whether missing weights are an error for a net that has some. A model without them has
        layers and shapes, but cannot run.

    Raises
    ------
    ModelError
        The prototxt cannot be read, or none of its layers can work.
    WeightsError
        The weights cannot be read, or belong to another net.
    UnknownNameError
        `input_shapes`, `image_input` or `inputs` names a blob that is not an input.

    Examples
    --------
    >>> model = load_model("deploy.prototxt", "net.caffemodel")
    >>> model.input_shapes
    {'data': (10, 3, 227, 227)}
    """
    path = None if isinstance(prototxt, NetParameter) else Path(prototxt)
    written = (
        Prototxt(prototxt, generation(prototxt))
        if isinstance(prototxt, NetParameter)
        else parse_prototxt(prototxt)
    )
    file = Path(weights) if isinstance(weights, str | Path) else None
    found = read_caffemodel(weights) if isinstance(weights, str | Path) else weights
    faults = dict(written.unreadable)
    try:
        deployed = deploy(
            translate(upgrade(written.net), faults, found),
            input_shapes,
            stages=stages,
            weights=found,
            prototxt=path,
        )
        allow(deployed.net, python_layers)
        graph = Graph.from_layers(deployed.net.name, deployed.net.layer)
        faults = {name: why for name, why in faults.items() if name in graph.by_name}
        faults |= deployed.faults
        shapes = infer(graph, faults=faults)
        if nameless := without_weights(graph, shapes, deployed.renamed):
            faults |= nameless
            shapes = infer(graph, faults=faults)
        aligned = list(align_crops(graph, shapes.values))
        _check_some_work(graph, shapes.values, faults)
        sizes = _inputs(graph, shapes.values)
        image = choose_image(sizes, image_input)
        held = held_inputs(sizes, image, inputs)
        large = list(_check_memory(graph, shapes.values, shapes.weights, sizes[image]))
    except ModelError as error:
        if path:
            error.args = (f"{path}: {error}",)  # keeps its class and attributes
        raise

    found = found and split_weights(graph, found)
    model = Model(
        graph=graph,
        params=deployed.net,
        input_shapes=sizes,
        shapes=shapes.values,
        weights={}
        if found is None
        else match_weights(
            graph,
            shapes,
            found,
            str(file or "the given weights"),
            faults if input_shapes else None,  # at the file's own size they must fit
        ),
        weight_shapes=shapes.weights,
        prototxt=path,
        caffemodel=file,
        generation=written.generation,
        foreign=written.words if written.foreign else "",
        faults=faults,
        image_input=image,
        held=held,
    )
    notes = [*written.notes, *deployed.notes, *aligned, *large, *_ignored(model, written)]
    for note in notes[:MOST_NOTES]:
        warn_once(path, note)
    if len(notes) > MOST_NOTES:
        warn_once(path, f"and {len(notes) - MOST_NOTES:,} more notes of this kind")
    if need_weights:
        model.check_weights()
    return model


def _ignored(model: Model, written: Prototxt) -> Iterator[str]:
    """Sentences about fields that may change a layer's output but have no effect here."""
    fields: dict[tuple[str, str], list[str]] = {}
    for layer in model.graph:
        if layer.name not in model.opaque:
            unknown = [one.path for one in written.foreign.get(layer.name, ()) if not one.harmless]
            for path in dict.fromkeys([*unknown, *ignored_fields(layer.param)]):
                fields.setdefault((layer.type, path), []).append(layer.name)
    for (kind, path), names in fields.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        yield (
            f"unknown field {path} (not in stock Caffe) has no effect in "
            f"{', '.join(map(repr, names[:3]))}{more} ({kind})"
        )


def _check_some_work(
    graph: Graph, shapes: Mapping[Value, tuple[int, ...]], faults: Mapping[str, str]
) -> None:
    """Raise an error if no layer but the inputs can work, or the inputs are invalid.

    Layers of unknown types count as working: an engine may run them.
    """
    sources = ("Input", "DummyData")
    works = any(layer.type not in (*sources, *RULES) for layer in graph) or any(
        top in shapes for layer in graph if layer.type not in sources for top in layer.tops
    )
    if faults and not (works and _inputs(graph, shapes)):
        name, reason = next(iter(faults.items()))
        raise ModelError(f"layer {name!r} ({graph.layer(name).type}): {reason}")


def _check_memory(
    graph: Graph,
    shapes: Mapping[Value, Shape],
    weights: Mapping[str, Sequence[Shape]],
    image: Shape,
) -> Iterator[str]:
    """Raise an error if a single layer, for one image, exceeds this machine's memory.

    Yields
    ------
    str
        A warning if the net as a whole does.
    """
    memory = machine_memory()
    if memory is None:
        return
    batch = max(image[0], 1)
    sizes = {value: math.prod(shape) * FLOAT // batch for value, shape in shapes.items()}
    for layer in graph:
        needed = sum(sizes.get(value, 0) for value in (*layer.bottoms, *layer.tops))
        needed += sum(math.prod(shape) * FLOAT for shape in weights.get(layer.name, ()))
        if needed > memory:
            listed = ", ".join(f"{v.blob} {shapes[v]}" for v in layer.tops if v in shapes)
            raise ModelError(
                f"layer {layer.name!r} ({layer.type}) needs {in_gib(needed)} for one image of "
                f"{times(image[1:])}, but this machine has {in_gib(memory)} ({listed}); use a "
                "smaller input_shape (--input-shape)"
            )
    if (total := sum(sizes.values())) > memory:
        yield (
            f"for one image of {times(image[1:])} its blobs need {in_gib(total)}, but this machine "
            f"has {in_gib(memory)}: a pass that keeps all of them, as for gradients, may fail"
        )


def _inputs(graph: Graph, shapes: Mapping[Value, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name: shapes[Value(name)] for name in graph.inputs if Value(name) in shapes}
