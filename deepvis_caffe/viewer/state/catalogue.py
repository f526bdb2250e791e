"""The catalogue of a net's blobs that can be shown, in net order: ``net -> (Entry, ...)``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.graph import Value
from deepvis_caffe.model.labels import Labels, label_of
from deepvis_caffe.model.rows import without_units

Shape = tuple[int, ...]

NOT_SHOWN = ("Input", "DummyData", "Split")


@dataclass(frozen=True)
class Entry:
    """One entry of the list of layers: a blob, however many layers write it in place.

    Attributes
    ----------
    name
        Name of the blob.
    layer
        The name that a backward pass or an ascent starts from: that of the layer that writes the
        blob first, or the blob's if that layer has several tops.
    type
        Type of that layer.
    shape
        Shape of the blob for one image, as in the engine: (1, C, H, W), (1, C), ...
    units
        Number of channels: the second axis, or the only one.
    map_size
        (height, width) at which one unit is shown; (1, 1) if it is a single number.
    classes
        Whether the units can be the net's classes.
    scores
        For a Softmax, the name of its bottom, which holds the logits: a probability depends on the
        logits of all classes. Empty for all other layers.
    """

    name: str
    layer: str
    type: str
    shape: Shape
    units: int
    map_size: tuple[int, int]
    classes: bool = False
    scores: str = ""

    @property
    def is_vector(self) -> bool:
        """Whether each unit is a single number."""
        return self.map_size == (1, 1)


@dataclass(frozen=True)
class Opaque:
    """A blob of the net that cannot be shown.

    Either its layer cannot run, or the blob has no row of units per image, as after a detector's
    boxes.

    Attributes
    ----------
    name, type
        The blob's name, and the type of the layer that writes it.
    why
        The reason, as a sentence.
    before
        Index of the entry that follows it in the net.
    short
        The reason in two words.
    """

    name: str
    type: str
    why: str
    before: int
    short: str = "cannot run"


def catalogue(net: Net, shapes: Mapping[Value, Shape] | None = None) -> tuple[Entry, ...]:
    """Every blob of a net that can be computed, except its inputs, in order of first writing.

    Parameters
    ----------
    shapes
        `one_image_shapes` of the net, if already known.

    Raises
    ------
    EngineError
        The net has nothing to show.
    """
    shapes = one_image_shapes(net) if shapes is None else shapes
    graph = net.model.graph
    skipped = without_units(graph)
    entries = []
    for final in last_values(net):
        writer = graph.producer[Value(final.blob)]
        if final in skipped:
            continue
        shape = shapes[final]
        if writer.type in NOT_SHOWN or not _of_one_image(shape):
            continue
        units, map_size = layout_of(shape)
        name = graph.value_name(final) or final.blob
        layer = writer.name if len(writer.tops) == 1 else final.blob
        if final != graph.blobs[final.blob]:  # a later in-place layer cannot run
            layer = graph.start_name(final) or layer
        classes = final in net.class_values
        read = writer.bottoms[0] if writer.type == "Softmax" else None
        scores = (graph.value_name(read) or read.blob) if read else ""
        entries.append(Entry(name, layer, writer.type, shape, units, map_size, classes, scores))
    if not entries:
        raise EngineError(f"net {graph.name!r} has no layers to show")
    return tuple(entries)


def _of_one_image(shape: Shape) -> bool:
    """Whether a blob's rows are images, that is, one image makes one row."""
    return len(shape) < 2 or shape[0] == 1


def opaque_blobs(
    net: Net, entries: tuple[Entry, ...], shapes: Mapping[Value, Shape] | None = None
) -> tuple[Opaque, ...]:
    """The blobs of a net that cannot be shown, in order of first writing; see `catalogue`."""
    graph = net.model.graph
    shapes = one_image_shapes(net) if shapes is None else shapes
    skipped = without_units(graph)
    place = {blob: number for number, blob in enumerate(graph.blobs)}
    shown = [place[graph.own_output(entry.name).blob] for entry in entries]
    found = []
    for blob, number in place.items():
        writer = graph.producer[Value(blob)]
        before = sum(other < number for other in shown)
        shape = shapes.get(Value(blob), (1,))
        if why := net.opaque.why_not(writer.name):
            found.append(Opaque(blob, writer.type, why, before))
        elif writer.type not in NOT_SHOWN and (why := skipped.get(Value(blob), "")):
            found.append(Opaque(blob, writer.type, why, before, "no units"))
        elif writer.type not in NOT_SHOWN and not _of_one_image(shape):
            why = f"it has shape {shape} for one image, so its rows are not images"
            found.append(Opaque(blob, writer.type, why, before, "no units"))
    return tuple(found)


def entry_of(entries: tuple[Entry, ...], layer: str) -> int | None:
    """The index of the entry whose units the named layer computes; None if there is none."""
    found = (at for at, one in enumerate(entries) if layer in (one.layer, one.name))
    return next(found, None)


def last_values(net: Net) -> tuple[Value, ...]:
    """The last computable value of every blob, in order of first writing."""
    last = {top.blob: top for layer in net.opaque.running for top in layer.tops}
    return tuple(last.values())


def layout_of(shape: Shape) -> tuple[int, tuple[int, int]]:
    """The number of units of a blob, and the (height, width) at which one is shown.

    Axis 0 counts images and axis 1 units; a single axis counts units. The last two axes are rows
    and columns; slices of any axes between are laid side by side.
    """
    if len(shape) < 2:
        return math.prod(shape), (1, 1)
    rest = shape[2:]
    if not rest:
        return shape[1], (1, 1)
    if len(rest) == 1:
        return shape[1], (1, rest[0])
    return shape[1], (rest[-2], math.prod(rest[:-2]) * rest[-1])


def as_maps(values: Floats) -> Floats:
    """Reshape a blob of one image to (units, height, width), as in :func:`layout_of`."""
    units, (height, width) = layout_of(values.shape)
    if values.ndim > 4:  # (1, C, ..., H, W): slices side by side
        slices = values.reshape(units, -1, *values.shape[-2:])
        return np.ascontiguousarray(slices.transpose(0, 2, 1, 3).reshape(units, height, width))
    return values.reshape(units, height, width)


def unit_label(labels: Labels, entry: Entry, unit: int) -> str | None:
    """The label of a unit; None if the labels are not those of its layer."""
    return label_of(labels, unit, entry.units) if entry.classes else None


def one_image_shapes(net: Net) -> Mapping[Value, Shape]:
    """The shape of every value for one image.

    The net runs once if only the engine knows the shape of some layer.
    """
    known = dict(net.model.shapes_for(1)[0])
    unknown = {
        name: value
        for value in last_values(net)
        if value not in known and (name := net.model.graph.value_name(value))
    }
    if unknown:
        zeros = {name: np.zeros((1, *shape[1:]), np.float32) for name, shape in net.inputs.items()}
        found = net.loaded().forward(zeros, blobs=unknown)
        known |= {value: found[name].shape for name, value in unknown.items()}
    return known
