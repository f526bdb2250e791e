"""Correlation of the layers that are looked at: ``results folder, layer -> Known``, from a thread.

Reading and clustering a layer of a thousand units takes a tenth of a second, and who draws never
waits: what is known at a moment is there at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepvis_caffe.dataset.correlation import Correlation, correlation_of
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.statistics import UnitStatistics, unit_statistics
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.results.layer_files import Stamp, stamp_of
from deepvis_caffe.results.layout import scan_path
from deepvis_caffe.results.scan_file import read_moments, read_scan
from deepvis_caffe.viewer.cache import Recent
from deepvis_caffe.viewer.compute.threads import Background
from deepvis_caffe.viewer.state.catalogue import Entry


class ScanReader:
    """The scan of a results folder, read when it is first asked for and again when it has changed.

    Parameters
    ----------
    folder
        The results folder; there need not be a scan in it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = scan_path(folder)
        self._stamp: Stamp | None = None
        self._scan: Scan | None = None

    def stamp(self) -> Stamp | None:
        """Differs where the scan is another; None where there is none."""
        return stamp_of(self._path)

    def unit(self, names: Sequence[str], units: int, unit: int) -> UnitStatistics | None:
        """What is known of a unit, None where that is nothing.

        Parameters
        ----------
        names
            What the layer is called.
        units
            How many it has; a scan of another net is not believed.
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
        Why there is none, and what to do, a line each; empty while it is being read.
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

    def layer(self, entry: Entry) -> Known:
        """What is known of a layer now; the same object as long as that is all.

        The disk is looked at in the background, again and again as long as this is called.
        """
        with self._news:
            found = self._known.get(entry)
            if found is None or time.monotonic() - self._looked.get(entry, 0) > LOOK_EVERY:
                self._wanted = entry  # of several the newest is the one that is looked at
                self._news.notify_all()
            return found[1] if found else NOT_YET

    @property
    def busy(self) -> bool:
        """Whether what was asked for is not read yet."""
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
                return Known(note=("no pass over a dataset has been made here", COMMAND))
            moments, images = read_moments(self._path, names, entry.units)
            if moments is None:
                note = f"the pass over the dataset left {entry.name} out"
                return Known(note=(note, f"{COMMAND} --layers {entry.name},... --overwrite"))
            found = correlation_of(moments, images)
        except DeepVisError as error:
            log.warning("left out: %s", error)
            return Known(note=(str(error), f"{COMMAND} --overwrite"))
        except Exception as error:  # whatever it was, the window lives on without it
            log.warning("cannot tell the correlation of %s", entry.name, exc_info=True)
            return Known(note=(f"it cannot be told: {type(error).__name__}: {error}",))
        if found is None:
            note = "the pass over the dataset kept no correlation"
            return Known(note=(note, f"{COMMAND} --overwrite"))
        return Known(found)
