"""The help: the list of all keys and mouse actions, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deepvis_caffe.image import Picture
from deepvis_caffe.text import line_height, text_width, wrapped
from deepvis_caffe.viewer.panes.colors import ACCENT, FAINT, LINE, RAISED, SOFT, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, fill, frame, write, write_middle
from deepvis_caffe.viewer.panes.widgets import panel
from deepvis_caffe.viewer.state.actions import HelpGroup

TITLE = "keys and mouse"
CLOSE, ONWARD = "press h to close", "press h for more"
SIZES = range(26, 9, -1)  # font sizes for a single page; the first that fits is used
PAGED = 11  # font size if there are several pages
MOST_COLUMNS = 4


class _Laid(NamedTuple):
    """The layout of the groups: pages of columns of groups, and the font size."""

    size: int
    room: int  # width of a column, pixels
    pages: list[list[list[HelpGroup]]]


def help_pages(groups: Sequence[HelpGroup], height: int, width: int) -> int:
    """The number of pages that the help needs at this size; usually one."""
    return len(_lay(groups, height, width).pages)


def help_picture(groups: Sequence[HelpGroup], height: int, width: int, page: int = 0) -> Picture:
    """Draw one page of the help.

    Parameters
    ----------
    groups
        Each a title and lines of (keys, help text). Alternative keys are separated by spaces:
        ``"left  j"``.
    height, width
        Size of the picture.
    page
        From 0; clamped to the last page.

    Returns
    -------
    ndarray
        (height, width, 3), RGB: the groups, in the number of columns that allows the largest font.
    """
    canvas = panel(height, width)
    frame(canvas, Rect(0, 0, height, width).inset(1), LINE)
    size, room, pages = _lay(groups, height, width)
    page = min(page, len(pages) - 1)
    margin = _margin(width)
    line = Rect(round(size * 1.2), margin, round(size * 1.9), width - 2 * margin)
    write_middle(canvas, TITLE, line, round(size * 1.3), TEXT, "left", bold=True)
    more = f"{page + 1} of {len(pages)}: " if len(pages) > 1 else ""
    close = CLOSE if page == len(pages) - 1 else ONWARD
    write_middle(canvas, f"{more}{close}", line, size, FAINT, "right")
    for number, column in enumerate(pages[page]):
        left, top = margin + number * room, _head(size)
        for title, lines in column:
            keys = _keys_width(lines, size, room)
            write(canvas, title, top, left, size, ACCENT, room - size, bold=True)
            top += round(size * 1.8)
            for names, words in lines:
                top = _draw_line(canvas, names, words, top, left, size, room, keys)
            top += size
    return canvas


def _draw_line(
    canvas: Picture, names: str, words: str, top: int, left: int, size: int, room: int, keys: int
) -> int:
    """Draw one action; return the top of the next."""
    high = round(size * 1.45)
    for number, row in enumerate(_chip_rows(names, size, keys)):
        x = left
        for name, wide in row:
            chip = Rect(top + number * round(size * 1.75), x, high, wide)
            fill(canvas, chip, RAISED, size // 4)
            write_middle(canvas, name, chip, size - 1, TEXT)
            x += wide + 4
    at = Rect(top, left + keys, high, max(1, room - keys - size))
    for number, line in enumerate(wrapped(words, size, at.width)):
        row_ = at._replace(top=top + number * line_height(size))
        write_middle(canvas, line, row_, size, SOFT, "left")
    return top + _line_height(names, words, size, room, keys)


def _lay(groups: Sequence[HelpGroup], height: int, width: int) -> _Laid:
    """Lay out with the largest font that fits on one page, or on several pages if none does."""
    whole = width - 2 * _margin(width)
    for size in SIZES:
        high = _height(height, size)
        least = sum(round(size * 1.8) + len(lines) * round(size * 1.75) for _, lines in groups)
        for count in range(1, min(MOST_COLUMNS, whole // (17 * size)) + 1):
            if least > count * high:  # a cheap check, while wrapping the text is slow
                continue
            columns = _pack(groups, high, whole // count, size)
            if columns is not None and len(columns) <= count:
                columns = _balanced(groups, high, whole // count, size, count)
                return _Laid(size, whole // count, [columns])
    count = max(1, min(MOST_COLUMNS, whole // (17 * PAGED)))
    room, high = whole // count, _height(height, PAGED)
    parts = [part for group in groups for part in _parts(group, high, room, PAGED)]
    columns = _pack(parts, high, room, PAGED) or [[part] for part in parts]
    pages = [columns[first : first + count] for first in range(0, len(columns), count)]
    return _Laid(PAGED, room, pages or [[]])


def _pack(
    groups: Sequence[HelpGroup], high: int, room: int, size: int
) -> list[list[HelpGroup]] | None:
    """Fill columns from the top with whole groups; None if one is higher than a column."""
    columns: list[list[HelpGroup]] = [[]]
    for group in groups:
        if _height_of([group], size, room) > high:
            return None
        if _height_of([*columns[-1], group], size, room) > high:
            columns.append([])
        columns[-1].append(group)
    return columns


def _balanced(
    groups: Sequence[HelpGroup], high: int, room: int, size: int, count: int
) -> list[list[HelpGroup]]:
    """At most `count` columns, as short as possible."""
    for lower in range(size, high + size, size):
        columns = _pack(groups, min(lower, high), room, size)
        if columns is not None and len(columns) <= count:
            return columns
    raise AssertionError("unreachable: one column always fits")


def _parts(group: HelpGroup, high: int, room: int, size: int) -> list[HelpGroup]:
    """Split a group into parts no higher than a column, except where a single line is higher."""
    title, lines = group
    parts: list[tuple[str, list[tuple[str, str]]]] = [(title, [])]
    for line in lines:
        longer = (title, [*parts[-1][1], line])
        if parts[-1][1] and _height_of([longer], size, room) > high:
            parts.append((title, []))
        parts[-1][1].append(line)
    return list(parts)


def _height_of(column: Sequence[HelpGroup], size: int, room: int) -> int:
    high = -size
    for _, lines in column:
        keys = _keys_width(lines, size, room)
        high += round(size * 1.8) + size
        high += sum(_line_height(names, words, size, room, keys) for names, words in lines)
    return high


def _line_height(names: str, words: str, size: int, room: int, keys: int) -> int:
    rows = len(_chip_rows(names, size, keys))
    lines = len(wrapped(words, size, max(1, room - keys - size)))
    return max(rows * round(size * 1.75), round(size * 1.75) + (lines - 1) * line_height(size))


def _chip_rows(names: str, size: int, keys: int) -> list[list[tuple[str, int]]]:
    """Keys and their widths, wrapped into rows at most `keys` wide."""
    rows: list[list[tuple[str, int]]] = [[]]
    x = 0
    for name in names.split():
        wide = min(text_width(name, size - 1) + round(size * 0.8), keys)
        if rows[-1] and x + wide > keys:
            rows.append([])
            x = 0
        rows[-1].append((name, wide))
        x += wide + 4
    return rows


def _keys_width(lines: Sequence[tuple[str, str]], size: int, room: int) -> int:
    widths = [
        sum(text_width(name, size - 1) + round(size * 0.8) + 4 for name in names.split())
        for names, _ in lines
    ]
    return min(max(widths, default=0) + size // 2, room // 2)


def _head(size: int) -> int:
    return round(size * 3.6)


def _height(height: int, size: int) -> int:
    """Height of a column, pixels."""
    return max(1, height - _head(size) - size)


def _margin(width: int) -> int:
    return max(12, width // 40)
