"""The result of `drivers`: units of the layers below, strongest first, and their pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.attribution.pictures import signed_overlay, summed
from deepvis_caffe.image import Floats, Picture, encode_png
from deepvis_caffe.model.labels import unit_title
from deepvis_caffe.model.preprocess import Preprocessor

FINEST = 32  # positions across a map that is shown


@dataclass(frozen=True, eq=False)
class Driver:
    """A unit of a layer below, and its contribution.

    Attributes
    ----------
    layer, unit
        Its layer and its index there; for an input, the input's name and the channel.
    contribution
        What it adds to the score: the sum of `map`.
    share
        The contribution divided by the magnitude of the score; 0 if that is 0.
    map
        Gradient times activation, of the shape of the unit's map: (H, W), or () for a number.
    activation
        The unit's activations, likewise.
    """

    layer: str
    unit: int
    contribution: float
    share: float
    map: Floats = field(repr=False)
    activation: Floats = field(repr=False)

    @property
    def title(self) -> str:
        """Its share, layer and unit."""
        return f"{self.share:+.0%} {unit_title(self.layer, self.unit, None)}"

    @property
    def image_map(self) -> Floats:
        """`map` as (H, W) for display, with the slices of further axes side by side."""
        if self.map.ndim < 2:
            return self.map.reshape(1, -1)
        return np.concatenate([*self.map.reshape(-1, *self.map.shape[-2:])], axis=1)

    def record(self) -> dict[str, Any]:
        """Everything but its maps, as JSON types."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "contribution": self.contribution,
            "share": self.share,
        }


@dataclass(frozen=True, eq=False)
class Drivers(Sequence[Driver]):
    """The drivers of a unit for an image: a sequence of `Driver`, the largest magnitude first.

    Attributes
    ----------
    drivers
        As many as requested.
    layer, unit, position
        The arguments of `deepvis_caffe.drivers`.
    activation
        The unit's activation: the largest on its map, or that at the position.
    score
        The score that is attributed; see `deepvis_caffe.attribution.score`.
    contributions
        The contributions of all units of the layers below, by layer, float64 (C,).
    image
        (C, H, W), the net's input.
    preprocessor
        Turns the image into a picture.
    label
        The unit's label, if it has one.
    """

    drivers: tuple[Driver, ...]
    layer: str
    unit: int
    position: Literal["center", "all"] | tuple[int, ...]
    activation: float
    score: float
    contributions: Mapping[str, NDArray[np.float64]] = field(repr=False)
    image: Floats = field(repr=False)
    preprocessor: Preprocessor = field(repr=False)
    label: str | None = None

    @overload
    def __getitem__(self, index: int) -> Driver: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Driver, ...]: ...
    def __getitem__(self, index: int | slice) -> Driver | tuple[Driver, ...]:
        return self.drivers[index]

    def __len__(self) -> int:
        return len(self.drivers)

    def __iter__(self) -> Iterator[Driver]:
        return iter(self.drivers)

    @property
    def raising(self) -> tuple[Driver, ...]:
        """The drivers that raise the unit."""
        return tuple(one for one in self.drivers if one.contribution > 0)

    @property
    def lowering(self) -> tuple[Driver, ...]:
        """The drivers that lower the unit."""
        return tuple(one for one in self.drivers if one.contribution < 0)

    @property
    def total(self) -> float:
        """The sum of the contributions of all units, listed or not."""
        return float(sum(one.sum() for one in self.contributions.values()))

    @property
    def rest(self) -> float:
        """The score minus all contributions: mostly biases."""
        return self.score - self.total

    def pictures(self, drivers: Sequence[Driver] | None = None) -> list[Picture]:
        """A picture for each driver, (H, W, 3) RGB uint8: its map over the net's input.

        What raises the unit is red and what lowers it is blue, on a common scale. In large maps,
        the values of neighbors are summed.

        Parameters
        ----------
        drivers
            A subset, such as `raising` or `lowering`; all by default.
        """
        shown = self.drivers if drivers is None else drivers
        below = self.preprocessor.show(self.image)
        maps = {one: summed(one.image_map, FINEST) for one in (*self.drivers, *shown)}
        most = max((float(np.abs(maps[one]).max()) for one in self.drivers), default=0.0)
        return [signed_overlay(below, maps[one], most) for one in shown]

    def record(self) -> dict[str, Any]:
        """Everything but its maps, as JSON types."""
        return {
            "layer": self.layer,
            "unit": self.unit,
            "position": self.position,
            "activation": self.activation,
            "score": self.score,
            "rest": self.rest,
            "drivers": [one.record() for one in self.drivers],
        }

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td><img height="80" src="data:image/png;base64,'
            f'{base64.b64encode(encode_png(picture)).decode()}"></td>'
            f"<td>{escape(one.layer)}</td><td>{one.unit}</td>"
            f"<td>{one.contribution:+.4g}</td><td>{one.share:+.1%}</td></tr>"
            for one, picture in zip(self.drivers, self.pictures(), strict=True)
        )
        head = "".join(f"<th>{name}</th>" for name in ("", "layer", "unit", "adds", "share"))
        title = unit_title(self.layer, self.unit, self.label)
        caption = (
            f"{title}: score {self.score:.4g}, of which {self.rest:.4g} is not from units below"
        )
        return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{rows}</table>"
