"""What drives the selected unit, shown in place of the grid: the units that raise and lower it.

They are units of the stage below or of the nearest layers; a chip and a key switch between these.
Each has its map of gradient times activation, orange where it raises the unit and blue where it
lowers it, its optimized image, and its top images. A click goes down to it. The trail of units
visited on the way down is shown above.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deepvis_caffe.attribution.driver_results import Driver
from deepvis_caffe.attribution.drivers import Reach
from deepvis_caffe.attribution.pictures import summed
from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import (
    EMPTY,
    FAINT,
    NEGATIVE,
    POSITIVE,
    RAISED,
    SOFT,
    TEXT,
    WELL,
)
from deepvis_caffe.viewer.panes.draw import Rect, fill, fitted, put, thumb, write_middle
from deepvis_caffe.viewer.panes.maps import boost_alone, color_maps
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import chip_height, row_height, write_note
from deepvis_caffe.viewer.panes.words import number, pending, short_label, unit_name
from deepvis_caffe.viewer.state.mouse import Hit
from deepvis_caffe.viewer.state.state import UnitRef

GAP = 6  # pixels between parts
LEAST, MOST = 40, 150  # pixels; the height of a card
FINEST = 16  # largest side of a displayed map, in positions
BAR = 8  # pixels; the height of a bar and of the space above it
SMALLEST = 18  # pixels; the least height of a row of top images
NARROW = 250  # pixels; a narrower column has no room for optimized images beside the maps

HINT = "click a unit to go down to it, or press enter for the first; backspace goes back up"
PLACES: dict[Reach, str] = {"stage": "the stage below", "nearest": "the nearest layers"}


class Card(NamedTuple):
    """One driver: the rectangles of its map, its text, and its pictures if there is room."""

    driver: Driver
    ref: UnitRef | None
    whole: Rect
    map: Rect
    optimized: Rect | None
    words: Rect
    top: Rect | None


class Step(NamedTuple):
    """A unit of the trail: how many steps up it is, its name, and its rectangle."""

    ago: int
    name: str
    rect: Rect


def title(view: View) -> tuple[str, str, str]:
    """The pane's title."""
    state, found = view.state, view.drivers
    entry = view.scene.entries[state.layer]
    name = f"{entry.name} {state.unit}"
    label = short_label(view.scene, entry, state.unit)
    known = found is not None and (found.raising or found.lowering)
    what = f"what drives it in {PLACES[state.reach]}"
    return (
        name,
        f"{label}   {what}" if label else what,
        ("shares of its response" if known else ""),
    )


def draw(view: View, canvas: Picture, room: Rect, size: int) -> None:
    """Fill a rectangle with the drivers, or with a note why there are none."""
    top, rest = _split(room, size)
    _draw_way(view, canvas, top, size)
    found = view.drivers
    if found is None:
        write_note(canvas, rest, pending(view, "what drives it"), size)
        return
    if found.why_not or not (found.raising or found.lowering):
        why = found.why_not or "nothing drives it here: it is off everywhere in this picture"
        write_note(canvas, rest, why, size)
        return
    for raises, group in zip((True, False), _groups(rest), strict=True):
        some = found.raising if raises else found.lowering
        head = group._replace(height=row_height(size))
        words = ("raise it" if raises else "lower it") if some else ""
        words = words or ("nothing raises it" if raises else "nothing lowers it")
        write_middle(canvas, words, head, size, TEXT if some else FAINT, "left", bold=bool(some))
        if some:
            total = found.raised if raises else found.lowered
            write_middle(canvas, f"all {share(total)}", head, size - 1, SOFT, "right")
        for card in _cards(view, group, size, raises):
            _draw_card(view, canvas, card, size)


def hit(view: View, room: Rect, size: int, y: int, x: int) -> Hit | None:
    """The driver, unit of the trail or chip at a pixel."""
    top, rest = _split(room, size)
    line, chip = _with_chip(view, top, size)
    if chip.has(y, x):
        return Hit("command", value="reach", tip=f"{_offer(view)} (-)")
    for step in _steps(view, line, size):
        if step.rect.has(y, x):
            return Hit("step", step.ago, tip=f"back up to {step.name}")
    for raises, group in zip((True, False), _groups(rest), strict=True):
        for card in _cards(view, group, size, raises):
            if not card.whole.has(y, x):
                continue
            tip = _tip(view, card)
            if card.ref is None:
                return Hit("nothing", tip=tip)
            return Hit("driver", card.ref[1], view.scene.entries[card.ref[0]].name, tip)
    return None


def share(value: float) -> str:
    """Format a share of the response, with its sign: ``+12%``, ``−3.4%``."""
    size = abs(value)
    digits = f"{size:.0%}" if size >= 0.0995 else f"{size:.1%}" if size >= 0.0005 else "0%"
    return digits if digits == "0%" else ("−" if value < 0 else "+") + digits


def _split(room: Rect, size: int) -> tuple[Rect, Rect]:
    """Split off the line of the trail."""
    high = chip_height(size - 1)
    top = room.top + high + GAP
    return room._replace(height=high), room._replace(top=top, height=max(1, room.bottom - top))


def _steps(view: View, line: Rect, size: int) -> list[Step]:
    """The end of the trail, as many units as fit into the line."""
    trail = view.state.trail
    found: list[Step] = []
    names = [unit_name(view.scene, ref) for ref in trail]
    widths = [text_width(name, size - 1) + size for name in names]
    fits, taken = 0, 0
    while fits < len(trail) and taken + widths[-1 - fits] + 2 * size <= line.width:
        fits += 1
        taken += widths[-fits] + 2 * size
    left = line.left
    for ago in range(fits, 0, -1):
        found.append(Step(ago, names[-ago], line._replace(left=left, width=widths[-ago])))
        left += widths[-ago] + 2 * size
    return found


def _with_chip(view: View, line: Rect, size: int) -> tuple[Rect, Rect]:
    """Split the line into the trail and the chip at its right end, 0 wide if it doesn't fit."""
    wide = text_width(_offer(view), size - 1) + size
    wide = wide if wide <= line.width // 2 else 0
    chip = line._replace(left=line.right - wide, width=wide)
    return line._replace(width=max(1, line.width - wide - GAP)), chip


def _offer(view: View) -> str:
    return f"show {PLACES['nearest' if view.state.reach == 'stage' else 'stage']}"


def _draw_way(view: View, canvas: Picture, line: Rect, size: int) -> None:
    line, chip = _with_chip(view, line, size)
    if chip.width:
        fill(canvas, chip, RAISED, chip.height // 4)
        write_middle(canvas, _offer(view), chip, size - 1, SOFT)
    steps = _steps(view, line, size)
    for step in steps:
        fill(canvas, step.rect, RAISED, step.rect.height // 4)
        write_middle(canvas, step.name, step.rect, size - 1, SOFT)
        arrow = line._replace(left=step.rect.right, width=2 * size)
        write_middle(canvas, "›", arrow, size, FAINT)
    if not steps:
        write_middle(canvas, HINT, line, size - 1, FAINT, "left")


def _groups(room: Rect) -> tuple[Rect, Rect]:
    """The rectangles of both groups, side by side."""
    half = max(1, (room.width - 3 * GAP) // 2)
    return room._replace(width=half), room._replace(left=room.right - half, width=half)


def _cards(view: View, group: Rect, size: int, raises: bool) -> list[Card]:
    """The cards of one group, stacked, as many as fit."""
    found = view.drivers
    if found is None:
        return []
    some = found.raising if raises else found.lowering
    top = group.top + row_height(size) + GAP // 2
    room = max(1, group.bottom - top)
    most = max(len(found.raising), len(found.lowering), 1)
    high = max(LEAST, min(MOST, group.width // 3, (room + GAP) // most - GAP))
    known, line = view.driver_pictures, row_height(size)
    optimized = known.has_optimized and group.width >= NARROW
    beside = 2 * line + BAR + GAP  # height of the text above a row of top images
    top_images = known.has_top and high >= beside + SMALLEST
    cards = []
    for place, (driver, ref) in enumerate(some):
        whole = Rect(top + place * (high + GAP), group.left, high, group.width)
        if whole.bottom > group.bottom:
            break
        square = Rect(whole.top, whole.left, high, high)
        second = square._replace(left=square.right + GAP // 2) if optimized else None
        left = (second or square).right + GAP + 2
        words = Rect(whole.top, left, high, max(1, whole.right - left))
        row = None
        if top_images:
            row = words._replace(top=words.top + beside, height=high - beside)
            words = words._replace(height=2 * line + BAR)
        cards.append(Card(driver, ref, whole, square, second, words, row))
    return cards


def _draw_card(view: View, canvas: Picture, card: Card, size: int) -> None:
    _draw_map(view, canvas, card, size)
    known = view.driver_pictures
    if card.optimized is not None:
        fill(canvas, card.optimized, EMPTY)
    for pictures, rect in ((known.optimized, card.optimized), (known.top, card.top)):
        picture = pictures.get(card.ref) if card.ref is not None else None
        if picture is not None and rect is not None:
            _put_small(canvas, picture, rect, left=rect is card.top)
    driver, line = card.driver, row_height(size)
    color = POSITIVE if driver.contribution > 0 else NEGATIVE
    rows = min(3, max(1, (card.words.height - BAR) // line))
    top = card.words.top + max(0, (card.words.height - rows * line - BAR) // 2)
    row = Rect(top, card.words.left, line, card.words.width)
    value = share(driver.share)
    label = _label(view, card)
    if rows == 1:
        kept = write_middle(canvas, value, row, size, color, "right", bold=True) + GAP
        name = row._replace(width=max(1, row.width - kept))
        write_middle(canvas, f"{driver.layer} {driver.unit}", name, size, TEXT, "left")
    elif rows == 2:
        kept = write_middle(canvas, value, row, size, color, "left", bold=True) + GAP
        rest = row._replace(left=row.left + kept, width=max(1, row.width - kept))
        write_middle(canvas, label, rest, size - 1, SOFT, "right")
        below = row._replace(top=row.top + line)
        write_middle(canvas, f"{driver.layer} {driver.unit}", below, size - 1, TEXT, "left")
    else:
        write_middle(canvas, value, row, size, color, "left", bold=True)
        below = row._replace(top=row.top + line)
        write_middle(canvas, driver.layer, below, size - 1, TEXT, "left")
        last = below._replace(top=below.top + line)
        numbered = f"unit {driver.unit}  {label}".rstrip()
        write_middle(canvas, numbered, last, size - 1, SOFT, "left")
    track = Rect(top + rows * line + 3, card.words.left, 4, card.words.width)
    fill(canvas, track, RAISED)
    long = round(track.width * min(1.0, abs(driver.contribution) / _largest(view)))
    fill(canvas, track._replace(width=max(1, long)), color)


def _put_small(canvas: Picture, picture: Picture, rect: Rect, left: bool = False) -> None:
    """Put a picture into a rectangle, centered or at its left edge."""
    small = thumb(picture, rect.height, rect.width)
    place = fitted(small.shape[0], small.shape[1], rect)
    put(canvas, small, place.top, rect.left if left else place.left)


def _draw_map(view: View, canvas: Picture, card: Card, size: int) -> None:
    """Draw the map in signed colors; for a single number, write the activation."""
    shown = summed(card.driver.image_map, FINEST)
    if shown.size == 1:
        fill(canvas, card.map, WELL)
        words = number(float(card.driver.activation.reshape(-1)[0]))
        write_middle(canvas, words, card.map, size - 1, SOFT)
        return
    fill(canvas, card.map, WELL)
    place = fitted(shown.shape[0], shown.shape[1], card.map)
    boost = boost_alone(view.state, signed=True)
    colors = color_maps(np.asarray(shown[np.newaxis]), place.height, place.width, boost)
    put(canvas, colors, place.top, place.left)


def _largest(view: View) -> float:
    """The largest contribution of either sign, which gets the longest bar."""
    found = view.drivers
    firsts = [*found.raising[:1], *found.lowering[:1]] if found else []
    return max((abs(one.contribution) for one, _ in firsts), default=0.0) or 1.0


def _label(view: View, card: Card) -> str:
    if card.ref is None:
        return ""
    return short_label(view.scene, view.scene.entries[card.ref[0]], card.ref[1])


def _tip(view: View, card: Card) -> str:
    driver = card.driver
    top = float(driver.activation.max())
    words = [
        f"{driver.layer} {driver.unit}",
        _label(view, card),
        f"{share(driver.share)} of the response",
        f"activation {number(top)}" if driver.activation.size == 1 else f"max {number(top)}",
    ]
    return "   ".join(word for word in words if word)
