"""The correlation of layers, read by a thread, and the partners of the selected unit.

Reading and clustering a layer of a thousand units takes a tenth of a second. Drawing never
blocks: what is known at a moment is returned at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepvis_caffe.dataset.correlation import Correlation, correlation_of
from deepvis_caffe.dataset.scan_file import read_moments
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.image import Picture
from deepvis_caffe.results.layer_files import Stamp, stamp_of
from deepvis_caffe.results.layout import scan_path
from deepvis_caffe.viewer.cache import ByIdentity, Recent
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.state import Scene, State
from deepvis_caffe.viewer.state.units import NO_RELATION, Partner, Relation, UnitPictures
from deepvis_caffe.viewer.threads import Background

log = logging.getLogger(__name__)

MOST_BYTES = 128 << 20
LOOK_EVERY = 1.0  # seconds between two looks at the disk

COMMAND = "deepvis top-images --images DIR --correlation"


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a layer.

    Attributes
    ----------
    correlation
        None where there is none.
    note
        Why there is none and what to do about it, a line each; empty while it is being read.
    """

    correlation: Correlation | None = None
    note: tuple[str, ...] = ()


NOT_YET = Known()


class Correlations:
    """Every method may be called from any thread, and none waits for the disk.

    Parameters
    ----------
    folder
        The results folder; there need not be a scan in it.
    changed
        Called when there is something new to show, from the thread.
    """

    def __init__(self, folder: Path, changed: Callable[[], None] = lambda: None) -> None:
        self._path = scan_path(folder)
        self._changed = changed
        self._thread = Background("correlation", self._run)
        self._news = self._thread.news
        self._wanted: Entry | None = None
        self._reading: Entry | None = None
        self._known: Recent[Entry, tuple[Stamp | None, Known]] = Recent(MOST_BYTES)
        self._looked: dict[Entry, float] = {}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> bool:
        """End the thread after the layer that it reads now; whether it ended in time."""
        return self._thread.close(timeout)

    def request(self, entry: Entry) -> None:
        """Ask for a layer's correlation; to be called for every frame that shows it.

        It is read if it is not known, and looked for again every second.
        """
        with self._news:
            found = self._known.get(entry)
            if found is None or time.monotonic() - self._looked.get(entry, 0) > LOOK_EVERY:
                self._wanted = entry  # of several the newest one is read
                self._news.notify_all()

    def layer(self, entry: Entry) -> Known:
        """What is known of a layer now; the same object as long as nothing is new."""
        with self._news:
            found = self._known.get(entry)
            return found[1] if found else NOT_YET

    @property
    def busy(self) -> bool:
        """Whether what was requested has not been read yet."""
        with self._news:
            asked = (self._wanted, self._reading)
            return any(entry is not None and self._known.get(entry) is None for entry in asked)

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._wanted or self._thread.closing)
                if self._thread.closing or self._wanted is None:
                    return
                entry = self._reading = self._wanted
                self._wanted = None
                found = self._known.get(entry)
            stamp = stamp_of(self._path)
            known = found[1] if found and found[0] == stamp else self._read(entry)
            with self._news:
                size = known.correlation.values.nbytes if known.correlation else 0
                self._known.put(entry, (stamp, known), size)
                self._looked[entry] = time.monotonic()
                self._reading = None
            if found is None or known is not found[1]:
                self._changed()

    def _read(self, entry: Entry) -> Known:
        names = list(dict.fromkeys((entry.layer, entry.name)))
        try:
            if not self._path.is_file():
                return Known(note=("there is no dataset scan in this results folder", COMMAND))
            moments, images = read_moments(self._path, names, entry.units)
            if moments is None:
                note = f"the scan does not include {entry.name}"
                return Known(note=(note, f"{COMMAND} --layers {entry.name},... --overwrite"))
            found = correlation_of(moments, images)
        except DeepVisError as error:
            log.warning("left out: %s", error)
            return Known(note=(str(error), f"{COMMAND} --overwrite"))
        except Exception as error:  # whatever it was, the viewer goes on without it
            log.warning("cannot compute the correlation of %s", entry.name, exc_info=True)
            return Known(note=(f"it cannot be computed: {type(error).__name__}: {error}",))
        if found is None:
            note = "the scan was made without --correlation"
            return Known(note=(note, f"{COMMAND} --overwrite"))
        return Known(found)


MOST = 6  # partners of either sign

_strips: ByIdentity[Picture] = ByIdentity(256)


class Relations:
    """How the selected unit is correlated with others, and their pictures.

    Parameters
    ----------
    library, correlations
        What is known of units and of layers.
    scene
        Whose layers these are.
    """

    def __init__(self, library: Library, correlations: Correlations, scene: Scene) -> None:
        self._library, self._correlations, self._scene = library, correlations, scene
        self._pictured: set[Entry] = set()
        self._last: tuple[Sequence[object], Relation] = (), NO_RELATION

    def with_order(self, state: State) -> State:
        """The state with the order in which its matrix has the units, as far as that is known."""
        order: tuple[int, ...] = ()
        if state.correlation and not state.by_number:
            known = self._correlations.layer(self._scene.entries[state.layer]).correlation
            order = known.order if known else ()
        return state if order is state.order else replace(state, order=order)

    def partners(self, state: State) -> tuple[tuple[int, float], ...]:
        """The closest units and Pearson's r, positive before negative, where they are shown."""
        if not state.shows_correlation:
            return ()
        found = self._correlations.layer(self._scene.entries[state.layer]).correlation
        if found is None:
            return ()
        return (*found.together(state.unit, MOST), *found.apart(state.unit, MOST))

    def of(self, state: State) -> Relation:
        """What is to be shown now; the same object as long as nothing is new."""
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
    """The picture that shows most of a unit in little room, the same object each time.

    The first row of its top images, or else its first optimized image.
    """
    top = unit.top
    if top is None:
        return unit.optimized[0] if unit.optimized else None
    rows = unit.columns if unit.found else max(1, round(unit.columns * top.shape[0] / top.shape[1]))
    return _strips.get(top, rows, lambda: top[: max(1, top.shape[0] // rows)].copy())
