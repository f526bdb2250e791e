"""The selected unit in detail: its map enlarged, or its value compared with its layer's."""

from __future__ import annotations

import numpy as np

from deepvis_caffe.image import Floats, Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes import weights
from deepvis_caffe.viewer.panes.colors import (
    ACCENT,
    FAINT,
    RAISED,
    SOFT,
    TEXT,
    WELL,
    signed_table,
    table,
)
from deepvis_caffe.viewer.panes.draw import Rect, fill, fitted, put, write, write_middle
from deepvis_caffe.viewer.panes.maps import (
    ROOT,
    Boost,
    boost_alone,
    color_maps,
)
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import (
    PAD,
    inside,
    letters,
    row_height,
    titled,
    with_words,
    write_note,
)
from deepvis_caffe.viewer.panes.words import number, ordinal, pending, short_label
from deepvis_caffe.viewer.state.mouse import WHOLE, Hit


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the unit's map with its own color scale, or its value and rank."""
    size, state = letters(width), view.state
    entry = view.scene.entries[state.layer]
    label = short_label(view.scene, entry, state.unit)
    canvas, room = titled(
        height, width, size, f"unit {state.unit}", label or entry.name, entry.name if label else ""
    )
    if state.weights and not (view.weights and view.weights.why_not):  # the grid shows why_not
        weights.draw_unit(view, canvas, room, size)
        return canvas
    maps = view.shown_maps
    if maps is None or state.unit >= len(maps):
        write_note(canvas, room, pending(view, entry.name), size)
    elif entry.is_vector:
        _draw_number(canvas, maps[:, 0, 0], state.unit, room, size)
    else:
        boost = boost_alone(state, signed=view.shows_diffs)
        _draw_map(canvas, maps[state.unit], room, size, boost)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The unit, to be enlarged."""
    found = inside(height, width, letters(width)).has(y, x)
    return Hit("picture", WHOLE, "unit") if found else None


PANE = Pane("detail", draw, hit)


def _draw_map(canvas: Picture, one: Floats, room: Rect, size: int, boost: Boost) -> None:
    line = row_height(size)
    beside = room.width > 1.6 * room.height
    area, words = with_words(room, 3 if beside else 2, line)
    place = fitted(one.shape[0], one.shape[1], area)
    if not beside:
        place = place._replace(top=area.top)  # scale and numbers go right below it
        words = words._replace(top=place.bottom + PAD - 2)
    put(canvas, color_maps(one[np.newaxis], place.height, place.width, boost), *place[:2])
    good = one[np.isfinite(one)]
    if not good.size:
        return
    low, high = float(good.min()), float(good.max())
    if boost.signed:
        high = max(abs(low), abs(high))
        low = -high
    # The color scale, between the values at its ends.
    row = words._replace(height=line)
    ends = number(low), number(high)
    sides = [text_width(end, size - 1) + 8 for end in ends]
    bar = Rect(
        row.top + line // 2 - 4, row.left + sides[0], 8, max(1, row.width - sides[0] - sides[1])
    )
    write_middle(canvas, ends[0], row, size - 1, SOFT, "left")
    write_middle(canvas, ends[1], row, size - 1, SOFT, "right")
    put(canvas, _scale(bar.height, bar.width, boost), bar.top, bar.left)
    mean = f"mean {number(float(good.mean()))}"
    on = f"{np.count_nonzero(good > 0) / good.size:.0%} above 0"
    row = row._replace(top=row.bottom)
    write_middle(canvas, mean, row, size - 1, SOFT, "left")
    if beside:
        write_middle(canvas, on, row._replace(top=row.bottom), size - 1, SOFT, "left")
    else:
        write_middle(canvas, on, row, size - 1, SOFT, "right")


def _scale(height: int, width: int, boost: Boost) -> Picture:
    """The color scale from the lowest value to the highest, with the boost's exponent."""
    share = np.linspace(0, 1, width)
    if boost.signed:
        levels = 2 * share - 1
        levels = 128 + 127 * np.sign(levels) * np.abs(levels) ** (ROOT * boost.gamma)
        colors = signed_table()[np.rint(levels).astype(int)]
    else:
        colors = table(boost.colormap)[np.rint(255 * share**boost.gamma).astype(int)]
    return np.repeat(colors[np.newaxis], height, axis=0)


def _draw_number(canvas: Picture, values: Floats, unit: int, room: Rect, size: int) -> None:
    value = float(values[unit])
    rank = 1 + int((np.nan_to_num(values, nan=-np.inf) > value).sum())
    text, words = number(value), f"{ordinal(rank)} of {len(values)}"
    large = min(round(size * 2.4), max(size, room.height // 4))
    beside = room.width - text_width(words, size) - size
    while large > size and text_width(text, large) > beside:
        large -= 1
    write(canvas, text, room.top, room.left, large, TEXT)
    row = Rect(room.top, room.left, round(large * 1.3), room.width)
    if text_width(text, large) > beside:  # the rank goes into a row of its own
        row = Rect(row.bottom, room.left, row_height(size), room.width)
    write_middle(canvas, words, row, size, SOFT, "right")
    graph = Rect(row.bottom + 6, room.left, room.bottom - row.bottom - 6, room.width)
    if graph.height > 2 * size:
        _draw_graph(canvas, values, unit, graph, size)


def _draw_graph(canvas: Picture, values: Floats, unit: int, room: Rect, size: int) -> None:
    """Draw the values of all units as bars from 0, in unit order, the selected one highlighted."""
    feet = round(size * 1.4)
    area = room._replace(height=room.height - feet)
    fill(canvas, area, WELL)
    good = np.nan_to_num(values, posinf=0, neginf=0)
    low, high = min(0.0, float(good.min())), max(0.0, float(good.max()))
    span = high - low or 1.0
    # If several units share a column of pixels, the value farthest from 0 is drawn.
    column = np.arange(len(good)) * area.width // len(good)
    starts = np.searchsorted(column, np.arange(area.width), side="right") - 1
    tall = np.zeros(area.width)
    for sign in (1, -1):
        far = np.full(area.width, -np.inf)
        np.maximum.at(far, column, sign * good)
        far = np.where(np.isfinite(far), far, sign * good[starts])
        tall = np.where(np.abs(far) > np.abs(tall), sign * far, tall)
    rows = np.arange(area.height)[:, np.newaxis]
    zero = (area.height - 1) * high / span
    ends = (area.height - 1) * (high - tall) / span
    inside = (rows >= np.minimum(zero, ends) - 0.5) & (rows <= np.maximum(zero, ends) + 0.5)
    part = canvas[area.top : area.bottom, area.left : area.right]
    part[inside[: part.shape[0], : part.shape[1]]] = FAINT
    at = int(column[unit])
    wide = max(2, round(area.width / len(good)))
    own = np.rint([zero, (area.height - 1) * (high - float(good[unit])) / span]).astype(int)
    top, tallness = int(own.min()), int(np.ptp(own)) + 1
    strip = Rect(area.top, area.left + min(at, area.width - wide), area.height, wide)
    fill(canvas, strip, RAISED)
    fill(canvas, strip._replace(top=area.top + top, height=max(2, tallness)), ACCENT)
    row = Rect(area.bottom, area.left, feet, area.width)
    write_middle(canvas, "unit 0", row, size - 2, FAINT, "left")
    write_middle(canvas, str(len(values) - 1), row, size - 2, FAINT, "right")
