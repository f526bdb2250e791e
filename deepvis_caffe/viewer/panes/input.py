"""The input: the picture as the net saw it."""

from __future__ import annotations

from deepvis_caffe.image import Picture
from deepvis_caffe.image_channels import as_rgb
from deepvis_caffe.viewer.panes.colors import WELL
from deepvis_caffe.viewer.panes.draw import fill, paste
from deepvis_caffe.viewer.panes.maps import heated_input
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import letters, titled, write_note
from deepvis_caffe.viewer.panes.words import pending
from deepvis_caffe.viewer.state.mouse import Hit


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the net's picture and its name, under a heat map if that is the style."""
    size = letters(width)
    frame = view.result.frame if view.result else view.frame
    canvas, room = titled(
        height, width, size, "input", frame.name if frame else "", "frozen" * view.state.frozen
    )
    picture = as_rgb(frame.picture) if frame else None
    if view.result is not None:
        warm = heated_input(view) if view.state.shows_heat else None
        picture = view.result.picture if warm is None else warm
    if picture is None:
        fill(canvas, room, WELL)
        write_note(canvas, room, pending(view, "picture"), size)
    else:
        paste(canvas, picture, room)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The frame's whole name as a tip, since the title may cut it."""
    frame = view.result.frame if view.result else view.frame
    return Hit("nothing", tip=frame.name) if frame else None


PANE = Pane("input", draw, hit)
