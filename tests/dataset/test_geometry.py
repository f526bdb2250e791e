"""Boxes in a picture's own pixels: only pixels within a box change the input there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from helpers.engine_nets import conv, layer, load_text, net_text

from deepvis_caffe.dataset.top_images import cut, field_of, picture_box, place_of, seen_box
from deepvis_caffe.model.preprocess import Preprocessor


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize(
    ("height", "width"), [(24, 32), (50, 70), (61, 40), (47, 120), (9, 13), (24, 11), (12, 90)]
)
def test_a_box_holds_exactly_the_pixels_that_change_the_input_there(
    resize: Literal["crop", "stretch"], height: int, width: int
) -> None:
    preprocessor = Preprocessor((1, 12, 16), 0, resize=resize)
    box = (3, 5, 7, 6)

    def seen(picture: np.ndarray) -> np.ndarray:
        return preprocessor(picture)[0, box[0] : box[2], box[1] : box[3]]

    black = np.zeros((height, width), np.float32)
    rows, columns = set(), set()
    for row in range(height):
        changed = black.copy()
        changed[row] = 1
        rows |= {row} if seen(changed).any() else set()
    for column in range(width):
        changed = black.copy()
        changed[:, column] = 1
        columns |= {column} if seen(changed).any() else set()
    top, left, bottom, right = picture_box(preprocessor, box, height, width)
    # A pixel at the end may have no weight, where interpolation falls on the next one's centre.
    inside_rows = set(range(max(top, 0), min(bottom, height)))
    inside_columns = set(range(max(left, 0), min(right, width)))
    assert rows <= inside_rows
    assert columns <= inside_columns
    assert len(inside_rows - rows) <= (2 if height < 24 else 0)
    assert len(inside_columns - columns) <= (2 if width < 32 else 0)


def test_padding_is_as_large_as_what_is_inside() -> None:
    preprocessor = Preprocessor((3, 10, 10), 0)
    assert picture_box(preprocessor, (-2, -2, 3, 12), 100, 100) == (-20, -20, 30, 120)
    # Of 100 x 140 the middle 100 x 100 is the input.
    assert picture_box(preprocessor, (-2, -2, 3, 12), 100, 140) == (-20, 0, 30, 140)


def test_what_lies_outside_is_gray() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = [[128, 128, 128], [128, 0, 1], [128, 4, 5]]
    np.testing.assert_array_equal(cut(picture, (-1, -1, 2, 2)), expected)
    np.testing.assert_array_equal(
        cut(picture, (1, 2, 4, 5), (0, 0, 3, 3)), [[6, 128, 128], [10, 128, 128], [128] * 3]
    )
    assert (cut(picture, (5, 9, 7, 12)) == 128).all()


def test_what_a_unit_sees_by_hand(tmp_path: Path) -> None:
    text = net_text(
        conv("conv1", "data", 2, 3, "stride: 2 pad: 1"),
        conv("conv2", "conv1", 2, 3, "pad: 1"),
        layer("fc", "InnerProduct", "conv2", "", "inner_product_param { num_output: 4 }"),
        data=(1, 3, 16, 6),
    )
    net = load_text("torch", tmp_path, text)

    def seen(layer: str, place: tuple[int, ...]) -> tuple[int, int, int, int]:
        return seen_box(net.preprocessor, field_of(net, layer), place)

    assert seen("conv1", (0, 2)) == (-1, 3, 2, 6)
    # conv2 sees 7 pixels: more than the 6 columns, so all of them.
    assert seen("conv2", (4, 1)) == (5, 0, 12, 6)
    assert seen("fc", ()) == (0, 0, 16, 6)
    assert place_of((2, 8, 3), 13) == (4, 1)
    assert place_of((2,), 0) == ()
