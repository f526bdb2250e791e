"""The pictures of units: on disk, just optimized, and in progress.

Drawing must not block. For every frame the session requests what it shows, and a background thread
reads it; queries return what is known at the moment.
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import read_scan
from deepvis_caffe.dataset.statistics import UnitStatistics, unit_statistics
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.figures.montage import shrunk
from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.model.same_units import SameUnits
from deepvis_caffe.results import layout
from deepvis_caffe.results.layer_files import (
    LayerFolder,
    Stamp,
    UnitFiles,
    read_run,
    stamp_of,
)
from deepvis_caffe.results.records import DVT_COLUMNS, TopRecord, read_top_record
from deepvis_caffe.viewer.cache import LruCache
from deepvis_caffe.viewer.disk.thumbnails import LayerThumbnails
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.units import UnitPictures, Working
from deepvis_caffe.viewer.threads import Background

log = logging.getLogger(__name__)

UNIT_BYTES, LAYER_BYTES, MADE_BYTES = 96 << 20, 192 << 20, 64 << 20
LOOK_EVERY = 1.0  # seconds between checks of the disk for the same item
AT_A_TIME = 0.05  # seconds of reading a layer before newer requests get a turn
SHOW_EVERY = 0.3  # seconds between updates of a layer that is being read
LONGEST_QUEUE = 32
MOST_MERGED = 16  # enough for the selected unit and its partners
MONTAGE = -1  # stands in for a seed

Key = tuple[Entry, int]
Wanted = tuple[Entry, int | None]  # a unit, or the optimized images of a whole layer
Pictures = Mapping[int, Picture]  # by unit
NONE_YET: Pictures = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class _Unit:
    """What is on disk for a unit."""

    optimized: Mapping[int, Picture] = field(default_factory=dict)  # by seed
    recipe: str = ""  # of the optimized images
    single: Mapping[str, Picture] = field(default_factory=dict)
    record: TopRecord | None = None  # of the top images
    statistics: UnitStatistics | None = None
    stamp: Stamp | None = None
    shown_as: str = ""  # the equivalent unit of another layer that the pictures belong to


@dataclass(frozen=True, eq=False)
class _Made:
    """The images just made for a unit."""

    pictures: Mapping[int, Picture] = field(default_factory=dict)  # by seed
    recipe: str = ""


@dataclass(eq=False)
class _Layer:
    """The optimized images of a layer: on disk, just made, and both merged for display."""

    disk: LayerThumbnails
    made: dict[int, Picture] = field(default_factory=dict)
    shown: Pictures = field(default_factory=lambda: NONE_YET)
    shown_at: float = 0.0
    recipe: str = ""  # requested when the disk was last checked
    hidden: bool = False  # whether something read is not shown yet


class _ScanReader:
    """The scan in a results folder, read on first use and again when it has changed.

    Parameters
    ----------
    folder
        The results folder; there need not be a scan in it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = layout.scan_path(folder)
        self._stamp: Stamp | None = None
        self._scan: Scan | None = None

    def stamp(self) -> Stamp | None:
        """Identifies the scan's version; None if there is no scan."""
        return stamp_of(self._path)

    def unit(self, names: Sequence[str], units: int, unit: int) -> UnitStatistics | None:
        """The statistics of a unit; None if there are none.

        Parameters
        ----------
        names
            Names that the layer may have in the scan.
        units
            Its number of units; if the scan has a different number, it is of another net.
        """
        stamp = self.stamp()
        if stamp != self._stamp:
            self._stamp, self._scan = stamp, self._read() if stamp else None
        if self._scan is None:
            return None
        for name in names:
            layer = self._scan.layers.get(name)
            if layer is not None and layer.units == units:
                return unit_statistics(self._scan, name, unit)
        return None

    def _read(self) -> Scan | None:
        try:
            return read_scan(self._path)[0]
        except DeepVisError as error:
            log.warning("left out: %s", error)
            return None


class Library:
    """Pictures of units, by layer and unit.

    Every method may be called from any thread, and none waits for the disk.

    Parameters
    ----------
    folder
        The results folder, of this program or of the Deep Visualization Toolbox; it need not exist.
    changed
        Called from any thread when there is something new to show.
    clock
        Returns the time in seconds.
    folders
        Folders of layers whose names alone are ambiguous, from `layout.net_folders`.
    same
        Maps a layer's name to the equivalent units of other layers, see
        `deepvis_caffe.model.same_units`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        folders: layout.Folders = layout.NO_FOLDERS,
        same: Callable[[str], Sequence[SameUnits]] = lambda layer: (),
    ) -> None:
        self.folder, self.folders, self.same = Path(folder), folders, same
        self._changed, self._clock = changed, clock
        self._thread = Background("library", self._run)
        self._news = self._thread.news
        self._wanted: OrderedDict[Wanted, None] = OrderedDict()  # newest last
        self._reading: Wanted | None = None
        self._looked: dict[Wanted, float] = {}
        self._units: LruCache[Key, _Unit] = LruCache(UNIT_BYTES)
        self._layers: LruCache[Entry, _Layer] = LruCache(LAYER_BYTES)
        self._made: LruCache[Key, _Made] = LruCache(MADE_BYTES)
        self._recipe = ""  # the one requested
        self._recipes: dict[Entry, tuple[str, ...]] = {}
        self._working: Working | None = None
        self._notes: dict[Key, str] = {}
        self._merged: OrderedDict[Key, UnitPictures] = OrderedDict()  # what `unit` returns
        self._folders: dict[Entry, LayerFolder] = {}  # used by the thread only
        self._scan = _ScanReader(self.folder)  # used by the thread only
        self._logged: set[str] = set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> bool:
        """End the thread after the current file; return whether it ended in time."""
        return self._thread.close(timeout)

    # -- requests and queries ------------------------------------------------------------------

    def request(self, entry: Entry, units: Sequence[int] = (), optimized: bool = False) -> None:
        """Request pictures of a layer; call it for every frame that shows them.

        Unknown pictures are read; known ones are checked for changes every second.

        Parameters
        ----------
        units
            Units to read everything of, the most important first.
        optimized
            Whether to read a thumbnail of each unit's optimized image.
        """
        with self._news:
            if optimized:
                self._request((entry, None))
            for unit in reversed(units):  # the last request is read first
                self._request((entry, unit))

    def unit(self, entry: Entry, unit: int) -> UnitPictures:
        """What is known of a unit now; the same object as long as nothing changes."""
        key = (entry, unit)
        with self._news:
            if key not in self._merged:
                self._merged[key] = self._merge(key)
            self._merged.move_to_end(key)
            while len(self._merged) > MOST_MERGED:
                self._merged.popitem(last=False)
            return self._merged[key]

    def optimized(self, entry: Entry) -> Pictures:
        """The thumbnails of optimized images that have been read so far.

        Returns
        -------
        Mapping
            By unit, each at most 128 pixels a side; see `deepvis_caffe.viewer.disk.thumbnails`. The
            same object as long as nothing changes.
        """
        with self._news:
            layer = self._layers.get(entry)
            return layer.shown if layer else NONE_YET

    def recipes(self, entry: Entry) -> tuple[str, ...] | None:
        """The recipes of a layer's optimized images on disk, starting with the one shown.

        None until something of the layer has been read.
        """
        with self._news:
            return self._recipes.get(entry)

    def show_recipe(self, recipe: str) -> None:
        """Prefer images of this recipe for units that have some; empty shows the best available."""
        with self._news:
            if recipe != self._recipe:
                self._recipe = recipe
                self._looked.clear()  # so that visible pictures are read again at once

    def working(self, entry: Entry) -> Working | None:
        """The image being optimized for a unit of a layer; None if there is none."""
        with self._news:
            found = self._working
            return found if found is not None and found.entry == entry else None

    @property
    def busy(self) -> bool:
        """Whether a request has not been read yet."""
        with self._news:
            return any(map(self._unread, filter(None, (*self._wanted, self._reading))))

    # -- from the synthesis --------------------------------------------------------------------

    def add(self, entry: Entry, unit: int, seed: int, picture: Picture, recipe: str = "") -> None:
        """Add an image that was just made; it is replaced by the one on disk once that exists.

        Parameters
        ----------
        recipe
            Name of its recipe. The image is not mixed with images of other recipes; empty matches
            all.
        """
        key = (entry, unit)
        with self._news:
            made = {**(self._made.get(key) or _Made()).pictures, seed: picture}
            size = sum(one.nbytes for one in made.values())
            self._made.put(key, _Made(made, recipe), size)
            layer = self._layers.get(entry)
            if layer is not None:
                self._take_made(layer, entry)
                self._show(entry, layer)
            self._refresh(key)
        self._changed()

    def set_progress(
        self,
        entry: Entry,
        unit: int,
        working: Picture | None = None,
        progress: float = 0.0,
        note: str | None = None,
    ) -> None:
        """Set the image being optimized; there is at most one at a time.

        Parameters
        ----------
        working
            The image at the current step; None if nothing is being optimized.
        progress
            How far the optimization has come, 0 to 1.
        note
            A line to show for this unit; None keeps the current one.
        """
        key = (entry, unit)
        with self._news:
            before = self._working
            self._working = None if working is None else Working(entry, unit, working, progress)
            if note is not None:
                self._notes[key] = note
            for changed in (key, (before.entry, before.unit) if before else key):
                self._refresh(changed)
        self._changed()

    # -- helpers, called with the lock held ----------------------------------------------------

    def _request(self, wanted: Wanted) -> None:
        entry, unit = wanted
        if unit is None:
            layer = self._layers.get(entry)
            known, unfinished = layer is not None, layer is not None and layer.disk.unfinished
        else:
            known, unfinished = self._units.get((entry, unit)) is not None, False
        recently = self._clock() - self._looked.get(wanted, -LOOK_EVERY) < LOOK_EVERY
        if wanted == self._reading or (known and recently and not unfinished):
            return
        self._wanted[wanted] = None
        self._wanted.move_to_end(wanted)
        if len(self._wanted) > LONGEST_QUEUE:  # the oldest was requested for a frame long gone
            self._wanted.popitem(last=False)
        self._news.notify_all()

    def _unread(self, wanted: Wanted) -> bool:
        entry, unit = wanted
        if unit is None or wanted not in self._looked:
            return True  # a layer is read picture by picture, and queued until the last
        return self._units.get((entry, unit)) is None

    def _merge(self, key: Key) -> UnitPictures:
        disk = self._units.get(key) or _Unit()
        made = self._made.get(key) or _Made()
        fits = not disk.optimized or made.recipe in ("", disk.recipe)
        pictures = {**(made.pictures if fits else {}), **disk.optimized}
        if len(pictures) > 1:
            pictures.pop(MONTAGE, None)
        working = self._working
        if working is not None and (working.entry, working.unit) != key:
            working = None
        return UnitPictures(
            optimized=tuple(pictures[seed] for seed in sorted(pictures)),
            top=disk.single.get(layout.TOP_IMAGES),
            deconv=disk.single.get(layout.DECONV),
            working=working.picture if working else None,
            progress=working.progress if working else 0.0,
            note=self._notes.get(key, ""),
            found=disk.record.images if disk.record else (),
            columns=disk.record.columns if disk.record else DVT_COLUMNS,
            recipe=disk.recipe,
            recipes=self._recipes.get(key[0], ()),
            statistics=disk.statistics,
            shown_as=disk.shown_as,
        )

    def _refresh(self, key: Key) -> None:
        self._merged.pop(key, None)

    def _take_made(self, layer: _Layer, entry: Entry) -> None:
        """Collect images made for a layer that have not been read from disk yet."""
        units = [unit for of, unit in self._made if of == entry and unit not in layer.disk.cells]
        made = {unit: (self._made.get((entry, unit)) or _Made()).pictures for unit in units}
        layer.made = {
            unit: shrunk(some[min(some)], layer.disk.largest) for unit, some in made.items()
        }

    def _show(self, entry: Entry, layer: _Layer) -> None:
        cells = {**layer.made, **layer.disk.cells}
        layer.shown = MappingProxyType(cells)
        layer.shown_at, layer.hidden = self._clock(), False
        self._layers.put(entry, layer, sum(one.nbytes for one in cells.values()))

    # -- on the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._wanted or self._thread.closing)
                if self._thread.closing:
                    return
                wanted = self._reading = self._wanted.popitem()[0]
            entry, unit = wanted
            new = more = False
            try:
                if unit is None:
                    new, more = self._read_layer(entry)
                else:
                    new = self._read_unit((entry, unit))
            except Exception:  # the viewer keeps running without these pictures
                log.warning("cannot read the pictures of %s", entry.name, exc_info=True)
            with self._news:
                self._looked[wanted] = self._clock()
                self._reading = None
                if more and wanted not in self._wanted:  # the rest, after newer requests
                    self._wanted[wanted] = None
                    self._wanted.move_to_end(wanted, last=False)
            if new:
                self._changed()

    def _read_unit(self, key: Key) -> bool:
        entry, unit = key
        folder = self._folder(entry)
        with self._news:
            old = self._units.get(key)
            if old is None:  # so that a failure is not retried at once
                self._units.put(key, _Unit(), 0)
        with self._news:
            recipe = self._recipe
        there = folder.files(recipe)
        files = there.units.get(unit, UnitFiles())
        stamp = (files.recipe, there.recipes, *files.stamp(), self._scan.stamp())
        if old is not None and old.stamp == stamp:
            return False
        names = files.names(folder.names)
        runs = {seed: self._try(read_run, one, names) for seed, one in files.runs.items()}
        single = {what: self._try(read_image, path) for what, path in files.single.items()}
        optimized = {seed: one for seed, one in runs.items() if one is not None}
        montage = single.get(layout.MONTAGE)
        if not optimized and montage is not None:
            optimized[MONTAGE] = montage
        found = {
            what: one for what, one in single.items() if one is not None and what != layout.MONTAGE
        }
        record = (
            read_top_record(files.single[layout.TOP_IMAGES]) if layout.TOP_IMAGES in found else None
        )
        if record is not None and record.layer not in names:
            found, record = {}, None  # of another layer with the same folder name
        statistics = self._scan.unit(folder.names, entry.units, unit)
        size = sum(one.nbytes for one in (*optimized.values(), *found.values()))
        with self._news:
            shown_as = str(files.shown_as or "")
            read = _Unit(optimized, files.recipe, found, record, statistics, stamp, shown_as)
            self._units.put(key, read, size)
            self._recipes[entry] = there.recipes
            self._refresh(key)
        had = old and (old.optimized or old.single or old.statistics)
        return bool(optimized or found or statistics or had)

    def _read_layer(self, entry: Entry) -> tuple[bool, bool]:
        """Read for `AT_A_TIME`; return whether something is new, and whether there is more."""
        with self._news:
            layer = self._layers.get(entry)
            if layer is None:
                layer = _Layer(LayerThumbnails(self._folder(entry), entry, self._clock))
                self._take_made(layer, entry)
                self._show(entry, layer)
            recipe = self._recipe
        new = (not layer.disk.unfinished or recipe != layer.recipe) and layer.disk.look(recipe)
        layer.recipe = recipe
        new = layer.disk.read(AT_A_TIME) or new
        with self._news:
            self._recipes[entry] = self._folder(entry).recipes
            layer.hidden, more = layer.hidden or new, layer.disk.unfinished
            due = not more or self._clock() - layer.shown_at >= SHOW_EVERY
            if layer.hidden and due:
                self._take_made(layer, entry)
                self._show(entry, layer)
                return True, more
            return False, more

    def _try(self, read: Callable[..., Picture], *args: Any) -> Picture | None:
        """Read a picture; None on failure, which is logged once per message."""
        try:
            return read(*args)
        except DeepVisError as error:
            if str(error) not in self._logged:
                self._logged.add(str(error))
                log.warning("left out: %s", error)
            return None

    def _folder(self, entry: Entry) -> LayerFolder:
        if entry not in self._folders:
            names = (entry.layer, entry.name)
            same = self.same(entry.name)
            self._folders[entry] = LayerFolder(self.folder, names, self.folders, same)
        return self._folders[entry]
