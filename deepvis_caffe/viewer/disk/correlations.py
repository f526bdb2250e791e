"""The correlation of layers, read in a background thread.

Reading and clustering a layer of a thousand units takes a tenth of a second. Drawing must not
block, so queries return what is known at the moment.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deepvis_caffe.dataset.correlation import Correlation, correlation_of
from deepvis_caffe.dataset.scan_file import read_moments
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.results.layer_files import Stamp, stamp_of
from deepvis_caffe.results.layout import scan_path
from deepvis_caffe.viewer.cache import LruCache
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.threads import Background

log = logging.getLogger(__name__)

CACHE_BYTES = 128 << 20
LOOK_EVERY = 1.0  # seconds between checks of the disk
COMMAND = "deepvis top-images --images DIR --correlation"


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a layer.

    Attributes
    ----------
    correlation
        The correlation; None if there is none.
    note
        Why there is none and what to do about it, one line each; empty while it is being read.
    """

    correlation: Correlation | None = None
    note: tuple[str, ...] = ()


NOT_YET = Known()


class Correlations:
    """The layers' correlations. Any thread may call its methods, and none waits for the disk.

    Parameters
    ----------
    folder
        The results folder; there need not be a scan in it.
    changed
        Called on the thread when there is something new to show.
    """

    def __init__(self, folder: Path, changed: Callable[[], None] = lambda: None) -> None:
        self._path = scan_path(folder)
        self._changed = changed
        self._thread = Background("correlation", self._run)
        self._news = self._thread.news
        self._wanted: Entry | None = None
        self._reading: Entry | None = None
        self._known: LruCache[Entry, tuple[Stamp | None, Known]] = LruCache(CACHE_BYTES)
        self._looked: dict[Entry, float] = {}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> bool:
        """End the thread after the current layer; return whether it ended in time."""
        return self._thread.close(timeout)

    def request(self, entry: Entry) -> None:
        """Request a layer's correlation; call it for every frame that shows it.

        It is read if unknown, and checked for changes every second.
        """
        with self._news:
            found = self._known.get(entry)
            if found is None or time.monotonic() - self._looked.get(entry, 0) > LOOK_EVERY:
                self._wanted = entry  # only the newest request is kept
                self._news.notify_all()

    def layer(self, entry: Entry) -> Known:
        """What is known of a layer now; the same object as long as nothing changes."""
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
        except Exception as error:  # the viewer keeps running without it
            log.warning("cannot compute the correlation of %s", entry.name, exc_info=True)
            return Known(note=(f"it cannot be computed: {type(error).__name__}: {error}",))
        if found is None:
            note = "the scan was made without --correlation"
            return Known(note=(note, f"{COMMAND} --overwrite"))
        return Known(found)
