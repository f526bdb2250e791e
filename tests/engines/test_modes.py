"""The three backward modes on a net with a branch, against slow, independent numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from helpers import slow_layers as slow
from helpers.engine_nets import conv, layer, load_text, net_text, noise, relative_error, relu

LRN = "lrn_param { local_size: 3 alpha: 5 beta: 0.75 %s }"

# data - conv1 - relu1 - pool1 - norm1 -+- left (3x3) - relu -+- concat - top (stride 2) - relu
#                                       +- right (1x1) - relu +
NET = net_text(
    conv("conv1", "data", 6, 3, "pad: 1"),
    relu("relu1", "conv1"),
    layer("pool1", "Pooling", "conv1", "", "pooling_param { kernel_size: 3 stride: 2 }"),
    layer("norm1", "LRN", "pool1", "", LRN),
    conv("left", "norm1", 4, 3, "pad: 1"),
    relu("relu_left", "left"),
    conv("right", "norm1", 5),
    layer("relu_right", "ReLU", "right", "right_out"),
    layer("concat", "Concat", "left right_out"),
    conv("top", "concat", 3, 3, "stride: 2"),
    relu("relu_top", "top"),
    data=(1, 2, 11, 14),
)


def reference(
    x: np.ndarray, weights: Mapping[str, tuple[np.ndarray, ...]], mode: str, ignore_lrn: bool
) -> tuple[dict[str, np.ndarray], object]:
    """Final blobs, and ``backward(diff of top, below its ReLU or above) -> diffs``."""

    def params(name: str) -> tuple[np.ndarray, np.ndarray]:
        w, b = weights[name]
        return w.astype(np.float64), b.astype(np.float64)

    conv1, d_conv1 = slow.convolution(x.astype(np.float64), *params("conv1"), pad=1)
    relu1, d_relu1 = slow.relu(conv1, mode)
    pool1, d_pool1 = slow.max_pool(relu1, 3, 2)
    norm1, d_norm1 = slow.lrn(pool1, 3, 5, 0.75)
    if ignore_lrn and mode == "deconv":
        d_norm1 = lambda dy: dy  # noqa: E731
    left, d_left = slow.convolution(norm1, *params("left"), pad=1)
    relu_left, d_relu_left = slow.relu(left, mode)
    right, d_right = slow.convolution(norm1, *params("right"))
    right_out, d_right_out = slow.relu(right, mode)
    concat = np.concatenate([relu_left, right_out], axis=1)
    top, d_top = slow.convolution(concat, *params("top"), stride=2)
    relu_top, d_relu_top = slow.relu(top, mode)

    def backward(diff: np.ndarray, above: bool) -> dict[str, np.ndarray]:
        diffs = {"top": d_relu_top(diff) if above else diff}
        diffs["concat"] = d_top(diffs["top"])
        diffs["left"] = d_relu_left(diffs["concat"][:, :4])
        diffs["right_out"] = diffs["concat"][:, 4:]
        diffs["right"] = d_right_out(diffs["right_out"])
        diffs["norm1"] = d_left(diffs["left"]) + d_right(diffs["right"])
        diffs["pool1"] = d_norm1(diffs["norm1"])
        diffs["conv1"] = d_relu1(d_pool1(diffs["pool1"]))
        diffs["data"] = d_conv1(diffs["conv1"])
        return diffs

    finals = {"conv1": relu1, "pool1": pool1, "norm1": norm1, "left": relu_left, "right": right}
    return {**finals, "right_out": right_out, "concat": concat, "top": relu_top}, backward


@pytest.mark.parametrize("mode", ["gradient", "deconv", "guided"])
@pytest.mark.parametrize("ignore_lrn", [False, True])
def test_modes_equal_slow_numpy(engine: str, tmp_path: Path, mode: str, ignore_lrn: bool) -> None:
    net = load_text(engine, tmp_path, NET % ("deconv_ignore: true" if ignore_lrn else ""))
    x = 64 * noise(2, 2, 11, 14)
    finals, backward = reference(x, net.model.weights, mode, ignore_lrn)
    acts = net.forward(x, blobs=list(finals))
    for blob, expected in finals.items():
        assert relative_error(acts[blob], expected) < 1e-5, blob
    for seed, above in [("top", False), ("relu_top", True)]:
        diff = noise(*finals["top"].shape, seed=2)
        expected = backward(diff.astype(np.float64), above)
        diffs = net.backward(seed, diff, mode, blobs=list(expected))
        for blob, dx in expected.items():
            assert relative_error(diffs[blob], dx) < 1e-5, (seed, blob)
        assert np.ptp(expected["data"]) > 0


@pytest.mark.parametrize(
    ("mode", "passes"),
    [
        ("gradient", lambda dy, x: (x > 0) & (x < 3)),
        ("deconv", lambda dy, x: dy > 0),
        ("guided", lambda dy, x: (dy > 0) & (x > 0) & (x < 3)),
    ],
)
def test_relu6_has_the_rules_of_a_relu(
    engine: str, tmp_path: Path, mode: str, passes: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    relu6 = layer("r", "ReLU6", "data", "", "relu6_param { threshold: 3 }")
    net = load_text(engine, tmp_path, net_text(relu6, data=(1, 2, 9, 9)))
    x, dy = 4 * noise(1, 2, 9, 9), noise(1, 2, 9, 9, seed=2)
    net.forward(x)
    expected = np.where(passes(dy, x), dy, 0)
    np.testing.assert_array_equal(net.backward("r", dy, mode)["data"], expected)


def test_a_backward_pass_starts_below_an_in_place_relu6(engine: str, tmp_path: Path) -> None:
    text = net_text(conv("c", "data", 2), layer("r", "ReLU6", "c", "c"), data=(1, 1, 2, 2))
    weights = {"c": (np.float32([[[[1]]], [[[-2]]]]), np.float32([0, 0]))}
    net = load_text(engine, tmp_path, text, weights)
    net.forward(np.ones((1, 1, 2, 2), np.float32))  # the second unit is off
    diff = net.backward("c", np.ones((1, 2, 2, 2), np.float32))["data"]
    np.testing.assert_array_equal(diff, np.full((1, 1, 2, 2), 1 - 2, np.float32))
