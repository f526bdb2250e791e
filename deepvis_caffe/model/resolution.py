"""Stages of a net: connected layers of the same resolution, ``model -> (Stage, ...)``.

Strides and poolings change the height and width of the maps, which divides a net into stages: those
of ResNet-50 end at ``conv1``, ``res2c``, ``res3d``, ``res4f`` and ``res5c``. A stage is represented
by its last layers; the first stage by the layers that read the image, whose weights can be viewed
as pictures. All values with a single position, such as those of inner products, form one stage,
which includes a convolution whose maps are averaged to the classes.

These are not the stages by which a prototxt includes layers; see `deepvis_caffe.model.phases`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.sliding_window import convolution_window, pooling_window
from deepvis_caffe.model.unit_sources import (
    SECOND_IS_A_PLACE,
    makes_or_sums_units,
    makes_units,
    unit_sources,
)

# Types that change the size of a map, but not the distance of its positions in the image.
TRIMS = ("Crop", "CropCenter", "Pad", "Padding")


@dataclass(frozen=True)
class Stage:
    """Connected layers of the same resolution.

    Attributes
    ----------
    extent
        The size of the maps at its end, (height, width) for images; () for single numbers.
    layers
        In the order of the net.
    reads
        Indices of the stages that it reads.
    """

    extent: tuple[int, ...]
    layers: tuple[Layer, ...]
    reads: tuple[int, ...]


def stages(model: Model) -> tuple[Stage, ...]:
    """The stages of a net in the order of their first layers, without its inputs."""
    return _Stages(model).all()


def stage_below(model: Model, layer: Layer) -> tuple[Layer, ...]:
    """The layers whose units represent the stage below a layer, in the order of the net.

    They have units of their own, as convolutions do, or are sums of several layers. Everything that
    the layer receives from the image passes through them. Below a layer of the first stage these
    are the layers that read the image, and below those its ``Input``.

    Parameters
    ----------
    layer
        A layer of the net; it need not have units of its own.
    """
    return _Stages(model).below(layer)


class _Stages:
    def __init__(self, model: Model) -> None:
        self._model, self._producer = model, model.graph.producer
        self._first = _first_layers(model)
        self._averaged, self._averages = _averaged_to_outputs(model)

    def below(self, layer: Layer) -> tuple[Layer, ...]:
        found, ends = self._ends_below(layer)
        for end in ends:
            firsts, further = self._ends_below_value(end)
            if firsts and all(_is_input(self._producer[one]) for one in further):
                found |= firsts | {self._producer[one].name for one in further}
            else:
                sources = unit_sources(self._model, end, partial(makes_or_sums_units, self._model))
                found |= {one.layer.name for one in sources}
        return tuple(one for one in self._model.graph if one.name in found)

    def all(self) -> tuple[Stage, ...]:
        graph = self._model.graph
        first = list(range(len(graph.layers)))  # first layer of each layer's stage, by union-find

        def stage_of(number: int) -> int:
            while first[number] != number:
                number = first[number]
            return number

        crossings = []
        for layer in (one for one in graph if one.bottoms and one.tops):
            for bottom in self._bottoms(layer):
                below = self._producer[bottom]
                if self._changes_resolution(layer, bottom):
                    crossings.append((layer.index, below.index))
                elif not _is_input(below):
                    ends = stage_of(layer.index), stage_of(below.index)
                    first[max(ends)] = min(ends)
        members: dict[int, list[Layer]] = {}
        for layer in graph:
            if not _is_input(layer):
                members.setdefault(stage_of(layer.index), []).append(layer)
        place = {number: at for at, number in enumerate(members)}
        reads: dict[int, set[int]] = {}
        for above, below_ in crossings:
            if stage_of(below_) in place:  # not an input
                reads.setdefault(stage_of(above), set()).add(place[stage_of(below_)])
        return tuple(
            Stage(
                next((self._extent(one.tops[0]) or () for one in some[::-1] if one.tops), ()),
                tuple(some),
                tuple(sorted(reads.get(number, ()))),
            )
            for number, some in members.items()
        )

    def _ends_below_value(self, value: Value) -> tuple[set[str], set[Value]]:
        layer = self._producer[value]
        if layer.name in self._first or _is_input(layer):
            return {layer.name}, set()
        return self._ends_below(layer)

    def _ends_below(self, layer: Layer) -> tuple[set[str], set[Value]]:
        """The ends of the paths down from a layer: first layers, or where they leave its stage."""
        firsts, ends = set[str](), set[Value]()
        seen, todo = {layer.name}, [layer]
        while todo:
            here = todo.pop()
            for bottom in self._bottoms(here):
                below = self._producer[bottom]
                if self._changes_resolution(here, bottom):
                    ends.add(bottom)
                elif below.name in self._first or _is_input(below):
                    firsts.add(below.name)
                elif below.name not in seen:
                    seen.add(below.name)
                    todo.append(below)
        return firsts, ends

    def _bottoms(self, layer: Layer) -> Iterator[Value]:
        """The bottoms of a layer, except those with places or factors for another one."""
        top = self._extent(layer.tops[0])
        mapped = any(self._extent(one) == top for one in layer.bottoms)
        for place, bottom in enumerate(layer.bottoms):
            is_factor = mapped and top and self._extent(bottom) == ()  # squeeze and excitation
            if not is_factor and not (place and layer.type in SECOND_IS_A_PLACE):
                yield bottom

    def _changes_resolution(self, layer: Layer, bottom: Value) -> bool:
        if layer.name in self._averaged:
            return True
        if bottom in self._averages:
            return False
        before, after = self._extent(bottom), self._extent(layer.tops[0])
        if before is None or after is None or before == after:
            return False
        if not before or not after:
            return True
        return not (layer.type in TRIMS or _slides_by_one(layer, before))

    def _extent(self, value: Value) -> tuple[int, ...] | None:
        """The size of a value's maps, () for a single position; None if unknown."""
        shape = self._model.shapes.get(value)
        return None if shape is None else shape[2:] if prod(shape[2:]) > 1 else ()


def _is_input(layer: Layer) -> bool:
    return layer.type == "Input"


def _slides_by_one(layer: Layer, extent: tuple[int, ...]) -> bool:
    """Whether a layer slides a window with stride 1, and so only loses a border."""
    if layer.type in ("Convolution", "Deconvolution"):
        return set(convolution_window(layer.param.convolution_param, len(extent)).stride) == {1}
    if layer.type in ("NdPooling", "Pooling", "Pooling3D"):
        return set(pooling_window(layer.param.pooling_param, extent).stride) == {1}
    return False


def _first_layers(model: Model) -> set[str]:
    """The names of the layers that compute units from inputs only."""
    found, plain = set[str](), set[Value]()
    for layer in model.graph:
        if not plain.issuperset(layer.bottoms):
            continue
        if layer.bottoms and makes_units(model, layer):
            found.add(layer.name)
        elif layer.bottoms or _is_input(layer):
            plain.update(layer.tops)
    return found


def _averaged_to_outputs(model: Model) -> tuple[set[str], set[Value]]:
    """The layers whose units are averaged to an output's numbers, and the values from there on."""
    graph, layers, values = model.graph, set[str](), set[Value]()
    for output in graph.outputs:
        value, way = graph.blobs[output], set[Value]()
        while not makes_units(model, layer := graph.producer[value]) and len(layer.bottoms) == 1:
            way.add(value)
            value = layer.bottoms[0]
        averages = _positions(model, value) > _positions(model, graph.blobs[output]) == 1
        if averages and makes_units(model, layer):
            layers.add(layer.name)
            values |= way | {value}
    return layers, values


def _positions(model: Model, value: Value) -> int:
    """The number of positions of a value's maps; 0 if unknown."""
    shape = model.shapes.get(value)
    return 0 if shape is None else prod(shape[2:])
