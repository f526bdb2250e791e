"""The backward pass: what in the input made a unit answer."""

from __future__ import annotations

from collections.abc import Hashable

from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.colors import ACCENT, LINE, SOURCE, TEXT
from deepvis_caffe.viewer.panes.diff import diff_picture
from deepvis_caffe.viewer.panes.draw import Rect, paste
from deepvis_caffe.viewer.panes.pane import Hit, Pane
from deepvis_caffe.viewer.panes.widgets import Chip, draw_chip, flow, inside, letters, say, titled
from deepvis_caffe.viewer.panes.words import pending, short_label
from deepvis_caffe.viewer.state.state import BACK_VIEWS, BACKS
from deepvis_caffe.viewer.state.view import View

TIPS = {
    "off": "no backward pass",
    "gradient": "the gradient: what would change the unit",
    "deconv": "deconvolution (Zeiler and Fergus 2014): what the unit is made of",
    "guided": "guided backpropagation (Springenberg et al. 2015)",
    "raw": "in colours, about gray",
    "gray": "the mean over channels, about gray",
    "norm": "the length over channels",
    "blur": "the length over channels, blurred",
    "positive": "the sum over channels of what is above 0",
    "heat": "where it matters, over the input",
}


def reads(view: View) -> Hashable:
    """The pass, its source and its view; a result, or why none, only while there is a pass."""
    state = view.state
    on = state.back != "off"
    result = (view.result and view.result.number, view.frame is None, view.failure) if on else ()
    return view.scene, state.back, state.back_view, state.back_source, state.source, result


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the chips of the modes and views and, while there is a pass, its picture."""
    state, size = view.state, letters(width)
    on = state.back != "off"
    frozen = state.source is not None
    layer, unit = state.back_source
    entry = view.scene.entries[layer]
    # The unit comes first: in a narrow window the end is cut.
    source = f"unit {unit} of {entry.name} {short_label(view.scene, entry, unit)}".rstrip()
    canvas, _ = titled(
        height,
        width,
        size,
        "backward",
        f"from {source}" if on else "",
        "frozen" if on and frozen else "",
        SOURCE if on and frozen else TEXT,
    )
    chips, room = _chips(view, height, width)
    for kind, chip in chips:
        now = state.back if kind == "back" else state.back_view
        if chip.rect.bottom <= height:
            draw_chip(canvas, chip, size - 1, chip.name == now, LINE if now == "off" else ACCENT)
    if on and room is not None:
        picture = diff_picture(view)
        if picture is None:
            say(canvas, room, pending(view, state.back), size)
        else:
            paste(canvas, picture, room)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The mode or view under a pixel."""
    for kind, chip in _chips(view, height, width)[0]:
        if chip.rect.has(y, x):
            return Hit("back" if kind == "back" else "view", value=chip.name, tip=TIPS[chip.name])
    return None


PANE = Pane("back", reads, draw, hit)


def chips_height(width: int) -> int:
    """Rows that the pane takes while there is no pass: its title and its modes."""
    size = letters(width)
    room = inside(1000, width, size)
    return flow(BACKS, size - 1, room.top, room.left, room.width)[-1].rect.bottom + 8


def _chips(view: View, height: int, width: int) -> tuple[list[tuple[str, Chip]], Rect | None]:
    size = letters(width)
    room = inside(height, width, size)
    modes = flow(BACKS, size - 1, room.top, room.left, room.width)
    chips = [("back", chip) for chip in modes]
    if view.state.back != "off":
        below = modes[-1].rect.bottom + 6
        views = flow(BACK_VIEWS, size - 1, below, room.left, room.width)
        chips += [("view", chip) for chip in views]
    top = chips[-1][1].rect.bottom + 8
    rest = height - top - 8
    return chips, Rect(top, room.left, rest, room.width) if rest > 0 else None
