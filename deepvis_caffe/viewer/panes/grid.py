"""The grid: every unit of the selected layer at once, or one of them filling its place."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from deepvis_caffe.image import Floats, Picture
from deepvis_caffe.viewer.panes import correlation
from deepvis_caffe.viewer.panes.colors import (
    ACCENT,
    EMPTY,
    GROUND,
    PANEL,
    RAISED,
    SOURCE,
    TEXT,
    Color,
)
from deepvis_caffe.viewer.panes.diff import diff_picture
from deepvis_caffe.viewer.panes.draw import (
    Rect,
    blank,
    fill,
    fitted,
    frame,
    paste,
    put,
    thumb,
    write,
    write_middle,
)
from deepvis_caffe.viewer.panes.maps import boost_of, broken, colour_maps, shown_maps, shows_diffs
from deepvis_caffe.viewer.panes.pane import Hit, Pane
from deepvis_caffe.viewer.panes.widgets import inside, say, titled, wide_letters
from deepvis_caffe.viewer.panes.words import extent, number, pending, short_label, unit_name
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.state import State, grid_shape
from deepvis_caffe.viewer.state.view import View


@dataclass(frozen=True)
class Cells:
    """A grid of equal cells, row by row, of the units `first` to `first + count - 1`.

    Attributes
    ----------
    top, left
        Of the first cell.
    height, width
        Of a cell, without the gap.
    gap
        Pixels between cells.
    """

    rows: int
    columns: int
    top: int
    left: int
    height: int
    width: int
    gap: int
    first: int
    count: int

    def rect(self, unit: int) -> Rect | None:
        """The cell of a unit, None where it is on another page."""
        place = unit - self.first
        if not 0 <= place < self.count:
            return None
        row, column = divmod(place, self.columns)
        return Rect(
            self.top + row * (self.height + self.gap),
            self.left + column * (self.width + self.gap),
            self.height,
            self.width,
        )

    def unit_at(self, y: int, x: int) -> int | None:
        """The unit whose cell, or the gap behind it, has a pixel."""
        row, column = (y - self.top) // self.step_y, (x - self.left) // self.step_x
        place = row * self.columns + column
        inside = 0 <= row < self.rows and 0 <= column < self.columns and place < self.count
        return self.first + place if inside else None

    @property
    def step_y(self) -> int:
        """From one row to the next."""
        return self.height + self.gap

    @property
    def step_x(self) -> int:
        """From one column to the next."""
        return self.width + self.gap


def cells_of(entry: Entry, state: State, room: Rect) -> Cells:
    """Lay a layer's units out in a room, as large as they go.

    Maps keep their shape; numbers and lines of numbers are squares. Where a layer has more units
    than a page has cells, the page is the one with the selected unit.
    """
    rows, columns = grid_shape(entry, state.aspect)
    high, wide = (max(size, 1) for size in entry.map_size)
    if entry.is_vector or min(high, wide) * 8 < max(high, wide):
        high = wide = 1
    step_y, step_x = room.height // rows, room.width // columns
    tight = min(step_y, step_x)
    gap = 0 if tight < 5 else 1 if tight < 16 else 2 if tight < 40 else 3
    factor = min((step_y - gap) / high, (step_x - gap) / wide)
    height, width = max(1, int(high * factor)), max(1, int(wide * factor))
    page = rows * columns
    first = min(state.unit, max(entry.units - 1, 0)) // page * page
    return Cells(
        rows,
        columns,
        room.top,  # right below the title
        room.left + max(0, (room.width - columns * (width + gap) + gap) // 2),
        height,
        width,
        gap,
        first,
        min(page, max(entry.units - first, 0)),
    )


def zoomed_title(view: View) -> tuple[str, str, str]:
    """What the pane is called while it is zoomed."""
    state = view.state
    if state.zoom == "back":
        return f"backward, {state.back}", f"from {unit_name(view.scene, state.back_source)}", ""
    return unit_name(view.scene, (state.layer, state.unit)), "", "zoomed"


def draw_zoomed(view: View, canvas: Picture, room: Rect, size: int) -> None:
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


NAMED_CELL = 54  # pixels; cells of numbers that are larger have room for their unit's name


def reads(view: View) -> Hashable:
    """All that the grid depends on."""
    state = view.state
    shown = view.patterns_version if state.patterns else 0
    result = view.result.number if view.result else None
    return (
        (view.scene, state.layer, state.unit, state.cursor, state.back_source, state.back),
        (state.show_back, state.patterns, state.gamma, state.individual, state.colormap),
        (state.aspect, state.zoom, state.back_view, shown),
        (None if (state.patterns or state.correlation) and state.zoom == "off" else result),
        (state.correlation, state.by_number, view.relation),
        (view.unit if state.zoom == "unit" else None),
        (view.frame is None, view.failure),  # "no picture yet"
    )


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the selected layer's maps, diffs or optimised images; or one of them alone."""
    size = wide_letters(width)
    canvas, room = titled(height, width, size, *_title(view))
    if view.state.zoom != "off":
        draw_zoomed(view, canvas, room, size)
        return canvas
    if view.state.correlation:
        correlation.draw(view, canvas, room, size)
        return canvas
    entry = view.scene.entries[view.state.layer]
    maps = None if view.state.patterns else shown_maps(view)
    cells = cells_of(entry, view.state, room)
    if maps is None and not view.state.patterns:
        what = f"{view.state.back} to {entry.name}" if shows_diffs(view) else entry.name
        say(canvas, room, pending(view, what), size)
        return canvas
    if maps is None:
        _draw_patterns(canvas, view, cells)
    else:
        _draw_maps(canvas, view, maps, cells)
        if entry.is_vector:
            _name_cells(canvas, view, maps, cells)
    _mark(canvas, view, cells)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The unit under a pixel, or the two of a pair."""
    entry, state = view.scene.entries[view.state.layer], view.state
    if state.zoom != "off":
        return Hit("zoomed", tip=_tip(view, entry, state.unit) if state.zoom == "unit" else "")
    size = wide_letters(width)
    room = inside(height, width, size)
    if state.correlation:
        return correlation.hit(view, room, size, y, x)
    unit = cells_of(entry, state, room).unit_at(y, x)
    return None if unit is None else Hit("unit", unit, tip=_tip(view, entry, unit))


PANE = Pane("grid", reads, draw, hit)


def _title(view: View) -> tuple[str, str, str]:
    state, entry = view.state, view.scene.entries[view.state.layer]
    more = extent(entry)
    if state.zoom != "off":
        return zoomed_title(view)
    if state.correlation:
        return correlation.title(view)
    if state.patterns:
        return entry.name, f"optimised images, {len(view.patterns)} of {entry.units}", ""
    maps = shown_maps(view)
    lost = broken(maps) if maps is not None else 0
    if shows_diffs(view):
        more = f"what flows back, {more}"
    page = cells_of(entry, state, Rect(0, 0, 1000, 1000))
    if page.count < entry.units:
        more += f", {page.first} to {page.first + page.count - 1} shown"
    if lost:
        more += f", {lost} values are no numbers"
    boost = boost_of(state)
    told = [f"gamma {boost.gamma}"] if boost.gamma != 1 else []
    told += [f"each {boost.individual:.0%}"] if boost.individual else []
    told += [boost.colormap] if boost.colormap != "gray" and not shows_diffs(view) else []
    label = short_label(view.scene, entry, state.unit)
    return entry.name, f"{more}   {label}", ", ".join(told)


def _draw_maps(canvas: Picture, view: View, maps: Floats, cells: Cells) -> None:
    page = maps[cells.first : cells.first + cells.count]
    boost = boost_of(view.state, signed=shows_diffs(view))
    if len(page) < len(maps):  # colours are told apart over the whole layer, not over the page
        good = maps[np.isfinite(maps)]
        ends = np.array([good.min(), good.max()] if good.size else [], np.float32)
        extra = np.broadcast_to(ends.reshape(-1, 1, 1), (len(ends), *maps.shape[1:]))
        page = np.concatenate([page, extra])
    stack = colour_maps(page, cells.height, cells.width, boost)
    high, wide = cells.height, cells.width
    tiles = stack.reshape(-1, high, wide, 3)
    columns, gap = cells.columns, cells.gap
    for first in (0, cells.count // columns * columns):  # the full rows, and the last
        last = cells.count // columns * columns if first == 0 else cells.count
        across = columns if first == 0 else last - first
        rows = (last - first) // max(across, 1)
        if not rows:
            continue
        flat = blank(rows * (high + gap), across * (wide + gap), PANEL)
        block = flat.reshape(rows, high + gap, across, wide + gap, 3)
        part = tiles[first:last].reshape(rows, across, high, wide, 3)
        block[:, :high, :, :wide] = part.transpose(0, 2, 1, 3, 4)
        place = cells.rect(cells.first + first)
        assert place is not None
        put(canvas, flat[: len(flat) - gap, : flat.shape[1] - gap], place.top, place.left)


def _draw_patterns(canvas: Picture, view: View, cells: Cells) -> None:
    for unit in range(cells.first, cells.first + cells.count):
        place = cells.rect(unit)
        assert place is not None
        picture = view.patterns.get(unit)
        if picture is None:
            fill(canvas, place, EMPTY)
        else:
            small = thumb(picture, place.height, place.width)
            top = place.top + (place.height - small.shape[0]) // 2
            put(canvas, small, top, place.left + (place.width - small.shape[1]) // 2)


def _name_cells(canvas: Picture, view: View, maps: Floats, cells: Cells) -> None:
    """Write into large cells of numbers what they are."""
    if cells.width < NAMED_CELL:
        return
    entry, size = view.scene.entries[view.state.layer], max(11, min(16, cells.width // 9))
    for unit in range(cells.first, cells.first + cells.count):
        place = cells.rect(unit)
        assert place is not None
        name = short_label(view.scene, entry, unit) or str(unit)
        strip = Rect(place.bottom - round(size * 1.7), place.left, round(size * 1.7), place.width)
        put(canvas, blank(strip.height, strip.width, RAISED), strip.top, strip.left)
        value = number(float(maps[unit, 0, 0]))
        top, room = strip.top + size // 6, strip.width - 6
        taken = write(canvas, name, top, strip.left + 4, size, TEXT, room)
        if taken + 5 * size < strip.width:
            write(canvas, value, top, strip.left + 4, size, TEXT, room - 2, "right")


def _mark(canvas: Picture, view: View, cells: Cells) -> None:
    """Frame the source of the backward pass and, over it, the selected unit."""
    state = view.state
    thick = 2 if cells.width < 60 else 3
    frozen = state.source is not None and state.back != "off" and state.source[0] == state.layer
    if frozen and state.source is not None and (place := cells.rect(state.source[1])):
        _frame(canvas, place, SOURCE, thick)
        if state.source[1] == state.unit:
            place = place.inset(-thick)
    else:
        place = None
    if selected := cells.rect(state.unit):
        both = frozen and state.source is not None and state.source[1] == state.unit
        _frame(canvas, place if both and place else selected, ACCENT, thick)


def _frame(canvas: Picture, rect: Rect, color: Color, thick: int) -> None:
    """With a dark line around it, so that it stands out from bright neighbours."""
    frame(canvas, rect.inset(-thick), GROUND)
    frame(canvas, rect, color, thick)


def _tip(view: View, entry: Entry, unit: int) -> str:
    words = [f"{entry.name} {unit}", short_label(view.scene, entry, unit)]
    maps = shown_maps(view)
    if maps is not None and unit < len(maps):
        top = float(maps[unit].max())
        words.append(number(top) if entry.is_vector else f"at most {number(top)}")
    return "   ".join(word for word in words if word)
