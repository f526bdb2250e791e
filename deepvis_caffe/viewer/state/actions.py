"""What can be done in the viewer: one table of actions, each with its keys and what it does.

An action that only sets something is a function ``(state, scene) -> state``. One that does
something in the world (the next image, a screenshot, the end) has none: the session performs it by
its name. Keys are the Deep Visualization Toolbox's (DVT) wherever it has the action; where that is
a capital there is another one, too, for some of OpenCV's windows give small letters only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.viewer.state.state import (
    BACK_VIEWS,
    BACKS,
    COLORMAPS,
    GAMMAS,
    INDIVIDUALS,
    ZOOMS,
    Back,
    Scene,
    State,
    grid_shape,
)


def parse_keys(text: str) -> tuple[str, ...]:
    """Read a list of keys with commas between them; ``*3`` behind one presses it three times.

    Raises
    ------
    UnknownNameError
        A key does nothing.
    SettingsError
        A number of times that is none.
    """
    keys: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, star, times = item.partition("*")
        if key not in BY_KEY:
            raise UnknownNameError("key", key, BY_KEY)
        if star and not re.fullmatch(r"\d{1,4}", times):
            raise SettingsError(f"cannot press {item!r}: after * stands how often, as in right*3")
        keys += [key] * (int(times) if star else 1)
    return tuple(keys)


Change = Callable[[State, Scene], State]

FAST = 5  # cells or layers at once, DVT's caffevis_fast_move_dist

# What `b` goes through; the mode and view that most people want to see of each.
COMMON: tuple[tuple[Back, str], ...] = (
    ("off", "raw"),
    ("gradient", "raw"),
    ("gradient", "norm"),
    ("deconv", "raw"),
    ("guided", "raw"),
)


@dataclass(frozen=True)
class Action:
    """One thing that a key does.

    Attributes
    ----------
    name
        Unique, for tests and for panes that offer it to the mouse.
    keys
        Names of keys, see `deepvis_caffe.viewer.window.keys`.
    group, help
        Where the list of keys has it, and what it says; actions of one text share a line.
    change
        What it makes of the state; None where the session performs it.
    """

    name: str
    keys: tuple[str, ...]
    group: str
    help: str
    change: Change | None = None


# -- selecting ---------------------------------------------------------------------------------


def select_layer(state: State, scene: Scene, layer: int) -> State:
    """Select a layer, the nearest there is, and keep the unit as far as it has one."""
    layer = max(0, min(layer, len(scene.entries) - 1))
    unit = max(0, min(state.unit, scene.entries[layer].units - 1))
    return replace(state, layer=layer, unit=unit, scroll=None)


def select_unit(state: State, scene: Scene, unit: int) -> State:
    """Select a unit of the layer, the nearest there is."""
    return replace(state, unit=max(0, min(unit, scene.entries[state.layer].units - 1)))


def walk(state: State, scene: Scene, steps: int) -> State:
    """Select the unit so many rows further down in the correlation's matrix."""
    units = scene.entries[state.layer].units
    order = state.order if len(state.order) == units else range(units)
    row = order.index(state.unit) + steps
    return select_unit(state, scene, order[max(0, min(row, units - 1))])


def _move(rows: int, columns: int, state: State, scene: Scene) -> State:
    """Move the cursor: over layers one by one and, downward, into the grid; there by cells."""
    if state.cursor == "layers":
        if rows:
            return replace(state, cursor="units") if rows > 0 else state
        return select_layer(state, scene, state.layer + columns)
    if state.shows_correlation:
        at_top = walk(state, scene, -1).unit == state.unit
        return (
            replace(state, cursor="layers")
            if at_top and rows < 0
            else walk(state, scene, rows + columns)
        )
    _, width = grid_shape(scene.entries[state.layer], state.aspect)
    unit = state.unit + columns + rows * width
    if rows < 0 and unit < 0:  # over the upper edge
        return replace(state, cursor="layers", unit=state.unit % width)
    if rows > 0 and unit >= scene.entries[state.layer].units:
        return state  # there is no row below
    return select_unit(state, scene, unit)


def _step_layer(count: int, state: State, scene: Scene) -> State:
    return select_layer(state, scene, state.layer + count)


def _end_layer(last: bool, state: State, scene: Scene) -> State:
    return select_layer(state, scene, len(scene.entries) - 1 if last else 0)


def _reset(state: State, scene: Scene) -> State:
    """As after the start, but for what belongs to the window and its input."""
    return replace(
        State(),
        aspect=state.aspect,
        help_pages=state.help_pages,
        resize=state.resize,
        frozen=state.frozen,
        timing=state.timing,
        synthesis=state.synthesis,
    )


# -- the backward pass -------------------------------------------------------------------------


def _common_back(state: State, scene: Scene) -> State:
    now = (state.back, "raw" if state.back == "off" else state.back_view)
    following = COMMON.index(now) + 1 if now in COMMON else 0
    back, view = COMMON[following % len(COMMON)]
    return set_back(replace(state, back_view=view), back)


def set_back(state: State, back: Back) -> State:
    """Set the backward mode; without one the grid shows no diffs and nothing of it is enlarged."""
    if back != "off":
        return replace(state, back=back)
    return replace(
        state, back=back, show_back=False, zoom="off" if state.zoom == "back" else state.zoom
    )


def _next_back(state: State, scene: Scene) -> State:
    return set_back(state, BACKS[(BACKS.index(state.back) + 1) % len(BACKS)])


def _next_view(state: State, scene: Scene) -> State:
    at = BACK_VIEWS.index(state.back_view)
    return replace(state, back_view=BACK_VIEWS[(at + 1) % len(BACK_VIEWS)])


def _freeze_source(state: State, scene: Scene) -> State:
    return replace(state, source=None if state.source else (state.layer, state.unit))


def _show_back(state: State, scene: Scene) -> State:
    if state.correlation:  # back to whatever the grid showed before
        return replace(state, correlation=False)
    if state.patterns:
        return replace(state, patterns=False)
    back = "gradient" if not state.show_back and state.back == "off" else state.back
    return replace(state, show_back=not state.show_back, back=back)


# -- the grid ----------------------------------------------------------------------------------


def _toggle(field: str, state: State, scene: Scene) -> State:
    change: dict[str, Any] = {field: not getattr(state, field)}
    return replace(state, **change)


def _cycle(field: str, count: int, state: State, scene: Scene) -> State:
    return replace(state, **{field: (getattr(state, field) + 1) % count})


def _show_patterns(state: State, scene: Scene) -> State:
    return replace(state, patterns=state.correlation or not state.patterns, correlation=False)


def _show_correlation(state: State, scene: Scene) -> State:
    if state.shows_correlation:
        return replace(state, correlation=False)
    return replace(state, correlation=True, zoom="off")


def _next_order(state: State, scene: Scene) -> State:
    return replace(state, by_number=not state.by_number, order=())


def _next_zoom(state: State, scene: Scene) -> State:
    zoom = ZOOMS[(ZOOMS.index(state.zoom) + 1) % len(ZOOMS)]
    return replace(state, zoom="off" if zoom == "back" and state.back == "off" else zoom)


def _next_resize(state: State, scene: Scene) -> State:
    return replace(state, resize="stretch" if state.resize == "crop" else "crop")


def _next_help(state: State, scene: Scene) -> State:
    """Open the help; go on to its next page, or close it."""
    if state.help and state.help_page + 1 < state.help_pages:
        return replace(state, help_page=state.help_page + 1)
    return replace(state, help=not state.help, help_page=0)


MOVING, BACKWARD, GRID, INPUT, WINDOW = "Moving", "Backward", "Grid", "Input", "Window"

ACTIONS = (
    Action("left", ("left", "j"), MOVING, "move the cursor", partial(_move, 0, -1)),
    Action("right", ("right", "l"), MOVING, "move the cursor", partial(_move, 0, 1)),
    Action("up", ("up", "i"), MOVING, "move the cursor", partial(_move, -1, 0)),
    Action("down", ("down", "k"), MOVING, "move the cursor", partial(_move, 1, 0)),
    Action("fast_left", ("J", "<"), MOVING, f"move it by {FAST}", partial(_move, 0, -FAST)),
    Action("fast_right", ("L", ">"), MOVING, f"move it by {FAST}", partial(_move, 0, FAST)),
    Action("fast_up", ("I", "["), MOVING, f"move it by {FAST}", partial(_move, -FAST, 0)),
    Action("fast_down", ("K", "]"), MOVING, f"move it by {FAST}", partial(_move, FAST, 0)),
    Action("previous_layer", ("u", "U"), MOVING, "previous layer", partial(_step_layer, -1)),
    Action("next_layer", ("o", "O"), MOVING, "next layer", partial(_step_layer, 1)),
    Action("first_layer", ("home",), MOVING, "first, last layer", partial(_end_layer, False)),
    Action("last_layer", ("end",), MOVING, "first, last layer", partial(_end_layer, True)),
    Action("reset", ("esc",), MOVING, "first layer and unit, all else as at the start", _reset),
    Action("common_back", ("b",), BACKWARD, "next of the common modes and views", _common_back),
    Action("back_mode", ("n",), BACKWARD, "next mode: off, gradient, deconv, guided", _next_back),
    Action("back_view", ("m",), BACKWARD, f"next view: {', '.join(BACK_VIEWS)}", _next_view),
    Action("freeze_source", ("d",), BACKWARD, "hold the unit that it starts from", _freeze_source),
    Action("show_back", ("a",), BACKWARD, "diffs in the grid, or activations", _show_back),
    Action("zoom", ("z",), GRID, "enlarge the unit, the backward result, nothing", _next_zoom),
    Action("patterns", ("s",), GRID, "optimised images, or activations", _show_patterns),
    Action("correlation", ("1",), GRID, "which units go together", _show_correlation),
    Action("order", ("2",), GRID, "these by likeness, or by number", _next_order),
    Action("gamma", ("t",), GRID, "lift dark values", partial(_cycle, "gamma", len(GAMMAS))),
    Action(
        "individual",
        ("T", "y"),
        GRID,
        "stretch each channel by itself",
        partial(_cycle, "individual", len(INDIVIDUALS)),
    ),
    Action("colormap", ("g",), GRID, "next colors", partial(_cycle, "colormap", len(COLORMAPS))),
    Action("freeze", ("f",), INPUT, "stop the input, or let it go on", partial(_toggle, "frozen")),
    Action("next_image", ("e", "pgdn"), INPUT, "next image; in a video onward"),
    Action("previous_image", ("w", "pgup"), INPUT, "previous image; in a video back"),
    Action("next_source", ("c",), INPUT, "next source: camera, files"),
    Action("previous_source", ("C", "v"), INPUT, "previous source"),
    Action("resize", ("0",), INPUT, "crop images or stretch them", _next_resize),
    Action("labels", ("8",), WINDOW, "show classes", partial(_toggle, "labels")),
    Action(
        "unit_images", ("9",), WINDOW, "show the unit's images", partial(_toggle, "unit_images")
    ),
    Action(
        "synthesis",
        ("x",),
        WINDOW,
        "make images of units that have none",
        partial(_toggle, "synthesis"),
    ),
    Action("timing", ("5",), WINDOW, "say where the time goes", partial(_toggle, "timing")),
    Action("screenshot", ("p",), WINDOW, "save a picture of the window"),
    Action("record", ("r",), WINDOW, "record a video, or stop"),
    Action("help", ("h", "?"), WINDOW, "this list", _next_help),
    Action("quit", ("q",), WINDOW, "quit"),
)


def _by_key(actions: tuple[Action, ...]) -> dict[str, Action]:
    table: dict[str, Action] = {}
    for action in actions:
        for key in action.keys:
            if key in table:
                raise ValueError(f"key {key!r} is {table[key].name!r} and {action.name!r}, too")
            table[key] = action
    return table


BY_KEY = _by_key(ACTIONS)
BY_NAME = {action.name: action for action in ACTIONS}


def help_table() -> list[tuple[str, list[tuple[str, str]]]]:
    """The list of keys: groups in order, each with its lines of (keys, what they do).

    Actions of one text share a line; their second keys, such as j l i k for the arrows, another.
    """
    groups: dict[str, dict[str, list[tuple[str, ...]]]] = {}
    for action in ACTIONS:
        groups.setdefault(action.group, {}).setdefault(action.help, []).append(action.keys)
    return [
        (group, [line for text, keys in lines.items() for line in _lines(text, keys)])
        for group, lines in groups.items()
    ]


def _lines(text: str, keys: list[tuple[str, ...]]) -> list[tuple[str, str]]:
    if len(keys) == 1:
        return [(" ".join(keys[0]), text)]
    ranks = zip_longest(*keys)
    joined = [" ".join(key for key in rank if key) for rank in ranks]
    return [(some, text if rank == 0 else "the same") for rank, some in enumerate(joined)]
