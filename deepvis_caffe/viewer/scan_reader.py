"""What a pass over a dataset says of a unit, where one is on disk: for the library's thread."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.scan_file import read_scan
from deepvis_caffe.dataset.statistics import UnitStatistics, unit_statistics
from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.viewer.layer_files import Stamp, stamp_of

log = logging.getLogger(__name__)

SCAN = Path("dataset", "scan.npz")  # in the results folder, where `deepvis top-images` has it


class ScanReader:
    """The scan of a results folder, read when it is first asked for and again when it has changed.

    Parameters
    ----------
    folder
        The results folder; there need not be a scan in it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SCAN
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
