"""The layout: at any size panes lie apart and inside, and the grid's aspect is what it has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from deepvis_caffe.viewer.panes.layout import grid_aspect, layout
from deepvis_caffe.viewer.panes.widgets import inside, wide_letters
from deepvis_caffe.viewer.state.state import State

STATES = some.builds(
    State,
    back=some.sampled_from(["off", "deconv"]),
    labels=some.booleans(),
    unit_images=some.booleans(),
)
EVERYTHING = {"input", "layers", "grid", "detail", "back", "classes", "unit", "status"}


@settings(max_examples=300, deadline=None)
@given(width=some.integers(1, 4000), height=some.integers(1, 2400), state=STATES)
def test_panes_are_disjoint_and_inside(width: int, height: int, state: State) -> None:
    rects = layout(width, height, state)
    for rect in rects.values():
        assert min(rect.height, rect.width) >= 1
        assert min(rect.top, rect.left) >= 0
        assert rect.bottom <= height
        assert rect.right <= width
    for one, other in itertools.combinations(rects.values(), 2):
        apart = one.right <= other.left or other.right <= one.left
        assert apart or one.bottom <= other.top or other.bottom <= one.top


@settings(max_examples=100, deadline=None)
@given(width=some.integers(640, 4000), height=some.integers(480, 2400), state=STATES)
def test_what_matters_is_there_from_640_x_480(width: int, height: int, state: State) -> None:
    rects = layout(width, height, state)
    assert {"input", "layers", "grid", "status", "back"} <= set(rects)
    assert rects["grid"].height * rects["grid"].width > 0.3 * width * height
    assert ("classes" in rects) <= state.labels
    assert ("unit" in rects) <= state.unit_images
    room = inside(rects["grid"].height, rects["grid"].width, wide_letters(rects["grid"].width))
    assert grid_aspect(width, height) == pytest.approx(room.width / room.height)


def test_the_grid_stands_still_whatever_is_shown_beside_it() -> None:
    states = [State(), State(back="deconv"), State(labels=False, unit_images=False)]
    assert len({layout(1280, 800, state)["grid"] for state in states}) == 1


@pytest.mark.parametrize("size", [(1280, 800), (1600, 1000), (1920, 1080), (3840, 2160)])
@pytest.mark.parametrize("back", ["off", "guided"])
def test_a_wide_window_shows_all(size: tuple[int, int], back: str) -> None:
    rects = layout(*size, State(back=back))  # type: ignore[arg-type]
    assert set(rects) == EVERYTHING
    assert rects["input"].left < rects["grid"].left < rects["detail"].left
    # columns end where the grid does
    for column in (("input", "back", "classes"), ("detail", "unit")):
        assert max(rects[name].bottom for name in column) == rects["grid"].bottom


def test_a_windows_panes_grow_with_it() -> None:
    small, large = (layout(1280 * by, 800 * by, State()) for by in (1, 2))
    for name in EVERYTHING - {"status"}:
        assert np.prod(large[name][2:]) > 2 * np.prod(small[name][2:])


def test_no_aspect_of_nothing() -> None:
    assert grid_aspect(1, 1) == 1.0
