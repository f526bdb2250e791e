"""The status line: settings, speed, and the last message."""

from __future__ import annotations

from deepvis_caffe.image import Picture
from deepvis_caffe.text import text_width
from deepvis_caffe.viewer.panes.colors import (
    ACCENT,
    FAINT,
    GROUND,
    RAISED,
    SOFT,
    SOURCE,
    TEXT,
    TROUBLE,
    Color,
)
from deepvis_caffe.viewer.panes.draw import Rect, blank, fill, write_middle
from deepvis_caffe.viewer.panes.maps import boost_of
from deepvis_caffe.viewer.panes.pane import Pane
from deepvis_caffe.viewer.panes.view import View
from deepvis_caffe.viewer.panes.widgets import PAD
from deepvis_caffe.viewer.panes.words import method_name, unit_name
from deepvis_caffe.viewer.state.mouse import Hit

Piece = tuple[str, Color]


def draw(view: View, height: int, width: int) -> Picture:
    """Draw one line: settings on the left, input and speed on the right."""
    canvas = blank(height, width, GROUND)
    size = max(10, round(height * 0.48))
    row = Rect(0, PAD, height, max(1, width - 2 * PAD))
    dots = round(size * 0.55)
    right = row.right
    for words, color in reversed(right_pieces(view)):
        wide = text_width(words, size)
        if right - wide < row.left + row.width // 2:
            break
        write_middle(canvas, words, row._replace(left=right - wide), size, color, "left")
        right -= wide + size
    for color in _dots(view):
        fill(canvas, Rect((height - dots) // 2, right - dots, dots, dots), color, dots // 2)
        right -= dots + size
    badge, color = mode(view)
    wide = text_width(badge, size) + size
    fill(canvas, Rect(3, row.left, height - 6, wide), color, (height - 6) // 4)
    ink = TEXT if color == RAISED else GROUND
    write_middle(canvas, badge, Rect(0, row.left, height, wide), size, ink, bold=True)
    left = row.left + wide + size
    for words, color in left_pieces(view):
        if left >= right:
            break
        place = Rect(0, left, height, right - left)
        left += write_middle(canvas, words, place, size, color, "left") + size
    return canvas


def hit(view: View, height: int, width: int, y: int, x: int) -> Hit | None:
    """The full message as a tooltip, since it may be cut; at the right end, the help."""
    if x > width - 4 * height:
        return Hit("command", value="help", tip="all keys")
    return Hit("nothing", tip=view.status.message)


PANE = Pane("status", draw, hit)


def mode(view: View) -> Piece:
    """One word for what the grid shows."""
    state = view.state
    if state.correlation:
        return "correlation", ACCENT
    if state.drivers:
        return "drivers", ACCENT
    if state.optimized:
        return "optimized", ACCENT
    if state.weights:
        return "weights", ACCENT
    if state.back != "off":
        return ("back" if state.show_back else f"fwd + {method_name(state.back)}"), RAISED
    return "fwd", RAISED


def left_pieces(view: View) -> list[Piece]:
    """From the left: the selection, the backward pass, colors; then the message."""
    state, status = view.state, view.status
    pieces: list[Piece] = [(unit_name(view.scene, (state.layer, state.unit)), TEXT)]
    if state.back != "off":
        source = unit_name(view.scene, state.back_source)
        frozen = state.source is not None
        words = f"{method_name(state.back)} from {source}" if frozen or state.show_back else ""
        pieces += [(words, SOURCE if frozen else SOFT)] if words else []
    elif state.source is not None:
        pieces.append((f"backward will start from {unit_name(view.scene, state.source)}", SOURCE))
    boost = boost_of(state)
    if state.gamma:
        pieces.append((f"gamma {boost.gamma}", SOFT))
    if state.individual:
        pieces.append((f"own range {boost.individual:.0%}", SOFT))
    if boost.colormap != "gray":
        pieces.append((boost.colormap, SOFT))
    pictured = state.optimized or state.weights or state.correlation or state.drivers
    lost = 0 if pictured else view.not_finite
    if lost:
        pieces.append((f"{lost} values are not finite", TROUBLE))
    if status.message:
        pieces.append((status.message, TROUBLE if status.trouble else ACCENT))
    return pieces


def right_pieces(view: View) -> list[Piece]:
    """At the right end: the input, frame rate and timings."""
    state, status = view.state, view.status
    pieces: list[Piece] = []
    if status.source:
        pieces.append((status.source, SOFT))
    if state.frozen:
        pieces.append(("frozen", ACCENT))
    if status.visitors:
        pieces.append((f"{status.visitors} watching", SOFT))
    if status.rate_text:
        pieces.append((f"{status.rate_text} fps", SOFT))
    net = f"{status.net_ms} ms" + (" (first pass)" if status.first else "")
    if state.timing:
        pieces.append((f"net {net}, drawing {status.draw_ms} ms", SOFT))
        pieces.append((view.scene.engine, FAINT))
    else:
        pieces.append((net, SOFT))
    return [*pieces, ("h for help", FAINT)]


def _dots(view: View) -> list[Color]:
    """A red dot while recording a video, an amber one while waiting for the net."""
    status = view.status
    return [TROUBLE] * status.recording + [ACCENT] * status.busy
