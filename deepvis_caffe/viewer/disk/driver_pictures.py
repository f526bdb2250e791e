"""The pictures of the units that drive the selected one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.disk.relations import strip
from deepvis_caffe.viewer.state.request import UnitDrivers
from deepvis_caffe.viewer.state.state import Scene, UnitRef
from deepvis_caffe.viewer.state.units import UnitPictures

Pictures = Mapping[UnitRef, Picture]
NO_PICTURES: Pictures = MappingProxyType({})


class DriverPictures:
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
        self._last: Pictures = NO_PICTURES

    def request(self, found: UnitDrivers | None) -> None:
        """Ask for the pictures; to be called for every frame that shows them."""
        for layer, unit in reversed(found.refs if found else ()):
            self._library.request(self._scene.entries[layer], [unit])

    def of(self, found: UnitDrivers | None) -> Pictures:
        """Those that are read by now; the same object as long as nothing is new."""
        if found is None:
            return NO_PICTURES
        pictures = {
            (layer, unit): picture
            for layer, unit in found.refs
            if (picture := _one(self._library.unit(self._scene.entries[layer], unit))) is not None
        }
        last = self._last
        if pictures.keys() != last.keys() or any(last[key] is not pictures[key] for key in last):
            self._last = MappingProxyType(pictures)
        return self._last


def _one(unit: UnitPictures) -> Picture | None:
    return unit.optimized[0] if unit.optimized else strip(unit)
