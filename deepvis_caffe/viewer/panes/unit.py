"""The selected unit's pictures: optimized images, top images and statistics over a dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import ACCENT, FAINT, RAISED, SOFT, TROUBLE, WELL
from deepvis_caffe.viewer.panes.draw import Rect, fill, fitted, paste, put, thumb, write_middle
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import inside, letters, row_height, titled, write_note
from deepvis_caffe.viewer.panes.words import number, short_label
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.units import UnitPictures

GAP = 3  # pixels between pictures
SHORT = {
    "made": "optimized",
    "top": "strongest images",
    "deconv": "their deconv",
}  # where there is little room
LEAST_PART = 3.2  # statistics are shown if the pane is at least this many times as high


class Section(NamedTuple):
    """A part of the pane: optimized images, top images, or their deconv."""

    title: str
    name: str
    rect: Rect


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the unit's pictures, or why there are none."""
    size, unit = letters(width), view.unit
    entry = view.scene.entries[view.state.layer]
    label = short_label(view.scene, entry, view.state.unit)
    more = f"{entry.name} {view.state.unit} {label}".rstrip()
    canvas, whole = titled(height, width, size, "what excites it", more)
    room, foot = _split(unit, whole, size)
    if unit.statistics is not None and foot.height:
        _draw_statistics(canvas, unit.statistics, foot, size)
    sections = _sections(unit, room, size)
    for section in sections:
        head = round(size * 1.6)
        line = section.rect._replace(height=head)
        fits = text_width(section.title, size - 1) <= line.width
        title = section.title if fits else SHORT.get(section.name, section.title)
        write_middle(canvas, title, line, size - 1, SOFT, "left")
        area = _area(section, size)
        if section.name == "made":
            _draw_made(canvas, unit, area)
        else:
            picture = unit.top if section.name == "top" else unit.deconv
            assert picture is not None
            paste(canvas, picture, _placed(picture.shape[0], picture.shape[1], area))
    if not sections:
        write_note(canvas, room, unit.note or "no pictures of this unit yet", size)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """Which of the top images, or which section."""
    size, unit = letters(width), view.unit
    room, foot = _split(unit, inside(height, width, size), size)
    if unit.statistics is not None and foot.has(y, x):
        tip = _statistics_tip(unit.statistics, foot, size, y, x)
        return Hit("nothing", tip=tip) if tip else None
    for section in _sections(unit, room, size):
        if section.name == "made" or not section.rect.has(y, x):
            continue
        picture = unit.top if section.name == "top" else unit.deconv
        assert picture is not None
        place = _placed(picture.shape[0], picture.shape[1], _area(section, size))
        if place.has(y, x):
            return _top_hit(unit, picture, place, y, x)
    return None


PANE = Pane("unit", draw, hit)


def _top_hit(unit: UnitPictures, picture: Picture, place: Rect, y: int, x: int) -> Hit | None:
    """The image at a pixel of a montage; by its record, if there is one, cells may be empty."""
    columns = unit.columns
    # Cells of a montage are square only where the unit sees a square.
    rows = columns if unit.found else max(1, round(columns * picture.shape[0] / picture.shape[1]))
    row = (y - place.top) * rows // place.height
    index = row * columns + (x - place.left) * columns // place.width
    if not unit.found:
        return Hit("top", index, tip=f"top image {index + 1}")
    if index >= len(unit.found):
        return None
    image = unit.found[index]
    words = [f"{index + 1}: {image.name}", (image.class_name or "").split(",")[0]]
    return Hit("top", index, tip="   ".join([*filter(None, words), number(image.value)]))


def _split(unit: UnitPictures, room: Rect, size: int) -> tuple[Rect, Rect]:
    """The rectangles of the pictures, and of the statistics below them."""
    low = _statistics_height(unit.statistics, room, size)
    return (
        room._replace(height=room.height - low),
        room._replace(top=room.bottom - low, height=low),
    )


def _sections(unit: UnitPictures, room: Rect, size: int) -> list[Section]:
    """Share the room among what there is, stacked or side by side, whichever is larger."""
    named: list[tuple[str, str]] = []
    if unit.optimized or unit.working is not None:
        # The note is about finished images; one in progress has its own title.
        step = (
            f"optimizing {unit.progress:.0%}"
            if unit.working is not None
            else unit.note or _optimized_by(unit)
        )
        named.append((step, "made"))
    if unit.top is not None:
        named.append(("the images that excite it most", "top"))
    if unit.deconv is not None:
        named.append(("what in them does (deconv)", "deconv"))
    count = len(named)
    if not count:
        return []
    head = round(size * 1.6)
    stacked = min(room.width, (room.height - GAP * (count - 1)) // count - head)
    beside = min((room.width - 8 * (count - 1)) // count, room.height - head)
    sections = []
    for place, (title, name) in enumerate(named):
        if stacked >= beside:
            high = min(room.height // count, room.width + head + 4)
            rect = Rect(room.top + place * high, room.left, high, room.width)
        else:
            wide = room.width // count
            rect = Rect(room.top, room.left + place * wide, room.height, wide - 8 * (count > 1))
        sections.append(Section(title, name, rect))
    return sections


def _optimized_by(unit: UnitPictures) -> str:
    """What the optimized images are; with their recipe where there are others."""
    return f"optimized by {unit.recipe}" if len(unit.recipes) > 1 else "optimized"


def _area(section: Section, size: int) -> Rect:
    head = round(size * 1.6)
    rect = section.rect
    return Rect(rect.top + head, rect.left, max(1, rect.height - head - GAP), rect.width)


def _placed(height: int, width: int, area: Rect) -> Rect:
    """Right below its heading."""
    return fitted(height, width, area)._replace(top=area.top)


def _draw_made(canvas: Picture, unit: UnitPictures, area: Rect) -> None:
    """Draw optimized images in a square of cells, the one in progress last."""
    pictures: Sequence[Picture] = [*unit.optimized[:9]]
    if unit.working is not None:
        pictures = [*unit.optimized[:8], unit.working]
    side = math.isqrt(len(pictures) - 1) + 1
    rows = math.ceil(len(pictures) / side)
    cell = min((area.width - (side - 1) * GAP) // side, (area.height - (rows - 1) * GAP) // rows)
    cell = max(1, cell)
    left = area.left + (area.width - side * cell - (side - 1) * GAP) // 2
    for place, picture in enumerate(pictures):
        row, column = divmod(place, side)
        rect = Rect(area.top + row * (cell + GAP), left + column * (cell + GAP), cell, cell)
        if picture is unit.working:
            paste(canvas, picture, rect)
            bar = Rect(rect.bottom - 4, rect.left, 4, rect.width)
            fill(canvas, bar, RAISED)
            fill(canvas, bar._replace(width=round(rect.width * min(1, unit.progress))), ACCENT)
        else:
            small = thumb(picture, cell, cell)
            dy, dx = (cell - small.shape[0]) // 2, (cell - small.shape[1]) // 2
            put(canvas, small, rect.top + dy, rect.left + dx)


def _statistics_height(statistics: UnitStatistics | None, room: Rect, size: int) -> int:
    """Height of the statistics below the pictures; 0 if there are none, or no room for them."""
    if statistics is None:
        return 0
    height = _bars_height(size) + row_height(size) * (3 if statistics.alike else 2) + size // 2
    return height if room.height > LEAST_PART * height else 0


def _draw_statistics(canvas: Picture, statistics: UnitStatistics, room: Rect, size: int) -> None:
    """Draw a histogram of the unit's highest activation in each image, and numbers below it."""
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
        # A single image stays visible beside thousands.
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
    """The tip of a bar of the histogram; empty beside the bars."""
    area, bars = _bars_area(room, size), statistics.bars
    if not bars.counts or not area.has(y, x):
        return ""
    # The bar that is drawn there: the last that begins at this pixel or before.
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
    return f"{count:,} image{'s' * (count != 1)} whose strongest {where}"


def _alike(statistics: UnitStatistics, width: int, size: int) -> str:
    """The closest units by correlation, as many as have room."""
    units = [f"{unit} ({value:+.2f})" for unit, value in statistics.alike]
    lines = [f"correlated: {', '.join(units[:count])}" for count in range(len(units), 0, -1)]
    return next((line for line in lines if text_width(line, size) <= width), lines[-1])


def _bars_height(size: int) -> int:
    return round(size * 2.4)


def _bars_area(room: Rect, size: int) -> Rect:
    return Rect(room.top + size // 2 + row_height(size), room.left, _bars_height(size), room.width)
