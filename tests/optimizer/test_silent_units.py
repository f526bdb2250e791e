"""Units that are off behind a ReLU at first: the redirected gradient turns them on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.engine_nets import arrays, conv, layer, load_text, net_text, noise, relu

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.rules import REDIRECTED, relu6_redirected, relu_redirected
from deepvis_caffe.optimizer import AscentParams, Constant, GrayLevels, optimize
from deepvis_caffe.optimizer import objectives as o
from deepvis_caffe.optimizer.run import REDIRECTS

# One pixel x, seen by four units behind a ReLU that is not in place:
#   x - 2.5     off for x up to 2.5
#   x + 1       on from the start, where x = 0
#   x / 2 - 100 off for x up to 200, which is beyond white
#   3 - x       on, and the smaller the larger x is
ONE = net_text(conv("conv", "data", 4), layer("on", "ReLU", "conv"), data=(1, 1, 1, 1))
ONE_WEIGHTS = arrays(conv=(np.reshape([1, 1, 0.5, -1], (4, 1, 1, 1)), [-2.5, 1, -100, 3]))
STEP = AscentParams(iterations=6, rate=Constant(1), start="mean")


@pytest.fixture
def one(engine: str, tmp_path: Path) -> Net:
    return load_text(engine, tmp_path, ONE, ONE_WEIGHTS, mean=100)


# -- the rule --------------------------------------------------------------------------------------


def test_the_rule_by_hand() -> None:
    # Two images of three units each. Of the first nothing gets through, of the second something.
    x = np.array([[-1, -2, 3], [-1, 2, 3]], np.float32)
    dy = np.array([[5, -6, 0], [5, 7, -8]], np.float32)
    assert relu_redirected(dy, x).tolist() == [[5, 0, 0], [0, 7, -8]]
    # A unit at the limit of a ReLU6 cannot rise.
    x, dy = np.array([[6, -1]], np.float32), np.array([[4, 4]], np.float32)
    assert relu6_redirected(dy, x).tolist() == [[0, 4]]
    assert relu6_redirected(dy, x - 6).tolist() == [[4, 4]]


# A unit that is off, behind what a fire module or an early layer of AlexNet has above its ReLU.
DEEP = net_text(
    conv("low", "data", 3, 3, "pad: 1"),
    relu("low_relu", "low"),
    conv("left", "low", 2, 1),
    relu("left_relu", "left"),
    conv("right", "low", 2, 3, "pad: 1"),
    relu("right_relu", "right"),
    layer("joined", "Concat", "left right"),
    layer("norm", "LRN", "joined", "", "lrn_param { local_size: 3 alpha: 0.1 beta: 0.75 }"),
    layer("mean", "Pooling", "norm", "", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }"),
    layer("max", "Pooling", "joined", "", "pooling_param { kernel_size: 2 stride: 2 }"),
    data=(1, 2, 6, 6),
)


@pytest.fixture
def deep(engine: str, tmp_path: Path) -> Net:
    generator = np.random.default_rng(0)
    weights = arrays(
        low=(generator.normal(0, 1, (3, 2, 3, 3)), np.full(3, 20)),  # on
        left=(generator.normal(0, 1, (2, 3, 1, 1)), [1e3, -1e3]),
        right=(generator.normal(0, 1, (2, 3, 3, 3)), [-1e3, 1e3]),
    )
    return load_text(engine, tmp_path, DEEP, weights)


def gradient(net: Net, x: np.ndarray, name: str, diff: np.ndarray, mode: str) -> np.ndarray:
    value = net.evaluate(net.ops.asarray(x), name)
    assert tuple(value.shape) == diff.shape
    return net.ops.numpy(net.input_gradient(net.ops.asarray(diff), mode)).copy()


@pytest.mark.parametrize(("unit", "below"), [(1, ("left", 1)), (2, ("right", 0))])
def test_the_redirected_gradient_is_that_below_the_relu(
    deep: Net, unit: int, below: tuple[str, int]
) -> None:
    x, (layer_, channel) = noise(2, 2, 6, 6), below
    diff = np.zeros((2, 4, 6, 6), np.float32)
    diff[:, unit, 2, 3] = 1
    lower = np.zeros((2, 2, 6, 6), np.float32)
    lower[:, channel, 2, 3] = 1
    expected = gradient(deep, x, layer_, lower, "gradient")
    assert np.abs(expected).max() > 0
    assert not gradient(deep, x, "joined", diff, "gradient").any()
    np.testing.assert_array_equal(gradient(deep, x, "joined", diff, REDIRECTED), expected)
    diff[1] = 0
    diff[1, 0] = 1  # a unit that is on
    mixed = gradient(deep, x, "joined", diff, REDIRECTED)
    np.testing.assert_allclose(mixed[0], expected[0], rtol=1e-6)
    plain = gradient(deep, x, "joined", diff, "gradient")
    np.testing.assert_allclose(mixed[1], plain[1], rtol=1e-6)


@pytest.mark.parametrize("name", ["mean", "max", "norm"])
def test_it_passes_what_lies_between(deep: Net, name: str) -> None:
    x = noise(1, 2, 6, 6)
    shape = (1, 4, 6, 6) if name == "norm" else (1, 4, 3, 3)
    diff = np.zeros(shape, np.float32)
    diff[:, 2, 1, 1] = 1
    assert not gradient(deep, x, name, diff, "gradient").any()
    assert gradient(deep, x, name, diff, REDIRECTED).any()


# -- the ascent ------------------------------------------------------------------------------------


def test_a_silent_start_by_hand(one: Net) -> None:
    (run,) = optimize(one, "on", 0, preset=STEP)
    # x = 0, 1, 2, 3, 4, 5, and at the first three of these the unit is off.
    assert run.activations.tolist() == [0, 0, 0, 0.5, 1.5, 2.5]
    assert (run.redirected_steps, run.stop, run.silent) == (3, "finished", False)
    assert run.image.tolist() == [[[5]]]
    assert run.record()["redirected_steps"] == 3
    assert "started_from" not in run.record()


def test_others_of_the_batch_are_what_they_are_alone(one: Net) -> None:
    alone = optimize(one, "on", 1, preset=STEP)[0]
    off, beside = optimize(one, "on", [0, 1], preset=STEP)
    assert (off.redirected_steps, beside.redirected_steps) == (3, 0)
    np.testing.assert_array_equal(beside.activations, alone.activations)
    np.testing.assert_array_equal(beside.image, alone.image)


def test_a_unit_that_no_image_switches_on_is_given_up(one: Net) -> None:
    params = STEP.but(iterations=2 * REDIRECTS)
    (run,) = optimize(one, "on", 2, preset=params)
    # It goes on for so many steps, and ends at the next.
    assert (run.redirected_steps, len(run.activations)) == (REDIRECTS, REDIRECTS + 1)
    assert (run.stop, run.silent) == ("zero gradient", True)


def test_an_image_that_is_given_up_stays_what_it_is_beside_others(one: Net) -> None:
    """Real Caffe's max pooling writes outside of its memory on the way back from NaN."""
    seen: list[np.ndarray] = []
    optimize(
        one,
        "on",
        [2, 1],
        preset=STEP.but(iterations=REDIRECTS + 20, rate=GrayLevels(0.5)),
        watch=lambda step: seen.append(step.images()),
    )
    images = np.stack(seen)
    assert np.isfinite(images).all()
    assert (images[REDIRECTS + 1 :, 0] == images[REDIRECTS, 0]).all()
    assert (np.diff(images[:, 1], axis=0) > 0).all()


def test_what_is_lowered_to_nothing_is_not_raised_again(one: Net) -> None:
    (run,) = optimize(one, "on", 1, preset=STEP.but(sign=-1))
    # x + 1 = 1, 0, and then the unit is off, which is the lowest that it can be.
    assert run.activations.tolist() == [1, 0]
    assert (run.stop, run.best_value) == ("zero gradient", 0)


def test_sums_and_objectives_are_redirected_too(one: Net) -> None:
    (together,) = optimize(one, "on", [(0, 2)], preset=STEP.but(rate=GrayLevels(1)))
    assert together.activations.tolist() == [0, 0, 0, 0.5, 1.5, 2.5]
    goal = o.unit("on", 0) + 0.5 * o.unit("on", 2)
    (run,) = optimize(one, goal, preset=STEP.but(rate=GrayLevels(1)))
    assert run.activations.tolist() == [0, 0, 0, 0.5, 1.5, 2.5]
    assert (together.redirected_steps, run.redirected_steps) == (3, 3)


# Off where the mean of what it sees is less than 40 gray levels above the mean picture.
BRIGHT = net_text(
    conv("conv", "data", 2, 5),
    relu("relu", "conv"),
    layer("pool", "Pooling", "conv", "", "pooling_param { kernel_size: 3 stride: 2 }"),
    data=(1, 3, 24, 24),
)


def test_random_transforms_and_windows_of_the_input(engine: str, tmp_path: Path) -> None:
    weights = arrays(conv=(np.full((2, 3, 5, 5), 1 / 75), [-40, 40]))
    net = load_text(engine, tmp_path, BRIGHT, weights, mean=100)
    off, on = optimize(net, "pool", [0, 1], iterations=40)  # preset best
    assert off.window is not None
    assert off.activations[0] == 0
    assert 0 < off.redirected_steps < 30
    assert (off.stop, on.stop, on.redirected_steps) == ("finished", "finished", 0)
    assert off.activations[-1] > 0


NATURAL = net_text(
    conv("low", "data", 8, 3),
    relu("low_relu", "low"),
    conv("high", "low", 2, 3),
    relu("high_relu", "high"),
    layer("mean", "Pooling", "high", "", "pooling_param { pool: AVE global_pooling: true }"),
    data=(1, 3, 24, 24),
)


def test_naturalness_leads_nowhere_while_the_unit_is_off(engine: str, tmp_path: Path) -> None:
    weights = arrays(
        low=(np.random.default_rng(0).normal(0, 1, (8, 3, 3, 3)), np.zeros(8)),
        high=(np.full((2, 8, 3, 3), 1 / 72), [-60, 60]),
    )
    net = load_text(engine, tmp_path, NATURAL, weights, mean=100)
    params = AscentParams(iterations=20, rate=GrayLevels(5))
    plain = optimize(net, "mean", 0, preset=params)[0]
    natural = optimize(net, "mean", 0, preset=params.but(naturalness=4))[0]
    assert plain.redirected_steps == natural.redirected_steps > 0
    on = natural.redirected_steps  # from here on the two differ
    assert plain.activations[on] == pytest.approx(natural.activations[on], rel=1e-4)
    assert plain.activations[-1] != pytest.approx(natural.activations[-1], rel=1e-3)


def test_a_layer_that_ends_below_its_relu_is_not_redirected(deep: Net) -> None:
    (run,) = optimize(deep, "left", 1, preset=STEP)
    assert run.redirected_steps == 0
    assert run.stop == "finished"
    assert run.activations[-1] < 0
