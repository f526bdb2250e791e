"""Every action on a state, without a window: what it changes, and what it leaves."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from helpers.scenes import entry, scene

from deepvis_caffe.viewer.state.actions import (
    ACTIONS,
    BY_KEY,
    BY_NAME,
    LONGEST_TRAIL,
    Action,
    by_key,
    climb,
    follow,
    help_table,
    next_zoom,
    zoom_to,
)
from deepvis_caffe.viewer.state.state import (
    COLORMAPS,
    GAMMAS,
    INDIVIDUALS,
    State,
    Zoom,
    grid_shape,
)

SCENE = scene()  # conv1: 12 units, pool1: 5, fc: 4

# From the toolbox's bindings.py: what each of its keys is called there, and here.
DVT = {
    "f": "freeze",
    "c": "next_source",
    "e": "next_image",
    "w": "previous_image",
    "h": "help",
    "0": "resize",
    "5": "timing",
    "q": "quit",
    "esc": "reset",
    "left": "left",
    "j": "left",
    "right": "right",
    "l": "right",
    "down": "down",
    "k": "down",
    "up": "up",
    "i": "up",
    "J": "fast_left",
    "L": "fast_right",
    "K": "fast_down",
    "I": "fast_up",
    "u": "previous_layer",
    "U": "previous_layer",
    "o": "next_layer",
    "O": "next_layer",
    "t": "gamma",
    "T": "individual",
    "s": "optimized",
    "a": "show_back",
    "b": "common_back",
    "n": "back_mode",
    "m": "diff_style",
    "d": "freeze_source",
    "z": "zoom",
    "8": "labels",
    "9": "unit_images",
}

# What the session does in the world; everything else is a change of the state.
COMMANDS = {
    "zoom",
    "next_image",
    "previous_image",
    "next_source",
    "previous_source",
    "screenshot",
    "record",
    "follow",
    "recipe",
    "quit",
}


def press(state: State, *keys: str) -> State:
    for key in keys:
        change = BY_KEY[key].change
        assert change is not None
        state = change(state, SCENE)
    return state


def changes(state: State, *keys: str) -> dict:
    """What these keys changed, by field."""
    before, after = asdict(state), asdict(press(state, *keys))
    return {name: after[name] for name in after if after[name] != before[name]}


def test_keys_are_the_toolbox_s_where_it_has_the_action() -> None:
    assert {key: BY_KEY[key].name for key in DVT} == DVT


def test_every_action_says_what_it_does_and_only_commands_leave_the_state_alone() -> None:
    assert all(action.help and action.keys for action in ACTIONS)
    assert {action.name for action in ACTIONS if action.change is None} == COMMANDS


def test_two_actions_of_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="'a' is both 'one' and 'two'"):
        by_key((Action("one", ("a",), "", ""), Action("two", ("a",), "", "")))


def test_help_lists_every_key_once_and_joins_what_is_said_alike() -> None:
    lines = [line for _, group in help_table() for line in group]
    assert sorted(key for keys, _ in lines for key in keys.split()) == sorted(BY_KEY)
    assert lines[:4] == [
        ("left right up down", "move the cursor"),
        ("j l i k", "the same"),
        ("J L I K", "move in steps of 5"),
        ("< > [ ]", "the same"),
    ]
    assert ("e pgdn", "next image; in a video, skip ahead") in lines


# -- moving: conv1's 12 units stand in 3 rows of 4 in a room of aspect 4:3 -------------------------

WIDE = State(aspect=4 / 3)


def test_the_grid_that_the_cursor_moves_in() -> None:
    assert grid_shape(SCENE.entries[0], 4 / 3) == (3, 4)


def test_among_layers_left_and_right_change_the_layer() -> None:
    assert changes(WIDE, "right") == {"layer": 1}
    assert changes(WIDE, "right", "l", "right", "right") == {"layer": 2}
    assert changes(replace(WIDE, layer=2), "j", "left", "left") == {"layer": 0}
    assert changes(WIDE, "L") == {"layer": 2}
    assert changes(WIDE, "up") == {}


def test_down_enters_the_grid_and_up_from_its_first_row_leaves_it() -> None:
    assert changes(WIDE, "down") == {"cursor": "units"}
    inside = replace(WIDE, cursor="units", unit=6)  # row 1, column 2
    assert changes(inside, "up") == {"unit": 2}
    assert changes(inside, "up", "up") == {"cursor": "layers", "unit": 2}
    assert changes(inside, "I") == {"cursor": "layers", "unit": 2}


def test_in_the_grid_the_cursor_moves_by_cells_and_stays_inside() -> None:
    inside = replace(WIDE, cursor="units", unit=6)
    assert changes(inside, "right") == {"unit": 7}
    assert changes(inside, "left") == {"unit": 5}
    assert changes(inside, "down") == {"unit": 10}
    assert changes(inside, "down", "down") == {"unit": 10}
    assert changes(inside, "J") == {"unit": 1}
    assert changes(inside, "L") == {"unit": 11}
    assert changes(inside, "L", "L") == {"unit": 11}
    assert changes(inside, "K") == {"unit": 10}, "as in the toolbox: to the last row"


def test_another_layer_keeps_the_unit_as_far_as_it_has_one() -> None:
    inside = replace(WIDE, cursor="units", unit=11, scroll=7)
    assert changes(inside, "o") == {"layer": 1, "unit": 4, "scroll": None}
    assert changes(inside, "o", "o", "u") == {"layer": 1, "unit": 3, "scroll": None}
    assert changes(inside, "end") == {"layer": 2, "unit": 3, "scroll": None}
    assert changes(replace(inside, layer=2, unit=0), "home") == {"layer": 0, "scroll": None}


def test_reset_keeps_what_belongs_to_the_window_and_its_input() -> None:
    kept = {
        "aspect": 2.0,
        "resize": "stretch",
        "frozen": True,
        "timing": True,
        "synthesis": False,
    }
    state = State(
        layer=2,
        unit=3,
        cursor="units",
        back="deconv",
        diff_style="norm",
        source=(0, 1),
        show_back=True,
        optimized=True,
        zoom="unit",
        gamma=1,
        individual=2,
        colormap=3,
        labels=False,
        unit_images=False,
        help=True,
        scroll=4,
        **kept,
    )
    assert press(state, "esc") == State(**kept)


# -- the backward pass -----------------------------------------------------------------------------


def test_b_goes_through_the_common_modes() -> None:
    state, seen = State(), []
    for _ in range(6):
        state = press(state, "b")
        seen.append((state.back, state.diff_style))
    assert seen == [
        ("gradient", "raw"),
        ("gradient", "norm"),
        ("deconv", "raw"),
        ("guided", "raw"),
        ("off", "raw"),
        ("gradient", "raw"),
    ]
    assert changes(State(back="deconv", diff_style="heat"), "b") == {
        "back": "off",
        "diff_style": "raw",
    }


def test_n_goes_through_modes_and_m_through_views() -> None:
    backs, views, state = [], [], State()
    for _ in range(4):
        state = press(state, "n")
        backs.append(state.back)
    for _ in range(7):
        state = press(state, "m")
        views.append(state.diff_style)
    assert backs == ["gradient", "deconv", "guided", "off"]
    assert views == ["gray", "norm", "blur", "positive", "signed", "heat", "raw"]


def test_7_goes_through_the_other_methods_each_in_its_style() -> None:
    seen, state = [], State(back="guided", show_back=True)
    for _ in range(9):
        state = press(state, "7")
        seen.append((state.back, state.diff_style))
    assert seen == [
        ("gradient_x_input", "signed"),
        ("integrated_gradients", "signed"),
        ("smooth_grad", "norm"),
        ("grad_cam", "heat"),
        ("guided_grad_cam", "raw"),
        ("occlusion", "signed"),
        ("lrp_epsilon", "signed"),
        ("lrp_z_plus", "signed"),
        ("gradient_x_input", "signed"),
    ]
    assert not state.show_back, "such a method leaves no diffs in the layers"
    assert press(state, "n").back == press(state, "b").back == "off"
    assert changes(state, "a") == {"back": "gradient", "show_back": True}


def test_7_leaves_out_what_the_engine_cannot_run() -> None:
    change = BY_KEY["7"].change
    assert change is not None
    some = replace(SCENE, methods=("smooth_grad", "grad_cam"))
    backs, state = [], State()
    for _ in range(3):
        state = change(state, some)
        backs.append(state.back)
    assert backs == ["smooth_grad", "grad_cam", "smooth_grad"]
    assert change(state, replace(SCENE, methods=())) == state


def test_d_holds_the_source_while_one_walks_and_lets_it_go() -> None:
    held = press(State(layer=1, unit=3), "d")
    assert held.source == held.back_source == (1, 3)
    assert press(held, "u").back_source == (1, 3)
    assert press(held, "u", "d").back_source == (0, 3)


def test_a_shows_diffs_and_turns_the_pass_on() -> None:
    assert changes(State(), "a") == {"show_back": True, "back": "gradient"}
    assert changes(State(back="deconv"), "a") == {"show_back": True}
    assert changes(State(), "a", "a") == {"back": "gradient"}
    assert changes(State(optimized=True, show_back=True, back="deconv"), "a") == {
        "optimized": False
    }


def test_the_grid_shows_one_thing_at_a_time() -> None:
    assert changes(State(), "6") == {"weights": True}
    assert changes(State(), "6", "6") == {}
    assert changes(State(), "W", "s") == {"optimized": True}
    assert changes(State(optimized=True), "6") == {"optimized": False, "weights": True}
    assert changes(State(weights=True), "a") == {"weights": False}
    covered = State(weights=True, correlation=True)
    assert changes(covered, "6") == {"correlation": False}
    assert changes(covered, "s") == {"correlation": False, "weights": False, "optimized": True}


def test_without_a_pass_nothing_of_it_stays_on_screen() -> None:
    state = State(back="guided", show_back=True)
    assert changes(state, "n") == {"back": "off", "show_back": False}


# -- the grid, the input, the window ---------------------------------------------------------------


def test_zoom_goes_through_what_there_is_and_ends() -> None:
    there: list[Zoom] = ["unit", "optimized", "input"]
    state, seen = State(), []
    for _ in range(5):
        state = next_zoom(state, there)
        seen.append((state.zoom, state.zoom_index))
    assert [zoom for zoom, _ in seen] == ["unit", "optimized", "input", "off", "unit"]
    one = zoom_to(State(), "optimized", 2)
    assert next_zoom(one, there) == zoom_to(State(), "input")
    assert next_zoom(zoom_to(State(), "top", 3), there).zoom == "unit", "gone since"


@pytest.mark.parametrize(
    ("key", "field", "count"),
    [("t", "gamma", len(GAMMAS)), ("T", "individual", len(INDIVIDUALS)), ("g", "colormap", 5)],
)
def test_boosts_and_colors_go_round(key: str, field: str, count: int) -> None:
    assert len(COLORMAPS) == 5
    assert [getattr(press(State(), *key * n), field) for n in range(count + 1)] == [
        *range(count),
        0,
    ]


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("s", "optimized"),
        ("f", "frozen"),
        ("8", "labels"),
        ("3", "boxes"),
        ("space", "overlay"),
        ("9", "unit_images"),
        ("x", "synthesis"),
        ("5", "timing"),
        ("h", "help"),
        ("?", "help"),
    ],
)
def test_switches_switch_one_thing_and_back(key: str, field: str) -> None:
    assert changes(State(), key) == {field: not getattr(State(), field)}
    assert changes(State(), key, key) == {}


def test_a_search_begins_with_nothing_typed_and_closes_the_help() -> None:
    assert changes(State(match=3), "/") == {"search": "", "match": 0}
    assert changes(State(help=True), "/") == {"search": "", "help": False}


def test_h_goes_through_the_help_s_pages_and_closes_it() -> None:
    few = State(help_pages=3)
    assert [press(few, *"h" * n).help_page for n in range(5)] == [0, 0, 1, 2, 0]
    assert [press(few, *"h" * n).help for n in range(5)] == [False, True, True, True, False]


def test_0_crops_or_stretches() -> None:
    assert [press(State(), *"0" * n).resize for n in (1, 2)] == ["stretch", "crop"]


# -- the shape of the grid -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "aspect", "expected"),
    [
        ((1, 96, 55, 55), 1.0, (10, 10)),
        ((1, 1000), 1.0, (32, 32)),
        ((1, 1000), 2.0, (23, 44)),
        ((1, 8, 10, 20), 1.0, (4, 2)),  # cells twice as wide as high: a square is 4 rows of 2
        ((1, 1, 9, 9), 3.0, (1, 1)),
        ((1, 2, 1, 500), 1.0, (1, 2)),  # lines are shown as squares
    ],
)
def test_grid_shape(shape: tuple[int, ...], aspect: float, expected: tuple[int, int]) -> None:
    rows, columns = grid_shape(entry("x", *shape), aspect)
    assert rows * columns >= shape[1]
    assert (rows, columns) == expected


def test_actions_have_one_name_each() -> None:
    assert len(BY_NAME) == len(ACTIONS)


# -- the correlation -------------------------------------------------------------------------------


def test_the_correlation_lies_over_what_the_grid_shows() -> None:
    assert changes(WIDE, "1") == {"correlation": True}
    assert changes(WIDE, "1", "1") == {}
    optimized = replace(WIDE, optimized=True)
    assert changes(optimized, "1", "1") == {}
    assert changes(optimized, "1", "a") == {}, "back to what the grid showed before"
    assert changes(WIDE, "1", "s") == {"optimized": True}
    assert replace(WIDE, correlation=True).shows_correlation
    assert not replace(WIDE, correlation=True, zoom="unit").shows_correlation
    assert changes(replace(WIDE, order=(1, 0)), "2") == {"by_number": True, "order": ()}


def test_arrows_move_the_mark_from_row_to_row_of_the_matrix() -> None:
    order = (3, 1, 0, 2, 11, 10, 9, 8, 7, 6, 5, 4)
    state = replace(WIDE, correlation=True, cursor="units", unit=0, order=order)
    assert [press(state, key).unit for key in ("down", "right", "up", "left")] == [2, 2, 1, 1]
    assert press(state, "K").unit == 8
    assert press(state, "L", "L", "L").unit == 4
    assert changes(state, "up", "up") == {"unit": 3}
    assert changes(state, "up", "up", "up") == {"unit": 3, "cursor": "layers"}
    assert press(state, "J").unit == 3
    assert press(replace(state, order=()), "down").unit == 1, "by number"
    assert press(replace(state, order=(0, 1)), "down").unit == 1, "another layer's"


# -- what drives a unit ----------------------------------------------------------------------------


def test_the_drivers_lie_over_what_the_grid_shows() -> None:
    optimized = replace(WIDE, optimized=True)
    on = press(optimized, "4")
    assert on == replace(optimized, drivers=True)
    assert on.shows_drivers
    assert press(on, "4") == press(on, "a") == optimized
    assert press(on, "s") == optimized
    assert press(WIDE, "4", "s") == optimized
    assert press(on, "1") == replace(optimized, correlation=True)
    assert press(on, "1", "4") == on
    assert not replace(on, zoom="unit").shows_drivers


def test_they_are_of_the_stage_below_or_of_the_nearest_layers() -> None:
    assert [press(State(), *"-" * n).reach for n in range(3)] == ["stage", "nearest", "stage"]
    assert press(State(), "-", "esc").reach == "stage"


def test_the_way_down_is_the_way_back_up() -> None:
    start = replace(WIDE, layer=2, unit=3)
    once = follow(start, SCENE, (1, 4))
    assert once == replace(start, layer=1, unit=4, trail=((2, 3),), cursor="units")
    twice = follow(once, SCENE, (0, 11))
    assert (twice.layer, twice.unit, twice.trail) == (0, 11, ((2, 3), (1, 4)))
    assert press(twice, "backspace") == once
    assert press(twice, "backspace", "backspace") == replace(start, cursor="units")
    assert press(twice, *["backspace"] * 3) == replace(start, cursor="units")
    assert climb(twice, SCENE, 2) == replace(start, cursor="units")
    assert climb(twice, SCENE, 3) == twice
    assert press(press(twice, "u"), "backspace") == once, "wherever one looked meanwhile"
    assert press(twice, "esc").trail == ()


def test_a_long_way_forgets_how_it_began() -> None:
    state = WIDE
    for unit in range(100):
        state = follow(state, SCENE, (0, unit % 12))
    assert len(state.trail) == LONGEST_TRAIL
    assert state.trail[-1] == (0, 98 % 12)


# -- what nobody sees ------------------------------------------------------------------------------


def test_an_action_whose_change_nobody_sees_says_why() -> None:
    """As the session shows it; after the keys that it names, the change is seen."""
    assert {one.name: said for one in ACTIONS if (said := one.unseen(State(), SCENE))} == {
        "diff_style": "the style is that of the backward pass, which is off: press b",
        "order": "the order is that of the correlation, which is not shown: press 1",
        "reach": "what drives the unit is not shown: press 4",
        "climb": "no unit was left to go back up to: press 4, and enter to go down",
        "boxes": "this net is not a detector: it finds no boxes",
    }
    for name, key in {"diff_style": "b", "order": "1", "reach": "4"}.items():
        assert BY_NAME[name].unseen(press(State(), key), SCENE) == ""
    assert BY_NAME["climb"].unseen(follow(press(State(), "4"), SCENE, (1, 4)), SCENE) == ""
    assert BY_NAME["boxes"].unseen(State(), replace(SCENE, finds_boxes=True)) == ""
