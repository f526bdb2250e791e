"""Thumbnails of the optimized images of a layer's units, read a few at a time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.figures.montage import shrunk
from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.results.layer_files import (
    LayerFiles,
    LayerFolder,
    UnitFiles,
    read_run,
    read_sprite,
    stamp_of,
)
from deepvis_caffe.results.layout import MONTAGE, record_of
from deepvis_caffe.viewer.state.catalogue import Entry

log = logging.getLogger(__name__)

LARGEST, SMALLEST = 128, 16  # pixels; the longer side
MOST_BYTES = 64 << 20  # per layer; layers with very many units have smaller thumbnails

Source = tuple[Path, tuple[int, int] | None]


class LayerThumbnails:
    """A thumbnail of the optimized image of each unit of a layer; not thread-safe.

    Thumbnails are cut from ``whole_layer.jpg`` if that shows the unit with the same recipe;
    otherwise the unit's first seed or its montage is read.

    Parameters
    ----------
    folder
        The layer's folder.
    entry
        The layer.
    clock
        Returns the time in seconds.

    Attributes
    ----------
    cells
        By unit, (H, W, 3) RGB uint8, at most `largest` pixels a side. Replaced by a new mapping
        when it changes, so that other threads may read it.
    """

    def __init__(
        self, folder: LayerFolder, entry: Entry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.cells: dict[int, Picture] = {}
        self.largest = largest(entry.units)
        self._folder, self._entry, self._clock = folder, entry, clock
        self._listed = 0
        self._sources: dict[int, Source] = {}  # what each cell was read from
        self._sprite: Source | None = None
        self._todo: list[tuple[int, Source, UnitFiles]] = []
        self._broken: set[Source] = set()

    @property
    def unfinished(self) -> bool:
        """Whether there is more to read."""
        return bool(self._todo)

    def look(self, recipe: str = "") -> bool:
        """Queue what has changed on disk; return whether `cells` has changed.

        Parameters
        ----------
        recipe
            The recipe to show, see `LayerFolder.files`.
        """
        files = self._folder.files(recipe)
        if self._folder.listed == self._listed:
            return False
        self._listed = self._folder.listed
        changed = self._look_at_sprite(files)
        todo = []
        for unit, one in files.units.items():
            if one.first is None or not 0 <= unit < self._entry.units:
                continue
            in_sprite = self._sprite is not None and self._sources.get(unit) == self._sprite
            if in_sprite and one.recipe == files.sprite_recipe:
                continue
            source = one.first, stamp_of(one.first)
            if self._sources.get(unit) != source and source not in self._broken:
                todo.append((unit, source, one))
        self._todo = todo[::-1]
        gone = {
            unit
            for unit, source in self._sources.items()
            if source != self._sprite and not (unit in files.units and files.units[unit].optimized)
        }
        self._forget(gone)
        return changed or bool(gone)

    def read(self, seconds: float) -> bool:
        """Read for some time, at least one picture; return whether `cells` has changed."""
        until, new = self._clock() + seconds, {}
        while self._todo:
            unit, source, files = self._todo.pop()
            try:
                picture = self._picture(files)
            except DeepVisError as error:
                self._skip(source, error)
            else:
                new[unit] = shrunk(picture, self.largest).copy()
                self._sources[unit] = source
            if self._clock() >= until:
                break
        if new:
            self.cells = {**self.cells, **new}
        return bool(new)

    # -- parts ---------------------------------------------------------------------------------

    def _picture(self, files: UnitFiles) -> Picture:
        for pictures in files.runs.values():
            return read_run(pictures, files.names(self._folder.names))
        return read_image(files.single[MONTAGE])  # shrunk as a whole

    def _look_at_sprite(self, files: LayerFiles) -> bool:
        path = files.sprite
        # By its record if it has one, which is written last.
        source: Source | None = None
        if path is not None:
            source = path, stamp_of(record_of(path)) or stamp_of(path)
        if source == self._sprite or (source is not None and source in self._broken):
            return False
        old, self._sprite = self._sprite, None
        before = {unit for unit, own in self._sources.items() if own == old}
        self._forget(before)
        if source is None:
            return bool(before)
        try:
            cells = read_sprite(source[0], self._folder.names, self._entry.units, self.largest)
        except DeepVisError as error:
            self._skip(source, error)
            return bool(before)
        self._sprite = source
        self.cells = {**self.cells, **cells}
        self._sources |= dict.fromkeys(cells, source)
        return True

    def _forget(self, units: set[int]) -> None:
        for unit in units:
            del self._sources[unit]
        self.cells = {unit: cell for unit, cell in self.cells.items() if unit not in units}

    def _skip(self, source: Source, error: DeepVisError) -> None:
        self._broken.add(source)
        log.warning("left out: %s", error)


def largest(units: int) -> int:
    """The side of thumbnails, pixels, at which a layer of this many units fits `MOST_BYTES`."""
    return max(SMALLEST, min(LARGEST, math.isqrt(MOST_BYTES // (3 * max(units, 1)))))
