"""The pictures of the units that drive the selected one."""

from __future__ import annotations

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.disk.relations import strip
from deepvis_caffe.viewer.state.request import UnitDrivers
from deepvis_caffe.viewer.state.state import Scene
from deepvis_caffe.viewer.state.units import NO_DRIVER_PICTURES, DriverPictures, UnitPictures


class DriverLibrary:
    """One small picture for each unit that drives another: optimized, or else its top images.

    Parameters
    ----------
    library
        What is known of units.
    scene
        Whose units these are.
    """

    def __init__(self, library: Library, scene: Scene) -> None:
        self._library, self._scene = library, scene
        self._last = NO_DRIVER_PICTURES

    def request(self, found: UnitDrivers | None) -> None:
        """Ask for the pictures; to be called for every frame that shows them."""
        for layer, unit in reversed(found.refs if found else ()):  # the last one is read first
            self._library.request(self._scene.entries[layer], [unit])

    def of(self, found: UnitDrivers | None) -> DriverPictures:
        """Those that are read by now; the same object as long as nothing is new.

        Once there was one there is room for them, so that the screen does not jump at each step.
        """
        pictures = {
            (layer, unit): picture
            for layer, unit in (found.refs if found else ())
            if (picture := _one(self._library.unit(self._scene.entries[layer], unit))) is not None
        }
        last = self._last.by_unit
        if pictures.keys() != last.keys() or any(last[key] is not pictures[key] for key in last):
            self._last = DriverPictures(pictures, self._last.pictured or bool(pictures))
        return self._last


def _one(unit: UnitPictures) -> Picture | None:
    return unit.optimized[0] if unit.optimized else strip(unit)
