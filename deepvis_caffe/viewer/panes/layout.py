"""The layout of panes in a window: ``(width, height, state) -> {name: Rect}``.

The list of layers is at the top, the status line at the bottom, the grid in the middle. The other
panes are in a column left of the grid and, in a wide window, another one right of it. A column
takes as many panes as fit, the most important first, and stretches them to its height; the space of
hidden panes goes to the others. In a wide window the grid is about square, and the rest of the
width goes to the selected unit's pictures. An enlarged picture takes the whole window.
"""

from __future__ import annotations

from typing import NamedTuple

from deepvis_caffe.viewer.panes.back import chips_height
from deepvis_caffe.viewer.panes.classes import MOST, rows_height
from deepvis_caffe.viewer.panes.draw import Rect
from deepvis_caffe.viewer.panes.layers import layers_height
from deepvis_caffe.viewer.panes.widgets import inside, letters, title_height, wide_letters
from deepvis_caffe.viewer.state.state import State

WIDE = 1100  # pixels of width; from here on, there is a column on each side
ALSO_WIDE, LANDSCAPE = 800, 1.75  # or from here on, if it is so many times as wide as high
NARROW = 420  # pixels of width; below, there is no column
LOW = 260  # pixels of height; below, there is no list of layers
WIDEST = 0.34  # largest share of the window's width for the unit's column
# (width, height): the smallest that can be laid out; the largest bounds the cost of a picture.
SMALLEST, LARGEST = (320, 240), (3840, 2160)


class Part(NamedTuple):
    """A pane in a column.

    Attributes
    ----------
    name
        The pane's name.
    least, most
        The least height that it needs, and the most that it can use.
    rank
        Panes with a lower rank get their least height first.
    turn
        Panes with a lower turn grow first.
    """

    name: str
    least: int
    most: int
    rank: int
    turn: int


def layout(width: int, height: int, state: State) -> dict[str, Rect]:
    """Lay out a window.

    Parameters
    ----------
    width, height
        Size of the window, pixels; any size works.
    state
        Determines which panes are shown.

    Returns
    -------
    dict
        Rectangles by pane; they have at least one pixel, lie inside the window and do not overlap.
        Panes that do not fit are absent.
    """
    frame = _frame(width, height, state)
    if frame is None:
        return {}
    gap, grid, found = frame.gap, frame.grid, dict(frame.bars)
    if state.zoom != "off":
        status = found["status"]
        whole = Rect(gap, gap, max(1, status.top - gap), max(1, width - 2 * gap))
        return {"status": status, "enlarged": whole}
    found["grid"] = grid
    left, right = _columns(_is_wide(width, height), state)
    if frame.right:
        room = Rect(grid.top, grid.right + gap, grid.height, frame.right)
        found |= _column(_parts(right, frame.right, state), room, gap)
    if frame.left:
        room = Rect(grid.top, gap, grid.height, frame.left)
        found |= _column(_parts(left, frame.left, state), room, gap)
    return found


def within_limits(width: int, height: int) -> tuple[int, int]:
    """Clamp (width, height) to `SMALLEST` and `LARGEST`."""
    return (
        min(max(width, SMALLEST[0]), LARGEST[0]),
        min(max(height, SMALLEST[1]), LARGEST[1]),
    )


def grid_aspect(width: int, height: int, state: State) -> float:
    """Width divided by height of the area for the grid's cells: `State.aspect`."""
    frame = _frame(width, height, state)
    if frame is None:
        return 1.0
    room = inside(frame.grid.height, frame.grid.width, wide_letters(frame.grid.width))
    return room.width / room.height


class _Frame(NamedTuple):
    """The bars, the grid, and the widths of the columns; 0 for no column."""

    gap: int
    left: int
    right: int
    grid: Rect
    bars: dict[str, Rect]


def _frame(width: int, height: int, state: State) -> _Frame | None:
    if width < 16 or height < 48:
        return None
    gap = 4 if min(width / 2, height) < 560 else 8
    low = max(20, min(48, round(16 + height / 90)))
    bars = {"status": Rect(height - low, 0, low, width)}
    top = gap
    if height >= LOW:
        rows = 3 if height >= 640 else 2
        bars["layers"] = Rect(gap, gap, layers_height(rows, width - 2 * gap), width - 2 * gap)
        top = bars["layers"].bottom + gap
    high = max(1, height - low - top)
    left = right = 0
    if width >= NARROW:
        wide = _is_wide(width, height)
        two = bool(_columns(wide, state)[1])
        share = 0.28 if not wide else 0.2 if two else 0.25
        left = round(min(width * share, height * 0.38))  # its pictures are about square
        if two:
            beside = width - left - 4 * gap
            most = min(beside - high, round(width * WIDEST)) if state.unit_images else 0
            right = max(left, most)
    across = width - 2 * gap - sum(side + gap for side in (left, right) if side)
    grid = Rect(top, gap + (left + gap if left else 0), high, max(1, across))
    return _Frame(gap, left, right, grid, bars)


def _is_wide(width: int, height: int) -> bool:
    """Whether a window has a column at each side of the grid."""
    return width >= WIDE or width >= max(ALSO_WIDE, LANDSCAPE * height)


def _columns(wide: bool, state: State) -> tuple[list[str], list[str]]:
    """The panes at the left and at the right of the grid, from the top."""
    classes = ["classes"] if state.labels else []
    images = ["unit"] if state.unit_images else []
    if not wide:
        return ["input", "back", "detail", *classes, *images], []
    on = state.back != "off"
    if images:
        moves = not classes and not on  # to where there is room
        left = ["input", "back", *classes, *(["detail"] if moves else [])]
        return left, [*([] if moves else ["detail"]), "unit"]
    if classes and on:
        return ["input", "back"], ["detail", "classes"]
    return ["input", "back", *classes, "detail"], []


def _parts(names: list[str], side: int, state: State) -> list[Part]:
    """The heights of panes in a column `side` wide: pictures are about as high as wide."""
    size = letters(side)
    head, on = title_height(size), state.back != "off"
    chips = chips_height(side, styles=on)
    # While a backward pass is on, its map ranks before the input.
    back = Part("back", chips + side // 3, chips + side, 1, 0) if on else None
    few, many = (head + rows_height(count, size) + 8 for count in (4 if on else 5, MOST))
    # If the unit's images share the column, they get the space, and its map shrinks.
    small = (
        head + min(round(side * 0.4), 5 * head) if "unit" in names and names[0] == "detail" else 0
    )
    low, high = (small or head + round(side * share) + 3 * size for share in (0.5, 1))
    parts = {
        "input": Part("input", head + round(side * (0.45 if on else 0.55)), head + side, 0, 1),
        "back": back or Part("back", chips, chips, 1, 0),
        "classes": Part("classes", few, many, 2, 3),
        "detail": Part("detail", low, high, 4, 2),
        # Capped, so that the map also fits into a wide column of a low window.
        "unit": Part("unit", head + min(round(side * 0.7), 7 * head), 10**6, 3, 4),
    }
    return [parts[name] for name in names]


def _column(parts: list[Part], room: Rect, gap: int) -> dict[str, Rect]:
    """Admit panes by rank as long as they fit, then distribute the spare height by turn."""
    chosen: list[Part] = []
    for part in sorted(parts, key=lambda part: part.rank):
        if sum(one.least for one in chosen) + part.least + gap * len(chosen) <= room.height:
            chosen.append(part)
    if not chosen:
        return {}
    chosen.sort(key=parts.index)
    spare = room.height - sum(one.least for one in chosen) - gap * (len(chosen) - 1)
    heights = {one.name: one.least for one in chosen}
    for turn in sorted({one.turn for one in chosen}):
        growing = [one for one in chosen if one.turn == turn and one.most > one.least]
        while spare >= len(growing) > 0:  # equally, so that two pictures get the same size
            step = min(spare // len(growing), *(one.most - heights[one.name] for one in growing))
            for one in growing:
                heights[one.name] += step
            spare -= step * len(growing)
            growing = [one for one in growing if heights[one.name] < one.most]
    heights[chosen[-1].name] += spare  # the column ends where the grid does
    found, top = {}, room.top
    for part in chosen:
        found[part.name] = Rect(top, room.left, heights[part.name], room.width)
        top += heights[part.name] + gap
    return found
