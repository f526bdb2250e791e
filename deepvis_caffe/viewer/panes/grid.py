"""The grid: all units of the selected layer at once, or their correlation or drivers instead."""

from __future__ import annotations

from dataclasses import dataclass

from deepvis_caffe.image import Floats, Picture
from deepvis_caffe.viewer.panes import correlation, drivers, weights
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
from deepvis_caffe.viewer.panes.draw import (
    Rect,
    blank,
    fill,
    frame,
    paste,
    put,
    thumb,
    write,
)
from deepvis_caffe.viewer.panes.maps import (
    boost_of,
    color_maps,
)
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, titled, wide_letters, write_note
from deepvis_caffe.viewer.panes.words import (
    extent,
    number,
    pending,
    pending_back,
    short_label,
)
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.state import State, grid_shape, visible_units


@dataclass(frozen=True)
class Cells:
    """A grid of equal cells, row by row, for the units `first` to `first + count - 1`.

    Attributes
    ----------
    top, left
        Position of the first cell.
    height, width
        Size of a cell, without the gap.
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
        """The cell of a unit; None if it is on another page."""
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
        """The unit at a pixel: in its cell, or in the gap after it."""
        row, column = (y - self.top) // self.step_y, (x - self.left) // self.step_x
        place = row * self.columns + column
        inside = 0 <= row < self.rows and 0 <= column < self.columns and place < self.count
        return self.first + place if inside else None

    @property
    def step_y(self) -> int:
        """Pixels from one row to the next."""
        return self.height + self.gap

    @property
    def step_x(self) -> int:
        """Pixels from one column to the next."""
        return self.width + self.gap


def cells_of(entry: Entry, state: State, room: Rect) -> Cells:
    """Lay out the cells of a layer in a rectangle, as large as possible.

    Cells have the shape of the maps; for single numbers and vectors they are square. If a layer has
    more units than fit on a page, this is the page of the selected unit.
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
    shown = visible_units(entry, state)
    return Cells(
        rows,
        columns,
        room.top,  # not centered: right below the title
        room.left + max(0, (room.width - columns * (width + gap) + gap) // 2),
        height,
        width,
        gap,
        shown.start,
        len(shown),
    )


NAMED_CELL = 54  # pixels; narrower cells have no room for the unit's name


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the selected layer's maps, diffs, optimized images or weights."""
    size = wide_letters(width)
    canvas, room = titled(height, width, size, *_title(view))
    if view.state.correlation:
        correlation.draw(view, canvas, room, size)
        return canvas
    if view.state.drivers:
        drivers.draw(view, canvas, room, size)
        return canvas
    entry = view.scene.entries[view.state.layer]
    if view.state.weights and not (view.weights and view.weights.pictures):
        write_note(canvas, room, weights.pending(view), size)
        return canvas
    pictured = view.state.optimized or view.state.weights
    maps = None if pictured else view.shown_maps
    cells = cells_of(entry, view.state, room)
    if maps is None and not pictured:
        diffs = view.shows_diffs
        note = pending_back(view, f" to {entry.name}") if diffs else pending(view, entry.name)
        write_note(canvas, room, note, size)
        return canvas
    if maps is None:
        _draw_pictures(canvas, view, cells)
    else:
        _draw_maps(canvas, view, maps, cells)
        if entry.is_vector:
            _name_cells(canvas, view, maps, cells)
    _mark(canvas, view, cells)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The unit at a pixel, or what the correlation or the drivers have there."""
    entry, state = view.scene.entries[view.state.layer], view.state
    size = wide_letters(width)
    room = inside(height, width, size)
    if state.correlation:
        return correlation.hit(view, room, size, y, x)
    if state.drivers:
        return drivers.hit(view, room, size, y, x)
    unit = cells_of(entry, state, room).unit_at(y, x)
    return None if unit is None else Hit("unit", unit, tip=_tip(view, entry, unit))


PANE = Pane("grid", draw, hit)


def _title(view: View) -> tuple[str, str, str]:
    state, entry = view.state, view.scene.entries[view.state.layer]
    more = extent(entry)
    if state.correlation:
        return correlation.title(view)
    if state.drivers:
        return drivers.title(view)
    if state.optimized:
        working = f", optimizing unit {view.working.unit}" if view.working else ""
        more = f"optimized images, {len(view.optimized)} of {entry.units}{working}"
        return entry.name, more, ""
    if state.weights:
        return weights.title(view)
    lost = view.not_finite
    maps = view.shown_maps
    if view.shows_diffs:
        above = state.back_source[0] < state.layer and maps is not None and not maps.any()
        where = view.scene.entries[state.back_source[0]].name
        more = f"diffs, {more}" + (f", all 0: the pass starts below, at {where}" if above else "")
    page = cells_of(entry, state, Rect(0, 0, 1000, 1000))
    if page.count < entry.units:
        more += f", {page.first} to {page.first + page.count - 1} shown"
    if lost:
        more += f", {lost} not finite"
    boost = boost_of(state)
    settings = [f"gamma {boost.gamma}"] if state.gamma else []
    settings += [f"own range {boost.individual:.0%}"] if state.individual else []
    settings += [boost.colormap] if boost.colormap != "gray" and not view.shows_diffs else []
    label = short_label(view.scene, entry, state.unit)
    return entry.name, f"{more}   {label}", ", ".join(settings)


def _draw_maps(canvas: Picture, view: View, maps: Floats, cells: Cells) -> None:
    page = maps[cells.first : cells.first + cells.count]
    numbers = view.scene.entries[view.state.layer].is_vector
    boost = boost_of(view.state, signed=view.shows_diffs, numbers=numbers)
    stack = color_maps(page, cells.height, cells.width, boost, maps)
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


def _draw_pictures(canvas: Picture, view: View, cells: Cells) -> None:
    """Draw each unit's weights, or its optimized image, finished or in progress."""
    working = None if view.state.weights else view.working
    found = view.weights if view.state.weights else None
    pictures = dict(enumerate(found.pictures)) if found is not None else view.optimized
    for unit in range(cells.first, cells.first + cells.count):
        place = cells.rect(unit)
        assert place is not None
        picture = pictures.get(unit)
        if picture is None and working is not None and working.unit == unit:
            paste(canvas, working.picture, place)
            bar = Rect(place.bottom - 3, place.left, 3, place.width)
            fill(canvas, bar, RAISED)
            done = round(place.width * min(1, working.progress))
            fill(canvas, bar._replace(width=done), ACCENT)
        elif picture is None:
            fill(canvas, place, EMPTY)
        else:
            small = thumb(picture, place.height, place.width)
            top = place.top + (place.height - small.shape[0]) // 2
            put(canvas, small, top, place.left + (place.width - small.shape[1]) // 2)


def _name_cells(canvas: Picture, view: View, maps: Floats, cells: Cells) -> None:
    """Write the units' names and values into the cells, if they are large enough."""
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
    """Frame the frozen source of the backward pass and the selected unit."""
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
    """Draw a frame with a dark outline, to stand out from bright neighbors."""
    frame(canvas, rect.inset(-thick), GROUND)
    frame(canvas, rect, color, thick)


def _tip(view: View, entry: Entry, unit: int) -> str:
    words = [f"{entry.name} {unit}", short_label(view.scene, entry, unit)]
    maps = view.shown_maps
    if maps is not None and unit < len(maps):
        top = float(maps[unit].max())
        words.append(number(top) if entry.is_vector else f"max {number(top)}")
    return "   ".join(word for word in words if word)
