"""The input: the picture as the net saw it."""

from __future__ import annotations

from collections.abc import Hashable

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.colors import WELL
from deepvis_caffe.viewer.panes.diff import heated_input
from deepvis_caffe.viewer.panes.draw import fill, paste
from deepvis_caffe.viewer.panes.pane import Hit, Pane
from deepvis_caffe.viewer.panes.widgets import letters, say, titled
from deepvis_caffe.viewer.panes.words import pending
from deepvis_caffe.viewer.state.view import View


def reads(view: View) -> Hashable:
    """The result, or the frame while there is none; and whether heat lies over it."""
    state = view.state
    newest = view.result.number if view.result else view.frame and view.frame.number
    heat = state.back_view == "heat" and (state.back, state.back_source)
    return view.result is None, newest, view.failure, heat, state.frozen


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the net's picture and its name, under a heat map where that is the view."""
    size = letters(width)
    frame = view.result.frame if view.result else view.frame
    canvas, room = titled(
        height, width, size, "input", frame.name if frame else "", "frozen" * view.state.frozen
    )
    picture = frame.picture if frame else None
    if view.result is not None:
        warm = heated_input(view) if view.state.back_view == "heat" else None
        picture = view.result.picture if warm is None else warm
    if picture is None:
        fill(canvas, room, WELL)
        say(canvas, room, pending(view, "picture"), size)
    else:
        paste(canvas, picture, room)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The frame's name, to read where the title cuts it."""
    frame = view.result.frame if view.result else view.frame
    return Hit("nothing", tip=frame.name) if frame else None


PANE = Pane("input", reads, draw, hit)
