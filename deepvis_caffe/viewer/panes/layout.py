"""Where each pane is in a window: ``(width, height, state) -> {name: Rect}``.

The list of layers is at the top, the status line at the bottom, the grid in the middle. At its
left, and in a wide window at its right, too, are columns of the other panes. A column shows what it
has room for, the most important panes first.
"""

from __future__ import annotations

from typing import NamedTuple

from deepvis_caffe.viewer.panes.back import chips_height
from deepvis_caffe.viewer.panes.classes import rows_height
from deepvis_caffe.viewer.panes.draw import Rect
from deepvis_caffe.viewer.panes.layers import layers_height
from deepvis_caffe.viewer.panes.widgets import inside, letters, title_height, wide_letters
from deepvis_caffe.viewer.state.state import State

WIDE = 1100  # pixels; a window with a column at each side
NARROW = 420  # pixels; below, there is no column
LOW = 260  # pixels; below, there is no list of layers
# (width, height): limits of what can be laid out, and of what a picture may cost.
SMALLEST, LARGEST = (320, 240), (3840, 2160)


class Part(NamedTuple):
    """A pane in a column.

    Attributes
    ----------
    name
        The pane's.
    least, most
        The height that it needs, and the most that it makes use of.
    rank
        Panes of a lower rank get room first.
    """

    name: str
    least: int
    most: int
    rank: int


def layout(width: int, height: int, state: State) -> dict[str, Rect]:
    """Lay out a window.

    Parameters
    ----------
    width, height
        Of the window, pixels, of any size.
    state
        Which panes are wanted.

    Returns
    -------
    dict
        By pane; rectangles have at least one pixel, lie inside and do not overlap. Panes without
        room are left out.
    """
    frame = _frame(width, height)
    if frame is None:
        return {}
    gap, grid, found = frame.gap, frame.grid, dict(frame.bars)
    found["grid"] = grid
    if not frame.side:
        return found
    if width >= WIDE:
        left, right = _wide_columns(frame.side, state)
        found |= _column(right, Rect(grid.top, grid.right + gap, grid.height, frame.side), gap)
    else:
        left = _narrow_column(frame.side, state)
    return found | _column(left, Rect(grid.top, gap, grid.height, frame.side), gap)


def within_limits(width: int, height: int) -> tuple[int, int]:
    """The (width, height) nearest to this that a picture of the viewer may have."""
    return (
        min(max(width, SMALLEST[0]), LARGEST[0]),
        min(max(height, SMALLEST[1]), LARGEST[1]),
    )


def grid_aspect(width: int, height: int) -> float:
    """Width by height of the room that the grid's cells have in a window: `State.aspect`."""
    frame = _frame(width, height)
    if frame is None:
        return 1.0
    room = inside(frame.grid.height, frame.grid.width, wide_letters(frame.grid.width))
    return room.width / room.height


class _Frame(NamedTuple):
    """What does not depend on the state."""

    gap: int
    side: int
    grid: Rect
    bars: dict[str, Rect]


def _frame(width: int, height: int) -> _Frame | None:
    if width < 16 or height < 48:
        return None
    gap = 4 if min(width / 2, height) < 560 else 8
    share, columns = (0.2, 2) if width >= WIDE else (0.28, 1 if width >= NARROW else 0)
    side = round(min(width * share, height * 0.38)) if columns else 0  # pictures are squares
    low = max(20, min(48, round(16 + height / 90)))
    bars = {"status": Rect(height - low, 0, low, width)}
    top = gap
    if height >= LOW:
        rows = 3 if height >= 640 else 2
        bars["layers"] = Rect(gap, gap, layers_height(rows, width - 2 * gap), width - 2 * gap)
        top = bars["layers"].bottom + gap
    left = gap + (side + gap if columns else 0)
    across = width - left - gap - (side + gap if columns == 2 else 0)
    grid = Rect(top, left, max(1, height - low - top), max(1, across))
    return _Frame(gap, side, grid, bars)


def _wide_columns(side: int, state: State) -> tuple[list[Part], list[Part]]:
    parts = _parts(side, state)
    left, right = [parts["input"], parts["back"]], [parts["detail"]]
    if state.labels:
        (left if state.unit_images else right).append(parts["classes"])
    if state.unit_images:
        right.append(parts["unit"])
    return left, right


def _narrow_column(side: int, state: State) -> list[Part]:
    parts = _parts(side, state)
    wanted = [parts["input"], parts["back"], parts["detail"]]
    wanted += [parts["classes"]] if state.labels else []
    return wanted + ([parts["unit"]] if state.unit_images else [])


def _parts(side: int, state: State) -> dict[str, Part]:
    """The heights of panes in a column of a width: pictures are about as high as wide."""
    size = letters(side)
    head, chips = title_height(size), chips_height(side)
    small, square = head + round(side * 0.55), head + side
    if state.back == "off":
        back = Part("back", chips, chips, 3)
    else:  # the chips of the styles take about as much room as those of the modes
        back = Part("back", 2 * chips + side // 3, 2 * chips + side, 1)
    return {
        "input": Part("input", small, square, 0),
        "back": back,
        "classes": Part(
            "classes", head + rows_height(5, size) + 8, head + rows_height(10, size) + 8, 2
        ),
        "detail": Part("detail", head + round(side * 0.6), square + 3 * size, 4),
        "unit": Part("unit", head + round(side * 0.7), 10**6, 5),
    }


def _column(parts: list[Part], room: Rect, gap: int) -> dict[str, Rect]:
    """Give panes room by rank until there is none left; then share the rest."""
    chosen: list[Part] = []
    for part in sorted(parts, key=lambda part: part.rank):
        if sum(one.least for one in chosen) + part.least + gap * len(chosen) <= room.height:
            chosen.append(part)
    if not chosen:
        return {}
    chosen.sort(key=parts.index)
    spare = room.height - sum(one.least for one in chosen) - gap * (len(chosen) - 1)
    heights = {one.name: one.least for one in chosen}
    growing = [one for one in chosen if one.most > one.least]
    while spare >= len(growing) > 0:  # equally, so that two pictures get the same size
        step = min(spare // len(growing), *(one.most - heights[one.name] for one in growing))
        for one in growing:
            heights[one.name] += step
        spare -= step * len(growing)
        growing = [one for one in growing if heights[one.name] < one.most]
    heights[chosen[-1].name] += spare  # the last one ends where the grid does
    found, top = {}, room.top
    for part in chosen:
        found[part.name] = Rect(top, room.left, heights[part.name], room.width)
        top += heights[part.name] + gap
    return found
