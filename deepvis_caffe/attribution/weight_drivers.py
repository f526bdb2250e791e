"""The drivers of a unit by weights, without an image: ``(net, layer, unit) -> WeightDrivers``.

The strength of the connection from channel c of the layers below is the sum of its weights over the
kernel. Multiplied by the channel's mean activation over a dataset, this is what the channel adds to
the unit on average::

    R_c = mean of A_c * (sum over kernel positions of w_c)

except for layers in between: max pooling, for example, passes on more than the mean. This is the
weight between units of Olah et al. 2020, "Zoom In: An Introduction to Circuits",
https://doi.org/10.23915/distill.00024.001, summed over its positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.attribution.drivers import made_by
from deepvis_caffe.attribution.score import whole_number
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ModelError
from deepvis_caffe.model.graph import Layer, Value
from deepvis_caffe.model.model import Model
from deepvis_caffe.model.unit_sources import ELEMENTWISE, Source, unit_sources
from deepvis_caffe.optimizer.targets import check_units

Means = Mapping[str, NDArray[Any]]  # by layer (C,)


@dataclass(frozen=True)
class WeightDriver:
    """A unit of a layer below, and its connection.

    Attributes
    ----------
    layer, unit
        Its layer and its index there; for an input, the input's name and the channel.
    contribution
        `weight`, times `mean` if that is known.
    weight, positive, negative
        The sums of the connection's weights, of its positive and of its negative weights.
    mean
        The unit's mean activation over a dataset; None unless known for all layers below.
    """

    layer: str
    unit: int
    contribution: float
    weight: float
    positive: float
    negative: float
    mean: float | None = None


@dataclass(frozen=True, eq=False)
class WeightDrivers(Sequence[WeightDriver]):
    """The drivers of a unit by weights: a sequence, the largest magnitude first.

    Attributes
    ----------
    drivers
        As many as requested.
    layer, unit
        The arguments of `drivers_by_weights`.
    """

    drivers: tuple[WeightDriver, ...] = field(repr=False)
    layer: str
    unit: int

    @overload
    def __getitem__(self, index: int) -> WeightDriver: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[WeightDriver, ...]: ...
    def __getitem__(self, index: int | slice) -> WeightDriver | tuple[WeightDriver, ...]:
        return self.drivers[index]

    def __len__(self) -> int:
        return len(self.drivers)

    def __iter__(self) -> Iterator[WeightDriver]:
        return iter(self.drivers)

    @property
    def has_means(self) -> bool:
        """Whether contributions include mean activations."""
        return any(one.mean is not None for one in self.drivers)

    def record(self) -> dict[str, Any]:
        """Everything, as JSON types."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "drivers": [asdict(one) for one in self.drivers],
        }

    @property
    def raising(self) -> tuple[WeightDriver, ...]:
        """The drivers that raise the unit."""
        return tuple(one for one in self.drivers if one.contribution > 0)

    @property
    def lowering(self) -> tuple[WeightDriver, ...]:
        """The drivers that lower the unit."""
        return tuple(one for one in self.drivers if one.contribution < 0)


def drivers_by_weights(
    net: Net | Model,
    layer: str,
    unit: int | str,
    means: Means | None = None,
    count: int | None = 10,
) -> WeightDrivers:
    """The units of the layers below that raise and lower a unit most, by the net's weights.

    Parameters
    ----------
    net
        From `load_net`, or its model.
    layer, unit
        A layer's or blob's name, and one of its channels or, with a net, a label.
    means
        The mean activations of each layer's units over a dataset, as in `Scan.means`. Unless they
        are given for all layers below, only weights count.
    count
        How many to return; None for all.

    Raises
    ------
    UnknownNameError
        There is no such layer or blob.
    SettingsError
        The layer has no such unit, or `count` is not an integer of at least 1.
    ModelError
        The unit is not that of a single convolution or inner product, or there are no units
        directly below it.
    """
    model = net if isinstance(net, Model) else net.model
    if count is not None:
        count = whole_number("count", count)
    if isinstance(unit, str) and isinstance(net, Net):
        unit = net.unit(layer, unit)
    connected = _Connected.of(model, layer, unit)
    known = connected.means(model, means or {})
    found = [
        WeightDriver(
            layer=source.name,
            unit=int(number),
            contribution=float(weight if mean is None else weight * mean),
            weight=float(weight),
            positive=float(plus),
            negative=float(minus),
            mean=None if mean is None else float(mean),
        )
        for place, source in enumerate(connected.sources)
        for channel, number in _channels(source)
        for plus, minus in [connected.weights[:, channel]]
        for weight in [plus + minus]
        for mean in [known[place][number] if known else None]
    ]
    found.sort(key=lambda one: -abs(one.contribution))  # stable: ties stay in the net's order
    return WeightDrivers(tuple(found[:count]), layer, connected.unit)


@dataclass(frozen=True, eq=False)
class _Connected:
    """A unit and the channels that it is connected to; `weights` (2, C), positive and negative."""

    unit: int
    weights: NDArray[np.float64]
    sources: tuple[Source, ...]

    @classmethod
    def of(cls, model: Model, layer: str, unit: int | str) -> _Connected:
        start = model.graph.gradient_start(layer)
        shape = model.shapes.get(start, ())
        if len(shape) < 2:
            raise ModelError(f"layer {layer!r} has no numbered units: its shape is {shape}")
        (unit,) = check_units([unit], shape[1:], layer)
        maker = made_by(model, layer, unit)
        if maker is None or not model.weights.get(maker[0].name):
            what = "has no weights" if maker is not None else "is not computed by one layer alone"
            raise ModelError(
                f"unit {unit} of layer {layer!r} {what}; choose a convolution or inner product"
            )
        made, own = maker
        bottom = _unflattened(model, made)
        kernel = _kernel(model, made, own, model.shapes[bottom][1]) * _factor(model, made, own)
        weights = np.stack([np.maximum(kernel, 0).sum(axis=1), np.minimum(kernel, 0).sum(axis=1)])
        found = tuple(one for one in unit_sources(model, bottom) if one.channels is not None)
        if not found:
            raise ModelError(f"no units of layers below are connected to layer {made.name!r}")
        return cls(unit, weights, found)

    def means(self, model: Model, means: Means) -> list[NDArray[Any]]:
        """The mean activations of each source's units; empty if any are unknown."""
        graph, found = model.graph, []
        values = {
            name: graph.activation(name)
            for name in means
            if name.removesuffix(":raw") in {*graph.by_name, *graph.blobs}
        }
        for source in self.sources:
            name = next(
                (name for name, value in values.items() if graph.same(value, source.value)), None
            )
            if name is None:
                return []
            found.append(np.asarray(means[name]))
        return found


def _channels(source: Source) -> Iterator[tuple[int, int]]:
    """The channels of the value that are units of a source, each with the unit's index there."""
    assert source.channels is not None
    for channel in np.flatnonzero(source.channels >= 0):
        yield int(channel), int(source.channels[channel])


def _kernel(model: Model, made: Layer, unit: int, channels: int) -> NDArray[np.float64]:
    """The weights from each channel of the bottom to a unit, float64 (channels, positions)."""
    weights = np.asarray(model.weights[made.name][0], np.float64)
    if made.type == "InnerProduct":
        whole = weights.reshape(weights.shape[-2:])
        row = whole[:, unit] if made.param.inner_product_param.transpose else whole[unit]
        return row.reshape(channels, -1)
    if not made.type.endswith(("Convolution", "Deconvolution")):
        raise ModelError(f"layer {made.name!r} ({made.type}): weights of this type are unsupported")
    options = made.param.convolution_param
    groups, units = max(options.group, 1), options.num_output
    group, inside = divmod(unit, units // groups)
    own = slice(group * channels // groups, (group + 1) * channels // groups)
    found = np.zeros((channels, prod(weights.shape[2:])))
    part = weights[own, inside] if made.type == "Deconvolution" else weights[unit]
    found[own] = part.reshape(channels // groups, -1)
    return found


def _unflattened(model: Model, made: Layer) -> Value:
    """The value whose channels an inner product reads, for example below a Flatten."""
    value = bottom = made.bottoms[0]
    if made.type != "InnerProduct":
        return bottom
    while True:
        layer = model.graph.producer[value]
        if layer.type not in {*ELEMENTWISE, "Flatten", "Reshape"} or len(layer.bottoms) != 1:
            return bottom
        value = layer.bottoms[0]
        if layer.type not in ELEMENTWISE:
            bottom = value


def _factor(model: Model, made: Layer, unit: int) -> float:
    """The factor of the normalizations after a layer for its unit; 1 without any."""
    factor, value = 1.0, made.tops[0]
    while True:
        readers = [one for one in model.graph if value in one.bottoms]
        if len(readers) != 1 or len(readers[0].bottoms) != 1:
            return factor
        layer, blobs = readers[0], model.weights.get(readers[0].name, ())
        if layer.type == "Scale" and blobs:
            factor *= float(blobs[0].reshape(-1)[unit if blobs[0].size > 1 else 0])
        elif layer.type == "BatchNorm" and len(blobs) >= 3:
            count = float(blobs[2].reshape(-1)[0])
            variance = float(blobs[1].reshape(-1)[unit]) / count if count else 0.0
            factor /= (variance + layer.param.batch_norm_param.eps) ** 0.5
        elif layer.type not in ("Bias", "Dropout"):
            return factor
        value = layer.tops[0]
