"""The correlation of a layer's units: the matrix of Pearson's r, in place of the grid.

Units are ordered by similarity, so that correlated ones form blocks. The row and the column of the
selected unit are marked, and its row is repeated below, thick enough to read and point at. Its
partners are beside or below the matrix.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.figures.correlation_colors import NONE, STEPS, ZERO, colors, levels_of
from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width, wrapped
from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.panes.colors import ACCENT, FAINT, LINE, SOFT
from deepvis_caffe.viewer.panes.draw import Rect, fill, frame, put, write, write_middle
from deepvis_caffe.viewer.panes.partners import draw_partners, hit_partners, partner_tip
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import row_height, write_note
from deepvis_caffe.viewer.state.mouse import Hit

GAP = 6  # pixels between parts
LEAST = 140  # pixels; if the matrix would be smaller, partners are left out
MARK = 5  # pixels; size of the marks at the matrix's edge

_pictures: ByIdentity[Picture] = ByIdentity(4)
_rows: ByIdentity[NDArray[np.intp]] = ByIdentity(4)


class Places(NamedTuple):
    """The layout: the matrix, the selected row, the legend, and the partners, if any."""

    matrix: Rect
    row: Rect
    legend: Rect
    partners: Rect | None


def title(view: View) -> tuple[str, str, str]:
    """The pane's title."""
    entry, found = view.scene.entries[view.state.layer], view.relation.correlation
    if found is None:
        return entry.name, "correlation", ""
    more = f"correlation of {entry.units} units over {found.images:,} images"
    return entry.name, more, f"by {'number' if view.state.by_number else 'similarity'}"


def draw(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Fill a rectangle with the correlation, or with a note why there is none."""
    found = view.relation.correlation
    if found is None:
        _say_why(canvas, view, room, size)
        return
    places = places_of(room, size)
    square, row = places.matrix, places.row
    put(canvas, picture_of(found, view.state.by_number, square.width), square.top, square.left)
    levels = _row_levels(view, found, row.width)
    put(canvas, np.repeat(colors()[levels][np.newaxis], row.height, axis=0), row.top, row.left)
    _mark(canvas, view, found, places)
    _draw_legend(canvas, found, places.legend, size)
    if places.partners is not None:
        draw_partners(view, canvas, places.partners, size)


def hit(view: View, room: Rect, size: int, y: int, x: int) -> Hit | None:
    """The pair of units at a pixel, or a partner."""
    found, state = view.relation.correlation, view.state
    if found is None:
        return Hit("nothing")
    places = places_of(room, size)
    order = _order(found, state.by_number)
    if places.matrix.has(y, x):
        row = order[_index(y - places.matrix.top, places.matrix.height, len(order))]
        column = order[_index(x - places.matrix.left, places.matrix.width, len(order))]
        return Hit("pair", int(row), str(column), partner_tip(view, found, int(row), int(column)))
    if places.row.has(y, x):
        unit = int(order[_row_index(view, found, places.row.width)[x - places.row.left]])
        return Hit("unit", unit, tip=partner_tip(view, found, state.unit, unit))
    if places.partners is not None and places.partners.has(y, x):
        return hit_partners(view, places.partners, size, y, x)
    return None


def places_of(room: Rect, size: int) -> Places:
    """Lay out the parts: partners beside or below the matrix, whichever leaves it larger."""
    line, thick = row_height(size), max(8, size)
    feet = 2 * GAP + thick + line
    side = max(96, min(240, 2 * room.width // 9))
    low = max(84, min(200, room.height // 4))
    beside = min(room.width - side - 2 * GAP, room.height - feet) - MARK
    below = min(room.width, room.height - feet - low - GAP) - MARK
    alone = min(room.width, room.height - feet) - MARK
    square = max(beside, below)
    if square < LEAST:
        square = max(1, alone)
    matrix = Rect(room.top + MARK, room.left + MARK, square, square)
    row = Rect(matrix.bottom + GAP, matrix.left, thick, square)
    legend = Rect(row.bottom + GAP, matrix.left, line, square)
    if max(beside, below) < LEAST:
        return Places(matrix, row, legend, None)
    if beside >= below:
        left = matrix.right + 2 * GAP
        rest = Rect(room.top, left, room.height, room.right - left)
    else:
        top = legend.bottom + GAP
        rest = Rect(top, room.left, room.bottom - top, room.width)
    return Places(matrix, row, legend, rest)


def picture_of(found: Correlation, by_number: bool, side: int) -> Picture:
    """The matrix as a square picture; cached."""
    return _pictures.get(found, (by_number, side), lambda: _picture(found, by_number, side))


def _picture(found: Correlation, by_number: bool, side: int) -> Picture:
    order = _order(found, by_number)
    values, units = found.values[np.ix_(order, order)], len(order)
    if units <= side:  # each pixel shows the pair at its center
        levels, index = levels_of(values), _index(np.arange(side), side, units)
        return colors()[levels[np.ix_(index, index)]]
    import cv2

    # Averaged before anything is rounded, over the pairs whose r is defined.
    known = np.isfinite(values).astype(np.float32)
    small = [
        cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA)
        for one in (np.where(known > 0, values, 0).astype(np.float32), known)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(small[1] > 0, small[0] / small[1], np.nan)
    return colors()[levels_of(mean)]


def _order(found: Correlation, by_number: bool) -> NDArray[np.intp]:
    units = len(found.values)
    if by_number:
        return np.arange(units)
    return _rows.get(found.order, None, lambda: np.array(found.order, np.intp))


def _index(pixel: NDArray[np.intp] | int, side: int, units: int) -> NDArray[np.intp]:
    """The row at the center of a pixel."""
    return np.asarray((2 * np.asarray(pixel) + 1) * units // (2 * side))


def _row_index(view: View, found: Correlation, width: int) -> NDArray[np.intp]:
    """The column that each pixel of the selected row shows: that with the largest |r|."""
    units, order = len(found.values), _order(found, view.state.by_number)
    if units <= width:
        return _index(np.arange(width), width, units)
    row = np.nan_to_num(np.abs(found.values[view.state.unit, order]))
    starts = np.arange(width) * units // width
    pixel = np.searchsorted(starts, np.arange(units), side="right") - 1
    by = np.lexsort((-row, pixel))
    return by[np.searchsorted(pixel[by], np.arange(width))]


def _row_levels(view: View, found: Correlation, width: int) -> NDArray[np.uint8]:
    order = _order(found, view.state.by_number)
    values = found.values[view.state.unit, order]
    return levels_of(values[_row_index(view, found, width)])


def _mark(canvas: Picture, view: View, found: Correlation, places: Places) -> None:
    """Outline the selected row and column, with marks at the edge, since the lines are thin."""
    matrix, units = places.matrix, len(found.values)
    order = _order(found, view.state.by_number)
    place = int(np.flatnonzero(order == view.state.unit)[0])
    first, last = (matrix.height * (place + more) / units for more in (0, 1))
    low, high = math.floor(first), max(math.floor(first) + 1, math.ceil(last - 1e-9))
    if units <= matrix.height:  # exactly the pixels that show the unit
        index = _index(np.arange(matrix.height), matrix.height, units)
        low, high = (int(np.searchsorted(index, place, side)) for side in ("left", "right"))
    for top in (low - 1, high):
        if 0 <= top < matrix.height:
            fill(canvas, Rect(matrix.top + top, matrix.left, 1, matrix.width), ACCENT)
            fill(canvas, Rect(matrix.top, matrix.left + top, matrix.height, 1), ACCENT)
    thick = max(3, high - low)
    at = min(max(0, low - (thick - high + low) // 2), matrix.height - thick)
    fill(canvas, Rect(matrix.top + at, matrix.left - MARK, thick, MARK - 1), ACCENT)
    fill(canvas, Rect(matrix.top - MARK, matrix.left + at, MARK - 1, thick), ACCENT)
    frame(canvas, places.row, LINE)
    fill(canvas, Rect(places.row.top - 3, matrix.left + at, 2, thick), ACCENT)


def _draw_legend(canvas: Picture, found: Correlation, room: Rect, size: int) -> None:
    """Draw the color scale from -1 to 1, and the color of units without an r if there are any."""
    small, still = size - 1, int(found.still.sum())
    words = f"{still} never change{'s' if still == 1 else ''}" if still else ""
    taken = text_width(words, small) + 2 * size if still else 0
    ends = [text_width(end, small) + 6 for end in ("−1", "+1")]
    wide = min(240, room.width - sum(ends) - (taken if room.width > taken + 120 else 0))
    bar = Rect(room.top + room.height // 2 - 4, room.left + ends[0], 8, max(1, wide))
    write_middle(canvas, "−1", room, small, SOFT, "left")
    levels = np.rint(np.linspace(ZERO - STEPS, ZERO + STEPS, bar.width)).astype(int)
    put(canvas, np.repeat(colors()[levels][np.newaxis], bar.height, axis=0), bar.top, bar.left)
    write_middle(
        canvas, "+1", room._replace(left=bar.right + 6, width=ends[1]), small, SOFT, "left"
    )
    left = bar.right + ends[1] + size
    if still and left + size + text_width(words, small) <= room.right:
        chip = Rect(bar.top, left, 8, size - 4)
        r, g, b = colors()[NONE].tolist()
        fill(canvas, chip, (r, g, b))
        rest = room._replace(left=chip.right + 6, width=room.right - chip.right - 6)
        write_middle(canvas, words, rest, small, SOFT, "left")


def _say_why(canvas: Picture, view: View, room: Rect, size: int) -> None:
    note = view.relation.note
    if not note:
        write_note(canvas, room, "reading ...", size)
        return
    lines = [(line, FAINT) for line in wrapped(note[0], size, room.width)]
    for more in note[1:]:
        lines += [(line, SOFT) for line in wrapped(more, size, room.width)]
    step = round(size * 1.6)
    top = room.top + max(0, (room.height - step * len(lines)) // 2)
    for place, (line, color) in enumerate(lines):
        write(canvas, line, top + place * step, room.left, size, color, room.width, "center")
