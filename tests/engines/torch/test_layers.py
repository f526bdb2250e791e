"""Every other layer type against its formula in numpy, and its gradient by finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import torch
from helpers.torch_layers import built, check_gradient, distinct, gradients, run, run_all
from hypothesis import given, settings
from hypothesis import strategies as st

few = settings(deadline=None, derandomize=True, max_examples=25)

X = distinct(2, 3, 4, 5)
POSITIVE = np.abs(X) + 0.1
RNG = np.random.default_rng(1)
PER_CHANNEL = RNG.uniform(0.5, 1.5, 3)


def agrees(function, expected, *bottoms, differentiable=True):
    np.testing.assert_allclose(run(function, *bottoms), expected, rtol=1e-10, atol=1e-12)
    if differentiable:
        check_gradient(function, *bottoms)


# -- functions of each value ---------------------------------------------------------------------

POINTWISE = {
    "ReLU": ("", lambda x: np.maximum(x, 0)),
    "ReLU with slope": ("relu_param { negative_slope: 0.25 }", lambda x: np.where(x > 0, x, x / 4)),
    "ELU": ("elu_param { alpha: 0.5 }", lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "SeLu": (
        "",
        lambda x: (
            float(np.float32(1.05070102))
            * np.where(x > 0, x, float(np.float32(1.67326319)) * np.expm1(x))
        ),
    ),
    "SeLu by hand": (
        "selu_param { lambda: 2 alpha: 0.5 }",
        lambda x: 2 * np.where(x > 0, x, 0.5 * np.expm1(x)),
    ),
    "SeLuDropout": ("selu_dropout_param { dropout_ratio: 0.5 }", lambda x: x),
    "Sigmoid": ("", scipy.special.expit),
    "ReLU6": ("", lambda x: np.maximum(x, 0)),
    "ReLU6 cut": (
        "relu6_param { negative_slope: 0.25 threshold: 0.5 }",
        lambda x: np.minimum(np.where(x > 0, x, x / 4), 0.5),
    ),
    "Clip": ("clip_param { min: -0.5 max: 0.25 }", lambda x: np.minimum(np.maximum(x, -0.5), 0.25)),
    "HardSigmoid": ("", lambda x: x * np.float32(0.2) + 0.5),
    "HardSigmoid steep": (
        "hard_sigmoid_param { alpha: 2 beta: 0.25 }",
        lambda x: np.minimum(np.maximum(2 * x + 0.25, 0), 1),
    ),
    "HardSigmoid by its other name": (
        "hardsigmoid_param { alpha: 3 }",
        lambda x: np.minimum(np.maximum(3 * x + 0.5, 0), 1),
    ),
    "Swish": ("", lambda x: x * scipy.special.expit(x)),
    "Swish steep": ("swish_param { beta: 3 }", lambda x: x * scipy.special.expit(3 * x)),
    "Mish": ("", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "HardSwish": ("", lambda x: x * (x + 3) / 6),
    "TanH": ("", np.tanh),
    "AbsVal": ("", np.abs),
    "BNLL": ("", lambda x: np.log1p(np.exp(x))),
    "Dropout": ("dropout_param { dropout_ratio: 0.75 }", lambda x: x),
    "Power": ("", lambda x: x),
    "Power square": ("power_param { power: 2 scale: 3 shift: 1 }", lambda x: (1 + 3 * x) ** 2),
    "Power 0": ("power_param { power: 0 }", np.ones_like),
    "Power scale 0": ("power_param { power: 3 scale: 0 shift: 2 }", lambda x: np.full_like(x, 8)),
    "Exp": ("", np.exp),
    "Exp base 2": ("exp_param { base: 2 scale: 0.5 shift: 3 }", lambda x: 2 ** (3 + x / 2)),
}


@pytest.mark.parametrize("name", POINTWISE)
def test_function_of_each_value(name):
    params, formula = POINTWISE[name]
    agrees(built(name.split()[0], params), formula(X), X)


@pytest.mark.parametrize(
    ("kind", "params", "formula"),
    [
        ("Power", "power_param { power: -1.5 shift: 1 }", lambda x: (1 + x) ** -1.5),
        ("Log", "", np.log),
        ("Log", "log_param { base: 10 scale: 4 shift: 2 }", lambda x: np.log10(2 + 4 * x)),
    ],
)
def test_function_of_each_positive_value(kind, params, formula):
    agrees(built(kind, params), formula(POSITIVE), POSITIVE)


def test_hard_swish_and_relu6_far_from_0():
    """Their bends at -3, 3 and 6 lie outside of the values above."""
    x = np.array([-7.0, -3.5, -2.5, 2.5, 3.5, 5.5, 6.5])
    bent = [0, 0, -2.5 * 0.5 / 6, 2.5 * 5.5 / 6, 3.5, 5.5, 6.5]
    agrees(built("HardSwish"), bent, x)
    agrees(built("ReLU6"), [0, 0, 0, 2.5, 3.5, 5.5, 6], x)


def test_mish_does_not_overflow():
    np.testing.assert_allclose(run(built("Mish"), np.array([-1000.0, 1000.0])), [0, 1000])


def test_bnll_does_not_overflow():
    np.testing.assert_allclose(run(built("BNLL"), np.array([-1000.0, 1000.0])), [0, 1000])


@pytest.mark.parametrize(
    ("kind", "params", "weights", "at_zero"),
    [
        ("ReLU", "", [], 0),
        ("ReLU", "relu_param { negative_slope: 0.25 }", [], 0.25),
        ("PReLU", "", [np.array([0.75])], 0.75),
        ("ELU", "elu_param { alpha: 0.5 }", [], 0.5),
        ("AbsVal", "", [], 0),
        ("ReLU6", "", [], 0),
        ("ReLU6", "relu6_param { negative_slope: 0.25 }", [], 0.25),
        ("ReLU6", "relu6_param { negative_slope: 0.25 threshold: 0 }", [], 0),
        ("Clip", "clip_param { min: 0 max: 1 }", [], 1),
        ("Clip", "clip_param { min: -1 max: 0 }", [], 1),
    ],
)
def test_gradient_at_the_kink(kind, params, weights, at_zero):
    """What Caffe's backward gives where the input is exactly 0."""
    (dx,) = gradients(built(kind, params, weights), np.ones((1, 1)), np.zeros((1, 1)))
    assert dx == at_zero


@pytest.mark.parametrize("shared", [False, True])
def test_prelu(shared):
    slope = np.array(0.3) if shared else PER_CHANNEL
    expected = np.where(X > 0, X, X * slope.reshape(-1, 1, 1))
    agrees(
        built("PReLU", f"prelu_param {{ channel_shared: {str(shared).lower()} }}", [slope]),
        expected,
        X,
    )


def test_threshold_and_argmax_have_no_gradient():
    top = torch.tensor(X, requires_grad=True)
    assert not built("Threshold")(top).requires_grad
    assert not built("ArgMax")(top).requires_grad


def test_threshold():
    params = "threshold_param { threshold: 0.5 }"
    got = run(built("Threshold", params), np.array([0.4, 0.5, 0.6]))
    np.testing.assert_array_equal(got, [0, 0, 1])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax(axis):
    function = built("Softmax", f"softmax_param {{ axis: {axis} }}")
    agrees(function, scipy.special.softmax(X, axis), X)


# -- learned factors and statistics --------------------------------------------------------------


@pytest.mark.parametrize(
    ("axis", "shape", "against"),
    [
        (1, (3,), (1, 3, 1, 1)),
        (-3, (3, 4), (1, 3, 4, 1)),
        (0, (2, 3, 4, 5), (2, 3, 4, 5)),
        (2, (4, 5), (1, 1, 4, 5)),
        (1, (), (1, 1, 1, 1)),
    ],
)
def test_scale_and_bias_lie_along_axes(axis, shape, against):
    s, b = np.asarray(RNG.standard_normal(shape)), np.asarray(RNG.standard_normal(shape))
    wide_s, wide_b = s.reshape(against), b.reshape(against)
    scale, bias = f"scale_param {{ axis: {axis} %s }}", f"bias_param {{ axis: {axis} }}"
    agrees(built("Scale", scale % "", [s]), X * wide_s, X)
    agrees(built("Scale", scale % "bias_term: true", [s, b]), X * wide_s + wide_b, X)
    agrees(built("Bias", bias, [b]), X + wide_b, X)
    # as a second bottom
    agrees(built("Scale", scale % "", bottoms=2), X * wide_s, X, s)
    agrees(built("Scale", scale % "bias_term: true", [b], 2), X * wide_s + wide_b, X, s)
    agrees(built("Bias", bias, bottoms=2), X + wide_b, X, b)


def test_a_scalar_scales_a_scalar():
    agrees(built("Scale", bottoms=2), np.array(6.0), np.array(2.0), np.array(3.0))


def test_batch_norm_divides_its_stored_sums_by_their_count():
    mean, variance = RNG.standard_normal(3), RNG.uniform(0.5, 2, 3)
    expected = (X - mean.reshape(-1, 1, 1)) / np.sqrt(variance.reshape(-1, 1, 1) + 0.125)
    params = "batch_norm_param { eps: 0.125 }"
    agrees(built("BatchNorm", params, [mean * 7, variance * 7, np.array([7.0])]), expected, X)


def test_batch_norm_of_no_batches_has_zero_statistics():
    weights = [PER_CHANNEL, PER_CHANNEL, np.zeros(1)]
    agrees(built("BatchNorm", "batch_norm_param { eps: 0.25 }", weights), X / 0.5, X)


def test_batch_norm_by_the_batch():
    mean, variance = X.mean((0, 2, 3), keepdims=True), X.var((0, 2, 3), keepdims=True)
    function = built(
        "BatchNorm",
        "batch_norm_param { use_global_stats: false eps: 0.125 }",
        [np.zeros(3), np.zeros(3), np.ones(1)],
    )
    agrees(function, (X - mean) / np.sqrt(variance + 0.125), X)


@few
@given(st.sampled_from([1, 3, 5, 7]), st.floats(0.1, 2), st.floats(0.25, 1.5), st.floats(0.5, 3))
def test_lrn_across_channels(size, alpha, beta, k):
    x = distinct(2, 6, 2, 3)
    near = np.ones((1, size, 1, 1))
    total = scipy.ndimage.convolve(x**2, near, mode="constant")
    params = f"local_size: {size} alpha: {alpha!r} beta: {beta!r} k: {k!r}"
    got = run(built("LRN", f"lrn_param {{ {params} }}"), x)
    np.testing.assert_allclose(got, x * (k + alpha / size * total) ** -beta, rtol=1e-6)


@few
@given(st.sampled_from([1, 3, 5]), st.floats(0.1, 2), st.floats(0.25, 1.5))
def test_lrn_within_channels(size, alpha, beta):
    total = scipy.ndimage.convolve(X**2, np.ones((1, 1, size, size)), mode="constant")
    params = f"local_size: {size} alpha: {alpha!r} beta: {beta!r} k: 9 norm_region: WITHIN_CHANNEL"
    got = run(built("LRN", f"lrn_param {{ {params} }}"), X)
    np.testing.assert_allclose(got, X * (1 + alpha / size**2 * total) ** -beta, rtol=1e-6)


@pytest.mark.parametrize("region", ["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
def test_lrn_gradient(region):
    params = f"lrn_param {{ local_size: 3 alpha: 2 beta: 0.6 norm_region: {region} }}"
    check_gradient(built("LRN", params), X)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_mvn(across, variance):
    axes = (1, 2, 3) if across else (2, 3)
    expected = X - X.mean(axes, keepdims=True)
    if variance:
        expected = expected / (X.std(axes, keepdims=True) + 1e-9)
    flags = f"across_channels: {across} normalize_variance: {variance}".lower()
    agrees(built("MVN", f"mvn_param {{ {flags} }}"), expected, X)


def test_mvn_of_equal_values_has_a_finite_gradient():
    # Caffe: dx = (dy - mean(dy) - y * mean(dy * y)) / eps, with y = 0
    dy = np.array([[[[1.0, 2.0, 6.0]]]])
    (dx,) = gradients(built("MVN", "mvn_param { eps: 0.5 }"), dy, np.ones((1, 1, 1, 3)))
    np.testing.assert_allclose(dx, (dy - 3) / 0.5)


def test_mvn_gives_its_top_four_axes():
    assert run(built("MVN"), np.ones((2, 3))).shape == (2, 3, 1, 1)


@pytest.mark.parametrize("across", [False, True])
def test_normalize(across):
    flags = f"across_spatial: {across} channel_shared: true eps: 0.125".lower()
    axes = (1, 2, 3) if across else (1,)
    norm = np.sqrt((X**2).sum(axes, keepdims=True) + 0.125)
    agrees(built("Normalize", f"norm_param {{ {flags} }}", [np.array(3.0)]), 3 * X / norm, X)


def test_normalize_with_a_scale_per_channel_follows_caffes_backward():
    params = "norm_param { across_spatial: false channel_shared: false }"
    function = built("Normalize", params, [PER_CHANNEL])
    norm = np.sqrt((X**2).sum(1, keepdims=True) + 1e-10)
    scale = PER_CHANNEL.reshape(-1, 1, 1)
    agrees(function, scale * X / norm, X, differentiable=False)
    dy = RNG.standard_normal(X.shape)
    along = X * (X * dy).sum(1, keepdims=True) / norm**2
    (dx,) = gradients(function, dy, X)
    np.testing.assert_allclose(dx, scale * (dy - along) / norm, rtol=1e-8)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("transpose", [False, True])
def test_inner_product(axis, transpose):
    inputs = math.prod(X.shape[axis:])
    w, b = RNG.standard_normal((inputs, 4)), RNG.standard_normal(4)
    lead = X.shape[: axis % 4]
    expected = (X.reshape(-1, inputs) @ w + b).reshape(*lead, 4)
    params = f"num_output: 4 axis: {axis} transpose: {str(transpose).lower()}"
    function = built(
        "InnerProduct", f"inner_product_param {{ {params} }}", [w if transpose else w.T, b]
    )
    agrees(function, expected, X)


def test_inner_product_reads_channels_first_whatever_the_memory_format():
    w = np.arange(60.0).reshape(1, 60)
    function = built("InnerProduct", "inner_product_param { num_output: 1 bias_term: false }", [w])
    x = torch.tensor(X).contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(function(x), X.reshape(2, -1) @ w.T)


def test_embed():
    w, b = RNG.standard_normal((5, 2)), RNG.standard_normal(2)
    function = built("Embed", "embed_param { input_dim: 5 num_output: 2 }", [w, b])
    at = np.array([[4.0, 0.0, 2.0]])
    np.testing.assert_allclose(run(function, at), w[[[4, 0, 2]]] + b)


# -- several blobs -------------------------------------------------------------------------------

A, B, C = (distinct(2, 3, 2, 2, seed=i) * (1 - i / 100) for i in range(3))


@pytest.mark.parametrize(
    ("params", "formula"),
    [
        ("", A + B + C),
        ("operation: SUM coeff: 2 coeff: -1 coeff: 0.5", 2 * A - B + C / 2),
        ("operation: PROD", A * B * C),
        ("operation: PROD stable_prod_grad: false", A * B * C),
        ("operation: MAX", np.maximum(np.maximum(A, B), C)),
    ],
)
def test_eltwise(params, formula):
    agrees(built("Eltwise", f"eltwise_param {{ {params} }}", bottoms=3), formula, A, B, C)


def test_eltwise_maximum_of_equals():
    """Of the first two bottoms Caffe takes the second; a later one has to be greater."""
    function = built("Eltwise", "eltwise_param { operation: MAX }", bottoms=3)
    found = gradients(function, np.ones(1), *np.zeros((3, 1)))
    np.testing.assert_array_equal(found, [[0], [1], [0]])


@pytest.mark.parametrize(("field", "axis"), [("axis", 1), ("axis", -1), ("concat_dim", 2)])
def test_concat(field, axis):
    function = built("Concat", f"concat_param {{ {field}: {axis} }}", bottoms=3)
    agrees(function, np.concatenate([A, B, C], axis), A, B, C)


@pytest.mark.parametrize(
    ("params", "axis", "points"),
    [
        ("slice_point: 1", 1, [1]),
        ("axis: -1 slice_point: 2 slice_point: 3", 3, [2, 3]),
        ("slice_dim: 2", 2, [2]),
        ("axis: 0", 0, [1]),
    ],
)
def test_slice(params, axis, points):
    function = built("Slice", f"slice_param {{ {params} }}", tops=len(points) + 1)
    for got, expected in zip(run_all(function, X), np.split(X, points, axis), strict=True):
        np.testing.assert_array_equal(got, expected)
    check_gradient(function, X)


def test_split_gives_each_top_a_diff_of_its_own():
    x = torch.tensor(X, requires_grad=True)
    a, b = built("Split", tops=2)(x)
    da, db = torch.autograd.grad((2 * a + 3 * b).sum(), [a, b])
    assert da.unique().item() == 2
    assert db.unique().item() == 3


def test_silence():
    assert built("Silence", bottoms=2, tops=0)(torch.zeros(1), torch.zeros(1)) == ()


# -- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "params", "shape"),
    [
        ("Flatten", "", (2, 60)),
        ("Flatten", "flatten_param { axis: -3 end_axis: 2 }", (2, 12, 5)),
        ("Flatten", "flatten_param { axis: 2 end_axis: 2 }", (2, 3, 4, 5)),
        ("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", (2, 60)),
        (
            "Reshape",
            "reshape_param { shape { dim: 2 dim: 2 } axis: 2 num_axes: 1 }",
            (2, 3, 2, 2, 5),
        ),
        ("Reshape", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }", (2, 3, 4, 5, 1)),
        ("Reshape", "reshape_param { shape { dim: 10 dim: -1 } axis: -3 }", (2, 3, 10, 2)),
    ],
)
def test_reshape_keeps_the_order_of_values(kind, params, shape):
    agrees(built(kind, params), X.reshape(shape), X)
    x = torch.tensor(X).contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(built(kind, params)(x), X.reshape(shape))


@pytest.mark.parametrize(("order", "axes"), [([0, 2, 3, 1], (0, 2, 3, 1)), ([3], (3, 0, 1, 2))])
def test_permute(order, axes):
    params = " ".join(f"order: {axis}" for axis in order)
    agrees(built("Permute", f"permute_param {{ {params} }}"), X.transpose(axes), X)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("", X[:, :, :2, :3]),
        ("offset: 1", X[:, :, 1:3, 1:4]),
        ("offset: 2 offset: 0", X[:, :, 2:, :3]),
        ("axis: 1 offset: 1 offset: 0 offset: 2", X[:, 1:3, :2, 2:]),
        ("axis: -1 offset: 1", X[:, :, :, 1:4]),
    ],
)
def test_crop(params, expected):
    function = built("Crop", f"crop_param {{ {params} }}", bottoms=2)
    like = torch.zeros(2, 2, 2, 3, dtype=torch.float64)
    x = torch.tensor(X, requires_grad=True)
    top = function(x, like)
    np.testing.assert_array_equal(top.detach(), expected)
    dx = torch.autograd.grad(top, x, top.detach())[0].numpy()
    np.testing.assert_array_equal(dx, np.where(np.isin(X, expected), X, 0))


@pytest.mark.parametrize(("axis", "times"), [(1, (1, 3, 1, 1)), (-1, (1, 1, 1, 3))])
def test_tile(axis, times):
    params = f"tile_param {{ axis: {axis} tiles: 3 }}"
    agrees(built("Tile", params), np.tile(X, times), X)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    ("operation", "formula"),
    [
        ("SUM", lambda rows: rows.sum(-1)),
        ("ASUM", lambda rows: np.abs(rows).sum(-1)),
        ("SUMSQ", lambda rows: (rows**2).sum(-1)),
        ("MEAN", lambda rows: rows.mean(-1)),
    ],
)
def test_reduction(operation, formula, axis):
    params = f"operation: {operation} axis: {axis} coeff: 1.5"
    rows = X.reshape(*X.shape[: axis % 4], -1)
    agrees(built("Reduction", f"reduction_param {{ {params} }}"), 1.5 * formula(rows), X)


def test_argmax_lists_the_later_of_equals_first():
    #          0    1    2    3
    x = np.array([[2.0, 5.0, 5.0, 1.0]])
    assert run(built("ArgMax"), x).tolist() == [[[2]]]
    assert run(built("ArgMax", "argmax_param { top_k: 3 }"), x).tolist() == [[[2, 1, 0]]]
    both = run(built("ArgMax", "argmax_param { top_k: 2 out_max_val: true }"), x)
    assert both.tolist() == [[[2, 1], [5, 5]]]


@pytest.mark.parametrize("out_max_val", [False, True])
def test_argmax_along_an_axis(out_max_val):
    params = f"argmax_param {{ axis: -2 top_k: 2 out_max_val: {str(out_max_val).lower()} }}"
    order = np.argsort(-X, axis=2)[:, :, :2]
    expected = np.take_along_axis(X, order, 2) if out_max_val else order
    np.testing.assert_array_equal(run(built("ArgMax", params), X), expected)


def test_argmax_of_whole_images():
    got = run(built("ArgMax"), X)
    np.testing.assert_array_equal(got, X.reshape(2, -1).argmax(1).reshape(2, 1, 1, 1))


# -- sources -------------------------------------------------------------------------------------


def test_dummy_data_is_constant_or_drawn_once():
    params = (
        "dummy_data_param { shape { dim: 2000 } shape { dim: 2000 } shape { dim: 2 dim: 1 } "
        'data_filler { type: "uniform" min: 2 max: 4 } '
        'data_filler { type: "gaussian" mean: 1 std: 3 } data_filler { value: 7 } }'
    )
    function = built("DummyData", params, bottoms=0, tops=3)
    uniform, gaussian, constant = run_all(function)
    assert uniform.min() >= 2
    assert uniform.max() <= 4
    assert abs(uniform.mean() - 3) < 0.1
    assert abs(gaussian.mean() - 1) < 0.3
    assert abs(gaussian.std() - 3) < 0.3
    np.testing.assert_array_equal(constant, [[7], [7]])
    for again, before in zip(run_all(function), (uniform, gaussian, constant), strict=True):
        np.testing.assert_array_equal(again, before)


def test_dummy_data_in_legacy_form_is_zero():
    params = "dummy_data_param { num: 2 channels: 3 height: 1 height: 4 width: 5 }"
    first, second = run_all(built("DummyData", params, bottoms=0, tops=2))
    np.testing.assert_array_equal(first, np.zeros((2, 3, 1, 5)))
    np.testing.assert_array_equal(second, np.zeros((2, 3, 4, 5)))
