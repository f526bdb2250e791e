"""What drives a unit in the frame of the last forward pass: ``unit -> UnitDrivers``."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from deepvis_caffe.attribution.driver_results import Driver
from deepvis_caffe.attribution.drivers import Reach, contributions_of, sources_below
from deepvis_caffe.attribution.score import Score
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.image import Floats
from deepvis_caffe.model.unit_sources import Source
from deepvis_caffe.viewer.state.catalogue import entry_of
from deepvis_caffe.viewer.state.request import UnitDrivers
from deepvis_caffe.viewer.state.state import Scene, UnitRef

MOST = 6  # raising units listed, and as many lowering ones


class LiveDrivers:
    """Finds what drives a unit, frame by frame.

    Parameters
    ----------
    net
        The net, after a forward pass that keeps what a backward pass needs.
    scene
        The net's scene.
    """

    def __init__(self, net: Net, scene: Scene) -> None:
        self._net, self._entries = net, scene.entries
        self._sources = lru_cache(maxsize=256)(self._find_sources)

    def __call__(self, ref: UnitRef, reach: Reach, values: Floats) -> UnitDrivers:
        """What drives a unit.

        Parameters
        ----------
        ref, reach
            The unit, and how far down to search.
        values
            The values of its blob in the last forward pass.
        """
        entry, unit = self._entries[ref[0]], ref[1]
        rows = values if values.ndim > 1 else values.reshape(1, -1)  # a single axis counts units
        try:
            score = Score.of_values(self._net, rows, entry.layer, unit)
            found = contributions_of(score, self._sources(ref, reach))
        except DeepVisError as error:  # must not lose the rest of the result
            return UnitDrivers(why_not=str(error))
        every = np.concatenate(found.values)
        size = abs(found.score) or 1.0
        return UnitDrivers(
            raising=self._placed(found.strongest(MOST, 1)),
            lowering=self._placed(found.strongest(MOST, -1)),
            raised=float(every[every > 0].sum()) / size,
            lowered=float(every[every < 0].sum()) / size,
        )

    def _find_sources(self, ref: UnitRef, reach: Reach) -> tuple[Source, ...]:
        entry = self._entries[ref[0]]
        self._net.check_gradient(entry.layer)
        return sources_below(self._net.model, entry.layer, ref[1], reach=reach)

    def _placed(self, some: tuple[Driver, ...]) -> tuple[tuple[Driver, UnitRef | None], ...]:
        places = [entry_of(self._entries, one.layer) for one in some]
        return tuple(
            (one, None if place is None else (place, one.unit))
            for one, place in zip(some, places, strict=True)
        )
