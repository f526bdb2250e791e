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


# -- normalizations --------------------------------------------------------------------------------

L1, L2 = np.abs(X).sum(1, keepdims=True) + 1e-6, np.sqrt((X**2).sum(1, keepdims=True) + 1e-6)


@pytest.mark.parametrize(("kind", "norm"), [("", L2), ("L2", L2), ("L1", L1)])
def test_normalize_of_caffe_windows(kind: str, norm: np.ndarray) -> None:
    params = f"normalize_param {{ {f'normalize_type: {kind!r}' if kind else ''} }}"
    assert_computes(built("Normalize", params), X / norm, X)
    np.testing.assert_allclose(run_all(built("Normalize", params, tops=2), X)[1], norm)


def test_normalize_of_caffe_windows_makes_images_of_vectors() -> None:
    x = X[:, :, 0, 0]
    expected = (x / np.sqrt((x**2).sum(1, keepdims=True) + 1e-6))[:, :, None, None]
    assert_computes(built("Normalize", "normalize_param { }"), expected, x)


@pytest.mark.parametrize(("kind", "small"), [("NormalizationL2", 1e-10), ("L2Normalize", 1e-7)])
def test_normalization_of_whole_images(kind: str, small: float) -> None:
    x = X * 1e-3  # so that the small number counts
    norm = np.sqrt((x**2).sum((1, 2, 3), keepdims=True) + small)
    assert_computes(built(kind), x / norm, x)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(groups: int) -> None:
    parts = X.reshape(2, groups, -1)
    mean, variance = parts.mean(2, keepdims=True), parts.var(2, keepdims=True)
    expected = ((parts - mean) / np.sqrt(variance + 0.125)).reshape(X.shape)
    params = f"group_norm_param {{ group_num: {groups} eps: 0.125 }}"
    assert_computes(built("GroupNorm", params), expected, X)


def test_channel_scale() -> None:
    factors = distinct(2, 1, 3, 4, seed=1)
    assert_computes(built("ChannelScale", bottoms=2), X * factors, X, factors)
    still = built("ChannelScale", "channel_scale_param { do_forward: false }", bottoms=2)
    assert_computes(still, X, X, factors, differentiable=[0])


@pytest.mark.parametrize(("learned", "scale"), [(3.0, 3.0), (-1.0, 0.0), (9.0, 4.0)])
def test_channel_scale_of_one_learned_factor(learned: float, scale: float) -> None:
    params = "channel_scale_param { global_scale: true max_global_scale: 4 }"
    layer = built("ChannelScale", params, [np.array([learned])], bottoms=2, tops=2)
    scaled, factor = run_all(layer, X, distinct(2, 1, 3, 4))
    np.testing.assert_allclose(scaled, X * scale)
    np.testing.assert_array_equal(factor, [scale])


@pytest.mark.parametrize(
    ("kind", "params", "shapes", "message"),
    [
        ("Normalize", "normalize_param { normalize_type: 'L3' }", [X.shape], "must be L1 or L2"),
        ("GroupNorm", "group_norm_param { group_num: 4 }", [X.shape], "split into 4 groups"),
        ("ChannelScale", "", [X.shape, X.shape], "one number for each position"),
    ],
)
def test_a_normalization_that_makes_no_sense(
    kind: str, params: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert message in refused(kind, params, *shapes)
