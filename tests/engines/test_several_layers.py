"""`evaluate_layers` and `layers_gradient` on both engines, against slow numpy and by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import slow_layers as slow
from helpers.engine_nets import (
    arrays,
    conv,
    layer,
    load_text,
    net_text,
    noise,
    relative_error,
    relu,
)

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import EngineError, UnknownNameError

# data - conv1 - relu1 - squeeze - relu -+- left (3x3) - relu_left -+- concat - top - relu_top
#                                        +- right (1x1) - right_out +
# Every ReLU but right_out works in place.
FIRE = net_text(
    conv("conv1", "data", 6, 3, "pad: 1"),
    relu("relu1", "conv1"),
    conv("squeeze", "conv1", 3),
    relu("relu_squeeze", "squeeze"),
    conv("left", "squeeze", 4, 3, "pad: 1"),
    relu("relu_left", "left"),
    conv("right", "squeeze", 5),
    layer("right_out", "ReLU", "right"),
    layer("concat", "Concat", "left right_out"),
    conv("top", "concat", 3, 3, "stride: 2"),
    relu("relu_top", "top"),
    data=(1, 2, 7, 9),
)
SETS = [
    ("top",),
    ("conv1", "top"),  # one far below the other
    ("left", "right_out"),  # two branches
    ("relu_squeeze", "left", "right"),  # where they part, and both
    ("data", "conv1", "relu1"),  # both sides of a ReLU in place
    ("conv1:raw", "concat", "conv1"),  # two names of one value
    ("relu_top", "top", "data"),
    ("data", "conv1", "relu1", "squeeze", "relu_squeeze", "left", "relu_left", "right", "concat"),
]

# One channel of 1 x 2 pixels, doubled, less 1, then a ReLU in place, then negated:
#   x = [2 -1]  ->  conv1 = [3 -3]  ->  relu1 = [3 0]  ->  conv2 = [-3 0]
DOUBLE = net_text(
    conv("conv1", "data", 1), relu("relu1", "conv1"), conv("conv2", "conv1", 1), data=(1, 1, 1, 2)
)
DOUBLE_WEIGHTS = arrays(conv1=([[[[2]]]], [-1]), conv2=([[[[-1]]]], [0]))
X = np.array([[[[2, -1]]]], np.float32)

Arrays = Mapping[str, np.ndarray]


@pytest.fixture
def fire(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, FIRE)


@pytest.fixture
def double(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, DOUBLE, DOUBLE_WEIGHTS)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def evaluated(net: Net, x: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    values = net.evaluate_layers(net.ops.asarray(x), names)
    return {name: net.ops.numpy(value).copy() for name, value in values.items()}


def gradient(net: Net, diffs: Arrays, mode: str = "gradient") -> np.ndarray:
    given = {name: net.ops.asarray(diff) for name, diff in diffs.items()}
    return net.ops.numpy(net.layers_gradient(given, mode)).copy()


def reference(x: np.ndarray, weights: Mapping[str, tuple[np.ndarray, ...]], mode: str = "gradient"):
    """What each name evaluates to, and ``backward(diffs) -> diff of x``."""

    def params(name: str) -> tuple[np.ndarray, np.ndarray]:
        w, b = weights[name]
        return w.astype(np.float64), b.astype(np.float64)

    v = {"data": x.astype(np.float64)}
    v["conv1"], d_conv1 = slow.convolution(v["data"], *params("conv1"), pad=1)
    v["relu1"], d_relu1 = slow.relu(v["conv1"], mode)
    v["squeeze"], d_squeeze = slow.convolution(v["relu1"], *params("squeeze"))
    v["relu_squeeze"], d_relu_squeeze = slow.relu(v["squeeze"], mode)
    v["left"], d_left = slow.convolution(v["relu_squeeze"], *params("left"), pad=1)
    v["relu_left"], d_relu_left = slow.relu(v["left"], mode)
    v["right"], d_right = slow.convolution(v["relu_squeeze"], *params("right"))
    v["right_out"], d_right_out = slow.relu(v["right"], mode)
    v["concat"] = np.concatenate([v["relu_left"], v["right_out"]], axis=1)
    v["top"], d_top = slow.convolution(v["concat"], *params("top"), stride=2)
    v["relu_top"], d_relu_top = slow.relu(v["top"], mode)
    v["conv1:raw"] = v["conv1"]

    def backward(own: Arrays) -> np.ndarray:
        d = {name: own.get(name, np.zeros_like(value)) for name, value in v.items()}
        d["top"] = d["top"] + d_relu_top(d["relu_top"])
        d["concat"] = d["concat"] + d_top(d["top"])
        d["relu_left"] = d["relu_left"] + d["concat"][:, :4]
        d["left"] = d["left"] + d_relu_left(d["relu_left"])
        d["right_out"] = d["right_out"] + d["concat"][:, 4:]
        d["right"] = d["right"] + d_right_out(d["right_out"])
        d["relu_squeeze"] = d["relu_squeeze"] + d_left(d["left"]) + d_right(d["right"])
        d["squeeze"] = d["squeeze"] + d_relu_squeeze(d["relu_squeeze"])
        d["relu1"] = d["relu1"] + d_squeeze(d["squeeze"])
        d["conv1"] = d["conv1"] + d["conv1:raw"] + d_relu1(d["relu1"])
        return d["data"] + d_conv1(d["conv1"])

    return v, backward


# -- against slow numpy --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
def test_values_and_diffs_equal_slow_numpy(fire: Net, mode: str) -> None:
    x = noise(2, 2, 7, 9)
    expected, backward = reference(x, fire.model.weights, mode)
    for names in SETS:
        values = evaluated(fire, x, names)
        assert list(values) == list(names)
        for name, value in values.items():
            assert relative_error(value, expected[name]) < 1e-5, name
        diffs = {name: noise(*values[name].shape, seed=i) for i, name in enumerate(names)}
        dx = backward({name: diff.astype(np.float64) for name, diff in diffs.items()})
        assert np.ptp(dx) > 0
        assert relative_error(gradient(fire, diffs, mode), dx) < 1e-5, names


@pytest.mark.parametrize("names", SETS)
def test_the_gradient_is_that_of_the_sum(fire: Net, names: Sequence[str]) -> None:
    """By central differences of slow numpy in float64, and as the sum of single passes."""
    x = noise(1, 2, 7, 9)
    values = evaluated(fire, x, names)
    factors = {name: noise(*values[name].shape, seed=i) for i, name in enumerate(names)}

    def total(x: np.ndarray) -> float:
        found, _ = reference(x, fire.model.weights)
        return sum(float((factor * found[name]).sum()) for name, factor in factors.items())

    dx = gradient(fire, factors)
    step = 1e-6 * noise(1, 2, 7, 9, seed=77).astype(np.float64)
    slope = (total(x + step) - total(x - step)) / 2
    assert float((dx * step).sum()) == pytest.approx(slope, rel=1e-4)

    alone = np.zeros_like(dx)
    for name, factor in factors.items():
        value = fire.evaluate(fire.ops.asarray(x), name)
        np.testing.assert_allclose(fire.ops.numpy(value), values[name], rtol=1e-5, atol=1e-5)
        alone += fire.ops.numpy(fire.input_gradient(fire.ops.asarray(factor)))
    assert relative_error(dx, alone) < 1e-5


# -- by hand -------------------------------------------------------------------------------------


def test_values_on_both_sides_of_a_relu_in_place(double: Net) -> None:
    values = evaluated(double, X, ["relu1", "conv1", "conv1:raw", "conv2", "data"])
    assert {name: value.ravel().tolist() for name, value in values.items()} == {
        "relu1": [3, 0],
        "conv1": [3, -3],
        "conv1:raw": [3, -3],
        "conv2": [-3, 0],
        "data": [2, -1],
    }


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("gradient", [2 * 2, 0]),
        # At the ReLU [-1 -1] from conv2 and [3 0.5] meet: [2 -0.5]. One by one they would give
        # [0 0] and [2 * 3, 2 * 0.5].
        ("deconv", [2 * 2, 0]),
        ("guided", [2 * 2, 0]),
    ],
)
def test_diffs_that_meet_at_a_relu_are_added_before_its_rule(
    double: Net, mode: str, expected: list[float]
) -> None:
    evaluated(double, X, ["conv2", "relu1"])
    dx = gradient(double, {"conv2": row(1, 1), "relu1": row(3, 0.5)}, mode)
    np.testing.assert_array_equal(dx, row(*expected))


def test_names_of_one_value_add_up_and_the_image_adds_its_own(double: Net) -> None:
    evaluated(double, X, ["conv1", "data", "conv1:raw"])
    diffs = {"data": row(7, 8), "conv1": row(1, 2), "conv1:raw": row(10, 20)}
    dx = gradient(double, diffs)
    np.testing.assert_array_equal(dx, row(7 + 2 * 11, 8 + 2 * 22))


def test_what_is_left_out_has_diff_zero(double: Net) -> None:
    names = ["conv1", "conv2", "data"]
    for diffs, expected in [
        ({"conv1": row(1, 1), "conv2": row(5, 5), "data": row(9, 9)}, row(9 + 2 - 10, 9 + 2)),
        ({"conv1": row(1, 1)}, row(2, 2)),
        ({"conv2": row(1, 1)}, row(-2, 0)),
        ({"data": row(3, 4)}, row(3, 4)),
        ({}, row(0, 0)),
    ]:
        evaluated(double, X, names)
        np.testing.assert_array_equal(gradient(double, diffs), expected)


def test_no_layers_at_all(double: Net) -> None:
    assert evaluated(double, X, []) == {}
    np.testing.assert_array_equal(gradient(double, {}), row(0, 0))


def test_diffs_stay_the_callers(double: Net) -> None:
    evaluated(double, X, ["data", "conv1"])
    given = {name: double.ops.asarray(row(1, 2)) for name in ("data", "conv1")}
    double.layers_gradient(given)
    for diff in given.values():
        np.testing.assert_array_equal(double.ops.numpy(diff), row(1, 2))
    evaluated(double, X, ["data"])
    dx = double.layers_gradient({"data": given["data"]})
    dx *= 2
    np.testing.assert_array_equal(double.ops.numpy(given["data"]), row(1, 2))


def test_layers_that_hand_on_their_diff(engine: str, tmp_path: Path) -> None:
    """In Caffe some share its memory with the blob below."""
    text = net_text(
        layer("reshaped", "Reshape", "data", "", "reshape_param { shape { dim: 0 dim: 2 } }"),
        layer("alone", "Concat", "reshaped"),
        layer("flat", "Flatten", "alone"),
        layer("twice", "Power", "flat", "", "power_param { scale: 2 }"),
        data=(1, 1, 1, 2),
    )
    net = load_text(engine, tmp_path, text, {})
    names = ["data", "reshaped", "alone", "flat", "twice"]
    for chosen in (names, names[1:], names[::2], names[:3], names):
        values = evaluated(net, X, names)
        diffs = {name: np.full_like(values[name], 10 ** names.index(name)) for name in chosen}
        expected = sum((2 if name == "twice" else 1) * diffs[name].ravel() for name in chosen)
        np.testing.assert_array_equal(gradient(net, diffs).ravel(), expected)


def test_a_layer_that_leaves_a_diff_alone(engine: str, tmp_path: Path) -> None:
    """A Crop has no gradient for the blob that gives its size; that one's own diff stays."""
    text = net_text(
        layer("small", "Pooling", "data", "", "pooling_param { kernel_size: 2 stride: 2 }"),
        layer("crop", "Crop", "data small", "", "crop_param { axis: 2 offset: 1 }"),
        data=(1, 1, 4, 4),
    )
    net = load_text(engine, tmp_path, text, {})
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)  # the largest is at the lower right
    expected = np.zeros((4, 4))
    expected[1:3, 1:3] += 1
    expected[1::2, 1::2] += 10
    for _ in range(2):
        evaluated(net, x, ["crop", "small"])
        ones = np.ones((1, 1, 2, 2), np.float32)
        np.testing.assert_array_equal(
            gradient(net, {"crop": ones, "small": 10 * ones}), [[expected]]
        )


def test_a_layer_without_a_gradient_beside_one_that_has_it(engine: str, tmp_path: Path) -> None:
    text = net_text(
        layer("twice", "Power", "data", "", "power_param { scale: 2 }"),
        layer("which", "ArgMax", "twice"),
        data=(1, 3),
    )
    net = load_text(engine, tmp_path, text, {})
    values = evaluated(net, np.array([[1, 5, 3]], np.float32), ["which", "twice"])
    assert values["which"].item() == 1
    diffs = {"twice": np.array([[1, 2, 3]], np.float32), "which": np.ones_like(values["which"])}
    np.testing.assert_array_equal(gradient(net, diffs), [[2, 4, 6]])
    with pytest.raises(EngineError, match="no gradient"):
        net.check_gradient("which")


def test_several_inputs(engine: str, tmp_path: Path) -> None:
    """Two hold the image, and one a constant, which no diff is asked of."""
    product = "eltwise_param { operation: PROD }"
    text = net_text(
        layer("triple", "Power", "one", "", "power_param { scale: 3 }"),
        layer("masked", "Eltwise", "two mask", "", product),
        layer("sum", "Eltwise", "triple masked"),
        one=(1, 1, 1, 2),
        two=(1, 1, 1, 2),
        mask=(1, 1, 1, 2),
    )
    net = load_text(engine, tmp_path, text, {}, inputs={"two": "image", "mask": 5})
    names = ["sum", "masked", "one", "two", "mask"]
    values = evaluated(net, X, names)
    for name, expected in zip(names, (8 * X, 5 * X, X, X, row(5, 5)), strict=True):
        np.testing.assert_array_equal(values[name], expected)
    diffs = {name: row(10**i, 0) for i, name in enumerate(names)}
    np.testing.assert_array_equal(gradient(net, diffs), row(8 + 50 + 100 + 1000, 0))


def test_the_batch_and_the_size_change_between_calls(double: Net) -> None:
    for shape in [(1, 1, 1, 2), (4, 1, 3, 5), (2, 1, 6, 2)]:
        x, ones = noise(*shape), np.ones(shape, np.float32)
        values = evaluated(double, x, ["conv1", "conv2"])
        np.testing.assert_allclose(values["conv1"], 2 * x - 1, rtol=1e-6)
        np.testing.assert_allclose(values["conv2"], -np.maximum(2 * x - 1, 0), rtol=1e-6)
        dx = gradient(double, {"conv1": ones, "conv2": ones})
        np.testing.assert_array_equal(dx, np.where(2 * x - 1 > 0, 0, 2))


def test_backward_still_belongs_to_the_last_forward(double: Net) -> None:
    double.forward(X)
    evaluated(double, -3 * X, ["conv1", "conv2"])
    gradient(double, {"conv1": row(1, 1), "conv2": row(1, 1)})
    np.testing.assert_array_equal(double.backward("conv2", row(1, 1))["data"], row(-2, 0))


# -- errors --------------------------------------------------------------------------------------


def test_a_gradient_once_after_each_evaluation(double: Net) -> None:
    x, ones = double.ops.asarray(X), double.ops.asarray(row(1, 1))
    several = lambda: double.layers_gradient({"conv1": ones})  # noqa: E731
    one = lambda: double.input_gradient(ones)  # noqa: E731
    with pytest.raises(EngineError, match=r"layers_gradient .* once after each evaluate_layers"):
        several()
    with pytest.raises(EngineError, match=r"input_gradient .* once after each evaluate"):
        one()
    double.evaluate_layers(x, ["conv1"])
    several()
    with pytest.raises(EngineError, match="once after each evaluate_layers"):
        several()
    double.evaluate(x, "conv1")
    with pytest.raises(EngineError, match="once after each evaluate_layers"):
        several()
    double.evaluate_layers(x, ["conv1"])
    with pytest.raises(EngineError, match="once after each evaluate"):
        one()


def test_names_that_are_unknown_or_were_not_evaluated(double: Net) -> None:
    x, ones = double.ops.asarray(X), double.ops.asarray(row(1, 1))
    with pytest.raises(UnknownNameError, match="did you mean 'conv1'"):
        double.evaluate_layers(x, ["conv2", "con1"])
    double.evaluate_layers(x, ["conv2", "data"])
    with pytest.raises(UnknownNameError, match=r"'conv1' in what was evaluated.* conv2, data"):
        double.layers_gradient({"conv2": ones, "conv1": ones})
    double.evaluate_layers(x, ["conv2"])
    with pytest.raises(UnknownNameError, match="backward mode named 'decon'"):
        double.layers_gradient({"conv2": ones}, "decon")


def test_a_diff_of_another_shape(double: Net) -> None:
    x, three = double.ops.asarray(X), double.ops.asarray(row(1, 1, 1))
    message = r"'conv2': expected a diff of shape \(1, 1, 1, 2\), got one of \(1, 1, 1, 3\)"
    double.evaluate_layers(x, ["conv1", "conv2"])
    with pytest.raises(EngineError, match=message):
        double.layers_gradient({"conv1": double.ops.asarray(X), "conv2": three})
    double.evaluate(x, "conv2")
    with pytest.raises(EngineError, match=message):
        double.input_gradient(three)
    double.evaluate(x, "conv2", (0,))
    with pytest.raises(EngineError, match=message):
        double.input_gradient(three)


def test_a_layer_that_cannot_run(engine: str, tmp_path: Path) -> None:
    text = net_text(
        conv("conv1", "data", 1), layer("odd", "MyHead", "conv1"), conv("conv2", "odd", 1),
        data=(1, 1, 1, 2),
    )  # fmt: skip
    net = load_text(engine, tmp_path, text, {"conv1": DOUBLE_WEIGHTS["conv1"]})
    with pytest.raises(EngineError, match=r"'conv2' .* cannot run: needs layer 'odd'"):
        net.evaluate_layers(net.ops.asarray(X), ["conv1", "conv2"])
