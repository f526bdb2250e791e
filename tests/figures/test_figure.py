"""Figures: every picture is complete and in its place, and no text overlaps it or overflows."""

from __future__ import annotations

import numpy as np
import pytest

from deepvis_caffe.errors import ImageError
from deepvis_caffe.figures.figure import Cell, Row, figure, grid


def _flat(*color: int, height: int = 40, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _box(picture: np.ndarray, color: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the pixels of one color, which fill that box."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    assert len(rows) == (box[2] - box[0]) * (box[3] - box[1]), "something lies on the picture"
    return tuple(map(int, box))  # type: ignore[return-value]


def test_rows_and_columns_line_up_below_the_title() -> None:
    made = figure(
        [
            Row([Cell(_flat(*RED), ("none", "a = 1")), Cell(_flat(*GREEN), ("0.5", "a = 2"))], "A"),
            Row([Cell(_flat(*BLUE), ("none", "a = 3"))], "A longer name"),
        ],
        cell=80,
        title="A title",
    )
    red, green, blue = (_box(made, color) for color in (RED, GREEN, BLUE))
    for top, left, bottom, right in (red, green, blue):
        assert (bottom - top, right - left) == (80, 80)
    assert red[0] == green[0]
    assert red[1] == blue[1]
    assert green[1] == red[3] + 6  # the gap
    assert blue[0] >= red[2] + 2 * 12, "there is no room for two lines of text"
    ink = (made < 100).all(axis=2)
    assert ink[: red[0]].any(), "the title"
    assert ink[red[0] : red[2], : red[1]].any(), "the row's name"
    assert ink[red[2] : blue[0], red[1] : red[3]].any(), "the first lines"


def test_pictures_keep_their_shape_in_the_middle_of_their_cell() -> None:
    tall = Cell(_flat(*RED, height=60, width=20))
    made = grid([tall, Cell(_flat(*GREEN))], columns=2, cell=60)
    top, left, bottom, right = _box(made, RED)
    assert (bottom - top, right - left) == (60, 20)
    green = _box(made, GREEN)
    assert (green[2] - green[0], green[3] - green[1]) == (60, 60)
    cell_left = green[1] - 6 - 60
    assert left - cell_left == 20


def test_a_grid_fills_row_by_row_and_ends_with_its_last_picture() -> None:
    colors = [(i, 0, 0) for i in (50, 100, 150, 200, 250)]
    made = grid([Cell(_flat(*color)) for color in colors], columns=2, cell=40)
    corners = [_box(made, color)[:2] for color in colors]
    expected = [(14 + 46 * (i // 2), 14 + 46 * (i % 2)) for i in range(5)]  # margin 14, gap 6
    assert corners == expected
    assert made.shape == (14 + 3 * 46 - 6 + 14, 14 + 2 * 46 - 6 + 14, 3)


def test_a_long_line_is_cut_within_its_cell() -> None:
    long = "a very long name of a unit that nobody can print"
    made = grid([Cell(_flat(*RED), (long,)), Cell(_flat(*GREEN), ("ok",))], columns=2, cell=80)
    red, green = _box(made, RED), _box(made, GREEN)
    ink = np.nonzero((made < 128).all(axis=2))[1]
    in_the_gap = (ink >= red[3]) & (ink < green[1])
    assert not in_the_gap.any()
    assert ink.min() >= red[1]


def test_a_figure_of_nothing() -> None:
    with pytest.raises(ImageError, match="at least one picture"):
        figure([Row([])])
    with pytest.raises(ImageError, match="at least 1 column"):
        grid([Cell(_flat(*RED))], columns=0)
