"""The units that go with the selected one, and why: ``state, scene -> Relation``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.disk.correlations import Correlations
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.state import Scene, State
from deepvis_caffe.viewer.state.view import NO_RELATION, Partner, Relation, UnitPictures

MOST = 6  # partners either way

_strips: ByIdentity[Picture] = ByIdentity(256)


class Relations:
    """Puts together what is known of a layer's correlation and of its units' pictures.

    Parameters
    ----------
    library, correlations
        Who know.
    """

    def __init__(self, library: Library, correlations: Correlations) -> None:
        self._library, self._correlations = library, correlations
        self._pictured: set[Entry] = set()
        self._last: tuple[Sequence[object], Relation] = (), NO_RELATION

    def follow(self, state: State, scene: Scene) -> State:
        """A state with the order in which its matrix has the units, as far as that is known."""
        order: tuple[int, ...] = ()
        if state.correlation and not state.by_number:
            known = self._correlations.layer(scene.entries[state.layer]).correlation
            order = known.order if known else ()
        return state if order is state.order else replace(state, order=order)

    def of(self, state: State, scene: Scene) -> Relation:
        """What is to be shown now; the same object as long as that is all."""
        if not state.shows_correlation:
            return NO_RELATION
        entry, unit = scene.entries[state.layer], state.unit
        known = self._correlations.layer(entry)
        found = known.correlation
        pairs = (*found.together(unit, MOST), *found.apart(unit, MOST)) if found else ()
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
        relation = Relation(found, known.note, tuple(partners), entry in self._pictured)
        self._last = parts, relation
        return relation


def strip(unit: UnitPictures) -> Picture | None:
    """The picture that says most of a unit in little room, the same object each time.

    The first row of the images that excite it most, or else its first optimised image.
    """
    top = unit.top
    if top is None:
        return unit.optimized[0] if unit.optimized else None
    rows = unit.columns if unit.found else max(1, round(unit.columns * top.shape[0] / top.shape[1]))
    return _strips.get(top, rows, lambda: top[: max(1, top.shape[0] // rows)].copy())
