"""The units of the layers below that drive a unit: ``(net, image, layer, unit) -> Drivers``.

The contribution of channel c of a layer below to the score F of a unit is the sum over the
channel's map A of gradient times activation::

    R_c = sum over positions of  A_c * dF / dA_c

To first order, scaling the channel by 1 - a lowers F by a * R_c. If everything between the two
layers is piecewise linear, like convolutions, rectifiers and poolings, the contributions of all
channels sum to F except for biases, at any depth. Removing the channel entirely lowers F by exactly
R_c as long as no rectifier or pooling switches, which usually holds for the layer directly below;
for a whole stage with many rectifiers in between, R_c is an approximation.

- Olah et al. 2020, "Zoom In: An Introduction to Circuits", https://doi.org/10.23915/distill.00024.001,
  which reads networks by such connections
- Cogswell's treevis for the Deep Visualization Toolbox, which draws them as trees
- Shrikumar et al. 2016, "Not Just a Black Box", https://arxiv.org/abs/1605.01713, gradient times
  input
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.attribution.driver_results import Driver, Drivers
from deepvis_caffe.attribution.score import Score, whole_number
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError, ModelError, SettingsError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.picture_input import as_input
from deepvis_caffe.model.resolution import stage_below
from deepvis_caffe.model.unit_sources import (
    Source,
    makes_or_sums_units,
    makes_units,
    sources_of_all,
    unit_sources,
)
from deepvis_caffe.optimizer.targets import Position, plain_position

Reach = Literal["nearest", "stage"]
REACHES: tuple[Reach, ...] = get_args(Reach)


def drivers(
    net: Net,
    image: NDArray[Any] | str | os.PathLike[str],
    layer: str,
    unit: int | str,
    position: Position = "all",
    below: str | Sequence[str] | None = None,
    count: int | None = 10,
    reach: Reach = "nearest",
) -> Drivers:
    """The units of the layers below that raise and lower a unit most, for an image.

    Parameters
    ----------
    net
        From `load_net`.
    image, layer, unit, position
        As for `attribute`.
    below
        Names of layers or blobs, instead of those that `reach` finds. Paths to them may pass
        rectifiers, poolings, concatenations and sums; a concatenation's channels are reported as
        the units of the layers that compute them. If one of several layers is above another, what
        passes through both counts for the upper one.
    count
        How many to return; None for all.
    reach
        How far down to look. ``"nearest"``: to the nearest layers with units, convolutions and
        inner products. ``"stage"``: to the last layers of the stage below, at another resolution,
        so that a few steps lead from a class to the first layer; see
        `deepvis_caffe.model.resolution.stage_below`. For this, a sum of layers, as in residual
        nets, has units of its own.

    Raises
    ------
    UnknownNameError
        There is no such layer or blob.
    SettingsError
        The layer has no such unit or position; a layer of `below` does not lead to it; `count` is
        not an integer of at least 1; or `reach` is unknown, or given together with `below`.
    EngineError, ModelError
        The layer cannot run, has no units or no gradient, or there are no units below it.
    ImageError
        The image cannot be read, or does not fit this net.
    """
    if count is not None:
        count = whole_number("count", count)
    x = as_input(net.preprocessor, image)[np.newaxis]
    net.check_gradient(layer)
    score = Score.of(net, x, layer, unit, position)
    sources = sources_below(net.model, layer, score.unit, below, reach)
    found = contributions_of(score, sources)
    return Drivers(
        drivers=found.strongest(count),
        layer=layer,
        unit=score.unit,
        position=plain_position(position),
        activation=score.activation,
        score=found.score,
        contributions=found.by_layer(),
        image=x[0],
        preprocessor=net.preprocessor.for_shape(*x.shape[2:]),
        label=net.label(layer, score.unit),
    )


def sources_below(
    model: Model,
    layer: str,
    unit: int,
    below: str | Sequence[str] | None = None,
    reach: Reach = "nearest",
) -> tuple[Source, ...]:
    """The layers whose units drive a unit.

    Parameters
    ----------
    layer, unit
        A layer's or blob's name, and a channel of it.
    below, reach
        As for `drivers`.

    Raises
    ------
    SettingsError
        A layer of `below` does not lead to the unit, or `reach` is unknown or given with it.
    ModelError
        There are no units below it.
    UnknownNameError
        There is no such layer or blob.
    """
    reach = check_reach(reach)
    if below is not None and reach != "nearest":
        raise SettingsError("give either below, which names layers, or reach, which finds them")
    if below is None:
        if reach == "stage":
            start = _layer_of(model, layer, unit, makes_or_sums_units)
            last = {one.name for one in stage_below(model, start)}
            found = sources_of_all(model, start.bottoms, lambda one: one.name in last)
        else:
            found = sources_of_all(model, _layer_of(model, layer, unit).bottoms)
        if not found:
            raise ModelError(f"layer {layer!r} has no layers with units below it")
        return found
    starts = _layer_of(model, layer, unit).bottoms
    names = [below] if isinstance(below, str) else list(below)
    made = {
        name: {one.layer.name for one in unit_sources(model, model.graph.activation(name))}
        for name in names
    }
    wanted = set[str]().union(*made.values())
    found = sources_of_all(model, starts, lambda one: one.name in wanted)
    missing = wanted - {one.layer.name for one in found}
    for name in names:
        if not made[name] or made[name] <= missing:
            nearest = ", ".join(one.name for one in sources_of_all(model, starts))
            raise SettingsError(
                f"below {name!r} does not lead to unit {unit} of {layer!r}; the nearest layers "
                f"with units that do are {nearest or 'none'}"
            )
    return found


def check_reach(reach: str) -> Reach:
    """`reach` if it is valid; raises `SettingsError` otherwise."""
    if reach not in REACHES:
        raise SettingsError(f"reach must be one of {', '.join(REACHES)}; got {reach!r}")
    return reach


def made_by(
    model: Model,
    layer: str,
    unit: int,
    makes: Callable[[Model, Layer], bool] = makes_units,
) -> tuple[Layer, int] | None:
    """The layer that computes a unit, and the unit's index there; None if there is no such layer.

    For unit 375 of ``fire8/concat`` this is unit 119 of ``fire8/expand3x3``. A sum of two layers is
    the unit of neither, unless `makes` is true for sums, too.
    """
    start = model.graph.gradient_start(layer)
    makers = []
    for one in unit_sources(model, start, partial(makes, model)):
        if one.channels is None:
            return None
        if one.channels[unit] >= 0:
            makers.append((one.layer, int(one.channels[unit])))
    return makers[0] if len(makers) == 1 else None


def _layer_of(
    model: Model, layer: str, unit: int, makes: Callable[[Model, Layer], bool] = makes_units
) -> Layer:
    """The layer that computes the unit from its bottoms; the named one if several do."""
    maker = made_by(model, layer, unit, makes)
    return maker[0] if maker else model.graph.producer[model.graph.gradient_start(layer)]


@dataclass(frozen=True, eq=False)
class Contributions:
    """The contributions of all channels of some layers to a score.

    Attributes
    ----------
    score
        The score that is attributed.
    sources
        The layers.
    activations, maps
        For each source, (C, ...): its activations, and gradient times activation.
    values
        For each source, float64 (C,): the sums of its maps.
    """

    score: float
    sources: tuple[Source, ...]
    activations: tuple[Floats, ...] = field(repr=False)
    maps: tuple[Floats, ...] = field(repr=False)
    values: tuple[NDArray[np.float64], ...] = field(repr=False)

    def by_layer(self) -> Mapping[str, NDArray[np.float64]]:
        """The contributions of each layer's units, float64 (C,)."""
        found: dict[str, NDArray[np.float64]] = {}
        for source, values in zip(self.sources, self.values, strict=True):
            known = found.get(source.name)
            found[source.name] = values if known is None else known + values
        return found

    def strongest(self, count: int | None = None, sign: int = 0) -> tuple[Driver, ...]:
        """The units with the largest contributions, strongest first.

        Parameters
        ----------
        count
            Maximum number; None for all.
        sign
            1 for those that raise the score only, -1 for those that lower it, 0 for both.
        """
        if not self.values:
            return ()
        every = np.concatenate(self.values)
        firsts = np.cumsum([0, *(len(one) for one in self.values)])
        ranked = np.argsort(-np.abs(every), kind="stable")
        if sign:
            ranked = ranked[every[ranked] * sign > 0]
        found = []
        for number in ranked[:count]:
            place = int(np.searchsorted(firsts, number, side="right")) - 1
            unit = int(number - firsts[place])
            value = float(every[number])
            found.append(
                Driver(
                    layer=self.sources[place].name,
                    unit=unit,
                    contribution=value,
                    share=value / abs(self.score) if self.score else 0.0,
                    map=self.maps[place][unit],
                    activation=self.activations[place][unit],
                )
            )
        return tuple(found)


def contributions_of(score: Score, sources: Iterable[Source]) -> Contributions:
    """The contributions of layers' channels to a score, in the last forward pass of one image.

    Parameters
    ----------
    score
        The score for that image.
    sources
        The layers, from `sources_below`.

    Raises
    ------
    EngineError
        A value on the path cannot be named.
    """
    net, graph, sources = score.net, score.net.model.graph, tuple(sources)
    start = graph.gradient_start(score.layer)
    reads = [_named(graph.value_name(one), one) for one in (start, *(s.value for s in sources))]
    sends = [_named(graph.diff_name(one.value), one.value) for one in sources]
    values = net.read(dict.fromkeys(reads))
    shape = values[reads[0]].shape
    rows = (1, *shape) if score.has_channels and len(shape) < 2 else shape
    diff = score.diff(rows).reshape(shape)
    diffs = net.backward(score.layer, diff, "gradient", dict.fromkeys(sends), partial=True)
    activations = [_channels(values[name]) for name in reads[1:]]
    maps = [one * _channels(diffs[name]) for one, name in zip(activations, sends, strict=True)]
    return Contributions(
        score=float((values[reads[0]] * diff).sum(dtype=np.float64)),
        sources=sources,
        activations=tuple(activations),
        maps=tuple(maps),
        values=tuple(one.reshape(len(one), -1).sum(axis=1, dtype=np.float64) for one in maps),
    )


def _named(name: str | None, value: Value) -> str:
    if name is None:
        raise EngineError(
            f"blob {value.blob!r} is overwritten in place, and no name refers to its old values; "
            "give the in-place layers names that differ from those of blobs"
        )
    return name


def _channels(values: Floats) -> Floats:
    """Values of one image, (1, C, ...) or (C,), as (C, ...)."""
    return values[0] if values.ndim > 1 else values
