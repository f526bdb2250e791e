"""What a pass over a dataset says of the selected unit: how strongly it answers, and how often."""

from __future__ import annotations

import math

from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import FAINT, SOFT, TROUBLE, WELL
from deepvis_caffe.viewer.panes.draw import Rect, fill, write_middle
from deepvis_caffe.viewer.panes.words import number

LEAST_PART = 3.2  # the pane is at least so many times as high as this part of it


def spread_height(statistics: UnitStatistics | None, room: Rect, size: int) -> int:
    """Rows that the statistics take at the foot of a room; 0 where there are none, or no room."""
    if statistics is None:
        return 0
    height = _bars_height(size) + _line(size) * (3 if statistics.alike else 2) + size // 2
    return height if room.height > LEAST_PART * height else 0


def draw_spread(canvas: Picture, statistics: UnitStatistics, room: Rect, size: int) -> None:
    """Draw a histogram of the images by their strongest activation, and some numbers."""
    line, small = _line(size), size - 1
    top = room.top + size // 2
    row = Rect(top, room.left, line, room.width)
    write_middle(canvas, f"over {statistics.images:,} images", row, small, SOFT, "left")
    often = "dead" if statistics.dead else f"active in {statistics.active:.0%}"
    write_middle(canvas, often, row, small, TROUBLE if statistics.dead else SOFT, "right")
    area = _area(room, size)
    fill(canvas, area, WELL)
    counts = statistics.bars.counts
    most = max(counts, default=0)
    for place, count in enumerate(counts):
        left, right = (area.width * k // len(counts) for k in (place, place + 1))
        # A single image is seen beside thousands.
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


def spread_tip(statistics: UnitStatistics, room: Rect, size: int, y: int, x: int) -> str:
    """What a bar of the histogram says, empty beside them."""
    area, bars = _area(room, size), statistics.bars
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
    """The units that it goes with, as many as have room."""
    units = [f"{unit} ({value:+.2f})" for unit, value in statistics.alike]
    lines = [f"goes with {', '.join(units[:count])}" for count in range(len(units), 0, -1)]
    return next((line for line in lines if text_width(line, size) <= width), lines[-1])


def _line(size: int) -> int:
    return round(size * 1.5)


def _bars_height(size: int) -> int:
    return round(size * 2.4)


def _area(room: Rect, size: int) -> Rect:
    return Rect(room.top + size // 2 + _line(size), room.left, _bars_height(size), room.width)
