"""Short, consistent text for units and values in all panes."""

from __future__ import annotations

import math
import re

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.model import labels
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.state.catalogue import Entry, unit_label
from deepvis_caffe.viewer.state.state import BACKS, Scene, UnitRef


def number(value: float) -> str:
    """Format a value in at most eight characters."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if not size:
        return "0"
    if not 1e-3 <= size < 1e5:
        return f"{value:.1e}"
    digits = 4 if size < 1 else 2 if size < 100 else 1
    return f"{value:.{digits}f}"


def short_label(scene: Scene, entry: Entry, unit: int) -> str:
    """The first label of a unit; empty if it has none, or one that is just its number."""
    label = unit_label(scene.labels, entry, unit) if 0 <= unit < entry.units else None
    short = labels.short_label(label)
    return "" if short == str(unit) else short


def unit_name(scene: Scene, ref: UnitRef) -> str:
    """Layer, unit and label: ``"prob 281 tabby"``."""
    entry = scene.entries[ref[0]]
    return f"{entry.name} {ref[1]} {short_label(scene, entry, ref[1])}".rstrip()


def method_name(back: str) -> str:
    """The display name of a backward mode or of another attribution method."""
    return back if back in BACKS else METHODS[back].title


def pending(view: View, what: str) -> str:
    """The note in place of something missing: the reason, or that it is being computed."""
    if view.failure:  # only its beginning; the tooltip of the status line has the full message
        why = re.split(r"[;.] |\n", view.failure)[0]
        return f"no {what}: {why}"
    if view.loading:
        return "loading the net ..."
    return f"computing {what} ..." if view.has_frame else "no picture yet"


def pending_back(view: View, to: str = "") -> str:
    """The note in place of a missing attribution map: the reason, or that it is being computed."""
    return view.why_no_back or pending(view, method_name(view.state.back) + to)


def extent(entry: Entry) -> str:
    """The number of units and the size of their maps: ``"64 maps of 55 × 55"``."""
    if entry.is_vector:
        return f"{entry.units} unit" + ("s" if entry.units != 1 else "")
    height, width = entry.map_size
    return f"{entry.units} map" + ("s" if entry.units != 1 else "") + f" of {width} × {height}"


def ordinal(rank: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{'th' if rank % 100 in (11, 12, 13) else ending}"
