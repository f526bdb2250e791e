"""The pictures of the units that drive the selected one."""

from __future__ import annotations

from collections.abc import Mapping

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.disk.relations import top_row
from deepvis_caffe.viewer.state.request import UnitDrivers
from deepvis_caffe.viewer.state.state import Scene, UnitRef
from deepvis_caffe.viewer.state.units import NO_DRIVER_PICTURES, DriverPictures


class DriverLibrary:
    """The optimized image and the first top images of each unit that drives the selected one.

    Parameters
    ----------
    library
        The library to read from.
    scene
        The scene that the units refer to.
    """

    def __init__(self, library: Library, scene: Scene) -> None:
        self._library, self._scene = library, scene
        self._last = NO_DRIVER_PICTURES

    def request(self, found: UnitDrivers | None) -> None:
        """Request the pictures; call it for every frame that shows them."""
        for layer, unit in reversed(found.refs if found else ()):  # the last request is read first
            self._library.request(self._scene.entries[layer], [unit])

    def of(self, found: UnitDrivers | None) -> DriverPictures:
        """The pictures read so far; the same object as long as nothing changes.

        Space for a kind of picture stays reserved once there has been one, so that the layout does
        not jump.
        """
        optimized, top = {}, {}
        for ref in found.refs if found else ():
            unit = self._library.unit(self._scene.entries[ref[0]], ref[1])
            if unit.optimized:
                optimized[ref] = unit.optimized[0]
            if (row := top_row(unit)) is not None:
                top[ref] = row
        last = self._last
        if not (_same(optimized, last.optimized) and _same(top, last.top)):
            self._last = DriverPictures(
                optimized, top, last.has_optimized or bool(optimized), last.has_top or bool(top)
            )
        return self._last


def _same(some: Mapping[UnitRef, Picture], others: Mapping[UnitRef, Picture]) -> bool:
    return some.keys() == others.keys() and all(some[ref] is others[ref] for ref in some)
