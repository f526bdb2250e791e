"""The layout: at any size panes lie apart and inside, and the grid's aspect is what it has."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from deepvis_caffe.viewer.panes.back import chips_height
from deepvis_caffe.viewer.panes.classes import rows_height
from deepvis_caffe.viewer.panes.layout import grid_aspect, layout
from deepvis_caffe.viewer.panes.widgets import inside, letters, wide_letters
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
    assert grid_aspect(width, height, state) == pytest.approx(room.width / room.height)


@pytest.mark.parametrize("size", [(1000, 455), (844, 340), (1300, 700)])
def test_a_low_window_shows_the_input_and_what_excites_the_unit(size: tuple[int, int]) -> None:
    found = layout(*size, State())
    assert {"layers", "input", "grid", "unit"} <= found.keys()
    assert found["grid"].right <= found["unit"].left


def test_the_grid_stands_still_whatever_is_shown_beside_the_unit_s_images() -> None:
    states = [State(), State(back="deconv"), State(labels=False)]
    assert len({layout(1280, 800, state)["grid"] for state in states}) == 1


@pytest.mark.parametrize(
    "size", [(1280, 640), (1280, 800), (1600, 1000), (1920, 900), (1920, 1080), (3840, 2160)]
)
@pytest.mark.parametrize("back", ["off", "guided"])
def test_a_wide_window_shows_all(size: tuple[int, int], back: str) -> None:
    rects = layout(*size, State(back=back))  # type: ignore[arg-type]
    assert set(rects) == EVERYTHING
    assert rects["input"].left < rects["grid"].left < rects["detail"].left
    # columns end where the grid does
    for column in (("input", "back", "classes"), ("detail", "unit")):
        assert max(rects[name].bottom for name in column) == rects["grid"].bottom


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
@pytest.mark.parametrize("back", ["off", "guided"])
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("unit_images", [True, False])
def test_hidden_panes_leave_no_holes(
    size: tuple[int, int], back: str, labels: bool, unit_images: bool
) -> None:
    rects = layout(*size, State(back=back, labels=labels, unit_images=unit_images))  # type: ignore[arg-type]
    covered = np.zeros((size[1], size[0]), bool)
    for rect in rects.values():  # each with the gap at its right and below it
        covered[rect.top : rect.bottom + 8, rect.left : rect.right + 8] = True
    grid = rects["grid"]
    assert covered[grid.top : grid.bottom, 8:].all()


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_what_a_pass_shows_is_as_wide_as_its_column(size: tuple[int, int]) -> None:
    rects = layout(*size, State(back="guided"))
    width = rects["back"].width
    below_chips = rects["back"].height - chips_height(width, styles=True) - 8
    assert below_chips >= width - 16
    assert rects["classes"].height >= rows_height(4, letters(width))


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_the_unit_s_images_have_more_room_than_any_other_pane_but_the_grid(
    size: tuple[int, int],
) -> None:
    rects = layout(*size, State())
    areas = {name: rect.height * rect.width for name, rect in rects.items()}
    largest = sorted(areas, key=areas.__getitem__)[-2:]
    assert largest == ["unit", "grid"]
    assert rects["grid"].width >= rects["grid"].height, "its cells are not made smaller for that"


@settings(max_examples=100, deadline=None)
@given(width=some.integers(1, 4000), height=some.integers(1, 2400))
def test_an_enlarged_picture_has_the_window(width: int, height: int) -> None:
    rects = layout(width, height, State(zoom="unit"))
    if rects:
        assert set(rects) == {"status", "enlarged"}
        assert rects["enlarged"].width >= width - 16
        assert rects["enlarged"].height >= height - 8 - 48


def test_a_windows_panes_grow_with_it() -> None:
    small, large = (layout(1280 * by, 800 * by, State()) for by in (1, 2))
    for name in EVERYTHING - {"status"}:
        assert np.prod(large[name][2:]) > 2 * np.prod(small[name][2:])


def test_no_aspect_of_nothing() -> None:
    assert grid_aspect(1, 1, State()) == 1.0
