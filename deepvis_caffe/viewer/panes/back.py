"""Attribution: the saliency map of a unit, by a backward mode or another method."""

from __future__ import annotations

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.image import Picture
from deepvis_caffe.viewer.panes.colors import ACCENT, LINE, SOURCE, TEXT
from deepvis_caffe.viewer.panes.draw import Rect, paste
from deepvis_caffe.viewer.panes.maps import attribution_picture
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import (
    Chip,
    draw_chip,
    flow,
    inside,
    letters,
    titled,
    write_note,
)
from deepvis_caffe.viewer.panes.words import method_name, pending_back, short_label
from deepvis_caffe.viewer.state.mouse import WHOLE, Hit
from deepvis_caffe.viewer.state.state import BACKS, DIFF_STYLES

TIPS = {
    "off": "no backward pass",
    "gradient": "gradient of the unit with respect to the input",
    "deconv": "deconvnet projection of the unit (Zeiler and Fergus 2014)",
    "guided": "guided backpropagation (Springenberg et al. 2015)",
    "raw": "in color, 0 is gray",
    "gray": "mean over channels, 0 is gray",
    "norm": "norm over channels",
    "blur": "norm over channels, blurred",
    "positive": "sum of positive values over channels",
    "signed": "sum over channels, red above 0 and blue below",
    "heat": "a heat map over the input",
}
MORE = "more"  # the chip for all other methods
LABELS = {"positive": "pos", "signed": "±"}  # captions of chips that differ from the value


def draw(view: View, height: int, width: int) -> Picture:
    """Draw the chips of modes and styles and, unless the mode is off, the saliency map."""
    state, size = view.state, letters(width)
    on = state.back != "off"
    frozen = state.source is not None
    layer, unit = state.back_source
    entry = view.scene.entries[layer]
    # The unit comes first, because narrow windows cut the end.
    source = f"unit {unit} of {entry.name} {short_label(view.scene, entry, unit)}".rstrip()
    canvas, _ = titled(
        height,
        width,
        size,
        "backward" if state.back in BACKS else method_name(state.back),
        f"from {source}" if on else "",
        "frozen" if on and frozen else "",
        SOURCE if on and frozen else TEXT,
    )
    chips, room = _chips(view, height, width)
    for kind, value, chip in chips:
        mode = state.back if state.back in BACKS else MORE
        now = state.diff_style if kind == "style" else mode
        if chip.rect.bottom <= height:
            draw_chip(canvas, chip, size - 1, value == now, LINE if now == "off" else ACCENT)
    if on and room is not None:
        picture = attribution_picture(view)
        if picture is None:
            write_note(canvas, room, pending_back(view), size)
        else:
            paste(canvas, picture, room)
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The mode, method or style at a pixel; or the picture."""
    chips, room = _chips(view, height, width)
    if view.state.back != "off" and room is not None and room.has(y, x):
        return Hit("picture", WHOLE, "back")
    for kind, value, chip in chips:
        if not chip.rect.has(y, x):
            continue
        if value == MORE:
            others = ", ".join(METHODS[name].title for name in view.scene.methods)
            tip = "   ".join(filter(None, (f"next of: {others}", view.scene.left_out)))
            return Hit("command", value="method", tip=tip)
        return Hit("back" if kind == "back" else "style", value=value, tip=TIPS[value])
    return None


PANE = Pane("back", draw, hit)


def chips_height(width: int, styles: bool) -> int:
    """The pane's height without its picture: its title, the modes, and the styles if asked for."""
    return _rows(width, styles)[-1][2].rect.bottom + 8


def _rows(width: int, with_styles: bool) -> list[tuple[str, str, Chip]]:
    size = letters(width)
    room = inside(1000, width, size)
    modes = flow((*BACKS, MORE), size - 1, room.top, room.left, room.width)
    chips = [("back", chip.name, chip) for chip in modes]
    if with_styles:
        below = modes[-1].rect.bottom + 6
        labels = [LABELS.get(name, name) for name in DIFF_STYLES]
        styles = flow(labels, size - 1, below, room.left, room.width)
        chips += [("style", *one) for one in zip(DIFF_STYLES, styles, strict=True)]
    return chips


def _chips(view: View, height: int, width: int) -> tuple[list[tuple[str, str, Chip]], Rect | None]:
    """The chips, each with its kind and value, and the area below them."""
    room = inside(height, width, letters(width))
    chips = _rows(width, view.state.back != "off")
    top = chips[-1][2].rect.bottom + 8
    rest = height - top - 8
    return chips, Rect(top, room.left, rest, room.width) if rest > 0 else None
