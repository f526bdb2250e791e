"""What the mouse does: ``(state, scene, hit) -> state``; what a pane offers is its `Hit`."""

from __future__ import annotations

from dataclasses import replace

from deepvis_caffe.viewer.actions import BY_NAME, select_layer, select_unit, set_back
from deepvis_caffe.viewer.panes.pane import Hit
from deepvis_caffe.viewer.state import BACKS, Scene, State, grid_shape


def click(state: State, scene: Scene, hit: Hit | None) -> State:
    """Select a layer or unit, or set what was clicked; a second click on a unit enlarges it."""
    if hit is None:
        return state
    if hit.kind == "layer":
        return replace(select_layer(state, scene, hit.index), cursor="layers")
    if hit.kind == "unit":
        again = state.cursor == "units" and hit.index == state.unit
        zoom = ("off" if state.zoom == "unit" else "unit") if again else state.zoom
        return replace(select_unit(state, scene, hit.index), cursor="units", zoom=zoom)
    if hit.kind == "class":
        layer = next(at for at, one in enumerate(scene.entries) if one.name == hit.value)
        chosen = select_layer(state, scene, layer)
        return replace(select_unit(chosen, scene, hit.index), cursor="units")
    if hit.kind == "back":
        return set_back(state, next(back for back in BACKS if back == hit.value))
    if hit.kind == "view":
        back = "gradient" if state.back == "off" else state.back
        return replace(state, back_view=hit.value, back=back)
    if hit.kind == "top":  # the session makes that image the input; the unit stays selected
        return replace(state, cursor="units")
    if hit.kind == "command":
        change = BY_NAME[hit.value].change
        return change(state, scene) if change else state
    return state


def wheel(state: State, scene: Scene, pane: str, steps: int, first_row: int = 0) -> State:
    """Turn the wheel over a pane by `steps` notches, downward where positive.

    Parameters
    ----------
    first_row
        Which row is on top in the list of layers now.
    """
    if pane == "layers":
        return replace(state, scroll=max(0, first_row + steps))
    if pane == "grid":
        _, columns = grid_shape(scene.entries[state.layer], state.aspect)
        return replace(select_unit(state, scene, state.unit + steps * columns), cursor="units")
    return state
