"""A pane whose failure is its own: ``Pane -> Pane``, which says what went wrong in its place.

Panes draw whatever a net computes, and a net may compute what nobody thought of. The window, and
the other panes, live on.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.box import letters, say, titled
from deepvis_caffe.viewer.panes.colors import TROUBLE
from deepvis_caffe.viewer.panes.pane import Hit, Pane
from deepvis_caffe.viewer.view import View

log = logging.getLogger(__name__)


def guarded(pane: Pane) -> Pane:
    """The same pane; where it fails, its picture is the error, which is logged once."""
    guard = _Guard(pane)
    return Pane(pane.name, guard.reads, guard.draw, guard.hit)


class _Guard:
    def __init__(self, pane: Pane) -> None:
        self._pane = pane
        self._told: set[str] = set()

    def reads(self, view: View) -> Hashable:
        try:
            return self._pane.reads(view)
        except Exception as error:
            self._tell(error)
            return object()  # like nothing that was drawn: it is drawn anew

    def draw(self, view: View, height: int, width: int) -> Picture:
        try:
            picture = self._pane.draw(view, height, width)
            if picture.shape != (height, width, 3):
                raise ValueError(f"a picture of {picture.shape} for {height} x {width} pixels")
            return picture
        except Exception as error:
            return _picture(self._pane.name, self._tell(error), height, width)

    def hit(self, view: View, height: int, width: int, y: int, x: int) -> Hit | None:
        try:
            return self._pane.hit(view, height, width, y, x)
        except Exception as error:
            return Hit("nothing", tip=self._tell(error))

    def _tell(self, error: Exception) -> str:
        said = f"{type(error).__name__}: {error}"
        if said not in self._told:
            self._told.add(said)
            log.error("the pane %r failed", self._pane.name, exc_info=error)
        return said


def _picture(name: str, said: str, height: int, width: int) -> Picture:
    size = letters(width)
    canvas, room = titled(height, width, size, name)
    say(canvas, room, f"this cannot be shown: {said}", size, TROUBLE)
    return canvas
