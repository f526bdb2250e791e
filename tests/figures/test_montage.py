"""Montages against matrices drawn by hand, and against how DVT slices a sprite."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepvis_caffe.errors import ImageError
from deepvis_caffe.figures.montage import captioned, montage, shrunk, sprite, square_side, vivid


def _flat(level: int, height: int = 1, width: int = 2) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_a_montage_drawn_by_hand() -> None:
    made = montage([_flat(10), _flat(20), _flat(30)], padding=1, fill=7)
    expected = [
        [7, 7, 7, 7, 7, 7, 7],
        [7, 10, 10, 7, 20, 20, 7],
        [7, 7, 7, 7, 7, 7, 7],
        [7, 30, 30, 7, 7, 7, 7],
        [7, 7, 7, 7, 7, 7, 7],
    ]
    np.testing.assert_array_equal(made[..., 0], expected)
    np.testing.assert_array_equal(made[..., 0], made[..., 2])


def test_columns_leave_no_empty_row() -> None:
    made = montage([_flat(10), _flat(20), _flat(30)], columns=3, padding=0)
    np.testing.assert_array_equal(made[..., 0], [[10, 10, 20, 20, 30, 30]])


@pytest.mark.parametrize(("count", "side"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (1000, 32)])
def test_the_smallest_square_grid(count: int, side: int) -> None:
    assert square_side(count) == side


def test_a_sprite_gives_every_unit_where_dvt_looks_for_it() -> None:
    cells = {unit: _flat(unit, 4, 5) for unit in (0, 7, 9)}
    made = sprite(cells, count=10)
    rows = int(np.ceil(np.sqrt(10)))  # DVT: a square of tiles, row by row, no padding
    height, width = made.shape[0] // rows, made.shape[1] // rows
    tiles = made.reshape(rows, height, rows, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)
    for unit in range(10):
        assert (tiles[unit] == (unit if unit in cells else 128)).all(), unit


def test_shrinking_averages_and_never_enlarges() -> None:
    stripes = np.tile(np.array([0, 100], np.uint8)[None, :, None], (20, 20, 3))  # 20 x 40
    made = shrunk(stripes, 20)
    assert made.shape == (10, 20, 3)
    assert (made == 50).all()
    np.testing.assert_array_equal(shrunk(stripes, 100), stripes)


def test_pictures_of_two_sizes_are_named() -> None:
    with pytest.raises(ImageError, match=r"number 1 has shape \(2, 2, 3\), expected \(1, 2, 3\)"):
        montage([_flat(1), _flat(2, 2, 2)])
    with pytest.raises(ImageError, match="at least one"):
        montage([])


def test_vivid_clips_the_farthest_and_stretches_the_rest_about_gray() -> None:
    levels = np.full((10, 10, 3), 128, np.uint8)
    levels[0, 0], levels[0, 1], levels[0, 2] = 255, 138, 117  # 127.5 is zero: +127.5, +10.5, -10.5
    made = vivid(levels, percentile=98.5)  # all but one and a half of a hundred: 10.5 is the reach
    np.testing.assert_array_equal(made[0, :3, 0], [255, 255, 0])
    assert made[5, 5, 0] == round(127.5 + 0.5 * 127.5 / 10.5)
    assert (vivid(np.full((2, 2, 3), 128, np.uint8)) <= 255).all()


def test_a_caption_is_below_the_picture_and_within_its_width() -> None:
    picture = _flat(90, 30, 80)
    made = captioned(picture, "a very long caption that does not fit, Größe")
    np.testing.assert_array_equal(made[:30], picture)
    strip = made[30:]
    assert strip.min() < 60, "there is no ink"
    assert (strip[:, -2:] == 255).all(), "the text runs out of the picture"
    short = captioned(picture, "A")[30:]
    (width, _), _ = cv2.getTextSize("A", cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    assert np.flatnonzero((short < 255).any(axis=(0, 2))).max() <= 2 + width
