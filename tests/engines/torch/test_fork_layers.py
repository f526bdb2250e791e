"""Layers of forks against their published definitions, in numpy; drawings where one helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.torch_layers import assert_computes, built, distinct, refused, run_all

X = distinct(2, 6, 3, 4)


# -- the same values in another order --------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_shuffle_channel(group: int) -> None:
    # group 2:  a b c | d e f  ->  a d b e c f
    each = 6 // group
    order = [row * each + column for column in range(each) for row in range(group)]
    params = f"shuffle_channel_param {{ group: {group} }}"
    assert_computes(built("ShuffleChannel", params), X[:, order], X)


def slow_reorg(x: np.ndarray, stride: int, reverse: bool) -> np.ndarray:
    """Darknet's loops, with its indices into memory."""
    images, channels, height, width = x.shape
    few = channels // stride**2
    values, moved = x.ravel(), np.zeros(x.size)
    for n, c, i, j in np.ndindex(x.shape):
        here = j + width * (i + height * (c + channels * n))
        row, column = i * stride + c // few // stride, j * stride + c // few % stride
        there = column + width * stride * (row + height * stride * (c % few + few * n))
        if reverse:
            moved[there] = values[here]
        else:
            moved[here] = values[there]
    if reverse:
        return moved.reshape(images, few, height * stride, width * stride)
    return moved.reshape(images, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("stride", "shape"), [(1, X.shape), (2, (2, 8, 4, 6)), (3, (1, 9, 6, 3))])
def test_reorg(stride: int, shape: tuple[int, ...], reverse: bool) -> None:
    x = distinct(*shape)
    params = f"reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}"
    assert_computes(built("Reorg", params), slow_reorg(x, stride, reverse), x)


def test_reorg_by_hand() -> None:
    # Reversed, the four channels a b c d of one position become the block  a b
    #                                                                       c d
    abcd = np.arange(4.0).reshape(1, 4, 1, 1)
    reverse = built("Reorg", "reorg_param { stride: 2 reverse: true }")
    np.testing.assert_array_equal(reverse(torch.tensor(abcd)), [[[[0, 1], [2, 3]]]])
    # Four channels of 2 x 2 are read as one of 4 x 4, 0..15 in memory; blocks of that are taken
    # apart, 0 2 8 10 | 1 3 9 11 | 4 6 12 14 | 5 7 13 15, and that is one column of 16 channels.
    x = np.arange(16.0).reshape(1, 4, 2, 2)
    top = built("Reorg", "reorg_param { stride: 2 }")(torch.tensor(x))
    expected = [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]
    assert top.shape == (1, 16, 1, 1)
    assert top.flatten().tolist() == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("", X[::-1]),
        ("axis: 2", X[:, :, ::-1]),
        ("axis: 1 axis: -1", X[:, ::-1, :, ::-1]),
    ],
)
def test_reverse(params: str, expected: np.ndarray) -> None:
    assert_computes(built("Reverse", f"reverse_param {{ {params} }}"), expected, X)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("", X[..., ::-1]),
        ("flip_height: true", X[..., ::-1, ::-1]),
        ("flip_height: true flip_width: false", X[..., ::-1, :]),
    ],
)
def test_flip(params: str, expected: np.ndarray) -> None:
    assert_computes(built("Flip", f"flip_param {{ {params} }}"), expected, X)


def test_crop_center() -> None:
    params = "crop_size: 0 crop_size: 2 crop_size: 1 crop_size: 0"
    crop = built("CropCenter", f"crop_center_param {{ {params} }}")
    assert_computes(crop, X[:, 2:4, 1:2, :], X)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("axis: 1 indices: 4 indices: 0 indices: 4 shape: 3", X[:, [4, 0, 4]]),
        ("axis: -1 indices: 3 shape: 0", X[..., 3]),
        ("axis: -1 indices: 3", X[..., 3]),
        (
            "axis: 1 indices: 5 indices: 4 indices: 3 indices: 2 shape: 2 shape: 2",
            X[:, [[5, 4], [3, 2]]],
        ),
    ],
)
def test_gather(params: str, expected: np.ndarray) -> None:
    assert_computes(built("Gather", f"gather_param {{ {params} }}"), expected, X)


def test_gather_of_one_process_is_what_came() -> None:
    first, second = run_all(built("Gather", bottoms=2, tops=2), X, X[:, 0])
    np.testing.assert_array_equal(first, X)
    np.testing.assert_array_equal(second, X[:, 0])


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("ShuffleChannel", "shuffle_channel_param { group: 4 }", "cannot be split into 4 groups"),
        ("Reverse", "reverse_param { axis: 4 }", "axis 4 is out of range"),
        ("Reorg", "", "stride must be given and positive"),
        ("Reorg", "reorg_param { stride: 2 }", "6 channels cannot be split into 2 x 2 groups"),
        ("CropCenter", "crop_center_param { crop_size: 1 }", "for each of its bottom's 4 axes"),
        (
            "CropCenter",
            "crop_center_param { crop_size: 1 crop_size: 0 crop_size: 0 crop_size: 0 }",
            "leaves nothing of (2, 6, 3, 4)",
        ),
        ("Gather", "gather_param { indices: 0 indices: 1 }", "does not hold its 2 indices"),
        ("Gather", "gather_param { indices: 2 }", "run past axis 0 of (2, 6, 3, 4)"),
    ],
)
def test_what_makes_no_sense(kind: str, params: str, message: str) -> None:
    assert message in refused(kind, params, X.shape)
