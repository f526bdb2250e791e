"""Upsample, Unpooling, Interp and Resample of forks against their definitions."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from helpers.torch_layers import assert_computes, built, distinct, refused, run, run_all

from deepvis_caffe.errors import EngineError

X = distinct(2, 3, 2, 3)


# -- Upsample --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "rows", "columns"),
    [("scale: 2", 2, 2), ("scale_h: 3 scale_w: 1", 3, 1), ("", 1, 1)],
)
def test_upsample_repeats_values(params: str, rows: int, columns: int) -> None:
    #   1 2      1 1 2 2
    #   3 4  ->  1 1 2 2
    #            3 3 4 4
    #            3 3 4 4
    expected = np.zeros((2, 3, 2 * rows, 3 * columns))
    for n, c, i, j in np.ndindex(expected.shape):
        expected[n, c, i, j] = X[n, c, i // rows, j // columns]
    assert_computes(built("Upsample", f"upsample_param {{ {params} }}"), expected, X)


def test_upsample_of_sequences() -> None:
    expected = [[[1, 1, 1, 2, 2, 2]]]
    params = "upsample_param { scale: 3 dims_num: 3 }"
    assert_computes(built("Upsample", params), np.array(expected), np.array([[[1.0, 2.0]]]))


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ("", (4, 6)),  # the scale is 2
        ("scale: 2 pad_out_h: true", (3, 6)),
        ("scale: 2 pad_out_w: true", (4, 5)),
        ("scale_h: 2 scale_w: 3", (4, 9)),
        ("upsample_h: 5 upsample_w: 7", (5, 7)),
    ],
)
def test_upsample_by_a_mask(params: str, size: tuple[int, int]) -> None:
    """Each value lies where the mask says, counted row by row; all else is 0."""
    rng = np.random.default_rng(0)
    mask = np.stack([rng.permutation(math.prod(size))[:6] for _ in range(6)]).reshape(X.shape)
    expected = np.zeros((2, 3, *size))
    for at in np.ndindex(X.shape):
        row, column = divmod(int(mask[at]), size[1])
        expected[at[0], at[1], row, column] = X[at]
    upsample = built("Upsample", f"upsample_param {{ {params} }}", bottoms=2)
    assert_computes(upsample, expected, X, mask.astype(float), differentiable=[0])


def test_upsample_undoes_the_pooling_that_made_its_mask() -> None:
    #   5 1 4     pooled  5 4     mask  0 2     back  5 0 4
    #   2 3 0             8 7           7 8           0 0 0
    #   6 8 7                                         0 8 7
    # Caffe rounds up: there are two windows each way, and the last ones reach over the image.
    x = np.array([[[[5.0, 1, 4], [2, 3, 0], [6, 8, 7]]]])
    pool = built("Pooling", "pooling_param { kernel_size: 2 stride: 2 }", tops=2)
    pooled, mask = run_all(pool, x)
    np.testing.assert_array_equal(pooled, [[[[5, 4], [8, 7]]]])
    np.testing.assert_array_equal(mask, [[[[0, 2], [7, 8]]]])
    upsample = built("Upsample", "upsample_param { upsample_h: 3 upsample_w: 3 }", bottoms=2)
    np.testing.assert_array_equal(
        run(upsample, pooled, mask), [[[[5, 0, 4], [0, 0, 0], [0, 8, 7]]]]
    )


def test_of_two_values_for_one_position_the_later_stays() -> None:
    x, mask = np.array([[[[1.0, 2.0]]]]), np.array([[[[3.0, 3.0]]]])
    upsample = built("Upsample", "upsample_param { upsample_h: 2 upsample_w: 2 }", bottoms=2)
    np.testing.assert_array_equal(run(upsample, x, mask), [[[[0, 0], [0, 2]]]])


def test_a_mask_of_another_pooling_is_a_clear_error() -> None:
    upsample = built("Upsample", "upsample_param { upsample_h: 2 upsample_w: 2 }", bottoms=2)
    with pytest.raises(
        EngineError, match=r"position 4 of a map of 4; scale or size does not match"
    ):
        run(upsample, np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 4.0))


@pytest.mark.parametrize(
    ("params", "shapes", "message"),
    [
        ("scale: 0", [(1, 2, 3, 3)], "scale must be positive"),
        ("scale_h: 2", [(1, 2, 3, 3)], "both scale_h and scale_w"),
        ("scale: 2 dims_num: 3", [(1, 2, 3, 3)], "takes a bottom of 3 axes"),
        ("scale: 3 pad_out_h: true", [(1, 2, 3, 3)] * 2, "need a scale of 2"),
        ("", [(1, 2, 3, 3), (1, 2, 3, 2)], "must have the first's shape"),
        ("upsample_h: 1 upsample_w: 3", [(1, 2, 3, 3)] * 2, "both must be 2 or more"),
    ],
)
def test_an_upsample_that_makes_no_sense(
    params: str, shapes: list[tuple[int, ...]], message: str
) -> None:
    assert message in refused("Upsample", f"upsample_param {{ {params} }}", *shapes)


# -- Unpooling -------------------------------------------------------------------------------------


def unpooled(x: np.ndarray, kernel: int, size: tuple[int, int], how: str) -> np.ndarray:
    """AVE and TILE at stride 2, as DeconvNet's Caffe defines them."""
    y = np.zeros((*x.shape[:2], *size))
    for n, c, i, j in np.ndindex(x.shape):
        rows = slice(2 * i, min(2 * i + kernel, size[0]))
        columns = slice(2 * j, min(2 * j + kernel, size[1]))
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        y[n, c, rows, columns] += x[n, c, i, j] / (area if how == "AVE" else 1)
    return y


@pytest.mark.parametrize("how", ["AVE", "TILE"])
@pytest.mark.parametrize(
    ("params", "size"),
    [
        ("kernel_size: 2 stride: 2", (5, 7)),  # one more than the windows: 2 * 2 + 1, 3 * 2 + 1
        ("kernel_size: 3 stride: 2", (5, 7)),
        ("kernel_size: 3 stride: 2 unpool_size: 4", (4, 4)),  # cuts windows off
        ("kernel_size: 3 stride: 2 unpool_h: 6 unpool_w: 9", (6, 9)),
    ],
)
def test_unpooling_spreads_values(how: str, params: str, size: tuple[int, int]) -> None:
    x = X[:, :, :, :2] if size == (4, 4) else X
    kernel = int(re.findall(r"\d", params)[0])
    layer = built("Unpooling", f"unpooling_param {{ unpool: {how} {params} }}")
    assert_computes(layer, unpooled(x, kernel, size, how), x)


def test_unpooling_without_a_mask_fills_the_corners() -> None:
    #   1 2      1 0 2 0
    #   3 4  ->  0 0 0 0
    #            3 0 4 0
    #            0 0 0 0
    x = np.array([[[[1.0, 2], [3, 4]]]])
    expected = [[[[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]]]
    params = "unpooling_param { kernel_size: 2 stride: 2 unpool_size: 4 }"
    assert_computes(built("Unpooling", params), np.array(expected), x)


def test_unpooling_by_a_mask() -> None:
    x, mask = np.array([[[[1.0, 2], [3, 4]]]]), np.array([[[[5.0, 2], [8, 15]]]])
    expected = [[[[0, 0, 2, 0], [0, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 4]]]]
    params = "unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_size: 4 }"
    layer = built("Unpooling", params, bottoms=2)
    assert_computes(layer, np.array(expected), x, mask, differentiable=[0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("", "either kernel_size or both kernel_h and kernel_w"),
        ("kernel_size: 2 pad: 1", "without padding only"),
        ("kernel_size: 2 unpool: REP", "not by REP"),
        ("kernel_size: 2 unpool_h: 0 unpool_w: 1", "would be (0, 1) pixels"),
    ],
)
def test_an_unpooling_that_makes_no_sense(params: str, message: str) -> None:
    assert message in refused("Unpooling", f"unpooling_param {{ {params} }}", (1, 2, 3, 3))


# -- Interp ----------------------------------------------------------------------------------------


def interpolated(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, corners on corners, as DeepLab's Caffe defines it."""
    y = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        row = i * (x.shape[2] - 1) / (height - 1) if height > 1 else 0.0
        column = j * (x.shape[3] - 1) / (width - 1) if width > 1 else 0.0
        for a, b in np.ndindex(2, 2):
            r, c = int(row) + a, int(column) + b
            share = (1 - abs(row - r)) * (1 - abs(column - c))
            if share > 0 and r < x.shape[2] and c < x.shape[3]:
                y[:, :, i, j] += share * x[:, :, r, c]
    return y


IMAGE = distinct(1, 2, 5, 7)


@pytest.mark.parametrize(
    ("params", "cut", "size"),
    [
        ("zoom_factor: 3", 0, (13, 19)),  # 5 + 4 * 2, 7 + 6 * 2
        ("shrink_factor: 2", 0, (3, 4)),  # (5 - 1) // 2 + 1, (7 - 1) // 2 + 1
        ("shrink_factor: 3", 0, (2, 3)),
        ("shrink_factor: 2 zoom_factor: 3", 0, (7, 10)),  # 3 + 2 * 2, 4 + 3 * 2
        ("height: 4 width: 9", 0, (4, 9)),
        ("height: 1 width: 1", 0, (1, 1)),
        ("height: 5 width: 7", 0, (5, 7)),
        ("zoom_factor: 2 height: 4 width: 9", 0, (9, 13)),  # the factor counts
        ("full_zoom_factor: 2", 0, (10, 14)),
        ("height: 6 width: 6 pad_beg: -1 pad_end: -2", 1, (6, 6)),
        ("zoom_factor: 2 pad_beg: -1 pad_end: -2", 1, (3, 7)),  # of (2, 4)
    ],
)
def test_interp(params: str, cut: int, size: tuple[int, int]) -> None:
    x = IMAGE[:, :, 1:-2, 1:-2] if cut else IMAGE
    layer = built("Interp", f"interp_param {{ {params} }}")
    assert_computes(layer, interpolated(x, *size), IMAGE)


@pytest.mark.parametrize("params", ["", "interp_param { zoom_factor: 2 use_blob_size: true }"])
def test_interp_to_the_size_of_another_blob(params: str) -> None:
    layer = built("Interp", params, bottoms=2)
    like = np.ones((1, 9, 8, 6))
    assert_computes(layer, interpolated(IMAGE, 8, 6), IMAGE, like, differentiable=[0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("", "needs a zoom_factor, a shrink_factor, height and width, or a second bottom"),
        ("zoom_factor: 2 pad_beg: 1", "Caffe refuses positive ones"),
        ("zoom_factor: 2 pad_end: -5", "leave (0, 2) of its (5, 7) pixels"),
        ("zoom_factor: 0", "must be positive"),
        ("height: 0 width: 3", "its top would be (0, 3) pixels"),
    ],
)
def test_an_interp_that_makes_no_sense(params: str, message: str) -> None:
    assert message in refused("Interp", f"interp_param {{ {params} }}", IMAGE.shape)


# -- Resample --------------------------------------------------------------------------------------


def resampled(x: np.ndarray, height: int, width: int, kind: str, antialias: bool) -> np.ndarray:
    """As FlowNet 2's kernel defines it, one value at a time."""

    def keys(d: float) -> float:
        d = abs(d)
        if d <= 1:
            return d * d * (1.5 * d - 2.5) + 1
        return d * (d * (-0.5 * d + 2.5) - 4) + 2 if d < 2 else 0.0

    def triangle(d: float) -> float:
        return max(1 - abs(d), 0.0)

    def nearest(value: float) -> int:
        return int(math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1))

    fy, fx = x.shape[2] / height, x.shape[3] / width
    narrow = antialias and max(fx, fy) > 1
    ay, ax = (1 / fy, 1 / fx) if narrow else (1.0, 1.0)
    weight, reach = (keys, 4) if kind == "CUBIC" else (triangle, 2)
    ry, rx = (2 if f < 1 else math.ceil(reach / a) for f, a in ((fy, ay), (fx, ax)))
    y = np.zeros((*x.shape[:2], height, width))
    for i, j in np.ndindex(height, width):
        row, column = i * fy + fx / 2 - 0.5, j * fx + fy / 2 - 0.5
        if kind == "NEAREST":
            # Beside the map FlowNet 2 reads what lies there in memory; we take the edge.
            r, c = np.clip([nearest(row), nearest(column)], 0, np.array(x.shape[2:]) - 1)
            y[:, :, i, j] = x[:, :, r, c]
            continue
        total = 0.0
        for r in range(nearest(row) - ry, nearest(row) + ry + 1):
            for c in range(nearest(column) - rx, nearest(column) + rx + 1):
                if 0 <= r < x.shape[2] and 0 <= c < x.shape[3]:
                    w = weight(ay * (row - r)) * weight(ax * (column - c))
                    total += w
                    y[:, :, i, j] += w * x[:, :, r, c]
        y[:, :, i, j] /= total
    return y


@pytest.mark.parametrize("kind", ["NEAREST", "LINEAR", "CUBIC"])
@pytest.mark.parametrize("size", [(10, 14), (5, 7), (3, 4), (8, 5)])
@pytest.mark.parametrize("antialias", [True, False])
def test_resample(kind: str, size: tuple[int, int], antialias: bool) -> None:
    params = f"height: {size[0]} width: {size[1]} type: {kind} antialias: {str(antialias).lower()}"
    got = run(built("Resample", f"resample_param {{ {params} }}"), IMAGE)
    np.testing.assert_allclose(got, resampled(IMAGE, *size, kind, antialias), rtol=1e-10)


def test_resample_has_a_gradient_and_takes_the_size_of_another_blob() -> None:
    layer = built("Resample", "resample_param { type: CUBIC }", bottoms=2)
    like = np.ones((1, 1, 10, 14))
    expected = resampled(IMAGE, 10, 14, "CUBIC", True)
    assert_computes(layer, expected, IMAGE, like, differentiable=[0])


def test_a_resample_that_makes_no_sense() -> None:
    assert "needs height and width" in refused("Resample", "", IMAGE.shape)
    params = "resample_param { height: 2 width: 2 type: AREA }"
    assert "not for AREA" in refused("Resample", params, IMAGE.shape)


# -- the layers of a fork for models of PyTorch ----------------------------------------------------


def test_max_unpool() -> None:
    rng = np.random.default_rng(0)
    mask = np.stack([rng.permutation(20)[:6] for _ in range(6)]).reshape(X.shape)
    expected = np.zeros((2, 3, 4, 5))
    for at in np.ndindex(X.shape):
        expected[at[0], at[1], int(mask[at]) // 5, int(mask[at]) % 5] = X[at]
    layer = built("MaxUnPool", "max_unpool_param { dst_h: 4 dst_w: 5 }", bottoms=2)
    assert_computes(layer, expected, X, mask.astype(float), differentiable=[0])


@pytest.mark.parametrize(
    ("params", "size", "corners"),
    [
        ("dst_h: 5", (5, 3), True),
        ("dst_h: 4 dst_w: 2", (4, 2), True),
        ("scale_factor: 1.7", (3, 5), True),
        ("dst_h: 4 dst_w: 7 align_corners: false", (4, 7), False),
        ("scale_factor: 0.7 align_corners: false", (1, 2), False),
    ],
)
def test_bilinear_interpolate(params: str, size: tuple[int, int], corners: bool) -> None:
    expected = np.zeros((2, 3, *size))
    for i, j in np.ndindex(size):
        place = []
        for position, new, old in zip((i, j), size, X.shape[2:], strict=True):
            at = position * (old - 1) / (new - 1) if corners else (position + 0.5) * old / new - 0.5
            place.append(min(max(at, 0), old - 1))
        (y, x), (top, left) = (
            place,
            (min(int(at), n - 2) for at, n in zip(place, (2, 3), strict=True)),
        )
        upper = (left + 1 - x) * X[:, :, top, left] + (x - left) * X[:, :, top, left + 1]
        lower = (left + 1 - x) * X[:, :, top + 1, left] + (x - left) * X[:, :, top + 1, left + 1]
        expected[:, :, i, j] = (top + 1 - y) * upper + (y - top) * lower
    layer = built("BilinearInterpolate", f"bilinear_interpolate_param {{ {params} }}")
    assert_computes(layer, expected, X)


@pytest.mark.parametrize(
    ("kind", "params", "shapes", "message"),
    [
        ("MaxUnPool", "", [(1, 1, 2, 2)] * 2, "dst_h and dst_w must be given"),
        ("BilinearInterpolate", "", [(1, 1, 2, 2)], "needs either dst_h and dst_w or"),
    ],
)
def test_sizes_must_be_given(kind: str, params: str, shapes, message: str) -> None:
    assert message in refused(kind, params, *shapes)


# -- SpatialTransformer ----------------------------------------------------------------------------

# No place lies at a bend of the interpolation.
THETA = [[0.93, 0.21, 0.17, -0.31, 1.12, -0.23], [1.73, -0.41, 0.06, 0.32, 0.63, 0.47]]


def transformed(x: np.ndarray, theta: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The loops of the CPU code; (row, column, 1) from -1 on, each taken from where theta says."""
    top = np.zeros((*x.shape[:2], *size))
    for n, i, j in np.ndindex(len(x), *size):
        place = theta[n].reshape(2, 3) @ [i / size[0] * 2 - 1, j / size[1] * 2 - 1, 1]
        v, u = (place + 1) / 2 * x.shape[2:]
        for row in range(math.floor(v), math.ceil(v) + 1):
            for column in range(math.floor(u), math.ceil(u) + 1):
                if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                    near = (1 - abs(v - row)) * (1 - abs(u - column))
                    top[n, :, i, j] += near * x[n, :, row, column]
    return top


@pytest.mark.parametrize(("params", "size"), [("", (2, 3)), ("output_H: 4 output_W: 2", (4, 2))])
def test_spatial_transformer(params: str, size: tuple[int, int]) -> None:
    theta = np.array(THETA)
    layer = built("SpatialTransformer", f"st_param {{ {params} }}", bottoms=2)
    assert_computes(layer, transformed(X, theta, size), X, theta)


def test_spatial_transformer_of_a_translation() -> None:
    """Four numbers are given, and the bottom has the others."""
    params = "theta_1_1: 0.5 theta_1_2: 0.125 theta_2_1: -0.25 theta_2_2: 0.75 to_compute_dU: false"
    moves = np.array([[0.13, -0.21], [0.32, 0.47]])
    theta = np.array([[0.5, 0.125, down, -0.25, 0.75, across] for down, across in moves])
    layer = built("SpatialTransformer", f"st_param {{ {params} }}", bottoms=2)
    assert_computes(layer, transformed(X, theta, (2, 3)), X, moves)


def test_the_identity_leaves_an_image_as_it_is() -> None:
    theta = np.array([[1.0, 0, 0, 0, 1, 0]] * 2)
    np.testing.assert_allclose(run(built("SpatialTransformer", bottoms=2), X, theta), X)


@pytest.mark.parametrize(
    ("params", "theta", "message"),
    [
        ("", (2, 5), "needs 6 numbers for each of 2 images"),
        ("st_param { theta_1_1: 1 }", (2, 6), "needs 5 numbers"),
        ("st_param { sampler_type: 'nearest' }", (2, 6), "sampler_type bilinear only"),
    ],
)
def test_a_transformer_that_makes_no_sense(params: str, theta, message: str) -> None:
    assert message in refused("SpatialTransformer", params, X.shape, theta)
