"""What fills the grid's place instead of the grid: the selected unit, or the backward result."""

from __future__ import annotations

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.box import say
from deepvis_caffe.viewer.panes.colors import TEXT
from deepvis_caffe.viewer.panes.diff import diff_picture
from deepvis_caffe.viewer.panes.draw import Rect, fitted, paste, put, write_middle
from deepvis_caffe.viewer.panes.levels import boost_of, colour_maps
from deepvis_caffe.viewer.panes.maps import shown_maps, shows_diffs
from deepvis_caffe.viewer.panes.words import number, pending, unit_name
from deepvis_caffe.viewer.view import View


def title(view: View) -> tuple[str, str, str]:
    """What the pane is called while it is zoomed."""
    state = view.state
    if state.zoom == "back":
        return f"backward, {state.back}", f"from {unit_name(view.scene, state.back_source)}", ""
    return unit_name(view.scene, (state.layer, state.unit)), "", "zoomed"


def draw(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Fill a rectangle with it."""
    if view.state.zoom == "back":
        picture = diff_picture(view)
        if picture is None:
            say(canvas, room, pending(view, view.state.back), size)
        else:
            place = fitted(picture.shape[0], picture.shape[1], room)
            paste(canvas, picture, place)
        return
    if view.state.patterns:
        small = view.patterns.get(view.state.unit)
        made = view.unit.optimized[0] if view.unit.optimized else small
        if made is None:
            say(canvas, room, view.unit.note or "no optimised image of this unit yet", size)
        else:
            paste(canvas, made, room)
        return
    maps = shown_maps(view)
    entry = view.scene.entries[view.state.layer]
    if maps is None:
        say(canvas, room, pending(view, entry.name), size)
    elif entry.is_vector:
        value = number(float(maps[view.state.unit, 0, 0]))
        write_middle(canvas, value, room, min(120, room.height // 3), TEXT)
    else:
        one = maps[view.state.unit : view.state.unit + 1]
        place = fitted(one.shape[1], one.shape[2], room)
        boost = boost_of(view.state, signed=shows_diffs(view))._replace(individual=1.0)
        put(canvas, colour_maps(one, place.height, place.width, boost), place.top, place.left)
