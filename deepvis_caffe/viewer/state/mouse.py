"""The table of mouse actions, each with its help text and state change.

A click acts on the `Hit` under the mouse, depending on its kind; the wheel acts on a pane. Anything
not in the table is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from deepvis_caffe.viewer.state.actions import (
    BY_NAME,
    HelpGroup,
    climb,
    follow,
    select_layer,
    select_unit,
    set_back,
    walk,
    zoom_to,
)
from deepvis_caffe.viewer.state.search import choose
from deepvis_caffe.viewer.state.state import BACKS, Scene, State, Zoom, grid_shape

MouseKind = Literal["move", "click", "wheel", "leave"]

TITLE = "Mouse"
WHOLE = -1  # the index of a picture that is not one of several


HitKind = Literal[
    "layer",
    "unit",
    "pair",
    "picture",
    "zoomed",
    "class",
    "driver",
    "step",
    "back",
    "style",
    "top",
    "match",
    "command",
    "nothing",
]


@dataclass(frozen=True)
class Hit:
    """The result of a hit test: what lies at a pixel of a pane.

    Attributes
    ----------
    kind
        ``"layer"``, ``"unit"``: the layer or unit numbered `index`.
        ``"class"``: unit `index` of the layer named `value`.
        ``"driver"``: unit `index` of the layer named `value`, which drives the selected unit.
        ``"step"``: the unit `index` steps up the trail.
        ``"pair"``: the units `index` and `value` of the layer.
        ``"picture"``: picture `index` of the kind that `State.zoom` calls `value`.
        ``"zoomed"``: the enlarged picture.
        ``"back"``, ``"style"``: the backward mode or style named `value`.
        ``"command"``: the action named `value`.
        ``"match"``: search result `index`; -1 is beside the results.
        ``"top"``: the chip that makes top image `index` the input.
        ``"nothing"``: has a tip only.
    index, value
        See `kind`.
    tip
        The tooltip: unit, label and activation; may be empty.
    """

    kind: HitKind
    index: int = 0
    value: str = ""
    tip: str = ""


@dataclass(frozen=True)
class MouseAction:
    """One action of the mouse.

    Attributes
    ----------
    kind
        ``"click"``, ``"wheel"``, or ``"move"``, which only shows tooltips.
    on
        The kind of `Hit` that is clicked, or the pane under the wheel.
    help
        Help text: the target, and the effect.
    change
        ``(state, scene, hit) -> state`` for a click, ``(state, scene, steps, first row) -> state``
        for the wheel; None for a move.
    """

    kind: MouseKind
    on: str
    help: str
    change: Callable[..., State] | None = None


def click(state: State, scene: Scene, hit: Hit | None) -> State:
    """Apply a click on a hit."""
    return _do("click", hit.kind, state, scene, hit) if hit is not None else state


def wheel(state: State, scene: Scene, pane: str, steps: int, first_row: int = 0) -> State:
    """Turn the wheel over a pane by `steps` notches; positive is down.

    Parameters
    ----------
    first_row
        The first visible row in the list of layers.
    """
    return _do("wheel", pane, state, scene, steps, first_row)


def mouse_help() -> HelpGroup:
    """The mouse section of the help: its title, and lines of (gesture, help text)."""
    words = {"click": "click", "wheel": "wheel", "move": "point"}
    return TITLE, [(words[action.kind], action.help) for action in MOUSE_ACTIONS]


def _do(kind: MouseKind, on: str, state: State, scene: Scene, *what: Any) -> State:
    action = _BY_TARGET.get((kind, on))
    return action.change(state, scene, *what) if action is not None and action.change else state


def _click_layer(state: State, scene: Scene, hit: Hit) -> State:
    return replace(select_layer(state, scene, hit.index), cursor="layers")


def _click_unit(state: State, scene: Scene, hit: Hit) -> State:
    again = state.cursor == "units" and hit.index == state.unit
    chosen = replace(select_unit(state, scene, hit.index), cursor="units")
    return zoom_to(chosen, "unit") if again else chosen


def _click_picture(state: State, scene: Scene, hit: Hit) -> State:
    return zoom_to(state, next(zoom for zoom in get_args(Zoom) if zoom == hit.value), hit.index)


def _click_zoomed(state: State, scene: Scene, hit: Hit) -> State:
    return zoom_to(state, "off")


def _click_pair(state: State, scene: Scene, hit: Hit) -> State:
    """Select the unit of the row, or that of the column if the row is selected already."""
    unit = hit.index if hit.index != state.unit else int(hit.value)
    return replace(select_unit(state, scene, unit), cursor="units")


def _click_class(state: State, scene: Scene, hit: Hit) -> State:
    """Select the class, by its logit if the blob holds a Softmax's probabilities.

    What raises a logit is evidence for the class. The gradient of a probability is near 0 if the
    net is confident, and otherwise dominated by competing classes.
    """
    places = {one.name: at for at, one in enumerate(scene.entries)}
    layer = places[hit.value]
    layer = places.get(scene.entries[layer].scores, layer)
    chosen = select_layer(state, scene, layer)
    return replace(select_unit(chosen, scene, hit.index), cursor="units")


def _click_driver(state: State, scene: Scene, hit: Hit) -> State:
    layer = next(at for at, one in enumerate(scene.entries) if one.name == hit.value)
    return follow(state, scene, (layer, hit.index))


def _click_step(state: State, scene: Scene, hit: Hit) -> State:
    return climb(state, scene, hit.index)


def _click_back(state: State, scene: Scene, hit: Hit) -> State:
    return set_back(state, next(back for back in BACKS if back == hit.value))


def _click_style(state: State, scene: Scene, hit: Hit) -> State:
    back = "gradient" if state.back == "off" else state.back
    return replace(state, diff_style=hit.value, back=back)


def _click_top(state: State, scene: Scene, hit: Hit) -> State:
    """Close the enlarged picture; the session makes the image the input."""
    return replace(zoom_to(state, "off"), cursor="units")


def _click_match(state: State, scene: Scene, hit: Hit) -> State:
    return choose(state, scene, hit.index)


def _click_command(state: State, scene: Scene, hit: Hit) -> State:
    change = BY_NAME[hit.value].change
    return change(state, scene) if change else state


def _turn_layers(state: State, scene: Scene, steps: int, first_row: int) -> State:
    return replace(state, scroll=max(0, first_row + steps))


def _turn_grid(state: State, scene: Scene, steps: int, first_row: int) -> State:
    if state.shows_correlation:
        return replace(walk(state, scene, steps), cursor="units")
    _, columns = grid_shape(scene.entries[state.layer], state.aspect)
    return replace(select_unit(state, scene, state.unit + steps * columns), cursor="units")


MOUSE_ACTIONS = (
    MouseAction("click", "layer", "a layer: select it", _click_layer),
    MouseAction("click", "unit", "a unit: select it; again: enlarge it", _click_unit),
    MouseAction("click", "picture", "a picture: enlarge it", _click_picture),
    MouseAction("click", "zoomed", "an enlarged picture: back", _click_zoomed),
    MouseAction("click", "pair", "a pair of units: select its row; again: its column", _click_pair),
    MouseAction("click", "class", "a class: select its logit", _click_class),
    MouseAction("click", "driver", "a unit that drives this one: go down to it", _click_driver),
    MouseAction("click", "step", "a unit of the trail: go back up to it", _click_step),
    MouseAction("click", "back", "a backward mode: set it", _click_back),
    MouseAction("click", "style", "a backward style: set it", _click_style),
    MouseAction("click", "top", "below a top image: make it the input", _click_top),
    MouseAction("click", "match", "a search result: select it", _click_match),
    MouseAction("click", "command", "h for help: open or close this list", _click_command),
    MouseAction("wheel", "layers", "over the layers: scroll them", _turn_layers),
    MouseAction("wheel", "grid", "over the units: next row, previous row", _turn_grid),
    MouseAction("move", "", "at anything: show its name and value"),
)

_BY_TARGET = {(action.kind, action.on): action for action in MOUSE_ACTIONS}
