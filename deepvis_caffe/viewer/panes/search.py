"""The search: the query, and below it the matching units."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.image import Picture
from deepvis_caffe.text import cut, text_width
from deepvis_caffe.viewer.panes.colors import ACCENT, FAINT, GROUND, LINE, SOFT, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, fill, frame, put, write_middle
from deepvis_caffe.viewer.panes.widgets import panel, wide_letters
from deepvis_caffe.viewer.state.search import NOTHING_LABELLED, Match

TITLE = "find a unit"
HINT = "part of a label, or a number"
KEYS = "enter: select, esc: close"
NOTHING = "no match"


def draw_search(
    picture: Picture, query: str, found: Sequence[Match], index: int, labelled: bool
) -> None:
    """Draw the search over a picture.

    Parameters
    ----------
    query
        What was typed.
    found, index
        The matches, and the index of the one that `enter` selects.
    labelled
        Whether there are labels to search.
    """
    room, rows = search_places(picture.shape[0], picture.shape[1], len(found))
    size = _letters(picture.shape[1])
    canvas = panel(room.height, room.width)
    frame(canvas, Rect(0, 0, room.height, room.width).inset(1), LINE)
    put(picture, canvas, room.top, room.left)
    line = Rect(room.top + size // 2, room.left + size, 2 * size, max(1, room.width - 2 * size))
    taken = write_middle(picture, TITLE, line, size, TEXT, "left", bold=True) + size
    field = line._replace(left=line.left + taken, width=max(1, line.width - taken))
    keys = text_width(KEYS, size - 2)
    if keys + 8 * size < field.width:
        write_middle(picture, KEYS, field, size - 2, FAINT, "right")
        field = field._replace(width=field.width - keys - size)
    shown = query
    while text_width(shown, size) > field.width - size and shown:
        shown = shown[1:]  # cut at the start: the end is being typed
    wide = write_middle(picture, shown, field, size, ACCENT, "left") if shown else 0
    bar = Rect(field.top + size // 3, field.left + wide + 2, round(size * 1.3), 2)
    fill(picture, bar, ACCENT)
    if not query:
        rest = field._replace(left=field.left + size, width=max(1, field.width - size))
        write_middle(picture, HINT if labelled else NOTHING_LABELLED, rest, size, FAINT, "left")
    elif not found:
        note = NOTHING if labelled else NOTHING_LABELLED
        write_middle(picture, note, rows[0], size, FAINT, "left")
    for place, (row, match) in enumerate(zip(rows, found, strict=False)):
        if place == index:
            fill(picture, row, ACCENT, 4)
        ink = GROUND if place == index else SOFT
        inner = row._replace(left=row.left + size // 2, width=max(1, row.width - size))
        write_middle(picture, cut(match.name, size, inner.width), inner, size, ink, "left")


def search_places(height: int, width: int, count: int) -> tuple[Rect, list[Rect]]:
    """The rectangle of the search in a window, and its rows: as many as fit, at least one."""
    size = _letters(width)
    step = round(size * 1.7)
    wide = max(1, min(width - 8, 44 * size))
    count = max(1, min(count, (height - 5 * size) // step))
    high = min(height, 3 * size + count * step + size // 2)
    room = Rect(min(height // 8, max(0, height - high)), (width - wide) // 2, high, wide)
    rows = [
        Rect(room.top + 3 * size + place * step, room.left + size // 2, step, max(1, wide - size))
        for place in range(count)
    ]
    return room, rows


def _letters(width: int) -> int:
    return wide_letters(round(width * 0.58))
