"""What a pane is: three functions over a `View`, none of which changes anything.

Panes draw whatever a net computes, and a net may compute what nobody thought of. The window, and
the other panes, live on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.colors import TROUBLE
from deepvis_caffe.viewer.panes.widgets import letters, say, titled
from deepvis_caffe.viewer.state.view import View

Kind = Literal[
    "layer", "unit", "pair", "zoomed", "class", "back", "view", "top", "command", "nothing"
]


@dataclass(frozen=True)
class Hit:
    """What lies under a place of a pane.

    Attributes
    ----------
    kind
        ``"layer"`` and ``"unit"`` select the one numbered `index`, ``"class"`` that unit of the
        layer named `value`; ``"pair"`` is the units `index` and `value` of the layer; ``"zoomed"``
        is what fills the grid's place; ``"back"`` and ``"view"`` set the backward pass's mode and
        view to `value`; ``"command"`` is the action named `value`; ``"top"`` is the top image
        numbered `index`; ``"nothing"`` can only be pointed at.
        What a click on each does is in `deepvis_caffe.viewer.state.mouse`.
    index, value
        See there.
    tip
        What to say of it beside the mouse: unit, label and activation; may be empty.
    """

    kind: Kind
    index: int = 0
    value: str = ""
    tip: str = ""


class Pane(NamedTuple):
    """A part of the screen.

    Attributes
    ----------
    name
        What the layout calls it.
    reads
        All that its picture depends on, beside its size, in a form that can be compared: while it
        stays equal, nothing is drawn anew.
    draw
        ``(view, height, width) -> picture`` of exactly that size, RGB uint8.
    hit
        ``(view, height, width, y, x) -> Hit`` or None: what lies at that pixel of it.
    """

    name: str
    reads: Callable[[View], Hashable]
    draw: Callable[[View, int, int], Picture]
    hit: Callable[[View, int, int, int, int], Hit | None]


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
