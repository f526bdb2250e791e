"""Results side by side: each picture is in its place, with its title below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import deepvis_caffe as dv
from deepvis_caffe.figures.figure import Cell, Row, figure

COLORS = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30), (30, 200, 200)]


def picture(number: int) -> np.ndarray:
    return np.full((8, 8, 3), COLORS[number], np.uint8)


class Result:
    """As a result: a picture and a title."""

    def __init__(self, number: int) -> None:
        self.number, self.title = number, f"number{number}"

    def picture(self) -> np.ndarray:
        return picture(self.number)


def cells(numbers: list[int], text: str = "") -> list[Cell]:
    return [Cell(picture(one), (f"{text}{one}",) if text else ()) for one in numbers]


def test_lists_and_results_and_pictures_come_in_order_with_their_titles() -> None:
    shown = dv.side_by_side(Result(0), [Result(1), (Result(2),)], columns=2, cell=40)
    expected = figure([Row(cells([0, 1], "number")), Row(cells([2], "number"))], 40, text=13)
    np.testing.assert_array_equal(shown.picture(), expected)
    shown = dv.side_by_side((picture(k) for k in range(3)), cell=40, title="all")
    np.testing.assert_array_equal(shown.picture(), figure([Row(cells([0, 1, 2]))], 40, "all", 13))
    shown = dv.side_by_side(Result(3), picture(4), titles=["a3", "a4"], cell=40)
    np.testing.assert_array_equal(shown.picture(), figure([Row(cells([3, 4], "a"))], 40, text=13))


def test_a_long_title_is_wrapped() -> None:
    shown = dv.side_by_side(picture(0), titles=["two words"], cell=40)
    expected = figure([Row([Cell(picture(0), ("two", "words"))])], 40, text=13)
    np.testing.assert_array_equal(shown.picture(), expected)


def test_a_sheet_shows_and_saves_itself(tmp_path: Path) -> None:
    shown = dv.side_by_side(picture(0), cell=40)
    np.testing.assert_array_equal(dv.read_image(shown._repr_png_()), shown.image)
    np.testing.assert_array_equal(dv.read_image(shown.save(tmp_path / "a.png")), shown.image)
    again = dv.side_by_side(shown, cell=max(shown.image.shape))
    assert again.image.shape > shown.image.shape  # a sheet is a result, too


@pytest.mark.parametrize(
    ("shown", "titles", "words"),
    [
        ([], None, "at least one picture"),
        ([np.zeros((8, 8))], None, r"float64 of shape \(8, 8\)"),
        ([3], None, "got int"),
        ([picture(0)], ["a", "b"], "1 pictures need as many titles; got 2"),
    ],
)
def test_errors(shown: list[object], titles: list[str] | None, words: str) -> None:
    with pytest.raises(dv.ImageError, match=words):
        dv.side_by_side(shown, titles=titles)
