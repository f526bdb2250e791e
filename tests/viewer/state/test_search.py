"""Searching for a unit: which are found, in which order, and what keys do meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.scenes import entry, scene

from deepvis_caffe.viewer.state.search import LONGEST, MOST, choose, matches, type_key
from deepvis_caffe.viewer.state.state import Scene, State

LABELS = (
    "tabby, tabby cat",  # 0
    "catamaran",
    "oystercatcher",  # 2
    "cat",
    "Egyptian cat",  # 4
    "bullfrog, Rana catesbeiana",
    "Café au lait",  # 6
    "polecat",
)
SCENE = scene(entry("conv", 1, 12, 4, 4), entry("fc", 1, 8), entry("prob", 1, 8), labels=LABELS)


def _typed(*keys: str, state: State | None = None, seen: Scene = SCENE) -> State:
    state = replace(state or State(), search="")
    for key in keys:
        state = type_key(state, seen, key)
    return state


def _found(text: str, layer: int = 0) -> list[tuple[int, int]]:
    state = _typed(*("space" if one == " " else one for one in text), state=State(layer=layer))
    return [match.ref for match in matches(state, SCENE)]


def test_whole_names_come_first_then_words_then_beginnings_then_what_is_inside() -> None:
    assert [unit for _, unit in _found("cat")] == [3, 0, 4, 1, 2 + 3, 2, 7]
    assert [unit for _, unit in _found("CAT")] == [unit for _, unit in _found("cat")]
    assert [unit for _, unit in _found("egy")] == [4]
    assert [unit for _, unit in _found("cat tab")] == [0], "every word, in any order"
    assert [unit for _, unit in _found("cafe")] == [6]
    assert _found("dog") == []
    assert _found("") == []


def test_the_selected_layer_is_searched_if_it_is_labelled_and_else_the_last_one() -> None:
    assert _found("egy", layer=0) == [(2, 4)]
    assert _found("egy", layer=1) == [(1, 4)]


def test_a_number_is_the_unit_of_the_selected_layer() -> None:
    assert _found("11", layer=0) == [(0, 11)]
    assert _found("12", layer=0) == []
    assert _found("7", layer=2) == [(2, 7)]
    bare = replace(SCENE, labels=())
    state = _typed("3", seen=bare)
    assert [match.name for match in matches(state, bare)] == ["conv 3"]
    assert matches(_typed("c", seen=bare), bare) == ()


def test_enter_selects_what_is_marked_and_ends_the_search() -> None:
    assert _typed("c", "a", "t", "enter") == State(layer=2, unit=3, cursor="units")
    assert _typed("c", "a", "t", "down", "down", "up", "enter").unit == 0
    assert _typed("c", "a", "t", *["down"] * 50, "enter").unit == 7
    assert _typed("c", "a", "t", "up", "enter").unit == 3
    assert _typed("x", "enter") == State(), "nothing is found, nothing changes"


def test_what_is_typed_can_be_taken_back_and_esc_ends_it() -> None:
    assert _typed("c", "a", "backspace").search == "c"
    assert _typed("c", "down", "a").match == 0, "another list has its first marked"
    assert _typed("q", "/", "space", "1").search == "q/ 1"
    assert _typed("c", "backspace", "backspace") == State()
    assert _typed("c", "a", "esc") == State()
    assert _typed("left", "home", "f5", "pgup").search == ""
    assert len(_typed(*["a"] * 200).search or "") == LONGEST


@pytest.mark.parametrize("index", [-1, 7, 99])
def test_a_click_beside_what_is_found_ends_the_search(index: int) -> None:
    state = _typed("c", "a", "t")
    assert choose(state, SCENE, index) == State()
    assert choose(state, SCENE, 4) == State(layer=2, unit=5, cursor="units")


def test_the_list_is_no_longer_than_can_be_looked_at() -> None:
    many = replace(
        SCENE,
        labels=tuple(f"cat {k}" for k in range(1000)),
        entries=(replace(entry("fc", 1, 1000), classes=True),),
    )
    assert len(matches(_typed("c", seen=many), many)) == MOST
