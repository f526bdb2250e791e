"""The screen: all panes in one picture, each redrawn only when something it reads has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.text import line_height, text_width
from deepvis_caffe.viewer.panes import back, classes, detail, enlarged, grid, layers, status, unit
from deepvis_caffe.viewer.panes import input as input_pane
from deepvis_caffe.viewer.panes.colors import GROUND, LINE, RAISED, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, blank, fill, put, write_middle
from deepvis_caffe.viewer.panes.help import help_pages, help_picture
from deepvis_caffe.viewer.panes.layout import layout
from deepvis_caffe.viewer.panes.pane import Pane, guarded
from deepvis_caffe.viewer.panes.redraw import Redraw, unchanged
from deepvis_caffe.viewer.panes.search import draw_search, search_places
from deepvis_caffe.viewer.panes.view import Hover, View
from deepvis_caffe.viewer.panes.widgets import wide_letters
from deepvis_caffe.viewer.state.actions import HelpGroup
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.search import Match, labelled_layer, matches

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
        enlarged.PANE,
    )
}


class _Overlay(NamedTuple):
    """What is drawn over the panes: the search, a page of the help, or a tooltip."""

    help_page: int | None = None
    query: str | None = None
    found: tuple[Match, ...] = ()
    match: int = 0
    labelled: bool = True
    tip: str = ""
    hover: Hover | None = None


class Screen:
    """Draws views at any size, and does hit tests.

    Parameters
    ----------
    help_groups
        The help: each a title and lines of (keys, help text).
    panes
        The panes, by their names in the layout.
    """

    def __init__(
        self, help_groups: Sequence[HelpGroup] = (), panes: dict[str, Pane] | None = None
    ) -> None:
        self._help_groups = help_groups
        panes = PANES if panes is None else panes
        self._panes = {name: guarded(pane) for name, pane in panes.items()}
        self._layout = Redraw(lambda view, width, height: layout(width, height, view.state))
        self._pictures = {name: Redraw(pane.draw) for name, pane in self._panes.items()}
        self._overlay = Redraw(self._find_overlay)
        self._rects: dict[str, Rect] = {}
        self._size = 0, 0  # height and width of the last picture
        self._placed: dict[str, Picture] = {}  # the panes' pictures, as they were last drawn
        self._drawn: tuple[_Overlay, Picture] | None = None  # the last picture of these
        self._view: View | None = None  # of the last redraw
        self._help: tuple[int, Picture] | None = None  # page and picture
        self._pages = (0, 0), 1  # window size, and the number of help pages at that size

    def draw(
        self, view: View, width: int, height: int, stop: Callable[[], bool] = lambda: False
    ) -> Picture | None:
        """Redraw what has changed since the last call.

        Parameters
        ----------
        stop
            Called before each pane that has to be redrawn; the redraw is interrupted if it returns
            True. The next call keeps the panes finished so far.

        Returns
        -------
        ndarray
            (height, width, 3), RGB, uint8, not to be written to: the same object as long as
            nothing has changed. None if interrupted.
        """
        width, height = max(1, width), max(1, height)
        same_size = self._size == (height, width)
        if self._drawn is not None and same_size and unchanged(view, self._view):
            return self._drawn[1]
        rects = self._layout(view, width, height)
        if not same_size:
            self._help = None
        if not same_size or rects != self._rects:
            self._placed, self._drawn = {}, None
        self._size, self._rects = (height, width), rects
        for name, rect in rects.items():
            picture_of = self._pictures.get(name)
            if picture_of is None:
                continue
            is_current = picture_of.is_current(view, rect.height, rect.width)
            if not is_current and stop():
                return None
            picture = picture_of.last if is_current else picture_of(view, rect.height, rect.width)
            if self._placed.get(name) is not picture:
                self._placed[name], self._drawn = picture, None
        overlay = self._overlay(view, rects)
        if self._drawn is None or self._drawn[0] != overlay:
            self._drawn = overlay, self._compose(overlay)
        self._view = view
        return self._drawn[1]

    def hit(self, view: View, y: int, x: int) -> Hit | None:
        """The hit test at a pixel of the last picture; search and help cover all panes."""
        if view.state.search is not None:
            count = len(matches(view.state, view.scene))
            rows = search_places(*self._size, count)[1]
            at = (place for place, row in enumerate(rows[:count]) if row.has(y, x))
            return Hit("match", next(at, -1))
        if view.state.help:
            return Hit("command", value="help")
        for name, rect in self._rects.items():
            if rect.has(y, x) and name in self._panes:
                pane = self._panes[name]
                return pane.hit(view, rect.height, rect.width, y - rect.top, x - rect.left)
        return None

    def pane_at(self, y: int, x: int) -> tuple[str, Rect] | None:
        """The pane at a pixel of the last picture, and its rectangle."""
        found = ((name, rect) for name, rect in self._rects.items() if rect.has(y, x))
        return next(found, None)

    def help_pages(self, width: int, height: int) -> int:
        """The number of pages of the help in a window of this size."""
        if self._pages[0] != (width, height):
            room = _help_room(height, width)
            pages = help_pages(self._help_groups, room.height, room.width)
            self._pages = (width, height), pages
        return self._pages[1]

    def _find_overlay(self, view: View, rects: dict[str, Rect]) -> _Overlay:
        state = view.state
        if state.search is not None:
            labelled = labelled_layer(state, view.scene) is not None
            found = matches(state, view.scene)
            return _Overlay(query=state.search, found=found, match=state.match, labelled=labelled)
        if view.state.help:
            return _Overlay(help_page=view.state.help_page)
        hover = view.hover
        hit = self.hit(view, hover.y, hover.x) if hover is not None else None
        return _Overlay(tip=hit.tip, hover=hover) if hit and hit.tip else _Overlay()

    def _compose(self, overlay: _Overlay) -> Picture:
        picture = blank(*self._size, GROUND)  # a new one: front ends keep the last one
        for name, pane in self._placed.items():
            put(picture, pane, self._rects[name].top, self._rects[name].left)
        if overlay.query is not None:
            picture[:] = picture // 3
            draw_search(picture, overlay.query, overlay.found, overlay.match, overlay.labelled)
        elif overlay.help_page is not None:
            self._lay_help(picture, overlay.help_page)
        elif overlay.tip and overlay.hover is not None:
            draw_tip(picture, overlay.tip, overlay.hover)
        return picture

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
    """Draw a tooltip beside the mouse, inside the picture."""
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
