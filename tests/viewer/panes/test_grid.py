"""The grid: every pixel of a small one, and units found where they were drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.pane_views import entry, has, scene, view, view_of

from deepvis_caffe.image import resize_image
from deepvis_caffe.viewer.panes.colors import ACCENT, BROKEN, EMPTY, NEGATIVE, POSITIVE, SOURCE
from deepvis_caffe.viewer.panes.draw import Rect
from deepvis_caffe.viewer.panes.grid import PANE, _title, cells_of
from deepvis_caffe.viewer.panes.widgets import inside, wide_letters
from deepvis_caffe.viewer.state.state import PAGE_UNITS, State, grid_shape
from deepvis_caffe.viewer.state.units import Working

SIZE = (340, 360)  # (height, width) of the pane
LINEAR = State(gamma=3, individual=3)  # gray levels are values, in the layer's own range


def _room(height: int = SIZE[0], width: int = SIZE[1]) -> Rect:
    return inside(height, width, wide_letters(width))


def test_every_pixel_of_two_units() -> None:
    shown = view([[[0, 1], [2, 3]], [[4, 5], [0, 5]]], replace(LINEAR, aspect=2.0, unit=1))
    made = PANE.draw(shown, *SIZE)
    room = _room()
    # two cells side by side, 344 pixels: 172 each, of which 3 are the gap, and so 169 squared;
    # the pixel in the middle of 169 goes to the second half
    cells = cells_of(shown.scene.entries[0], shown.state, room)
    assert (cells.rows, cells.columns, cells.height, cells.width, cells.gap) == (1, 2, 169, 169, 3)
    first, second = cells.rect(0), cells.rect(1)
    assert first is not None
    assert second is not None
    assert second.left == first.right + 3
    expected = np.repeat(np.repeat([[204, 255], [0, 255]], [84, 85], axis=0), [84, 85], axis=1)
    got = made[second.top : second.bottom, second.left : second.right]
    np.testing.assert_array_equal(got, np.repeat(expected[..., np.newaxis], 3, axis=2))
    frame = made[second.top - 3 : second.bottom + 3, second.left - 3 : second.right + 3].copy()
    frame[3:-3, 3:-3] = ACCENT
    assert (frame == ACCENT).all(), "three pixels all around the selected unit"
    assert (
        made[first.bottom - 1, first.left : first.right - 4, 0] == [102] * 84 + [153] * 81
    ).all()


@pytest.mark.parametrize(
    ("units", "height", "width"), [(1, 1, 1), (7, 5, 5), (64, 13, 9), (1000, 1, 1), (30, 1, 50)]
)
@pytest.mark.parametrize("aspect", [0.5, 1.4])
def test_each_unit_is_drawn_and_hit_at_its_cell(
    units: int, height: int, width: int, aspect: float
) -> None:
    maps = np.zeros((units, height, width), np.float32)
    maps += np.arange(units).reshape(-1, 1, 1)
    shown = view(maps, replace(LINEAR, aspect=aspect))
    made, seen = PANE.draw(shown, *SIZE), []
    cells = cells_of(shown.scene.entries[0], shown.state, _room())
    for unit in range(units):
        place = cells.rect(unit)
        assert place is not None
        for y, x in ((place.top, place.left), (place.bottom - 1, place.right - 1)):
            hit = PANE.hit(shown, *SIZE, y, x)
            assert hit is not None
            assert (hit.kind, hit.index) == ("unit", unit)
        if unit > 2 and units > 60:  # away from the frame, in cells too small for words
            expected = round(255 * unit / (units - 1))
            middle = made[place.top + place.height // 2, place.left + place.width // 2]
            seen.append(int(middle[0]) - expected)
    assert set(seen) <= {-1, 0, 1}
    assert PANE.hit(shown, *SIZE, 1, 1) is None
    assert str(units - 1) in PANE.hit(shown, *SIZE, y, x).tip  # type: ignore[union-attr]


def test_cells_lie_apart_and_inside() -> None:
    for units, size in ((5, (3, 3)), (96, (55, 55)), (4096, (1, 1)), (512, (28, 28))):
        one = entry("conv", units, *size)
        room = Rect(20, 8, 600, 800)
        cells = cells_of(one, State(aspect=800 / 600), room)
        covered = np.zeros((700, 900), int)
        for unit in range(units):
            place = cells.rect(unit)
            assert place is not None
            assert place.top >= room.top
            assert place.left >= room.left
            assert place.bottom <= room.bottom
            assert place.right <= room.right
            covered[place.top : place.bottom, place.left : place.right] += 1
        assert covered.max() == 1
        assert covered.sum() == units * cells.height * cells.width


def test_a_layer_of_many_units_is_shown_by_the_page() -> None:
    one = entry("flatten", 25088)
    rows, columns = grid_shape(one, 1.2)
    page = rows * columns
    assert PAGE_UNITS <= page < PAGE_UNITS + columns
    values = np.arange(25088, dtype=np.float32).reshape(-1, 1, 1)
    shown = view_of(scene(one), values, State(aspect=1.2, unit=25000))
    cells = cells_of(one, shown.state, _room(700, 900))
    assert cells.first == 25000 // page * page
    assert cells.first + cells.count == 25088
    made = PANE.draw(shown, 700, 900)
    place = cells.rect(cells.first)
    assert place is not None
    # the colours are the whole layer's: the page's first is not black
    assert abs(int(made[place.top, place.left, 0]) - round(255 * cells.first / 25087)) <= 1
    assert cells.rect(0) is None
    hit = PANE.hit(shown, 700, 900, place.top, place.left)
    assert hit is not None
    assert hit.index == cells.first


def test_a_page_without_a_single_number_is_marked_as_such() -> None:
    for values in (np.full(5000, np.nan), np.full(5000, np.inf)):
        shown = view_of(scene(entry("fc", 5000)), values.reshape(-1, 1, 1), State(aspect=1.0))
        made = PANE.draw(shown, 700, 900)
        place = cells_of(shown.scene.entries[0], shown.state, _room(700, 900)).rect(1000)
        assert place is not None
        assert tuple(made[place.top, place.left]) == BROKEN


def test_a_layer_that_is_not_computed_yet_is_not_another_ones_maps() -> None:
    layers = scene(entry("a", 4, 2, 2), entry("b", 4, 2, 2))
    old = view_of(layers, np.full((4, 2, 2), 7), State(layer=0))
    new = replace(old, state=State(layer=1))
    none = replace(old, state=State(layer=1), result=None)
    np.testing.assert_array_equal(PANE.draw(new, *SIZE), PANE.draw(none, *SIZE))
    other = view_of(layers, np.random.default_rng(0).random((4, 2, 2)), State(layer=0))
    np.testing.assert_array_equal(
        PANE.draw(replace(other, state=State(layer=1)), *SIZE), PANE.draw(none, *SIZE)
    )
    assert PANE.draw(old, *SIZE).tobytes() != PANE.draw(none, *SIZE).tobytes()


def test_diffs_of_another_pass_are_not_shown() -> None:
    state = State(back="deconv", show_back=True)
    maps = np.ones((2, 1, 2))
    shown = view(maps, state, diffs=np.array([[[-1, 0]], [[0, 1]]], np.float32))
    made = PANE.draw(shown, *SIZE)
    assert has(made, NEGATIVE)
    assert has(made, POSITIVE)
    later = PANE.draw(replace(shown, state=replace(state, back="guided")), *SIZE)
    assert not has(later, NEGATIVE)
    assert not has(later, POSITIVE)


def test_diffs_above_the_source_are_said_to_be_0() -> None:
    seen = scene(entry("low", 4, 3, 3), entry("high", 2, 3, 3), entry("top", 5))
    zeros, ones = np.zeros((2, 3, 3), np.float32), np.ones((2, 3, 3), np.float32)

    def title(source: int, diffs: np.ndarray) -> str:
        state = State(layer=1, source=(source, 0), back="gradient", show_back=True)
        shown = view_of(seen, ones, state, diffs=diffs)
        return _title(shown)[1].strip()

    assert title(0, zeros) == "diffs, 2 maps of 3 × 3, all 0: the pass starts below, at low"
    assert title(2, zeros) == title(0, ones) == "diffs, 2 maps of 3 × 3"


def test_the_frozen_source_is_framed_too() -> None:
    maps = np.zeros((9, 4, 4))
    apart = State(back="deconv", source=(0, 2), unit=5)
    for state in (apart, replace(apart, unit=2)):
        made = PANE.draw(view(maps, state), *SIZE)
        assert has(made, SOURCE)
        assert has(made, ACCENT)
    made = PANE.draw(view(maps, replace(apart, back="off")), *SIZE)
    assert not has(made, SOURCE), "without a pass there is no source"


def test_patterns_stand_in_their_units_cells() -> None:
    red = np.full((6, 6, 3), (250, 10, 20), np.uint8)
    shown = replace(view(np.ones((9, 4, 4)), State(optimized=True)), optimized={4: red})
    made = PANE.draw(shown, *SIZE)
    cells = cells_of(shown.scene.entries[0], shown.state, _room())
    for unit, color in ((4, (250, 10, 20)), (5, EMPTY)):
        place = cells.rect(unit)
        assert place is not None
        inner = made[place.top + 2 : place.bottom - 2, place.left + 2 : place.right - 2]
        assert (inner == color).all()


def test_an_image_in_the_making_stands_in_its_unit_s_cell() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    shown = view(np.ones((9, 4, 4)), State(optimized=True))
    one = shown.scene.entries[0]
    shown = replace(shown, working=Working(one, 4, picture, 0.5))
    made = PANE.draw(shown, *SIZE)
    place = cells_of(one, shown.state, _room()).rect(4)
    assert place is not None
    cell = made[place.top : place.bottom, place.left : place.right]
    expected = resize_image(picture, place.height, place.width)
    np.testing.assert_array_equal(cell[1:-3], expected[1:-3])  # the frame of another touches
    assert (cell[-3:] == ACCENT).all(axis=2).sum() == 3 * round(place.width / 2)
    assert not np.array_equal(made, PANE.draw(replace(shown, working=None), *SIZE))


@pytest.mark.parametrize("units", [1, 4, 4096])
def test_broken_values_and_odd_sizes_do_not_crash(units: int) -> None:
    maps = np.full((units, 3, 3), np.nan)
    for height, width in (SIZE, (30, 40), (1, 1)):
        made = PANE.draw(view(maps, State(individual=2, gamma=1)), height, width)
        assert made.shape == (height, width, 3)
    assert has(PANE.draw(view(maps), *SIZE), BROKEN)
