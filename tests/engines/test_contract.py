"""The contract of all engines (`deepvis_caffe/engines/base.py`), on nets small enough to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.engine_nets import (
    DEVICE,
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

# One channel of 1 x 2 pixels, doubled, less 1, then a ReLU in place, then negated:
#   x = [2 -1]  ->  conv1 = [3 -3]  ->  relu1 = [3 0]  ->  conv2 = [-3 0]
DOUBLE = net_text(
    conv("conv1", "data", 1), relu("relu1", "conv1"), conv("conv2", "conv1", 1), data=(1, 1, 1, 2)
)
DOUBLE_WEIGHTS = arrays(conv1=([[[[2]]]], [-1]), conv2=([[[[-1]]]], [0]))
X = np.array([[[[2, -1]]]], np.float32)

# Two branches of one blob, and their sum: mid = 2 x, left = 3 mid, right = 5 mid, total = 16 x
FORK = net_text(
    conv("mid", "data", 1),
    conv("left", "mid", 1),
    conv("right", "mid", 1),
    layer("total", "Eltwise", "left right"),
    data=(1, 1, 1, 1),
)
FORK_WEIGHTS = {
    name: arrays(w=([[[[factor]]]], [0]))["w"]
    for name, factor in {"mid": 2, "left": 3, "right": 5}.items()
}

SMOOTH = net_text(
    conv("conv1", "data", 4, 3, "pad: 1"),
    layer("sigmoid1", "Sigmoid", "conv1"),
    layer(
        "pool1", "Pooling", "sigmoid1", "", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }"
    ),
    conv("conv2", "pool1", 5, 3),
    layer("tanh2", "TanH", "conv2", "conv2"),
    layer("fc", "InnerProduct", "conv2", "", "inner_product_param { num_output: 6 }"),
    layer("prob", "Softmax", "fc"),
    data=(1, 2, 9, 13),
)


@pytest.fixture
def double(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, DOUBLE, DOUBLE_WEIGHTS)


@pytest.fixture
def fork(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, FORK, FORK_WEIGHTS)


@pytest.fixture
def smooth(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, SMOOTH)


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


# -- what the net is -----------------------------------------------------------------------------


def test_net_says_what_it_is(smooth: Net, engine: str) -> None:
    assert smooth.engine == engine
    assert smooth.device == {"cuda": "cuda:0"}.get(DEVICE, DEVICE)
    assert dict(smooth.inputs) == {"data": (1, 2, 9, 13)}
    described = {info.name: (info.type, info.shape, info.weights) for info in smooth.layers}
    assert described["conv1"] == ("Convolution", (1, 4, 9, 13), 4 * 2 * 9 + 4)
    assert described["pool1"] == ("Pooling", (1, 4, 4, 6), 0)
    assert described["fc"] == ("InnerProduct", (1, 6), 6 * 5 * 2 * 4 + 6)
    assert (
        repr(smooth) == f"<small: 8 layers, input data 1 x 2 x 9 x 13, {engine} on {smooth.device}>"
    )


# -- reading more of a pass ----------------------------------------------------------------------


def test_read_gives_what_forward_left_out(double: Net) -> None:
    double.forward(X, blobs=["conv1"])
    later = double.read(["conv2", "conv1"])
    np.testing.assert_array_equal(later["conv2"], row(-3, 0))
    np.testing.assert_array_equal(later["conv1"], row(3, 0))


def test_read_means_the_last_forward_even_after_an_ascent(double: Net) -> None:
    double.forward(X, blobs=["data"])
    double.evaluate(double.ops.asarray(3 * X), "conv2")
    np.testing.assert_array_equal(double.read(["conv2"])["conv2"], row(-3, 0))
    double.forward(3 * X, blobs=["data"])  # conv1 = [11 -7], so conv2 = [-11 0]
    np.testing.assert_array_equal(double.read(["conv2"])["conv2"], row(-11, 0))


def test_read_leaves_a_backward_pass_possible(double: Net) -> None:
    double.forward(X, blobs=["conv1"])
    double.read(["conv2"])
    np.testing.assert_array_equal(double.backward("conv2", row(1, 1))["data"], row(-2, 0))


def test_read_without_forward_and_of_an_unknown_blob_says_so(double: Net) -> None:
    with pytest.raises(EngineError, match="forward first"):
        double.read(["conv1"])
    double.forward(X)
    with pytest.raises(UnknownNameError, match="conv9"):
        double.read(["conv9"])


# -- forward -------------------------------------------------------------------------------------


def test_forward_gives_the_outputs_by_default(double: Net) -> None:
    acts = double.forward(X)
    assert list(acts) == ["conv2"]
    np.testing.assert_array_equal(acts["conv2"], row(-3, 0))


def test_forward_reads_blobs_as_a_whole_pass_leaves_them(double: Net) -> None:
    acts = double.forward(X, blobs=["conv2", "conv1", "data"])
    assert list(acts) == ["conv2", "conv1", "data"]
    np.testing.assert_array_equal(acts["conv1"], row(3, 0))  # after the ReLU in place
    np.testing.assert_array_equal(acts["data"], X)
    assert all(array.dtype == np.float32 for array in acts.values())


def test_batch_equals_single_images(smooth: Net) -> None:
    x = noise(3, 2, 9, 13)
    together = smooth.forward(x, blobs=["conv1", "fc", "prob"])
    for i in range(3):
        for blob, alone in smooth.forward(x[i : i + 1], blobs=["conv1", "fc", "prob"]).items():
            assert relative_error(alone[0], together[blob][i]) < 1e-6


def test_batch_and_size_change_between_calls(double: Net) -> None:
    for shape in [(1, 1, 1, 2), (4, 1, 3, 5), (2, 1, 6, 2), (1, 1, 1, 2)]:
        x = noise(*shape)
        acts = double.forward(x)["conv2"]
        assert acts.shape == shape
        np.testing.assert_allclose(acts, -np.maximum(2 * x - 1, 0), rtol=1e-6)
        back = double.backward("conv2", np.ones(shape, np.float32))["data"]
        np.testing.assert_array_equal(back, np.where(2 * x - 1 > 0, -2, 0))


def test_several_inputs(engine: str, tmp_path: Path) -> None:
    text = net_text(layer("sum", "Eltwise", "a b"), a=(1, 1, 2, 3), b=(1, 1, 2, 3))
    net = load_text(engine, tmp_path, text, {})
    a, b = noise(2, 1, 2, 3, seed=1), noise(2, 1, 2, 3, seed=2)
    np.testing.assert_allclose(net.forward({"a": a, "b": b})["sum"], a + b, rtol=1e-6)
    diffs = net.backward("sum", a, blobs=["a", "b"])
    np.testing.assert_array_equal(diffs["a"], a)
    np.testing.assert_array_equal(diffs["b"], a)
    with pytest.raises(EngineError, match="no value for b"):
        net.forward(a)
    # The ascent moves the first input; the others are zero.
    np.testing.assert_array_equal(net.ops.numpy(net.evaluate(net.ops.asarray(a), "sum")), a)


def test_a_constant_that_nothing_reads(engine: str, tmp_path: Path) -> None:
    shape = "shape { dim: 1 dim: 1 dim: 1 dim: 2 } data_filler { value: 3 }"
    text = net_text(
        layer("threes", "DummyData", "", "read unread", f"dummy_data_param {{ {shape} }}"),
        layer("product", "Eltwise", "data read", "", "eltwise_param { operation: PROD }"),
        data=(1, 1, 1, 2),
    )
    net = load_text(engine, tmp_path, text, {})
    acts = net.forward(X, blobs=["product", "unread"])
    np.testing.assert_array_equal(acts["product"], 3 * X)
    np.testing.assert_array_equal(acts["unread"], row(3, 3))
    diffs = net.backward("product", row(5, 7), blobs=["data", "read", "unread"])
    np.testing.assert_array_equal(diffs["data"], row(15, 21))
    np.testing.assert_array_equal(diffs["read"], row(10, -7))
    assert not diffs["unread"].any()


# -- backward ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("gradient", [-2, 0]),  # the ReLU passes where its input is positive
        ("deconv", [0, 0]),  # and here where the diff is: conv2 made it -1
        ("guided", [0, 0]),
    ],
)
def test_modes_from_above_the_relu(double: Net, mode: str, expected: list[float]) -> None:
    double.forward(X)
    diff = double.backward("conv2", row(1, 1), mode)["data"]
    np.testing.assert_array_equal(diff, row(*expected))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("gradient", [2 * -3, 0]),
        ("deconv", [0, 2 * 5]),  # whatever the sign of the ReLU's input
        ("guided", [0, 0]),
    ],
)
def test_modes_at_the_relu(double: Net, mode: str, expected: list[float]) -> None:
    double.forward(X)
    diff = double.backward("relu1", row(-3, 5), mode)["data"]
    np.testing.assert_array_equal(diff, row(*expected))


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
def test_a_pass_from_a_layer_starts_below_its_relu(double: Net, mode: str) -> None:
    double.forward(X)
    diff = double.backward("conv1", row(-3, 5), mode)["data"]
    np.testing.assert_array_equal(diff, row(2 * -3, 2 * 5))  # the dead unit has a gradient too


def test_diff_of_a_blob_is_that_of_its_first_version(double: Net) -> None:
    double.forward(X)
    diffs = double.backward("conv2", row(7, 7), blobs=["conv2", "conv1", "data"])
    np.testing.assert_array_equal(diffs["conv2"], row(7, 7))
    np.testing.assert_array_equal(diffs["conv1"], row(-7, 0))  # below the ReLU
    np.testing.assert_array_equal(diffs["data"], row(-14, 0))


def test_diffs_above_the_start_are_zero(double: Net) -> None:
    double.forward(X)
    double.backward("conv2", row(7, 7), blobs=["conv2"])
    diffs = double.backward("conv1", row(1, 1), blobs=["conv2", "conv1"])
    np.testing.assert_array_equal(diffs["conv2"], row(0, 0))
    np.testing.assert_array_equal(diffs["conv1"], row(1, 1))


def test_branches_add_up(fork: Net) -> None:
    fork.forward(row(1))
    diffs = fork.backward("total", row(1), blobs=["left", "right", "mid", "data"])
    assert {blob: diff.item() for blob, diff in diffs.items()} == {
        "left": 1,
        "right": 1,
        "mid": 8,
        "data": 16,
    }


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (("left", "right", "mid", "data"), (1, 1, 0, 0)),
        (("left", "mid", "data"), (1, 5, 0)),  # by way of right alone
        (("left", "data"), (1, 10)),
        (("total", "mid"), (1, 0)),
    ],
)
def test_partial_diffs_end_at_each_blob(
    fork: Net, held: tuple[str, ...], expected: tuple[float, ...]
) -> None:
    fork.forward(row(1))
    fork.backward("total", row(100))  # leaves diffs everywhere
    diffs = fork.backward("total", row(1), blobs=held, partial=True)
    assert tuple(diffs[blob].item() for blob in held) == expected
    assert fork.backward("total", row(1))["data"].item() == 16


def test_a_partial_diff_passes_beside_a_held_top(engine: str, tmp_path: Path) -> None:
    """Of a Slice whose one top is held the other one alone leads on."""
    text = net_text(
        conv("mid", "data", 2),
        layer("slice", "Slice", "mid", "one two", "slice_param { axis: 1 }"),
        layer("total", "Eltwise", "one two"),
        data=(1, 1, 1, 1),
    )
    net = load_text(engine, tmp_path, text, arrays(mid=([[[[3]]], [[[5]]]], [0, 0])))
    net.forward(row(1))
    net.backward("total", row(100))
    diffs = net.backward("total", row(1), blobs=["one", "data"], partial=True)
    assert (diffs["one"].item(), diffs["data"].item()) == (1, 5)


@pytest.mark.parametrize(("seed", "factor"), [("left", 6), ("right", 10)])
def test_other_branch_stays_out(fork: Net, seed: str, factor: float) -> None:
    fork.forward(row(1))
    fork.backward("total", row(100))  # leaves diffs in both branches
    diffs = fork.backward(seed, row(1), blobs=["left", "right", "data"])
    other = "right" if seed == "left" else "left"
    assert (diffs[seed].item(), diffs[other].item(), diffs["data"].item()) == (1, 0, factor)


def test_one_forward_serves_many_backwards(double: Net) -> None:
    double.forward(X)
    for _ in range(2):
        np.testing.assert_array_equal(double.backward("conv1", row(1, 1))["data"], row(2, 2))
        np.testing.assert_array_equal(double.backward("conv2", row(1, 1))["data"], row(-2, 0))
        np.testing.assert_array_equal(
            double.backward("relu1", row(1, 1), "deconv")["data"], row(2, 2)
        )


def test_backward_from_above_what_forward_read(double: Net) -> None:
    double.forward(X, blobs=["data"])
    np.testing.assert_array_equal(double.backward("conv2", row(1, 1))["data"], row(-2, 0))


def test_backward_goes_from_any_blob_to_any_below(smooth: Net) -> None:
    smooth.forward(noise(2, 2, 9, 13))
    seed = noise(2, 6, seed=3)
    whole = smooth.backward("fc", seed, blobs=["conv2", "pool1", "data"])
    # tanh2 overwrites conv2 in place: its diff is below, where a pass from conv2:raw starts.
    halves = smooth.backward("conv2:raw", whole["conv2"], blobs=["pool1", "data"])
    assert relative_error(halves["pool1"], whole["pool1"]) < 1e-6
    assert relative_error(halves["data"], whole["data"]) < 1e-6
    only = smooth.backward("fc", seed, blobs=["pool1"])
    np.testing.assert_array_equal(only["pool1"], whole["pool1"])


def test_backward_agrees_with_finite_differences(smooth: Net) -> None:
    x, seed = 30 * noise(1, 2, 9, 13), noise(1, 6, seed=3)

    def value(x: np.ndarray) -> float:
        return float((smooth.forward(x, blobs=["fc"])["fc"].astype(np.float64) * seed).sum())

    smooth.forward(x)
    gradient = smooth.backward("fc", seed)["data"]
    step = gradient / np.abs(gradient).max()
    slope = (value(x + step) - value(x - step)) / 2  # pixels are tens, so a step of 1 is small
    assert float((gradient * step).sum()) == pytest.approx(slope, rel=2e-3)


# -- reduce --------------------------------------------------------------------------------------


def test_reduce_shows_each_blob_as_forward_gives_it_once(smooth: Net) -> None:
    x = noise(3, 2, 9, 13)
    blobs = ["prob", "conv2", "data", "pool1"]
    seen: list[str] = []

    def reducer(name: str, value: Any) -> tuple[np.ndarray, list[float]]:
        seen.append(name)
        largest = smooth.ops.xp.amax(value.reshape(3, -1), 1)  # in the engine's own namespace
        return smooth.ops.numpy(value), largest.tolist()

    reduced = smooth.reduce(x, blobs, reducer)
    assert list(reduced) == blobs
    assert sorted(seen) == sorted(blobs)
    for name, expected in smooth.forward(x, blobs).items():
        copied, largest = reduced[name]
        np.testing.assert_allclose(copied, expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(largest, copied.reshape(3, -1).max(axis=1))


def test_reduce_reads_a_blob_after_its_in_place_layers(double: Net) -> None:
    read = double.reduce(X, ["conv1"], lambda name, value: double.ops.numpy(value))
    np.testing.assert_array_equal(read["conv1"], row(3, 0))


def test_backward_belongs_to_the_last_forward_whatever_was_reduced(fork: Net, double: Net) -> None:
    for net in (fork, double):
        x = np.full((1, 1, *net.inputs["data"][2:]), 2, np.float32)
        top = net.model.graph.outputs[0]
        forward = net.forward(x, [top])[top]
        before = net.backward(top, forward)["data"]
        net.reduce(-x, [top], lambda name, value: None)
        np.testing.assert_array_equal(net.backward(top, forward)["data"], before)


def test_reduce_refuses_what_forward_refuses(double: Net) -> None:
    with pytest.raises(UnknownNameError, match="conv3"):
        double.reduce(X, ["conv3"], lambda name, value: None)
    with pytest.raises(EngineError, match="NaN"):
        double.reduce(X * np.nan, ["conv1"], lambda name, value: None)


# -- the ascent's path ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["conv1", "sigmoid1", "pool1", "conv2", "conv2:raw", "tanh2", "fc", "prob"]
)
@pytest.mark.parametrize("mode", ["gradient", "deconv"])
def test_ascent_path_equals_forward_and_backward(smooth: Net, name: str, mode: str) -> None:
    x = noise(3, 2, 9, 13)
    value = smooth.ops.numpy(smooth.evaluate(smooth.ops.asarray(x), name))
    diff = noise(*value.shape, seed=4)
    dx = smooth.ops.numpy(smooth.input_gradient(smooth.ops.asarray(diff), mode))
    assert relative_error(value, smooth.forward(x, blobs=[name])[name]) < 1e-6
    assert relative_error(dx, smooth.backward(name, diff, mode)["data"]) < 1e-6


@pytest.mark.parametrize(
    "name", ["conv1", "sigmoid1", "pool1", "conv2", "conv2:raw", "tanh2", "fc", "prob"]
)
@pytest.mark.parametrize("channels", [(2,), (3, 0)])
def test_some_channels_are_those_of_all(smooth: Net, name: str, channels: tuple[int, ...]) -> None:
    x = smooth.ops.asarray(noise(3, 2, 9, 13))
    whole = smooth.ops.numpy(smooth.evaluate(x, name))
    diff = np.zeros_like(whole)
    diff[:, channels] = some = noise(3, len(channels), *whole.shape[2:], seed=4)
    dx = smooth.ops.numpy(smooth.input_gradient(smooth.ops.asarray(diff)))
    value = smooth.ops.numpy(smooth.evaluate(x, name, channels))
    assert relative_error(value, whole[:, channels]) < 1e-6
    narrow = smooth.ops.numpy(smooth.input_gradient(smooth.ops.asarray(some)))
    assert relative_error(narrow, dx) < 1e-5


@pytest.mark.parametrize(
    "name", ["conv1", "sigmoid1", "pool1", "conv2", "conv2:raw", "tanh2", "fc", "prob"]
)
def test_only_the_layer_that_makes_them_saves_channels(smooth: Net, name: str) -> None:
    """Its output for a few is its output for all, and a softmax's is not."""
    assert smooth.saves_channels(name) == (smooth.engine == "torch" and name != "prob")


def test_some_channels_of_a_layer_that_makes_all(engine: str, tmp_path: Path) -> None:
    """At a size that was not run before; the layer's groups are kept together."""
    text = net_text(conv("a", "data", 6, 3, "group: 2"), data=(1, 4, 8, 8))
    net = load_text(engine, tmp_path, text)
    x = net.ops.asarray(noise(2, 4, 5, 6))
    some = net.ops.numpy(net.evaluate(x, "a", (4, 1)))
    whole = net.ops.numpy(net.evaluate(x, "a"))
    np.testing.assert_allclose(some, whole[:, [4, 1]], rtol=1e-5)
    assert not net.saves_channels("a")


def test_ascent_path_starts_below_the_relu(double: Net) -> None:
    value = double.evaluate(double.ops.asarray(X), "conv1")
    np.testing.assert_array_equal(double.ops.numpy(value), row(3, -3))
    dx = double.input_gradient(double.ops.asarray(row(1, 1)))
    np.testing.assert_array_equal(double.ops.numpy(dx), row(2, 2))


def test_backward_belongs_to_its_forward(double: Net) -> None:
    x = X.copy()
    double.forward(x)
    x[...] = -X  # the caller's own, to do with as they like
    double.evaluate(double.ops.asarray(np.concatenate([x, x])), "conv2")
    np.testing.assert_array_equal(double.backward("conv2", row(1, 1))["data"], row(-2, 0))


def test_old_diffs_do_not_come_back(engine: str, tmp_path: Path) -> None:
    """A Crop has no gradient for the blob that gives its size, whatever was there before."""
    text = net_text(
        layer("small", "Pooling", "data", "", "pooling_param { kernel_size: 2 stride: 2 }"),
        layer("crop", "Crop", "data small", "", "crop_param { axis: 2 offset: 1 }"),
        data=(1, 1, 4, 4),
    )
    net = load_text(engine, tmp_path, text, {})
    net.forward(noise(1, 1, 4, 4))
    net.backward("small", np.ones((1, 1, 2, 2), np.float32))
    expected = np.zeros((1, 1, 4, 4))
    expected[:, :, 1:3, 1:3] = 1
    diffs = net.backward("crop", np.ones((1, 1, 2, 2), np.float32), blobs=["small", "data"])
    np.testing.assert_array_equal(diffs["data"], expected)
    assert not diffs["small"].any()


def test_a_diff_gets_through_layers_that_only_hand_it_on(engine: str, tmp_path: Path) -> None:
    """Some of Caffe's have the diffs of bottom and top in one memory."""
    reshape = "reshape_param { shape { dim: 0 dim: 2 } }"
    text = net_text(
        layer("reshaped", "Reshape", "data", "", reshape),
        layer("alone", "Concat", "reshaped"),
        layer("flat", "Flatten", "alone"),
        layer("twice", "Power", "flat", "", "power_param { scale: 2 }"),
        data=(1, 1, 1, 2),
    )
    net = load_text(engine, tmp_path, text, {})
    for factor in (1, 3):
        net.forward(X)
        diffs = net.backward("twice", np.full((1, 2), factor), blobs=["flat", "alone", "data"])
        for diff in diffs.values():
            np.testing.assert_array_equal(diff.ravel(), [2 * factor, 2 * factor])


# -- what callers hold ---------------------------------------------------------------------------


def test_results_are_copies(double: Net) -> None:
    x = X.copy()
    first = double.forward(x, blobs=["data", "conv1", "conv2"])
    kept = {blob: array.copy() for blob, array in first.items()}
    seed = row(1, 1)
    diffs = double.backward("conv2", seed, blobs=["data", "conv2"])
    kept_diffs = {blob: array.copy() for blob, array in diffs.items()}
    double.forward(x + 5, blobs=["conv1"])
    double.backward("conv2", row(9, 9))
    for blob in kept:
        np.testing.assert_array_equal(first[blob], kept[blob])
    for blob in kept_diffs:
        np.testing.assert_array_equal(diffs[blob], kept_diffs[blob])
    for array in (*first.values(), *diffs.values()):
        array.fill(77)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(seed, row(1, 1))
    np.testing.assert_array_equal(double.forward(x)["conv2"], row(-3, 0))


# -- errors --------------------------------------------------------------------------------------


def test_backward_needs_a_forward(double: Net) -> None:
    with pytest.raises(EngineError, match="forward"):
        double.backward("conv2", row(1, 1))


def test_wrong_shapes_are_named(double: Net) -> None:
    with pytest.raises(EngineError, match=r"input 'data'.*\(1, 3, 1, 2\).*\(N, 1, 1, 2\)"):
        double.forward(noise(1, 3, 1, 2))
    double.forward(X)
    with pytest.raises(EngineError, match=r"'conv2'.*\(1, 1, 1, 3\)|\(1, 1, 1, 3\).*'conv2'"):
        double.backward("conv2", row(1, 1, 1))


def test_values_that_are_not_finite_are_refused(double: Net) -> None:
    with pytest.raises(EngineError, match=r"1 value.* NaN"):
        double.forward(row(1, np.nan))


def test_unknown_names_come_with_the_nearest(double: Net) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'conv1'"):
        double.forward(X, blobs=["con1"])
    double.forward(X)
    with pytest.raises(UnknownNameError, match="did you mean 'relu1'"):
        double.backward("relu", row(1, 1))
    with pytest.raises(UnknownNameError, match="deconv"):
        double.backward("conv1", row(1, 1), "decon")
    with pytest.raises(UnknownNameError, match="data"):
        double.backward("conv1", row(1, 1), blobs=["dat"])
    with pytest.raises(UnknownNameError, match="conv1"):
        double.evaluate(double.ops.asarray(X), "con1")


def test_size_that_a_layer_cannot_take(smooth: Net) -> None:
    x = noise(1, 2, 9, 13)
    before = smooth.forward(x)["prob"]
    with pytest.raises(EngineError, match=r"'fc' \(InnerProduct\)"):
        smooth.forward(noise(1, 2, 15, 13))
    np.testing.assert_array_equal(smooth.forward(x)["prob"], before)  # and the net still works
