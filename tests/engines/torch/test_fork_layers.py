"""Layers of forks against their published definitions, in numpy; drawings where one helps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.torch_layers import (
    assert_computes,
    built,
    distinct,
    gradients,
    refused,
    run,
    run_all,
)

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


@pytest.mark.parametrize("spelled", ["pixelshuffle_param", "pixel_shuffle_param"])
def test_pixel_shuffle(spelled: str) -> None:
    # Channels a b c d of a position become the block  a b
    #                                                  c d
    x = distinct(2, 8, 2, 3)
    expected = np.zeros((2, 2, 4, 6))
    for n, c, i, j in np.ndindex(expected.shape):
        expected[n, c, i, j] = x[n, c * 4 + i % 2 * 2 + j % 2, i // 2, j // 2]
    assert_computes(built("PixelShuffle", f"{spelled} {{ upscale_factor: 2 }}"), expected, x)


@pytest.mark.parametrize(
    ("kind", "params", "ends", "options"),
    [
        ("Pad", "pad_u: 1 pad_r: 2", [(1, 0), (0, 2)], {}),
        ("Pad", "pad_u: 1 pad_d: 2 pad_l: 3 pad_value: 7", [(1, 2), (3, 0)], {7: ()}),
        ("Pad", "pad_d: 2 pad_l: 3 pad_r: 1 pad_type: REPLICATE", [(0, 2), (3, 1)], {"edge": ()}),
        ("Pad", "pad_u: 2 pad_l: 3 pad_r: 1 pad_type: REFLECT", [(2, 0), (3, 1)], {"reflect": ()}),
        ("Padding", "pad_beg: 2 pad_end: 1", [(2, 1), (2, 1)], {}),
        ("Padding", "pad_t: 1 pad_l: 2 pad_b: 3 pad_value: -2.5", [(1, 3), (2, 0)], {-2.5: ()}),
    ],
)
def test_pad(kind: str, params: str, ends: list[tuple[int, int]], options: dict) -> None:
    (how,) = options or (0.0,)
    given = {"mode": how} if isinstance(how, str) else {"constant_values": how}
    expected = np.pad(X, [(0, 0), (0, 0), *ends], **given)
    name = "pad_param" if kind == "Pad" else "padding_param"
    assert_computes(built(kind, f"{name} {{ {params} }}"), expected, X)


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("Pad", "pad_param { pad_u: -1 pad_d: -1 pad_l: -2 pad_r: -1 }", X[:, :, 1:-1, 2:-1]),
        ("Padding", "padding_param { pad_beg: -1 }", X[:, :, 1:, 1:]),
    ],
)
def test_negative_padding_cuts_off(kind: str, params: str, expected: np.ndarray) -> None:
    assert_computes(built(kind, params), expected, X)


def test_pad_of_every_axis() -> None:
    """Synopsys's: two numbers for each axis of a blob of any."""
    x = distinct(2, 3)
    params = "pad_param { paddings: 0 paddings: 1 paddings: 2 paddings: 0 constant_values: 5 }"
    expected = np.pad(x, [(0, 1), (2, 0)], constant_values=5)
    assert_computes(built("Pad", params), expected, x)


def test_transpose() -> None:
    params = "transpose_param { dim: 0 dim: 3 dim: 1 dim: 2 }"
    assert_computes(built("Transpose", params), X.transpose(0, 3, 1, 2), X)


@pytest.mark.parametrize(
    ("kind", "params", "shape"),
    [
        ("Squeeze", "", (2, 3)),
        ("Squeeze", "squeeze_param { axis: 1 axis: -1 }", (2, 1, 3)),
        ("Unsqueeze", "unsqueeze_param { dim: 0 }", (1, 2, 1, 1, 3, 1)),
        ("Unsqueeze", "unsqueeze_param { dim: 3 }", (2, 1, 1, 1, 3, 1)),
        ("Unsqueeze", "unsqueeze_param { dim: -1 }", (2, 1, 1, 3, 1, 1)),
    ],
)
def test_axes_of_size_1(kind: str, params: str, shape: tuple[int, ...]) -> None:
    x = distinct(2, 1, 1, 3, 1)
    assert_computes(built(kind, params), x.reshape(shape), x)


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("PixelShuffle", "", "upscale_factor must be given"),
        (
            "PixelShuffle",
            "pixel_shuffle_param { upscale_factor: 2 }",
            "6 channels cannot be split into 2 x 2 blocks",
        ),
        ("Pad", "", "needs one of pad_u"),
        ("Pad", "pad_param { pad_u: 1 pad_l: -1 }", "add at some ends and cut off at others"),
        ("Pad", "pad_param { pad_u: 3 pad_type: REFLECT }", "reflects fewer positions"),
        ("Pad", "pad_param { paddings: 1 }", "two paddings for each of 4 axes"),
        ("Padding", "padding_param { pad_end: -3 }", "leaves nothing of (2, 6, 3, 4)"),
        ("Transpose", "", "needs a dim for each of its bottom's 4 axes, got 0"),
        ("Squeeze", "squeeze_param { axis: 1 }", "must all have size 1"),
        ("Unsqueeze", "unsqueeze_param { dim: 5 }", "dim 5 is out of range"),
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
        ("Gather", "gather_param { indices: 0 indices: 1 }", "its 2 indices do not fill"),
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


def test_grn() -> None:
    expected = X / np.sqrt((X**2).sum(1, keepdims=True) + 0.125)
    assert_computes(built("GRN", "grn_param { bias: 0.125 }"), expected, X)
    rows = X[:, :, 0, 0]
    assert_computes(built("GRN"), rows / np.sqrt((rows**2).sum(1, keepdims=True) + 1e-7), rows)
    still = built("GRN", "grn_param { bias: 0.125 dummy_backward: true }")
    np.testing.assert_allclose(run(still, X), expected)
    np.testing.assert_array_equal(gradients(still, X, X)[0], X)


CENTERS = distinct(3, 24, seed=2)


@pytest.mark.parametrize(
    ("params", "rows"),
    [
        ("", CENTERS),
        ("transpose: true", CENTERS),  # says another shape, and is read as before
        ("normalize: true", CENTERS / np.sqrt((CENTERS**2).sum(1, keepdims=True) + 1e-6)),
    ],
)
@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_inner_distance(kind: str, params: str, rows: np.ndarray) -> None:
    x = distinct(2, 4, 2, 3)
    apart = x.reshape(2, 1, 24) - rows
    expected = np.abs(apart).sum(2) if kind == "L1" else (apart**2).sum(2)
    weight = CENTERS.reshape(24, 3) if "transpose" in params else CENTERS
    options = f'inner_distance_param {{ num_output: 3 distance_type: "{kind}" {params} }}'
    assert_computes(built("InnerDistance", options, [weight]), expected, x)


def test_inner_distance_to_the_rows_of_another_blob() -> None:
    x, centers = distinct(2, 3, 4), distinct(5, 4, seed=1)
    expected = ((x[:, :, None] - centers) ** 2).sum(3)
    layer = built("InnerDistance", "inner_distance_param { axis: 2 }", bottoms=2)
    assert_computes(layer, expected, x, centers)


def test_near_centers_keep_their_distance_in_single_precision() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(900, 1100, (1, 64)).astype(np.float32)
    center = (x + rng.uniform(-0.1, 0.1, x.shape)).astype(np.float32)
    params = "inner_distance_param { num_output: 1 }"
    layer = built("InnerDistance", params, [center], dtype=torch.float32)
    expected = ((x.astype(float) - center) ** 2).sum(1, keepdims=True)
    np.testing.assert_allclose(layer(torch.tensor(x)), expected, rtol=1e-5)


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
        ("GRN", "grn_param { bias: -1 }", [X.shape], "bias must be 0 or more"),
        ("InnerDistance", "inner_distance_param { }", [X.shape], "num_output must be given"),
        (
            "InnerDistance",
            "inner_distance_param { num_output: 1 distance_type: 'L3' }",
            [X.shape],
            "must be L1 or L2",
        ),
        ("InnerDistance", "", [X.shape, (3, 4)], "needs rows of 72 values"),
    ],
)
def test_a_normalization_that_makes_no_sense(
    kind: str, params: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert message in refused(kind, params, *shapes)
