"""What the mouse does: one table of its deeds, each with its help and what it makes of the state.

``(state, scene, what it was done to) -> state``. A click is done to what lies under the mouse, a
`Hit` of some kind; the wheel turns over a pane. What has no row here does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from deepvis_caffe.viewer.panes.help import Group
from deepvis_caffe.viewer.panes.pane import Hit
from deepvis_caffe.viewer.state.actions import BY_NAME, select_layer, select_unit, set_back, walk
from deepvis_caffe.viewer.state.state import BACKS, Scene, State, grid_shape

MouseKind = Literal["move", "click", "wheel", "leave"]

TITLE = "Mouse"


@dataclass(frozen=True)
class Deed:
    """One thing that the mouse does.

    Attributes
    ----------
    kind
        ``"click"``, ``"wheel"``, or ``"move"``, which only points.
    on
        A click's kind of `Hit`, the wheel's pane.
    help
        What the help says it is done to, and what it does.
    change
        ``(state, scene, hit) -> state`` of a click, ``(state, scene, steps, first row) -> state``
        of the wheel; None for pointing.
    """

    kind: MouseKind
    on: str
    help: str
    change: Callable[..., State] | None = None


def click(state: State, scene: Scene, hit: Hit | None) -> State:
    """Do what a click does to what was hit."""
    return _do("click", hit.kind, state, scene, hit) if hit is not None else state


def wheel(state: State, scene: Scene, pane: str, steps: int, first_row: int = 0) -> State:
    """Turn the wheel over a pane by `steps` notches, downward where positive.

    Parameters
    ----------
    first_row
        Which row is on top in the list of layers now.
    """
    return _do("wheel", pane, state, scene, steps, first_row)


def mouse_help() -> Group:
    """What the help says of the mouse: its title, and lines of (gesture, what it does)."""
    words = {"click": "click", "wheel": "wheel", "move": "point"}
    return TITLE, [(words[deed.kind], deed.help) for deed in DEEDS]


def _do(kind: MouseKind, on: str, state: State, scene: Scene, *what: Any) -> State:
    deed = _BY_PLACE.get((kind, on))
    return deed.change(state, scene, *what) if deed is not None and deed.change else state


def _click_layer(state: State, scene: Scene, hit: Hit) -> State:
    return replace(select_layer(state, scene, hit.index), cursor="layers")


def _click_unit(state: State, scene: Scene, hit: Hit) -> State:
    again = state.cursor == "units" and hit.index == state.unit
    zoom = ("off" if state.zoom == "unit" else "unit") if again else state.zoom
    return replace(select_unit(state, scene, hit.index), cursor="units", zoom=zoom)


def _click_zoomed(state: State, scene: Scene, hit: Hit) -> State:
    return replace(state, zoom="off")


def _click_pair(state: State, scene: Scene, hit: Hit) -> State:
    """Its row, and in the row that is selected already its column."""
    unit = hit.index if hit.index != state.unit else int(hit.value)
    return replace(select_unit(state, scene, unit), cursor="units")


def _click_class(state: State, scene: Scene, hit: Hit) -> State:
    layer = next(at for at, one in enumerate(scene.entries) if one.name == hit.value)
    chosen = select_layer(state, scene, layer)
    return replace(select_unit(chosen, scene, hit.index), cursor="units")


def _click_back(state: State, scene: Scene, hit: Hit) -> State:
    return set_back(state, next(back for back in BACKS if back == hit.value))


def _click_view(state: State, scene: Scene, hit: Hit) -> State:
    back = "gradient" if state.back == "off" else state.back
    return replace(state, back_view=hit.value, back=back)


def _click_top(state: State, scene: Scene, hit: Hit) -> State:
    """The session makes that image the input; the unit stays selected."""
    return replace(state, cursor="units")


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


DEEDS = (
    Deed("click", "layer", "a layer: select it", _click_layer),
    Deed("click", "unit", "a unit: select it; again: enlarge it", _click_unit),
    Deed("click", "zoomed", "what is enlarged: all units again", _click_zoomed),
    Deed("click", "pair", "a pair of units: select its row; again: its column", _click_pair),
    Deed("click", "class", "a class: select its unit", _click_class),
    Deed("click", "back", "a backward mode: set it", _click_back),
    Deed("click", "view", "a backward view: set it", _click_view),
    Deed("click", "top", "a top image: make it the input", _click_top),
    Deed("click", "command", "h for help: this list; again: close it", _click_command),
    Deed("wheel", "layers", "over the layers: scroll them", _turn_layers),
    Deed("wheel", "grid", "over the units: next row, previous row", _turn_grid),
    Deed("move", "", "at anything: what it is, and its value"),
)

_BY_PLACE = {(deed.kind, deed.on): deed for deed in DEEDS}
