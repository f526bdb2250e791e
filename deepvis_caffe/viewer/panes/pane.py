"""A pane: two pure functions of a `View`, one that draws it and one for hit tests.

Nets can compute unexpected values. A pane that fails shows its error in its place; the window and
the other panes keep working.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.colors import TROUBLE
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import letters, titled, write_note
from deepvis_caffe.viewer.state.mouse import Hit

log = logging.getLogger(__name__)


class Pane(NamedTuple):
    """A part of the screen.

    Attributes
    ----------
    name
        Its name in the layout.
    draw
        ``(view, height, width) -> picture`` of exactly that size, RGB uint8. The picture must
        depend on nothing else: `draw` is called again only when a field that it read has changed,
        see `deepvis_caffe.viewer.panes.redraw`.
    hit
        ``(view, height, width, y, x) -> Hit`` or None: the hit test at a pixel of the pane.
    """

    name: str
    draw: Callable[[View, int, int], Picture]
    hit: Callable[[View, int, int, int, int], Hit | None]


def guarded(pane: Pane) -> Pane:
    """Wrap a pane so that it shows errors instead of raising them; each is logged once."""
    guard = _Guard(pane)
    return Pane(pane.name, guard.draw, guard.hit)


class _Guard:
    def __init__(self, pane: Pane) -> None:
        self._pane = pane
        self._logged: set[str] = set()

    def draw(self, view: View, height: int, width: int) -> Picture:
        try:
            picture = self._pane.draw(view, height, width)
            if picture.shape != (height, width, 3):
                raise ValueError(f"a picture of {picture.shape} for {height} x {width} pixels")
            return picture
        except Exception as error:
            return _error_picture(self._pane.name, self._log_once(error), height, width)

    def hit(self, view: View, height: int, width: int, y: int, x: int) -> Hit | None:
        try:
            return self._pane.hit(view, height, width, y, x)
        except Exception as error:
            return Hit("nothing", tip=self._log_once(error))

    def _log_once(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}"
        if text not in self._logged:
            self._logged.add(text)
            log.error("the pane %r failed", self._pane.name, exc_info=error)
        return text


def _error_picture(name: str, text: str, height: int, width: int) -> Picture:
    size = letters(width)
    canvas, room = titled(height, width, size, name)
    write_note(canvas, room, f"this cannot be shown: {text}", size, TROUBLE)
    return canvas
