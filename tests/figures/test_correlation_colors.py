"""Levels and colors of Pearson's r, by hand."""

from __future__ import annotations

import numpy as np

from deepvis_caffe.figures.correlation_colors import NONE, STEPS, ZERO, colors, levels_of


def test_a_level_is_a_hundredth() -> None:
    values = np.array([[-1, -0.994, -0.006, 0.0, 0.004], [0.006, 0.5, 0.996, 1.0, np.nan]])
    expected = [[1, 2, 100, 101, 101], [102, 151, 201, 201, 0]]
    np.testing.assert_array_equal(levels_of(values), expected)
    assert levels_of(values).dtype == np.uint8
    every = np.arange(-100, 101) / 100
    np.testing.assert_array_equal((levels_of(every).astype(int) - ZERO) / STEPS, every)
    np.testing.assert_array_equal(levels_of(np.array([1.5, -1.5])), [201, 1])  # rounding, above 1


def test_colors_diverge_from_black_and_what_has_no_r_is_neither() -> None:
    table = colors().astype(int)
    assert table.shape == (202, 3)
    assert tuple(table[ZERO]) == (10, 11, 13)
    assert tuple(table[201]) == (255, 236, 184)
    assert tuple(table[1]) == (206, 236, 255)
    light = table @ [0.299, 0.587, 0.114]
    assert (np.diff(light[ZERO:]) > 0).all()
    assert (np.diff(light[1 : ZERO + 1]) < 0).all()
    red, blue = table[:, 0], table[:, 2]
    assert (red[ZERO + 3 :] > blue[ZERO + 3 :]).all()
    assert (red[1 : ZERO - 3] < blue[1 : ZERO - 3]).all()
    assert len({*map(tuple, table.tolist())}) == 202
    assert np.ptp(table[NONE]) < 15, "gray, as no r is"
