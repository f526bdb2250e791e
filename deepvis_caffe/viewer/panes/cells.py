"""Where each unit of a layer is in the grid's pane: ``(entry, state, height, width) -> Cells``."""

from __future__ import annotations

from dataclasses import dataclass

from deepvis_caffe.viewer.catalogue import Entry
from deepvis_caffe.viewer.panes.draw import Rect
from deepvis_caffe.viewer.state import State, grid_shape


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
