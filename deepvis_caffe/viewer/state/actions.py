"""The table of the viewer's actions: keys, help text and effect of each.

An action that only changes the state has a function ``(state, scene) -> state``. One with a side
effect (the next image, a screenshot, quitting) has none, and the session performs it by name. Keys
match the Deep Visualization Toolbox (DVT) wherever it has the same action. If that key is a capital
letter, there is a second key, because some OpenCV windows report lower case only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.viewer.state.state import (
    BACKS,
    COLORMAPS,
    DIFF_STYLES,
    GAMMAS,
    INDIVIDUALS,
    Back,
    Scene,
    State,
    UnitRef,
    Zoom,
    grid_shape,
)


def parse_keys(text: str) -> tuple[str, ...]:
    """Parse comma-separated keys; ``*3`` after a key presses it three times.

    Raises
    ------
    UnknownNameError
        A key has no action.
    SettingsError
        A ``*`` is not followed by a count.
    """
    keys: list[str] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, star, times = item.partition("*")
        if key not in BY_KEY:
            raise UnknownNameError("key", key, BY_KEY)
        if star and not re.fullmatch(r"\d{1,4}", times):
            raise SettingsError(f"bad key {item!r}: * must be followed by a count, as in right*3")
        keys += [key] * (int(times) if star else 1)
    return tuple(keys)


Change = Callable[[State, Scene], State]
Unseen = Callable[[State, Scene], str]
HelpGroup = tuple[str, Sequence[tuple[str, str]]]  # title, and lines of (keys, help text)

LONGEST_TRAIL = 32  # units
# Actions available while a picture is enlarged; any other key closes it.
WHILE_ENLARGED = ("zoom", "follow", "screenshot", "record")
FAST = 5  # cells or layers per fast move, DVT's caffevis_fast_move_dist

# The combinations that `b` cycles through: backward modes with their most useful styles.
COMMON: tuple[tuple[Back, str], ...] = (
    ("off", "raw"),
    ("gradient", "raw"),
    ("gradient", "norm"),
    ("deconv", "raw"),
    ("guided", "raw"),
)


def _always_seen(state: State, scene: Scene) -> str:
    return ""


@dataclass(frozen=True)
class Action:
    """One action of the keyboard.

    Attributes
    ----------
    name
        Unique; panes use it to make the action clickable.
    keys
        Key names, see `deepvis_caffe.viewer.window.keys`.
    group, help
        Group and text in the help; actions with the same text share a line.
    change
        The state change; None if the session performs the action.
    unseen
        Why nobody would see the change, and which key shows it; returns an empty text where it is
        seen.
    """

    name: str
    keys: tuple[str, ...]
    group: str
    help: str
    change: Change | None = None
    unseen: Unseen = _always_seen


# -- selecting ---------------------------------------------------------------------------------


def select_layer(state: State, scene: Scene, layer: int) -> State:
    """Select a layer, clamped to the valid range, and keep the unit number if the layer has it."""
    layer = max(0, min(layer, len(scene.entries) - 1))
    unit = max(0, min(state.unit, scene.entries[layer].units - 1))
    return replace(state, layer=layer, unit=unit, scroll=None)


def select_unit(state: State, scene: Scene, unit: int) -> State:
    """Select a unit of the layer, clamped to the valid range."""
    return replace(state, unit=max(0, min(unit, scene.entries[state.layer].units - 1)))


def follow(state: State, scene: Scene, ref: UnitRef) -> State:
    """Go down to a unit that drives the selected one and add the latter to the trail."""
    trail = (*state.trail, (state.layer, state.unit))[-LONGEST_TRAIL:]
    chosen = select_unit(select_layer(state, scene, ref[0]), scene, ref[1])
    return replace(chosen, trail=trail, cursor="units")


def climb(state: State, scene: Scene, steps: int = 1) -> State:
    """Go back up the trail by `steps` units."""
    if not 0 < steps <= len(state.trail):
        return state
    layer, unit = state.trail[-steps]
    chosen = select_unit(select_layer(state, scene, layer), scene, unit)
    return replace(chosen, trail=state.trail[:-steps], cursor="units")


def _climb_unseen(state: State, scene: Scene) -> str:
    if state.trail:
        return ""
    return "no unit was left to go back up to: press 4, and enter to go down"


def walk(state: State, scene: Scene, steps: int) -> State:
    """Select the unit `steps` rows further down in the correlation matrix."""
    units = scene.entries[state.layer].units
    order = state.order if len(state.order) == units else range(units)
    row = order.index(state.unit) + steps
    return select_unit(state, scene, order[max(0, min(row, units - 1))])


def _move(rows: int, columns: int, state: State, scene: Scene) -> State:
    """Move the cursor along the layers, down into the grid, or from cell to cell."""
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
    if rows < 0 and unit < 0:  # past the top edge
        return replace(state, cursor="layers", unit=state.unit % width)
    if rows > 0:  # stop at the last row
        rows_below = (scene.entries[state.layer].units - 1 - state.unit) // width
        unit = state.unit + min(rows, rows_below) * width
    return select_unit(state, scene, unit)


def _step_layer(count: int, state: State, scene: Scene) -> State:
    return select_layer(state, scene, state.layer + count)


def _end_layer(last: bool, state: State, scene: Scene) -> State:
    return select_layer(state, scene, len(scene.entries) - 1 if last else 0)


def _reset(state: State, scene: Scene) -> State:
    """The initial state, except for settings of the window and the input."""
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
    now = (state.back, "raw" if state.back == "off" else state.diff_style)
    following = COMMON.index(now) + 1 if now in COMMON else 0
    back, style = COMMON[following % len(COMMON)]
    return set_back(replace(state, diff_style=style), back)


def set_back(state: State, back: Back) -> State:
    """Set the backward mode; ``"off"`` also stops showing diffs in the grid."""
    return replace(state, back=back, show_back=state.show_back and back != "off")


def _next_back(state: State, scene: Scene) -> State:
    following = BACKS.index(state.back) + 1 if state.back in BACKS else 0
    return set_back(state, BACKS[following % len(BACKS)])


def _next_method(state: State, scene: Scene) -> State:
    """Switch to the next of the other attribution methods, in its default style."""
    if not scene.methods:
        return state
    now = state.back in scene.methods
    following = scene.methods.index(state.back) + 1 if now else 0
    method = scene.methods[following % len(scene.methods)]
    # These methods produce no diffs to show in the grid.
    return replace(state, back=method, diff_style=METHODS[method].style, show_back=False)


def _next_style(state: State, scene: Scene) -> State:
    at = DIFF_STYLES.index(state.diff_style)
    return replace(state, diff_style=DIFF_STYLES[(at + 1) % len(DIFF_STYLES)])


def _style_unseen(state: State, scene: Scene) -> str:
    if state.back != "off":
        return ""
    return "the style is that of the backward pass, which is off: press b"


def _freeze_source(state: State, scene: Scene) -> State:
    return replace(state, source=None if state.source else (state.layer, state.unit))


def _show_back(state: State, scene: Scene) -> State:
    if state.correlation or state.drivers:  # return to what the grid showed before
        return replace(state, correlation=False, drivers=False)
    if state.optimized or state.weights:
        return replace(state, optimized=False, weights=False)
    back = state.back if state.show_back or state.sends_diffs else "gradient"
    return replace(state, show_back=not state.show_back, back=back)


def zoom_to(state: State, zoom: Zoom, index: int = -1) -> State:
    """Enlarge one of several pictures, or all of them if `index` is -1."""
    return replace(state, zoom=zoom, zoom_index=index)


def next_zoom(state: State, zooms: Sequence[Zoom]) -> State:
    """Enlarge the next of `zooms`, starting with the first; after the last, enlarge nothing."""
    now = zooms.index(state.zoom) + 1 if state.zoom in zooms else 0
    following: Zoom = "off" if state.zoom == zooms[-1] else zooms[now]
    return zoom_to(state, following)


# -- the grid ----------------------------------------------------------------------------------


def _toggle(field: str, state: State, scene: Scene) -> State:
    change: dict[str, Any] = {field: not getattr(state, field)}
    return replace(state, **change)


def _cycle(field: str, count: int, state: State, scene: Scene) -> State:
    return replace(state, **{field: (getattr(state, field) + 1) % count})


def _show_optimized(state: State, scene: Scene) -> State:
    shown = state.correlation or state.drivers or not state.optimized
    return replace(state, optimized=shown, weights=False, correlation=False, drivers=False)


def _show_weights(state: State, scene: Scene) -> State:
    shown = state.correlation or state.drivers or not state.weights
    return replace(state, weights=shown, optimized=False, correlation=False, drivers=False)


def _show_correlation(state: State, scene: Scene) -> State:
    if state.shows_correlation:
        return replace(state, correlation=False)
    return replace(state, correlation=True, drivers=False)


def _show_drivers(state: State, scene: Scene) -> State:
    if state.shows_drivers:
        return replace(state, drivers=False)
    return replace(state, drivers=True, correlation=False)


def _next_reach(state: State, scene: Scene) -> State:
    return replace(state, reach="nearest" if state.reach == "stage" else "stage")


def _reach_unseen(state: State, scene: Scene) -> str:
    return "" if state.shows_drivers else "what drives the unit is not shown: press 4"


def _next_order(state: State, scene: Scene) -> State:
    return replace(state, by_number=not state.by_number, order=())


def _order_unseen(state: State, scene: Scene) -> str:
    if state.shows_correlation:
        return ""
    return "the order is that of the correlation, which is not shown: press 1"


def _boxes_unseen(state: State, scene: Scene) -> str:
    return "" if scene.finds_boxes else "this net is not a detector: it finds no boxes"


def _search(state: State, scene: Scene) -> State:
    """Open the search; `deepvis_caffe.viewer.state.search` handles keys until it is closed."""
    return replace(state, search="", match=0, help=False)


def _next_resize(state: State, scene: Scene) -> State:
    return replace(state, resize="stretch" if state.resize == "crop" else "crop")


def _next_help(state: State, scene: Scene) -> State:
    """Open the help, turn to its next page, or close it."""
    if state.help and state.help_page + 1 < state.help_pages:
        return replace(state, help_page=state.help_page + 1)
    return replace(state, help=not state.help, help_page=0)


MOVING, BACKWARD, GRID, INPUT, WINDOW = "Moving", "Backward", "Grid", "Input", "Window"

ACTIONS = (
    Action("left", ("left", "j"), MOVING, "move the cursor", partial(_move, 0, -1)),
    Action("right", ("right", "l"), MOVING, "move the cursor", partial(_move, 0, 1)),
    Action("up", ("up", "i"), MOVING, "move the cursor", partial(_move, -1, 0)),
    Action("down", ("down", "k"), MOVING, "move the cursor", partial(_move, 1, 0)),
    Action("fast_left", ("J", "<"), MOVING, f"move in steps of {FAST}", partial(_move, 0, -FAST)),
    Action("fast_right", ("L", ">"), MOVING, f"move in steps of {FAST}", partial(_move, 0, FAST)),
    Action("fast_up", ("I", "["), MOVING, f"move in steps of {FAST}", partial(_move, -FAST, 0)),
    Action("fast_down", ("K", "]"), MOVING, f"move in steps of {FAST}", partial(_move, FAST, 0)),
    Action("previous_layer", ("u", "U"), MOVING, "previous layer", partial(_step_layer, -1)),
    Action("next_layer", ("o", "O"), MOVING, "next layer", partial(_step_layer, 1)),
    Action("first_layer", ("home",), MOVING, "first, last layer", partial(_end_layer, False)),
    Action("last_layer", ("end",), MOVING, "first, last layer", partial(_end_layer, True)),
    Action("search", ("/",), MOVING, "find a unit by label or number", _search),
    Action("reset", ("esc",), MOVING, "reset: first layer and unit, default settings", _reset),
    Action("common_back", ("b",), BACKWARD, "next common mode and style", _common_back),
    Action("back_mode", ("n",), BACKWARD, "next mode: off, gradient, deconv, guided", _next_back),
    Action(
        "method",
        ("7", "N"),
        BACKWARD,
        "next method: Grad-CAM, occlusion, LRP, ...",
        _next_method,
    ),
    Action(
        "diff_style",
        ("m",),
        BACKWARD,
        f"next style: {', '.join(DIFF_STYLES)}",
        _next_style,
        _style_unseen,
    ),
    Action("freeze_source", ("d",), BACKWARD, "freeze the starting unit", _freeze_source),
    Action("show_back", ("a",), BACKWARD, "show diffs in the grid", _show_back),
    Action("zoom", ("z",), GRID, "enlarge: unit, backward result, its images, input, off"),
    Action("optimized", ("s",), GRID, "show optimized images", _show_optimized),
    Action("recipe", (".", "S"), GRID, "optimized images: next recipe"),
    Action("weights", ("6", "W"), GRID, "show weights", _show_weights),
    Action("correlation", ("1",), GRID, "show correlation of units", _show_correlation),
    Action("order", ("2",), GRID, "order by similarity or number", _next_order, _order_unseen),
    Action("drivers", ("4",), GRID, "show what drives the unit", _show_drivers),
    Action(
        "reach",
        ("-",),
        GRID,
        "drivers: in the stage below or nearest layers",
        _next_reach,
        _reach_unseen,
    ),
    Action("follow", ("enter",), GRID, "go down to the unit that raises it most"),
    Action("climb", ("backspace",), GRID, "go back up the trail", climb, _climb_unseen),
    Action(
        "gamma", ("t",), GRID, "brighten dark values (gamma)", partial(_cycle, "gamma", len(GAMMAS))
    ),
    Action(
        "individual",
        ("T", "y"),
        GRID,
        "scale each unit by its own range",
        partial(_cycle, "individual", len(INDIVIDUALS)),
    ),
    Action("colormap", ("g",), GRID, "next colormap", partial(_cycle, "colormap", len(COLORMAPS))),
    Action("freeze", ("f",), INPUT, "freeze or unfreeze the input", partial(_toggle, "frozen")),
    Action("next_image", ("e", "pgdn"), INPUT, "next image; in a video, skip ahead"),
    Action("previous_image", ("w", "pgup"), INPUT, "previous image; in a video, skip back"),
    Action("next_source", ("c",), INPUT, "next source: camera, files"),
    Action("previous_source", ("C", "v"), INPUT, "previous source"),
    Action(
        "overlay",
        ("space",),
        INPUT,
        "overlay the unit's map",
        partial(_toggle, "overlay"),
    ),
    Action(
        "boxes",
        ("3",),
        INPUT,
        "show or hide detection boxes",
        partial(_toggle, "boxes"),
        _boxes_unseen,
    ),
    Action("resize", ("0",), INPUT, "crop or stretch images", _next_resize),
    Action("labels", ("8",), WINDOW, "show or hide the classes", partial(_toggle, "labels")),
    Action(
        "unit_images",
        ("9",),
        WINDOW,
        "show or hide the unit's images",
        partial(_toggle, "unit_images"),
    ),
    Action(
        "synthesis",
        ("x",),
        WINDOW,
        "optimize missing images",
        partial(_toggle, "synthesis"),
    ),
    Action("timing", ("5",), WINDOW, "show timings", partial(_toggle, "timing")),
    Action("screenshot", ("p",), WINDOW, "save a screenshot"),
    Action("record", ("r",), WINDOW, "start or stop recording a video"),
    Action("help", ("h", "?"), WINDOW, "this list", _next_help),
    Action("quit", ("q",), WINDOW, "quit"),
)


def by_key(actions: Iterable[Action]) -> dict[str, Action]:
    """Map keys to actions.

    Raises
    ------
    ValueError
        Two actions share a key.
    """
    table: dict[str, Action] = {}
    for action in actions:
        for key in action.keys:
            if key in table:
                raise ValueError(f"key {key!r} is both {table[key].name!r} and {action.name!r}")
            table[key] = action
    return table


BY_KEY = by_key(ACTIONS)
BY_NAME = {action.name: action for action in ACTIONS}


# Captions of the buttons that front ends with buttons show for the most common actions.
BUTTONS = {
    **{"previous_layer": "‹ layer", "next_layer": "layer ›", "search": "Find"},
    **{"common_back": "Backward", "method": "Attribution", "diff_style": "Style"},
    **{"zoom": "Enlarge", "optimized": "Optimized", "weights": "Weights", "drivers": "Drivers"},
    **{"correlation": "Correlation", "gamma": "Brighter", "freeze": "Freeze"},
    **{"previous_image": "‹ image", "next_image": "image ›", "next_source": "Source"},
    **{"overlay": "Overlay", "screenshot": "Screenshot", "record": "Record", "help": "Keys"},
}


def button_table() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The buttons by group, in order: lines of (key, caption, help text)."""
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, text in BUTTONS.items():
        action = BY_NAME[name]
        groups.setdefault(action.group, []).append((action.keys[0], text, action.help))
    return list(groups.items())


def help_table() -> list[HelpGroup]:
    """The keys by group, in order: lines of (keys, help text).

    Actions with the same text share a line, and their alternative keys (j l i k for the arrows)
    share the next one.
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
