"""Values as colours, by formulas written out and by matplotlib's own tables."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from helpers.pane_views import view
from scipy.ndimage import map_coordinates

from deepvis_caffe.viewer.panes.colors import BROKEN, NEGATIVE, POSITIVE, signed_table, table
from deepvis_caffe.viewer.panes.maps import (
    Boost,
    boost_of,
    color_maps,
    common_range,
    ranges,
)
from deepvis_caffe.viewer.state.state import COLORMAPS, State


@pytest.mark.parametrize("name", COLORMAPS)
def test_colour_maps_are_matplotlibs(name: str) -> None:
    expected = matplotlib.colormaps[name](np.arange(256))[:, :3] * 255
    np.testing.assert_allclose(table(name), expected, atol=2)


def test_signs_have_a_colour_each_and_nothing_is_black() -> None:
    colours = signed_table()
    assert tuple(colours[1]) == NEGATIVE
    assert tuple(colours[128]) == (0, 0, 0)
    assert tuple(colours[255]) == POSITIVE
    np.testing.assert_allclose(colours[64], np.array(NEGATIVE) * 64 / 127, atol=0.51)


def test_every_pixel_of_two_maps_of_four() -> None:
    maps = np.array([[[0, 1], [2, 3]], [[4, 5], [0, 5]]], np.float32)
    # 0 to 5 over both; each value a square of 2 x 3 pixels; a fifth of 255 is 51
    expected = np.array(
        [
            [0, 0, 0, 51, 51, 51],
            [0, 0, 0, 51, 51, 51],
            [102, 102, 102, 153, 153, 153],
            [102, 102, 102, 153, 153, 153],
            [204, 204, 204, 255, 255, 255],
            [204, 204, 204, 255, 255, 255],
            [0, 0, 0, 255, 255, 255],
            [0, 0, 0, 255, 255, 255],
        ]
    )
    made = color_maps(maps, 4, 6, Boost())
    np.testing.assert_array_equal(made, np.repeat(expected[..., np.newaxis], 3, axis=2))


def test_a_map_that_shrinks_is_averaged_and_no_map_runs_into_the_next() -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((5, 6, 9)).astype(np.float32)
    maps[0, 0, :4], maps[4, 5, :4] = 0, 1  # enough of them to be the ends of the scale
    expected = maps.reshape(5, 2, 3, 3, 3).mean(axis=(2, 4))  # to 2 x 3
    made = color_maps(maps, 2, 3, Boost())[..., 0].reshape(5, 2, 3)
    np.testing.assert_allclose(made, 255 * expected, atol=0.51)
    steps = np.repeat([0.0, 1.0], 7 * 9).reshape(2, 7, 9).astype(np.float32)
    made = color_maps(steps, 3, 4, Boost())[..., 0]  # no whole factor
    assert (made[:3] == 0).all()
    assert (made[3:] == 255).all()


def test_by_no_whole_factor_maps_shrink_to_the_values_between_pixels() -> None:
    """Means of whole blocks first, then linear interpolation at the centers, by scipy."""
    maps = np.random.default_rng(0).random((3, 14, 18)).astype(np.float32)
    means = maps.reshape(3, 7, 2, 6, 3).mean(axis=(2, 4))  # towards 5 x 6
    rows, columns = np.mgrid[:5, :6]
    places = [(rows + 0.5) * 7 / 5 - 0.5, columns]
    expected = np.stack([map_coordinates(one, places, order=1) for one in means])
    made = color_maps(maps, 5, 6, Boost(individual=1.0))[..., 0].reshape(3, 5, 6)
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(made, 255 * (expected - low) / (high - low), atol=0.51)


def test_no_value_is_lost_where_a_map_shrinks() -> None:
    """A single one that is not finite is marked wherever it is, and only in its own map."""
    for height, row, column in np.ndindex(2, 13, 9):
        maps = np.zeros((3, 13, 9), np.float32)
        maps[1, row, column] = np.nan
        made = color_maps(maps, (7, 13)[height], 5, Boost()).reshape(3, -1, 3)
        broken = (made == BROKEN).all(axis=2).any(axis=1)
        assert broken.tolist() == [False, True, False], (height, row, column)


def test_ten_thousand_maps_stay_in_their_own_cells() -> None:
    maps = np.arange(10000, dtype=np.float32).reshape(-1, 1, 1) % 2 * np.ones((1, 5, 1), np.float32)
    made = color_maps(maps, 17, 1, Boost())[:, 0, 0]
    np.testing.assert_array_equal(made, np.repeat(np.tile([0, 255], 5000), 17))


@pytest.mark.parametrize("individual", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 0.7, 0.5, 0.3])
def test_boosts_by_their_formula(gamma: float, individual: float) -> None:
    maps = np.array([[[-1, 0, 1.5]], [[0, 2, 8]]], np.float32)
    expected = []
    for one, (own_low, own_high) in zip(maps, [(-1, 1.5), (0, 8)], strict=True):
        low = (1 - individual) * -1 + individual * own_low
        high = (1 - individual) * 8 + individual * own_high
        expected.append(255 * np.clip((one - low) / (high - low), 0, 1) ** gamma)
    made = color_maps(maps, 1, 3, Boost(gamma, individual))[..., 1]
    np.testing.assert_allclose(made, np.concatenate(expected), atol=1)


def test_diffs_are_symmetric_about_black_and_shown_by_a_power() -> None:
    maps = np.array([[[-4, -1, 0, 1, 4]]], np.float32)
    made = color_maps(maps, 1, 5, Boost(signed=True))[0]
    share = round(127 * (1 / 4) ** 0.7) / 127
    soft = [share * np.array(color) for color in (NEGATIVE, POSITIVE)]
    np.testing.assert_allclose(made, [NEGATIVE, soft[0], (0, 0, 0), soft[1], POSITIVE], atol=0.51)
    one_sided = color_maps(np.array([[[0, 2]]], np.float32), 1, 2, Boost(signed=True))[0]
    np.testing.assert_array_equal(one_sided, [(0, 0, 0), POSITIVE])


def test_ranges_of_diffs_are_symmetric() -> None:
    maps = np.array([[[-4, 1]], [[0, 2]]], np.float32)
    low, high = ranges(maps, individual=1.0, signed=True)
    assert [low.ravel().tolist(), high.ravel().tolist()] == [[-4, -2], [4, 2]]
    low, high = ranges(maps, individual=0.0, signed=True)
    assert [low.ravel().tolist(), high.ravel().tolist()] == [[-4, -4], [4, 4]]


@pytest.mark.parametrize("count", [500, 200_000])
def test_a_layer_s_few_extreme_values_share_the_ends_of_the_scale(count: int) -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random(count) < 0.5, 0, rng.gamma(2, 3, count)).astype(np.float32)
    values[: count // 1000] = 1000
    maps = values.reshape(10, count // 50, 5)
    low, high = common_range(maps)
    assert low == 0
    ranked = np.sort(values[values > 0])
    assert high < 40
    assert np.searchsorted(ranked, high) / len(ranked) == pytest.approx(0.995, abs=3e-3)
    made = color_maps(maps, count // 50, 5, Boost())[..., 0].ravel()
    share = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(made, 255 * share, atol=0.51)
    _, whole = common_range(maps - 4, signed=True)
    below = np.searchsorted(np.sort(abs(values - 4)), whole) / count
    assert below == pytest.approx(0.995, abs=3e-3)


def test_of_numbers_the_highest_is_the_end_of_the_scale() -> None:
    values = np.r_[np.zeros(990), np.arange(10)].astype(np.float32)
    assert common_range(values.reshape(-1, 1, 1)) == (0, 9)
    assert common_range(values.reshape(-1, 1, 1) - 5, signed=True) == (-5, 5)


def test_some_maps_of_a_layer_have_the_colors_that_all_give_them() -> None:
    maps = np.random.default_rng(0).normal(size=(6, 9, 9)).astype(np.float32)
    whole = color_maps(maps, 9, 9, Boost(individual=0.5))
    some = color_maps(maps[2:4], 9, 9, Boost(individual=0.5), maps)
    np.testing.assert_array_equal(some, whole[18:36])


def test_a_number_has_no_range_of_its_own() -> None:
    values = np.array([0, 1, 2], np.float32).reshape(3, 1, 1)
    made = color_maps(values, 1, 1, Boost(individual=1.0))[:, 0, 0]
    np.testing.assert_array_equal(made, [0, 128, 255])


@pytest.mark.parametrize("signed", [False, True])
def test_equal_values_are_dark_and_no_division_by_zero(signed: bool) -> None:
    with np.errstate(all="raise"):
        made = color_maps(np.zeros((2, 3, 3), np.float32), 4, 4, Boost(signed=signed))
    assert not made.any()


def test_what_is_no_number_has_its_own_colour_and_spoils_nothing_else() -> None:
    maps = np.array([[[np.nan, 0], [1, np.inf]], [[2, 4], [-np.inf, 4]]], np.float32)
    made = color_maps(maps, 2, 2, Boost())
    assert view(maps).not_finite == 3
    expected = [[BROKEN, 0], [64, BROKEN], [128, 255], [BROKEN, 255]]
    for row, line in zip(made, expected, strict=True):
        for pixel, value in zip(row, line, strict=True):
            np.testing.assert_array_equal(pixel, value)
    everything = color_maps(np.full((1, 2, 2), np.nan, np.float32), 3, 3, Boost())
    assert (everything == BROKEN).all()


def test_the_states_indices_name_a_boost() -> None:
    assert boost_of(State(gamma=1, individual=3, colormap=3)) == Boost(0.5, 0.0, "magma")
    assert boost_of(State(), signed=True) == Boost(0.7, 0.5, signed=True)
    assert boost_of(State(), numbers=True) == Boost(1.0, 0.5)
    assert boost_of(State(gamma=2), numbers=True) == Boost(0.3, 0.5)
