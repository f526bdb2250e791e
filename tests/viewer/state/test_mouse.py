"""What the mouse does to a state."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from helpers.scenes import entry, scene

from deepvis_caffe.viewer.panes.screen import PANES
from deepvis_caffe.viewer.state.mouse import (
    MOUSE_ACTIONS,
    WHOLE,
    Hit,
    HitKind,
    click,
    mouse_help,
    wheel,
)
from deepvis_caffe.viewer.state.state import State

SCENE = scene()
STATE = State(aspect=4 / 3, unit=6, cursor="units")


def test_a_layer_and_a_unit_are_selected() -> None:
    assert click(STATE, SCENE, Hit("layer", 1)) == replace(STATE, layer=1, unit=4, cursor="layers")
    assert click(replace(STATE, cursor="layers"), SCENE, Hit("unit", 9)) == replace(STATE, unit=9)


def test_a_class_is_selected_in_the_layer_that_scores_it() -> None:
    chosen = click(replace(STATE, cursor="layers"), SCENE, Hit("class", 3, "fc"))
    assert chosen == replace(STATE, layer=2, unit=3, cursor="units")


def test_a_class_of_a_softmax_is_selected_by_its_score() -> None:
    prob = replace(entry("prob", 1, 4, type_="Softmax"), scores="fc")
    probs = scene(*SCENE.entries, prob)
    assert click(STATE, probs, Hit("class", 3, "prob")).layer == 2
    hidden = scene(SCENE.entries[0], prob)  # its bottom is not among what can be looked at
    assert click(STATE, hidden, Hit("class", 3, "prob")).layer == 1


def test_a_driver_is_gone_down_to_and_a_step_back_up_to() -> None:
    down = click(STATE, SCENE, Hit("driver", 3, "pool1"))
    assert down == replace(STATE, layer=1, unit=3, trail=((0, 6),))
    further = click(down, SCENE, Hit("driver", 2, "fc"))
    assert further.trail == ((0, 6), (1, 3))
    assert click(further, SCENE, Hit("step", 1)) == down
    assert click(further, SCENE, Hit("step", 2)) == STATE


def test_a_second_click_on_a_unit_enlarges_it_and_a_third_does_not() -> None:
    once = click(STATE, SCENE, Hit("unit", 9))
    twice = click(once, SCENE, Hit("unit", 9))
    assert twice == replace(once, zoom="unit")
    assert click(twice, SCENE, Hit("zoomed")) == once


def test_a_click_on_a_picture_enlarges_it_and_the_next_goes_back() -> None:
    for zoom in ("input", "back", "unit"):
        large = click(STATE, SCENE, Hit("picture", WHOLE, zoom))
        assert large == replace(STATE, zoom=zoom)
        assert click(large, SCENE, Hit("zoomed")) == STATE
    third = click(STATE, SCENE, Hit("picture", 2, "top"))
    assert third == replace(STATE, zoom="top", zoom_index=2)
    assert click(third, SCENE, Hit("zoomed")) == STATE
    assert click(third, SCENE, Hit("top", 2)) == STATE, "and the session opens it"


def test_the_pass_s_mode_and_view_are_set() -> None:
    assert click(STATE, SCENE, Hit("back", value="guided")) == replace(STATE, back="guided")
    shown = replace(STATE, back="deconv", show_back=True)
    assert click(shown, SCENE, Hit("back", value="off")) == STATE
    assert click(STATE, SCENE, Hit("style", value="heat")) == replace(
        STATE, back="gradient", diff_style="heat"
    )
    assert click(shown, SCENE, Hit("style", value="norm")) == replace(shown, diff_style="norm")


def test_an_action_is_done_and_what_can_only_be_pointed_at_is_not() -> None:
    assert click(STATE, SCENE, Hit("command", value="gamma")) == replace(STATE, gamma=1)
    assert click(STATE, SCENE, Hit("command", value="quit")) == STATE  # the session's
    assert click(STATE, SCENE, Hit("nothing", tip="4.2")) == STATE
    assert click(STATE, SCENE, None) == STATE


def test_the_wheel_scrolls_layers_and_walks_rows_of_units() -> None:
    assert wheel(STATE, SCENE, "layers", 2, first_row=3).scroll == 5
    assert wheel(STATE, SCENE, "layers", -3, first_row=1).scroll == 0
    assert wheel(STATE, SCENE, "grid", 1).unit == 10  # rows of 4
    assert wheel(STATE, SCENE, "grid", -2).unit == 0
    assert wheel(STATE, SCENE, "input", 1) == STATE


def test_all_that_can_be_hit_is_in_the_table_once() -> None:
    clicks = [action.on for action in MOUSE_ACTIONS if action.kind == "click"]
    assert sorted(clicks) == sorted(set(get_args(HitKind)) - {"nothing"})
    wheels = [action.on for action in MOUSE_ACTIONS if action.kind == "wheel"]
    assert wheels == [pane for pane in PANES if wheel(STATE, SCENE, pane, 1) != STATE]
    assert {action.on for action in MOUSE_ACTIONS if action.kind == "move"} == {""}
    assert all(action.change for action in MOUSE_ACTIONS if action.kind != "move")


def test_the_help_names_all_that_the_mouse_does() -> None:
    title, lines = mouse_help()
    assert title == "Mouse"
    assert [words for _, words in lines] == [action.help for action in MOUSE_ACTIONS]
    assert all(words for _, words in lines)
    gestures = {"click": "click", "wheel": "wheel", "move": "point"}
    assert [gesture for gesture, _ in lines] == [gestures[action.kind] for action in MOUSE_ACTIONS]


def test_a_pair_selects_its_row_and_in_that_row_its_column() -> None:
    state = replace(STATE, correlation=True)
    once = click(state, SCENE, Hit("pair", 9, "3"))
    assert once == replace(state, unit=9)
    assert click(once, SCENE, Hit("pair", 9, "3")) == replace(state, unit=3)
    assert click(once, SCENE, Hit("pair", 9, "9")) == once


def test_the_wheel_walks_down_the_matrix() -> None:
    order = (3, 1, 0, 2, 11, 10, 9, 8, 7, 6, 5, 4)
    state = replace(STATE, correlation=True, order=order)  # unit 6 is in row 9
    assert wheel(state, SCENE, "grid", 1).unit == 5
    assert wheel(state, SCENE, "grid", -9).unit == 3
