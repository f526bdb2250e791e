"""The enlarged view: one picture, or all of one kind, as large as the window."""

from __future__ import annotations

from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes import weights
from deepvis_caffe.viewer.panes.colors import TEXT
from deepvis_caffe.viewer.panes.draw import Rect, fitted, paste, put, write_middle
from deepvis_caffe.viewer.panes.input import draw_input
from deepvis_caffe.viewer.panes.maps import attribution_picture, boost_alone, color_maps
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.unit import (
    Section,
    draw_section,
    picture_name,
    place_sections,
    sections_of,
)
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import (
    Chip,
    chip_height,
    draw_chip,
    inside,
    titled,
    wide_letters,
    write_note,
)
from deepvis_caffe.viewer.panes.words import (
    method_name,
    number,
    pending,
    pending_back,
    unit_name,
)
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.state import Zoom

KEYS = "z: next picture, any other key: back"
OPEN = "enter: use as input"
GONE = "this picture is no longer available"


def zooms(view: View) -> list[Zoom]:
    """What can be enlarged, in the order that `z` cycles through."""
    found: list[Zoom] = ["unit"]
    if view.state.back != "off":
        found.append("back")
    found += [section.kind for section in sections_of(view.unit)]
    return [*found, "input"]


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the enlarged picture, below its name."""
    size = wide_letters(width)
    canvas, room = titled(height, width, size, *_title(view), KEYS)
    state = view.state
    if state.zoom == "input":
        draw_input(view, canvas, room, size)
    elif state.zoom == "back":
        picture = attribution_picture(view)
        if picture is None:
            write_note(canvas, room, pending_back(view), size)
        else:
            paste(canvas, picture, room)
    elif state.zoom == "unit":
        _draw_unit(view, canvas, room, size)
    else:
        _draw_section(view, canvas, room, size)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The enlarged picture, or the chip that makes a top image the input."""
    size, section = wide_letters(width), _section(view)
    tip = ""
    if section is not None:
        index = view.state.zoom_index
        if _may_open(view, section) and _open_chip(inside(height, width, size), size).rect.has(
            y, x
        ):
            return Hit("top", index, tip=picture_name(view.unit, section, index))
        if index < 0:
            for one in place_sections([section], inside(height, width, size), size, False):
                cells = enumerate(one.cells)
                at = next((k for k, cell in cells if cell.has(y, x)), None)
                tip = "" if at is None else picture_name(view.unit, section, at)
    return Hit("zoomed", tip=tip)


PANE = Pane("enlarged", draw, hit)


def _title(view: View) -> tuple[str, str]:
    state = view.state
    name = unit_name(view.scene, (state.layer, state.unit))
    if state.zoom == "input":
        shown = view.result.frame if view.result else view.frame
        return "input", shown.name if shown else ""
    if state.zoom == "back":
        method = method_name(state.back)
        title = f"backward, {method}" if state.sends_diffs else method
        return title, f"from {unit_name(view.scene, state.back_source)}"
    section = _section(view)
    if section is None:
        return name, ""
    if 0 <= state.zoom_index < len(section.pictures):
        return name, picture_name(view.unit, section, state.zoom_index)
    return name, section.title


def _section(view: View) -> Section | None:
    found = sections_of(view.unit)
    return next((one for one in found if one.kind == view.state.zoom), None)


def _draw_section(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Draw one picture of a section, or all of them."""
    section, index = _section(view), view.state.zoom_index
    if section is None or index >= len(section.pictures):
        write_note(canvas, room, view.unit.note or GONE, size)
    elif index >= 0:
        low = chip_height(size) + size if _may_open(view, section) else 0
        area = room._replace(height=max(1, room.height - low))
        paste(canvas, section.pictures[index], area)
        if low:
            draw_chip(canvas, _open_chip(room, size), size, False)
    else:
        for one in place_sections([section], room, size, captions=False):
            draw_section(canvas, view.unit, one, size)


def _may_open(view: View, section: Section) -> bool:
    return section.kind != "optimized" and 0 <= view.state.zoom_index < len(view.unit.found)


def _open_chip(room: Rect, size: int) -> Chip:
    high, wide = chip_height(size), text_width(OPEN, size) + 2 * size
    return Chip(OPEN, Rect(room.bottom - high, room.left + (room.width - wide) // 2, high, wide))


def _draw_unit(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Draw the selected unit as the grid shows it: its map, optimized image, weights or value."""
    state = view.state
    if state.optimized:
        small = view.optimized.get(state.unit)
        made = view.unit.optimized[0] if view.unit.optimized else small
        if made is None:
            write_note(canvas, room, view.unit.note or "no optimized image of this unit yet", size)
        else:
            paste(canvas, made, room)
        return
    if state.weights:
        weights.draw_unit(view, canvas, room, size)
        return
    maps = view.shown_maps
    entry = view.scene.entries[state.layer]
    if maps is None or state.unit >= len(maps):
        write_note(canvas, room, pending(view, entry.name), size)
    elif entry.is_vector:
        value = number(float(maps[state.unit, 0, 0]))
        write_middle(canvas, value, room, min(120, room.height // 3), TEXT)
    else:
        one = maps[state.unit : state.unit + 1]
        place = fitted(one.shape[1], one.shape[2], room)
        boost = boost_alone(state, signed=view.shows_diffs)
        put(canvas, color_maps(one, place.height, place.width, boost), place.top, place.left)
