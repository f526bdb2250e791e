"""The screen: panes laid out in one picture, each drawn anew only when what it reads changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.text import line_height, text_width
from deepvis_caffe.viewer.panes import back, classes, detail, grid, layers, status, unit
from deepvis_caffe.viewer.panes import input as input_pane
from deepvis_caffe.viewer.panes.colors import GROUND, LINE, RAISED, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, blank, fill, put, write_middle
from deepvis_caffe.viewer.panes.help import Group, help_pages, help_picture
from deepvis_caffe.viewer.panes.layout import layout
from deepvis_caffe.viewer.panes.pane import Hit, Pane, guarded
from deepvis_caffe.viewer.panes.widgets import wide_letters
from deepvis_caffe.viewer.state.view import Hover, View

PANES = {
    one.name: one
    for one in (
        input_pane.PANE,
        layers.PANE,
        grid.PANE,
        detail.PANE,
        back.PANE,
        classes.PANE,
        unit.PANE,
        status.PANE,
    )
}


class _Drawn(NamedTuple):
    rect: Rect
    reads: Hashable


class Screen:
    """Draws views at any size, and knows what lies where.

    Parameters
    ----------
    help_groups
        What the help says: each a title and lines of (keys, what they do).
    panes
        By name, those of the layout.
    """

    def __init__(
        self, help_groups: Sequence[Group] = (), panes: dict[str, Pane] | None = None
    ) -> None:
        self._help_groups = help_groups
        panes = PANES if panes is None else panes
        self._panes = {name: guarded(pane) for name, pane in panes.items()}
        self._drawn: dict[str, _Drawn] = {}
        self._rects: dict[str, Rect] = {}
        self._canvas: Picture = blank(1, 1, GROUND)
        self._help: tuple[int, Picture] | None = None  # its page
        self._pages = (0, 0), 1  # of the help, in a window of that size

    def draw(
        self, view: View, width: int, height: int, stop: Callable[[], bool] = lambda: False
    ) -> Picture | None:
        """Draw everything.

        Parameters
        ----------
        stop
            Asked before each pane that has to be drawn; where it says so, the drawing ends there.
            Panes that are drawn by then are remembered.

        Returns
        -------
        ndarray
            (height, width, 3), RGB, uint8, the caller's own; None where it was stopped.
        """
        width, height = max(1, width), max(1, height)
        rects = layout(width, height, view.state)
        if self._canvas.shape[:2] != (height, width):
            self._help = None
        if self._canvas.shape[:2] != (height, width) or rects != self._rects:
            self._canvas, self._drawn = blank(height, width, GROUND), {}
        self._rects = rects
        for name, rect in rects.items():
            pane = self._panes.get(name)
            if pane is None:
                continue
            reads = pane.reads(view)
            if self._drawn.get(name) != _Drawn(rect, reads):
                if stop():
                    return None
                put(self._canvas, pane.draw(view, rect.height, rect.width), rect.top, rect.left)
                self._drawn[name] = _Drawn(rect, reads)
        picture = self._canvas.copy()
        if view.state.help:
            self._lay_help(picture, view.state.help_page)
        elif view.hover is not None:
            found = self.hit(view, view.hover.y, view.hover.x)
            if found is not None and found.tip:
                draw_tip(picture, found.tip, view.hover)
        return picture

    def hit(self, view: View, y: int, x: int) -> Hit | None:
        """What lies at a pixel of the picture as it was drawn last; the help lies over all."""
        if view.state.help:
            return Hit("command", value="help")
        for name, rect in self._rects.items():
            if rect.has(y, x) and name in self._panes:
                pane = self._panes[name]
                return pane.hit(view, rect.height, rect.width, y - rect.top, x - rect.left)
        return None

    def pane_at(self, y: int, x: int) -> tuple[str, Rect] | None:
        """The pane at a pixel of the picture as it was drawn last, and where that is."""
        found = ((name, rect) for name, rect in self._rects.items() if rect.has(y, x))
        return next(found, None)

    def help_pages(self, width: int, height: int) -> int:
        """How many pages the help has in a window."""
        if self._pages[0] != (width, height):
            room = _help_room(height, width)
            pages = help_pages(self._help_groups, room.height, room.width)
            self._pages = (width, height), pages
        return self._pages[1]

    def _lay_help(self, picture: Picture, page: int) -> None:
        room = _help_room(*picture.shape[:2])
        if self._help is None or self._help[0] != page:
            made = help_picture(self._help_groups, room.height, room.width, page)
            self._help = page, made
        picture[:] = picture // 3
        put(picture, self._help[1], room.top, room.left)


def _help_room(height: int, width: int) -> Rect:
    short = min(height, width)
    return Rect(0, 0, height, width).inset(short // 16 if short > 600 else min(8, short // 8))


def draw_tip(picture: Picture, tip: str, hover: Hover) -> None:
    """Say something beside the mouse, inside of the picture."""
    height, width = picture.shape[:2]
    size = wide_letters(round(width * 0.58))
    wide = min(width, text_width(tip, size) + 2 * size)
    high = round(line_height(size) * 1.5)
    top = hover.y + 18 if hover.y + 18 + high <= height else hover.y - 8 - high
    left = max(0, min(hover.x + 10, width - wide - 2))
    box = Rect(max(0, top), left, high, wide)
    fill(picture, box, LINE, 5)
    fill(picture, box.inset(1), RAISED, 4)
    inner = box._replace(left=box.left + size, width=max(1, box.width - 2 * size))
    write_middle(picture, tip, inner, size, TEXT, "left")
