"""The selected unit's pictures: optimized images, top images and statistics over a dataset."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width, wrapped
from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.panes.colors import ACCENT, FAINT, RAISED, SOFT, TROUBLE, WELL
from deepvis_caffe.viewer.panes.draw import Rect, fill, fitted, paste, put, thumb, write_middle
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.tiles import GAP, Group, stacked
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import (
    first_fitting,
    inside,
    letters,
    row_height,
    titled,
    write_note,
)
from deepvis_caffe.viewer.panes.words import number, short_label
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.units import UnitPictures

MOST_MADE = 9  # optimized images in the pane; the enlarged view shows all
LEAST_CELL = 24  # pixels; the last sections are left out if pictures would be smaller
LEAST_PART = 3.2  # statistics are shown if the pane is more than this many times as high
TITLE = "preferred inputs"

_cut: ByIdentity[tuple[Picture, ...]] = ByIdentity(16)  # montages cut into pictures

Kind = Literal["optimized", "top", "deconv"]


class Section(NamedTuple):
    """Pictures of one kind.

    Attributes
    ----------
    kind
        Optimized images, top images, or their deconv.
    title
        The caption.
    pictures
        Each (H, W, 3) RGB uint8.
    """

    kind: Kind
    title: str
    pictures: tuple[Picture, ...]

    @property
    def ratio(self) -> float:
        """Height divided by width, of the first picture."""
        height, width = self.pictures[0].shape[:2]
        return round(max(height, 1) / max(width, 1), 2)


class Placed(NamedTuple):
    """A section that is laid out."""

    section: Section
    head: Rect
    lines: tuple[str, ...]  # the wrapped caption
    cells: tuple[Rect, ...]


def sections_of(unit: UnitPictures, most_made: int | None = None) -> list[Section]:
    """The sections of a unit, with at most `most_made` optimized images, one in progress last."""
    found: list[Section] = []
    made = unit.optimized if unit.working is None else (*unit.optimized, unit.working)
    if made:
        # The note is about finished images; while one is in progress, the title says so.
        working = unit.working is not None
        done = unit.note or _optimized_by(unit)
        title = f"optimizing {unit.progress:.0%}" if working else done
        found.append(Section("optimized", title, made[:most_made]))
    if unit.top is not None:
        title = f"top images of {unit.shown_as}" if unit.shown_as else "top images"
        found.append(Section("top", title, _cells(unit, unit.top)))
    if unit.deconv is not None:
        found.append(Section("deconv", "deconv of the top images", _cells(unit, unit.deconv)))
    return found


def _optimized_by(unit: UnitPictures) -> str:
    """The caption of optimized images, with their recipe if the layer has several."""
    of = f" for {unit.shown_as}" if unit.shown_as else ""
    return f"optimized{of} by {unit.recipe}" if len(unit.recipes) > 1 else f"optimized{of}"


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the unit's pictures, or a note why there are none."""
    size, unit = letters(width), view.unit
    entry, number_ = view.scene.entries[view.state.layer], view.state.unit
    label = short_label(view.scene, entry, number_)
    names = [f"{entry.name} {number_} {label}", f"{number_} {label}", f"{entry.name} {number_}"]
    beside = inside(height, width, size).width - text_width(TITLE, size) - 2 * size
    more = first_fitting([*map(str.rstrip, names), str(number_)], size, beside)
    canvas, whole = titled(height, width, size, TITLE, more)
    room, foot = _split(unit, whole, size)
    if unit.statistics is not None and foot.height:
        _draw_statistics(canvas, unit.statistics, foot, size)
    placed = _placed(unit, room, size)
    for one in placed:
        draw_section(canvas, unit, one, size)
    if not placed:
        write_note(canvas, room, unit.note or "no pictures of this unit yet", size)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The picture or the bar of the histogram at a pixel."""
    size, unit = letters(width), view.unit
    room, foot = _split(unit, inside(height, width, size), size)
    if unit.statistics is not None and foot.has(y, x):
        tip = _statistics_tip(unit.statistics, foot, size, y, x)
        return Hit("nothing", tip=tip) if tip else None
    for one in _placed(unit, room, size):
        for index, cell in enumerate(one.cells):
            if cell.has(y, x):
                return Hit(
                    "picture", index, one.section.kind, picture_name(unit, one.section, index)
                )
    return None


PANE = Pane("unit", draw, hit)


def _placed(unit: UnitPictures, room: Rect, size: int) -> list[Placed]:
    """The sections in the pane: as many as leave the pictures at least `LEAST_CELL` wide."""
    sections = sections_of(unit, MOST_MADE)
    for count in range(len(sections), 0, -1):
        placed = place_sections(sections[:count], room, size)
        if count == 1 or min(one.cells[0].width for one in placed) >= LEAST_CELL:
            return placed
    return []


def place_sections(
    sections: list[Section], room: Rect, size: int, captions: bool = True
) -> list[Placed]:
    """Stack sections in a rectangle, with pictures as large as possible."""
    if not sections:
        return []
    step = row_height(size - 1)
    heads = [
        tuple(wrapped(one.title, size - 1, room.width)) if captions else () for one in sections
    ]
    groups = [
        Group(len(one.pictures), one.ratio, step * len(lines))
        for one, lines in zip(sections, heads, strict=True)
    ]
    placed, top = [], room.top
    tiles = stacked(tuple(groups), room.height, room.width)
    # Spare height is distributed between sections, so that no part of the pane stays empty.
    spare = room.height - sum(
        group.head + one.high + GAP for group, one in zip(groups, tiles, strict=True)
    )
    apart = max(0, spare // len(sections))
    for section, lines, group, one in zip(sections, heads, groups, tiles, strict=True):
        head = Rect(top, room.left, group.head, room.width)
        cells = tuple(one.rects(head.bottom, room.left, room.width))
        placed.append(Placed(section, head, lines, cells))
        top = head.bottom + one.high + GAP + apart
    return placed


def draw_section(canvas: Picture, unit: UnitPictures, placed: Placed, size: int) -> None:
    """Draw a section's caption and its pictures, with a progress bar on an unfinished one."""
    head, step = placed.head, row_height(size - 1)
    for place, line in enumerate(placed.lines):
        row = Rect(head.top + place * step, head.left, step, head.width)
        write_middle(canvas, line, row, size - 1, SOFT, "left")
    for picture, cell in zip(placed.section.pictures, placed.cells, strict=True):
        if picture is not unit.working:
            small = thumb(picture, cell.height, cell.width)
            place_of = fitted(small.shape[0], small.shape[1], cell)
            put(canvas, small, place_of.top, place_of.left)
        else:  # not cached: it is replaced soon
            paste(canvas, picture, cell)
            bar = Rect(cell.bottom - 4, cell.left, 4, cell.width)
            fill(canvas, bar, RAISED)
            fill(canvas, bar._replace(width=round(cell.width * min(1, unit.progress))), ACCENT)


def picture_name(unit: UnitPictures, section: Section, index: int) -> str:
    """The name of a picture; of a top image its name, class and activation, as far as known."""
    if section.kind == "optimized":
        working = section.pictures[index] is unit.working
        return section.title if working else f"optimized image {index + 1}"
    if not unit.found:
        return f"top image {index + 1}"
    image = unit.found[index]
    words = [f"{index + 1}: {image.name}", (image.class_name or "").split(",")[0]]
    return "   ".join([*filter(None, words), number(image.value)])


def _cells(unit: UnitPictures, picture: Picture) -> tuple[Picture, ...]:
    """The pictures of a montage. With a record, empty cells are left out."""
    columns = unit.columns
    # A montage's cells are square only if the unit's receptive field is.
    rows = columns if unit.found else max(1, round(columns * picture.shape[0] / picture.shape[1]))
    count = min(len(unit.found), rows * columns) if unit.found else rows * columns

    def cut() -> tuple[Picture, ...]:
        height, width = picture.shape[:2]
        lined = (height - 1) % rows == 0 and (width - 1) % columns == 0  # a line around each cell
        line = int(lined and min(height // rows, width // columns) > 1)
        found = []
        for index in range(count):
            row, column = divmod(index, columns)
            top, bottom = ((height - line) * k // rows + line for k in (row, row + 1))
            left, right = ((width - line) * k // columns + line for k in (column, column + 1))
            part = picture[top : max(top + 1, bottom - line), left : max(left + 1, right - line)]
            found.append(part if part.size else picture[:1, :1])
        return tuple(found)

    return _cut.get(picture, (rows, columns, count), cut)


def _split(unit: UnitPictures, room: Rect, size: int) -> tuple[Rect, Rect]:
    """Split the pane into pictures, and statistics below them."""
    low = _statistics_height(unit.statistics, room, size)
    return (
        room._replace(height=room.height - low),
        room._replace(top=room.bottom - low, height=low),
    )


def _statistics_height(statistics: UnitStatistics | None, room: Rect, size: int) -> int:
    """Height of the statistics below the pictures; 0 if there are none, or no room for them."""
    if statistics is None:
        return 0
    height = _bars_height(size) + row_height(size) * (3 if statistics.alike else 2) + size // 2
    return height if room.height > LEAST_PART * height else 0


def _draw_statistics(canvas: Picture, statistics: UnitStatistics, room: Rect, size: int) -> None:
    """Draw a histogram of the unit's maximum activation per image, and statistics below it."""
    line, small = row_height(size), size - 1
    top = room.top + size // 2
    row = Rect(top, room.left, line, room.width)
    write_middle(canvas, f"over {statistics.images:,} images", row, small, SOFT, "left")
    often = "dead" if statistics.dead else f"active in {statistics.active:.0%}"
    write_middle(canvas, often, row, small, TROUBLE if statistics.dead else SOFT, "right")
    area = _bars_area(room, size)
    fill(canvas, area, WELL)
    counts = statistics.bars.counts
    most = max(counts, default=0)
    for place, count in enumerate(counts):
        left, right = (area.width * k // len(counts) for k in (place, place + 1))
        # At least one pixel: a single image stays visible next to thousands.
        high = max(1, math.floor(area.height * count / most)) if count else 0
        gap = int(right - left > 3)
        bar = Rect(area.bottom - high, area.left + left, high, max(1, right - left - gap))
        fill(canvas, bar, FAINT)
    row = row._replace(top=area.bottom)
    words = f"mean {number(statistics.mean)} ± {number(statistics.deviation)}"
    write_middle(canvas, words, row, small, SOFT, "left")
    write_middle(canvas, f"{statistics.zeros:.0%} zeros", row, small, SOFT, "right")
    if statistics.alike:
        row = row._replace(top=row.top + line)
        write_middle(canvas, _alike(statistics, row.width, small), row, small, SOFT, "left")


def _statistics_tip(statistics: UnitStatistics, room: Rect, size: int, y: int, x: int) -> str:
    """The tooltip of a bar of the histogram; empty outside the bars."""
    area, bars = _bars_area(room, size), statistics.bars
    if not bars.counts or not area.has(y, x):
        return ""
    # The bar drawn at this pixel: the last that begins at or before it.
    place = ((x - area.left + 1) * len(bars.counts) - 1) // area.width
    count, low, high = bars.counts[place], bars.edges[place], bars.edges[place + 1]
    if low == 0:
        where = "is 0"
    elif math.isinf(low):
        where = f"is under {number(high)}"
    elif math.isinf(high):
        where = f"is at least {number(low)}"
    else:
        where = f"is {number(low)} to {number(high)}"
    return f"{count:,} image{'s' * (count != 1)} whose maximum {where}"


def _alike(statistics: UnitStatistics, width: int, size: int) -> str:
    """The most correlated units, as many as fit."""
    units = [f"{unit} ({value:+.2f})" for unit, value in statistics.alike]
    lines = [f"correlated: {', '.join(units[:count])}" for count in range(len(units), 0, -1)]
    return next((line for line in lines if text_width(line, size) <= width), lines[-1])


def _bars_height(size: int) -> int:
    return round(size * 2.4)


def _bars_area(room: Rect, size: int) -> Rect:
    return Rect(room.top + size // 2 + row_height(size), room.left, _bars_height(size), room.width)
