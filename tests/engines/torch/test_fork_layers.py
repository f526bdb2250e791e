"""Layers of forks against their published definitions, in numpy; drawings where one helps."""

from __future__ import annotations

import numpy as np
import pytest
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


# -- windows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("stride", "pad", "size"), [(1, 0, (2, 3)), (2, 1, (2, 3)), (1, 1, (4, 5)), (3, 0, (1, 1))]
)
def test_local(bias: bool, stride: int, pad: int, size: tuple[int, int]) -> None:
    """Every position of the top has filters of its own; windows of 2 over 3 by 4 pixels."""
    x, rng = distinct(2, 2, 3, 4), np.random.default_rng(0)
    w, b = rng.standard_normal((3, 1, 8, 6 * 5)), rng.standard_normal((1, 1, 3, 6 * 5))
    positions = size[0] * size[1]
    w, b = w[..., :positions], b[..., :positions]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    expected = np.zeros((2, 3, *size))
    for n, o, i, j in np.ndindex(expected.shape):
        at = i * size[1] + j
        window = padded[n, :, i * stride : i * stride + 2, j * stride : j * stride + 2]
        expected[n, o, i, j] = (window.ravel() * w[o, 0, :, at]).sum() + bias * b[0, 0, o, at]
    params = (
        f"num_output: 3 kernel_size: 2 stride: {stride} pad: {pad} bias_term: {str(bias).lower()}"
    )
    layer = built("Local", f"local_param {{ {params} }}", [w, b][: 1 + bias])
    assert_computes(layer, expected, x)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("kernel_size: 2", "num_output must be given"),
        ("num_output: 2", "kernel_size and stride must be given"),
        ("num_output: 2 kernel_size: 4", "has only (3, 4)"),
    ],
)
def test_a_local_that_makes_no_sense(params: str, message: str) -> None:
    assert message in refused("Local", f"local_param {{ {params} }}", X.shape)
