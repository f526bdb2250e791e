"""Images of a source, decoded once while there is room: ``index -> (picture, net's input)``.

The units of a layer share many of their strongest images, and decoding one takes as long as running
it. Those used last are kept. Where a dataset is much larger than the room, units share few images
that are still there, and each is read again about as often as it is shown.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from deepvis_caffe.dataset.loader import Floats, as_input, least_side
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.arrays import NumpyOps
from deepvis_caffe.model.preprocess import Preprocessor

MOST = 2**30  # bytes: some 850 pictures of 500 x 375 with inputs of 227 x 227
UNKNOWN = 2**28  # ... where the system does not tell how much is free
SHARE = 8  # of the free memory, a part of so many


class DecodedImages:
    """A source's images, those used last kept.

    Any number of threads may load at a time.

    Parameters
    ----------
    source
        Where they come from.
    preprocessor
        What makes the net's input of them.
    room
        Bytes that the kept ones may take; none are kept where it is 0.
    """

    def __init__(self, source: Source, preprocessor: Preprocessor, room: int = 0) -> None:
        self._source, self._preprocessor, self._room = source, preprocessor, room
        self._kept: OrderedDict[int, tuple[NDArray[Any], Floats]] = OrderedDict()
        self._taken = 0
        self._lock = Lock()

    def load(self, index: int) -> tuple[NDArray[Any], Floats]:
        """One image: whole, as `Source.read` gives it, and as the net's input, as a scan has it.

        Neither array may be written to.

        Raises
        ------
        ImageError
            It is damaged, or gone.
        """
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        image = small = self._source.read(index)
        side = least_side(self._preprocessor)
        if min(image.shape[:2]) >= 2 * side:  # the scan may have read a smaller copy
            small = self._source.read_small(index, side)
        found = image, as_input(small, self._source, self._preprocessor)
        self._keep(index, found)
        return found

    def _keep(self, index: int, found: tuple[NDArray[Any], Floats]) -> None:
        with self._lock:
            if index in self._kept or _size(found) > self._room:
                return
            self._kept[index] = found
            self._taken += _size(found)
            while self._taken > self._room:
                _, dropped = self._kept.popitem(last=False)
                self._taken -= _size(dropped)


def usual_room(processes: int = 1) -> int:
    """Bytes for decoded images in each of so many processes of this machine."""
    free = NumpyOps().free_memory()
    return UNKNOWN if free is None else min(MOST, free // SHARE // processes)


def _size(found: tuple[NDArray[Any], Floats]) -> int:
    return sum(array.nbytes for array in found)
