"""Convolution, Deconvolution and Pooling against loops over windows, written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.torch_layers import (
    Array,
    assert_computes,
    built,
    check_gradient,
    distinct,
    gradients,
    refused,
    run,
    run_all,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deepvis_caffe.errors import EngineError

few = settings(deadline=None, derandomize=True, max_examples=40)
pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
pad = st.tuples(st.integers(0, 2), st.integers(0, 2))


def convolve(x: Array, w: Array, b: Array, stride, pad, dilation, group: int) -> Array:
    """Each output is the bias plus a window of its group times a filter."""
    n, c = x.shape[:2]
    out, per_group = w.shape[0], c // group
    padded = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    kernel = w.shape[2:]
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = [(s - e) // t + 1 for s, e, t in zip(padded.shape[2:], spans, stride, strict=True)]
    y = np.zeros((n, out, *sizes))
    for i, o in itertools.product(range(n), range(out)):
        first = o // (out // group) * per_group
        for at in itertools.product(*map(range, sizes)):
            window = tuple(
                slice(a * t, a * t + e, d)
                for a, t, e, d in zip(at, stride, spans, dilation, strict=True)
            )
            seen = padded[(i, slice(first, first + per_group), *window)]
            y[(i, o, *at)] = (seen * w[o]).sum() + b[o]
    return y


def deconvolve(x: Array, w: Array, b: Array, stride, pad, dilation, group: int) -> Array:
    """Each input value adds its filters, times itself, to a window of the output."""
    n, c = x.shape[:2]
    per_group = w.shape[1]
    out = per_group * group
    spans = [d * (k - 1) + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    sizes = [(s - 1) * t + e for s, t, e in zip(x.shape[2:], stride, spans, strict=True)]
    y = np.zeros((n, out, *sizes))
    for i, channel in itertools.product(range(n), range(c)):
        first = channel // (c // group) * per_group
        for at in itertools.product(*map(range, x.shape[2:])):
            window = tuple(
                slice(a * t, a * t + e, d)
                for a, t, e, d in zip(at, stride, spans, dilation, strict=True)
            )
            y[(i, slice(first, first + per_group), *window)] += x[(i, channel, *at)] * w[channel]
    inside = tuple(slice(p, s - p) for p, s in zip(pad, sizes, strict=True))
    return y[(slice(None), slice(None), *inside)] + b[:, None, None]


def geometry(kernel, stride, pad, dilation, group: int, outputs: int) -> str:
    dilations = " ".join(f"dilation: {d}" for d in dilation)
    return (
        f"convolution_param {{ num_output: {outputs} group: {group} {dilations} "
        f"kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} "
        f"stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} }}"
    )


@pytest.mark.slow
@few
@given(pair, pair, pad, pair, st.sampled_from([1, 2]), st.tuples(*[st.integers(7, 9)] * 2))
def test_convolution(kernel, stride, pad, dilation, group, size):
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal((2, 4, *size)), rng.standard_normal(6)
    w = rng.standard_normal((6, 4 // group, *kernel))
    function = built("Convolution", geometry(kernel, stride, pad, dilation, group, 6), [w, b])
    expected = convolve(x, w, b, stride, pad, dilation, group)
    np.testing.assert_allclose(run(function, x), expected, atol=1e-12)


@few
@given(pair, pair, pair, st.sampled_from([1, 2]), st.tuples(*[st.integers(2, 4)] * 2), st.data())
def test_deconvolution(kernel, stride, dilation, group, size, data):
    rng = np.random.default_rng(0)
    pad = tuple(
        data.draw(st.integers(0, (d * (k - 1)) // 2)) for k, d in zip(kernel, dilation, strict=True)
    )
    x, b = rng.standard_normal((2, 4, *size)), rng.standard_normal(3 * group)
    w = rng.standard_normal((4, 3, *kernel))
    function = built(
        "Deconvolution", geometry(kernel, stride, pad, dilation, group, 3 * group), [w, b]
    )
    expected = deconvolve(x, w, b, stride, pad, dilation, group)
    np.testing.assert_allclose(run(function, x), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(9,), (5, 6), (4, 5, 3)])
def test_convolution_over_one_to_three_axes(size):
    rng = np.random.default_rng(0)
    x, b = rng.standard_normal((2, 3, *size)), rng.standard_normal(2)
    w = rng.standard_normal((2, 3, *(2,) * len(size)))
    params = "convolution_param { num_output: 2 kernel_size: 2 stride: 2 pad: 1 }"
    expected = convolve(x, w, b, (2,) * len(size), (1,) * len(size), (1,) * len(size), 1)
    np.testing.assert_allclose(run(built("Convolution", params, [w, b]), x), expected, atol=1e-12)


def test_convolution_axis_folds_what_is_before_it():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 4, 5, 6)), rng.standard_normal((2, 4, 3, 3))
    params = "convolution_param { num_output: 2 kernel_size: 3 axis: 2 bias_term: false }"
    y = run(built("Convolution", params, [w]), x)
    ones = (1, 1)
    for i, j in itertools.product(range(2), range(3)):
        expected = convolve(x[i, j][None], w, np.zeros(2), ones, (0, 0), ones, 1)[0]
        np.testing.assert_allclose(y[i, j], expected, atol=1e-12)


def test_convolution_makes_each_bottom_a_top():
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((2, 3, 1, 1)), np.zeros(2)
    x, z = rng.standard_normal((2, 1, 3, 4, 4))
    params = "convolution_param { num_output: 2 kernel_size: 1 }"
    tops = run_all(built("Convolution", params, [w, b], bottoms=2, tops=2), x, z)
    for top, bottom in zip(tops, (x, z), strict=True):
        np.testing.assert_allclose(top, np.einsum("oc,nchw->nohw", w[:, :, 0, 0], bottom))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_convolution_gradients(kind):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 1, 3, 2) if kind == "Convolution" else (2, 2, 3, 2))
    params = geometry((3, 2), (2, 1), (1, 1), (1, 2), 2, 4)
    x = rng.standard_normal((1, 2, 4, 5))
    check_gradient(built(kind, params, [w, rng.standard_normal(4)]), x)


# -- pooling -------------------------------------------------------------------------------------


def windows(size: int, kernel: int, stride: int, pad: int, padded: bool, ceil: bool):
    """(start, end in the padded image) of each of Caffe's windows along an axis."""
    count = (math.ceil if ceil else math.floor)((size + 2 * pad - kernel) / stride) + 1
    if padded and (count - 1) * stride >= size + pad:
        count -= 1
    starts = [i * stride - pad for i in range(count)]
    return [(start, min(start + kernel, size + pad)) for start in starts]


def pool(x: Array, kernel, stride, pad, ceil: bool, average: bool) -> Array:
    rows, columns = (
        windows(size, k, s, p, any(pad), ceil)
        for size, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)
    )
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(columns):
            seen = x[:, :, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            if average:
                y[:, :, i, j] = seen.sum((2, 3)) / ((bottom - top) * (right - left))
            else:
                y[:, :, i, j] = seen.max((2, 3))
    return y


def pool_params(method: str, kernel, stride, pad, ceil: bool = True) -> str:
    return (
        f"pooling_param {{ pool: {method} kernel_h: {kernel[0]} kernel_w: {kernel[1]} "
        f"stride_h: {stride[0]} stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} "
        f"ceil_mode: {str(ceil).lower()} }}"
    )


@few
@given(
    st.sampled_from(["MAX", "AVE"]),
    st.tuples(*[st.integers(1, 4)] * 2),
    pair,
    st.tuples(*[st.integers(0, 3)] * 2),
    st.tuples(*[st.integers(4, 9)] * 2),
    st.booleans(),
)
def test_pooling(method, kernel, stride, pad, size, ceil):
    assume(all(p < k for p, k in zip(pad, kernel, strict=True)))  # Caffe refuses wider padding
    spans = [
        windows(n, *each, any(pad), ceil)
        for n, *each in zip(size, kernel, stride, pad, strict=True)
    ]
    assume(all(start < n for along, n in zip(spans, size, strict=True) for start, _ in along))
    x = distinct(2, 3, *size)
    function = built("Pooling", pool_params(method, kernel, stride, pad, ceil))
    expected = pool(x, kernel, stride, pad, ceil, method == "AVE")
    np.testing.assert_allclose(run(function, x), expected, atol=1e-12)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("geometry", [((3, 2), (2, 2), (0, 0)), ((3, 3), (2, 3), (2, 1))])
def test_pooling_gradients(method, geometry):
    check_gradient(built("Pooling", pool_params(method, *geometry)), distinct(1, 2, 6, 5))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_global_pooling(method):
    x = distinct(2, 3, 4, 5)
    function = built("Pooling", f"pooling_param {{ pool: {method} global_pooling: true }}")
    expected = x.max((2, 3)) if method == "MAX" else x.mean((2, 3))
    np.testing.assert_allclose(run(function, x), expected[:, :, None, None])
    check_gradient(function, x)


def test_average_divides_by_the_window_within_the_padded_image():
    # Ones under a 3x3 window of stride 2 with 1 pixel of padding. In each corner of a 4x4 image
    # the window sees 2x2 pixels of the image: at the top left 3x3 of the padded image, at the
    # bottom right 2x2 of it (the padded image ends there).
    function = built("Pooling", pool_params("AVE", (3, 3), (2, 2), (1, 1)))
    ninths = np.array([[4, 6, 4], [6, 9, 6], [4, 6, 4]]) / 9
    got = run(function, np.ones((1, 1, 4, 4)))[0, 0]
    assert got.shape == (3, 3)
    np.testing.assert_allclose(got[:2, :2], ninths[:2, :2])
    np.testing.assert_allclose(got[2], [2 / 6, 3 / 6, 1 / 4])


def test_maximum_sends_the_gradient_to_the_first_of_equals():
    # Two windows of 2x2 over
    #   0 0 0
    #   0 0 0
    function = built("Pooling", pool_params("MAX", (2, 2), (1, 1), (0, 0)))
    (dx,) = gradients(function, np.array([[[[5.0, 7.0]]]]), np.zeros((1, 1, 2, 3)))
    np.testing.assert_array_equal(dx[0, 0], [[5, 7, 0], [0, 0, 0]])


def test_maximum_of_equals_with_channels_last():
    function = built("Pooling", pool_params("MAX", (3, 3), (2, 2), (0, 0)))
    x = torch.zeros(2, 8, 5, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    function(x).sum().backward()
    first = np.zeros((5, 5))
    first[::2, ::2][:2, :2] = 1
    np.testing.assert_array_equal(x.grad.numpy(), np.broadcast_to(first, (2, 8, 5, 5)))


def test_a_window_wholly_outside_the_image():
    # A kernel of 1 at stride 2 over 4 pixels: windows at 0, 2 and 4, the last beyond the image.
    x = np.arange(4.0).reshape(1, 1, 1, 4)
    geometry = ((1, 1), (1, 2), (0, 0))
    lowest = np.finfo(np.float32).min
    got = run(built("Pooling", pool_params("MAX", *geometry)), x)
    np.testing.assert_array_equal(got, [[[[0, 2, lowest]]]])
    got = run(built("Pooling", pool_params("AVE", *geometry)), x)
    np.testing.assert_array_equal(got, [[[[0, 2, 0]]]])


@pytest.mark.parametrize("pad", [(0, 0), (1, 1), (2, 2)])
def test_the_second_top_holds_the_positions_of_the_maxima(pad):
    x = distinct(2, 3, 5, 6)
    params = pool_params("MAX", (3, 3), (2, 2), pad)
    y, mask = run_all(built("Pooling", params, tops=2), x)
    flat = x.reshape(2, 3, -1)
    picked = np.take_along_axis(flat, mask.astype(int).reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(picked.reshape(y.shape), y)
    np.testing.assert_array_equal(y, pool(x, (3, 3), (2, 2), pad, True, False))


def test_stochastic_pooling_is_refused():
    with pytest.raises(EngineError, match=r"layer 'l' \(Pooling\): STOCHASTIC"):
        built("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }")


# -- along one axis and along three ----------------------------------------------------------------


def pooled(x: Array, kernel, stride, pad, average: bool) -> tuple[Array, Array]:
    """Caffe's pooling along any axes, one window at a time, and the positions of the maxima."""
    along = [
        windows(size, k, s, p, any(pad), True)
        for size, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)
    ]
    y = np.zeros((*x.shape[:2], *map(len, along)))
    mask = np.zeros_like(y)
    position = np.arange(math.prod(x.shape[2:])).reshape(x.shape[2:])
    for at in np.ndindex(*y.shape[2:]):
        spans = [spans[i] for spans, i in zip(along, at, strict=True)]
        inside = tuple(slice(max(start, 0), max(end, 0)) for start, end in spans)
        for n, c in np.ndindex(*x.shape[:2]):
            seen = x[n, c][inside]
            area = math.prod(end - start for start, end in spans)
            y[(n, c, *at)] = seen.sum() / area if average else seen.max()
            mask[(n, c, *at)] = position[inside].ravel()[seen.argmax()]
    return y, mask


def shape_params(method: str, **shapes: tuple[int, ...]) -> str:
    given = [
        f"{name}_shape {{ {' '.join(f'dim: {size}' for size in sizes)} }}"
        for name, sizes in shapes.items()
    ]
    return f"pooling_param {{ pool: {method} {' '.join(given)} }}"


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"),
    [
        ((3, 5, 4), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
        ((3, 5, 4), (1, 3, 2), (1, 2, 2), (0, 1, 1)),
        ((4, 4, 5), (3, 3, 3), (2, 2, 3), (2, 1, 2)),  # more padding than torch takes
        ((7,), (3,), (2,), (0,)),
        ((7,), (3,), (3,), (2,)),
    ],
)
def test_pooling_along_other_axes_than_an_images(method, size, kernel, stride, pad):
    x = distinct(2, 2, *size)
    params = shape_params(method, kernel=kernel, stride=stride, pad=pad)
    expected, mask = pooled(x, kernel, stride, pad, method == "AVE")
    assert_computes(built("NdPooling", params), expected, x)
    if method == "MAX":
        np.testing.assert_array_equal(run_all(built("Pooling", params, tops=2), x)[1], mask)


def test_one_size_for_all_axes_and_global_pooling():
    x = distinct(2, 2, 3, 5, 4)
    params = "pooling_param { kernel_size: 2 stride: 2 }"
    expected, _ = pooled(x, (2,) * 3, (2,) * 3, (0,) * 3, False)
    assert_computes(built("Pooling", params), expected, x)
    for method, whole in ("MAX", x.max((2, 3, 4))), ("AVE", x.mean((2, 3, 4))):
        params = f"pooling_param {{ global_pooling: true pool: {method} }}"
        assert_computes(built("Pooling", params), whole[..., None, None, None], x)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("kernel_shape { dim: 1 dim: 2 }", "once per spatial axis (3); got 2 values"),
        ("kernel_h: 1 kernel_w: 2", "need 2 spatial axes, got 3"),
        ("kernel_size: 4", "is too large for a bottom of (3, 5, 4) pixels"),
    ],
)
def test_pooling_along_three_axes_that_makes_no_sense(params, message):
    assert message in refused("Pooling", f"pooling_param {{ {params} }}", (1, 2, 3, 5, 4))


def test_which_last_windows_are_dropped():
    # At stride 2 over 4 columns windows of 1 start at 0, 2 and, by rounding up, at 4, beside them.
    # Over 4 rows with 1 of padding windows of 2 start at -1, 1 and 3, and with 2 of padding windows
    # of 3 at -2, 0, 2 and 4, in the padding.
    x = np.zeros((1, 1, 1, 4, 4))
    sizes = "kernel_shape { dim: 1 dim: 2 dim: 1 } stride_shape { dim: 1 dim: 2 dim: 2 } "
    params = f"pooling_param {{ pool: AVE {sizes} pad_shape {{ dim: 0 dim: 1 dim: 0 }} }}"
    rows_and_columns = {"Pooling": (3, 2), "NdPooling": (3, 3), "Pooling3D": (3, 3)}
    for kind, size in rows_and_columns.items():
        assert run(built(kind, params), x).shape[3:] == size, kind
    three = params.replace("dim: 1 dim: 2 dim: 1", "dim: 1 dim: 3 dim: 1")
    three = three.replace("pad_shape { dim: 0 dim: 1", "pad_shape { dim: 0 dim: 2")
    for kind, size in {"Pooling": (3, 2), "NdPooling": (3, 3), "Pooling3D": (4, 3)}.items():
        assert run(built(kind, three), x).shape[3:] == size, kind
