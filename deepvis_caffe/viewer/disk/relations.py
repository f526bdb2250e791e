"""The partners of the selected unit by correlation, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepvis_caffe.dataset.correlation import MOST_RELATED
from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.disk.correlations import Correlations
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.state import Scene, State
from deepvis_caffe.viewer.state.units import NO_RELATION, Partner, Relation, UnitPictures

_strips: ByIdentity[Picture] = ByIdentity(256)


class Relations:
    """The partners of the selected unit, those with the highest and lowest r, and their pictures.

    Parameters
    ----------
    library, correlations
        Where pictures and correlations are read from.
    scene
        The scene that the layers belong to.
    """

    def __init__(self, library: Library, correlations: Correlations, scene: Scene) -> None:
        self._library, self._correlations, self._scene = library, correlations, scene
        self._pictured: set[Entry] = set()
        self._last: tuple[Sequence[object], Relation] = (), NO_RELATION

    def with_order(self, state: State) -> State:
        """The state with the matrix's order of units filled in, if known."""
        order: tuple[int, ...] = ()
        if state.correlation and not state.by_number:
            known = self._correlations.layer(self._scene.entries[state.layer]).correlation
            order = known.order if known else ()
        return state if order is state.order else replace(state, order=order)

    def partners(self, state: State) -> tuple[tuple[int, float], ...]:
        """Each partner and its r, positive r first; empty if they are not shown."""
        if not state.shows_correlation:
            return ()
        found = self._correlations.layer(self._scene.entries[state.layer]).correlation
        if found is None:
            return ()
        unit = state.unit
        return (*found.together(unit, MOST_RELATED), *found.apart(unit, MOST_RELATED))

    def of(self, state: State) -> Relation:
        """What to show now; the same object as long as nothing changes."""
        if not state.shows_correlation:
            return NO_RELATION
        entry, unit = self._scene.entries[state.layer], state.unit
        known, pairs = self._correlations.layer(entry), self.partners(state)
        pictures = [strip(self._library.unit(entry, one)) for one, _ in pairs]
        if any(one is not None for one in pictures):
            self._pictured.add(entry)
        parts = (entry, unit, known, *pictures)
        before, relation = self._last
        if len(parts) == len(before) and all(a is b for a, b in zip(parts, before, strict=True)):
            return relation
        partners = [
            Partner(one, value, picture)
            for (one, value), picture in zip(pairs, pictures, strict=True)
        ]
        relation = Relation(known.correlation, known.note, tuple(partners), entry in self._pictured)
        self._last = parts, relation
        return relation


def strip(unit: UnitPictures) -> Picture | None:
    """The first row of a unit's top images, or else its first optimized image.

    The same object each time.
    """
    return unit.optimized[0] if unit.top is None and unit.optimized else top_row(unit)


def top_row(unit: UnitPictures) -> Picture | None:
    """The first row of a unit's top images, the same object each time; None if it has none."""
    top = unit.top
    if top is None:
        return None
    rows = unit.columns if unit.found else max(1, round(unit.columns * top.shape[0] / top.shape[1]))
    return _strips.get(top, rows, lambda: top[: max(1, top.shape[0] // rows)].copy())
