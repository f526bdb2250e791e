"""The help: every action with its keys, from a table that is given."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.image import Picture
from deepvis_caffe.text import line_height, text_width, wrapped
from deepvis_caffe.viewer.panes.box import panel
from deepvis_caffe.viewer.panes.colors import ACCENT, FAINT, LINE, RAISED, SOFT, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, fill, frame, write, write_middle

Group = tuple[str, Sequence[tuple[str, str]]]

TITLE = "keys"
CLOSE = "h closes this"
SIZES = range(17, 8, -1)  # of the letters, the first that fits is taken


def help_picture(groups: Sequence[Group], height: int, width: int) -> Picture:
    """Draw the help.

    Parameters
    ----------
    groups
        Each a title and lines of (keys, what they do). Keys that stand for each other are told
        apart by spaces: ``"left  j"``.
    height, width
        Of the picture.

    Returns
    -------
    ndarray
        (height, width, 3), RGB: the groups in as many columns as make the letters largest.
    """
    canvas = panel(height, width)
    frame(canvas, Rect(0, 0, height, width).inset(1), LINE)
    size, columns = _fit(groups, height, width)
    margin = _margin(width)
    head = round(size * 4.2)
    write(canvas, TITLE, round(size * 1.4), margin, round(size * 1.4), TEXT, bold=True)
    line = Rect(round(size * 1.4), margin, round(size * 1.9), width - 2 * margin)
    write_middle(canvas, CLOSE, line, size, FAINT, "right")
    room = (width - 2 * margin) // max(1, len(columns))
    for number, column in enumerate(columns):
        left, top = margin + number * room, head
        keys = _keys_width(column, size, room)
        for title, lines in column:
            write(canvas, title, top, left, size, ACCENT, room - size, bold=True)
            top += round(size * 1.8)
            for names, words in lines:
                top = _draw_line(canvas, names, words, top, left, size, room, keys)
            top += size
    return canvas


def _draw_line(
    canvas: Picture, names: str, words: str, top: int, left: int, size: int, room: int, keys: int
) -> int:
    """One action; the top of the next."""
    x = left
    for name in names.split():
        wide = text_width(name, size - 1) + round(size * 0.8)
        chip = Rect(top, x, round(size * 1.45), min(wide, keys))
        fill(canvas, chip, RAISED, size // 4)
        write_middle(canvas, name, chip, size - 1, TEXT)
        x += wide + 4
    at = Rect(top, left + keys, round(size * 1.45), max(1, room - keys - size))
    for number, line in enumerate(wrapped(words, size, at.width)):
        row = at._replace(top=top + number * line_height(size))
        write_middle(canvas, line, row, size, SOFT, "left")
    return top + _line_height(words, size, room, keys)


def _fit(groups: Sequence[Group], height: int, width: int) -> tuple[int, list[list[Group]]]:
    """The largest letters with which all groups fit, and the groups of each column."""
    room = width - 2 * _margin(width)
    for size in SIZES:
        for count in range(1, 5):
            wide = room // count
            if wide < 17 * size:
                break
            columns = _pack(groups, height - round(size * 5), wide, size)
            if len(columns) <= count:
                return size, _balanced(groups, height - round(size * 5), wide, size, count)
    count = max(1, min(4, room // (17 * SIZES[-1])))  # too small a window: what fits
    return SIZES[-1], _pack(groups, height - 4 * SIZES[-1], room // count, SIZES[-1])[:count]


def _pack(groups: Sequence[Group], height: int, width: int, size: int) -> list[list[Group]]:
    """Fill columns from the top; a group stays whole where a column can hold it."""
    columns: list[list[Group]] = [[]]
    used = 0
    for group in groups:
        tall = _group_height(group, size, width)
        if columns[-1] and used + tall > height:
            columns.append([])
            used = 0
        if tall > height:
            columns += [[]] * 9  # no size fits that needs more columns than there are
        columns[-1].append(group)
        used += tall
    return columns


def _balanced(
    groups: Sequence[Group], height: int, width: int, size: int, count: int
) -> list[list[Group]]:
    """As many columns, as short as they can be."""
    for tall in range(size, height, size):
        columns = _pack(groups, tall, width, size)
        if len(columns) <= count:
            return columns
    return _pack(groups, height, width, size)


def _group_height(group: Group, size: int, room: int) -> int:
    keys = _keys_width([group], size, room)
    lines = sum(_line_height(words, size, room, keys) for _, words in group[1])
    return round(size * 1.8) + lines + size


def _line_height(words: str, size: int, room: int, keys: int) -> int:
    lines = len(wrapped(words, size, max(1, room - keys - size)))
    return round(size * 1.75) + (lines - 1) * line_height(size)


def _keys_width(column: Sequence[Group], size: int, room: int) -> int:
    widths = [
        sum(text_width(name, size - 1) + round(size * 0.8) + 4 for name in names.split())
        for _, lines in column
        for names, _ in lines
    ]
    return min(max(widths, default=0) + size // 2, room // 2)


def _margin(width: int) -> int:
    return max(12, width // 40)
