"""The loop's own rules, on nets that are a formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.array_ops import ON_EACH_KIND, normal
from helpers.fake_nets import FakeNet, bumps, linear
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer import (
    AscentParams,
    AscentResult,
    Constant,
    GrayLevels,
    Progress,
    Progress01,
    optimize,
)

SHAPE = (3, 8, 7)


def one(net: Any, unit: int = 0, **changes: Any) -> AscentResult:
    params = AscentParams(**{"iterations": 5, "rate": Constant(1.0), "start": "mean", **changes})
    return optimize(net, "unit", unit, preset=params)[0]


# -- steps, by hand ------------------------------------------------------------------------------


def test_two_steps_by_hand(ops: ArrayOps) -> None:
    # One pixel, one channel, mean 100, so x lives in [-100, 155]. a = 2 x, g = 2.
    # x: 0 -> (0 + 50*2) * 0.5 = 50 -> (50 + 100) * 0.5 = 75; the last step has no update
    net = FakeNet(linear(np.full((1, 1, 1, 1), 2.0)), 1, (1, 1, 1), ops)
    run = one(net, iterations=3, rate=Constant(50), decay=0.5)
    assert run.activations.tolist() == [0, 100, 150]
    assert run.image.tolist() == [[[75]]]
    assert (run.best_iteration, run.best_value, run.stop) == (2, 150, "finished")


def test_every_image_the_net_sees_is_a_possible_picture(ops: ArrayOps) -> None:
    mean = np.array([104, 117, 123], np.float32)
    net = FakeNet(linear(normal(1, *SHAPE)), 1, SHAPE, ops, mean=mean)
    one(net, rate=Constant(1000), start="uniform")
    pixels = np.concatenate(net.seen) + mean[:, None, None]
    assert pixels.min() == pytest.approx(0, abs=1e-4)
    assert pixels.max() == pytest.approx(255, abs=1e-4)


def test_pixels_of_a_net_that_counts_them_in_unit_range() -> None:
    net = FakeNet(linear(np.ones((1, *SHAPE))), 1, SHAPE, mean=0.25, raw_scale=1)
    run = one(net, rate=Constant(1000))
    assert run.image.tolist() == np.full(SHAPE, 0.75).tolist()


def test_the_best_image_is_kept_not_the_last(ops: ArrayOps) -> None:
    # steps of 70 over the bump's top at 100: x = 0, 70, 140 (clipped at 155), then back and forth
    net = FakeNet(bumps(np.full((1, 1, 1, 1), 80.0)), 1, (1, 1, 1), ops)
    run = one(net, iterations=4, rate=GrayLevels(70), start="mean")
    assert run.activations.argmax() == run.best_iteration == 1
    assert run.image.item() == pytest.approx(70)


# -- down, dead, not finite ----------------------------------------------------------------------


def test_a_sign_of_minus_one_minimizes(ops: ArrayOps) -> None:
    net = FakeNet(bumps(normal(2, *SHAPE, scale=20)), 2, SHAPE, ops)
    up, down = one(net, 1, rate=GrayLevels(2)), one(net, 1, rate=GrayLevels(2), sign=-1)
    assert (np.diff(up.activations) > 0).all()
    assert (np.diff(down.activations) < 0).all()
    assert down.best_value == down.activations.min() < up.best_value == up.activations.max()


def test_a_gradient_of_zero_ends_the_run_and_says_so(ops: ArrayOps) -> None:
    # unit 0 is dead, unit 1 lives on in the same batch
    weights = np.stack([np.zeros(SHAPE), np.ones(SHAPE)])
    net = FakeNet(linear(weights), 2, SHAPE, ops)
    params = AscentParams(iterations=40, rate=Constant(1.0))
    dead, alive = optimize(net, "unit", [0, 1], preset=params)
    assert (dead.stop, dead.activations.tolist(), dead.best_iteration) == ("zero gradient", [0], 0)
    np.testing.assert_array_equal(dead.image, net.seen[0][0])
    assert (alive.stop, len(alive.activations)) == ("finished", 40)


def test_a_gradient_too_small_to_square_is_not_zero(ops: ArrayOps) -> None:
    # the squares of 1e-30 are 0 in float32
    net = FakeNet(linear(np.full((1, *SHAPE), 1e-30)), 1, SHAPE, ops)
    run = one(net, rate=GrayLevels(3))
    assert run.stop == "finished"
    np.testing.assert_allclose(net.seen[1], 3, rtol=1e-5)
    run = one(net, rate=Progress(max_lr=1e31, desired=2))
    np.testing.assert_allclose(net.seen[-4], 10, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["activation", "gradient"])
def test_an_image_that_is_not_finite_ends_and_keeps_its_best(
    ops: ArrayOps, bad: float, where: str
) -> None:
    def formula(x: np.ndarray) -> Any:
        values, pull = linear(np.ones((1, *SHAPE)))(x)
        broken = values[:, 0] > 400  # reached at step 3: 8 * 7 * 3 = 168 a step, from 0
        if where == "activation":
            values[broken] = bad
            return values, pull
        return values, lambda diff: np.where(broken[:, None, None, None], bad, pull(diff))

    run = one(FakeNet(formula, 1, SHAPE, ops), iterations=40)
    steps = 3 if where == "activation" else 4
    assert run.stop == "not finite"
    assert run.activations.tolist() == [0, 168, 336, 504][:steps]
    assert run.best_iteration == steps - 1
    assert (run.image == steps - 1).all()


def test_a_net_that_is_never_finite_has_no_best() -> None:
    net = FakeNet(lambda x: (np.full((len(x), 1), np.nan), lambda diff: 0 * x), 1, SHAPE)
    run = one(net)
    assert (run.stop, run.best_iteration, run.activations.tolist()) == ("not finite", None, [])
    assert np.isnan(run.best_value)
    assert (run.image == 0).all()


# -- first_top -------------------------------------------------------------------------------------


def test_met_top_is_the_first_image_at_which_the_unit_leads(ops: ArrayOps) -> None:
    # units 0 and 2 are constantly 300 and 400; unit 1 gains 168 a step: 0, 168, 336, 504
    def formula(x: np.ndarray) -> Any:
        rising, pull = linear(np.ones((1, *SHAPE)))(x)
        values = np.concatenate([0 * rising + 300, rising, 0 * rising + 400], axis=1)
        return values, lambda diff: pull(diff[:, 1:2])

    net = FakeNet(formula, 3, SHAPE, ops)
    run = one(net, 1, iterations=6)
    assert run.first_top is not None
    assert run.first_top.iteration == 3
    assert (run.first_top.image == 3).all()
    assert one(net, 1, iterations=3).first_top is None


# -- maps ----------------------------------------------------------------------------------------


def maps(x: np.ndarray) -> Any:
    """Two channels of the input's size: channel 0 is the image, channel 1 three times it."""

    def pull(diff: np.ndarray) -> np.ndarray:
        return diff[:, :1] + 3 * diff[:, 1:]

    return np.concatenate([x, 3 * x], axis=1), pull


@pytest.fixture
def map_net(ops: ArrayOps) -> FakeNet:
    return FakeNet(maps, (2, 5, 4), (1, 5, 4), ops)


@pytest.mark.parametrize(("position", "place"), [("center", (2, 2)), ((0, 3), (0, 3))])
def test_one_position_of_a_map(map_net: FakeNet, position: Any, place: tuple[int, int]) -> None:
    params = AscentParams(iterations=2, rate=Constant(10), start="mean")
    run = optimize(map_net, "unit", 1, preset=params, position=position)[0]
    expected = np.zeros((1, 5, 4))
    expected[0][place] = 30
    assert run.image.tolist() == expected.tolist()
    assert run.best_value == 90
    assert run.first_top is not None
    assert run.first_top.iteration == 1  # all were 0 at step 0, and of equals the first is highest


def test_the_whole_channel_is_its_sum(map_net: FakeNet) -> None:
    params = AscentParams(iterations=2, rate=Constant(1), start="mean")
    run = optimize(map_net, "unit", 1, preset=params, position="all")[0]
    assert (run.image == 3).all()
    assert run.best_value == 9 * 20


@pytest.mark.parametrize(
    ("shape", "unit", "position", "place"),
    [
        ((), 0, "center", ()),
        ((4,), 2, "all", (2,)),
        ((2, 3), 1, "center", (1, 1)),
        ((2, 3, 2, 2), 1, (2, 0, 1), (1, 2, 0, 1)),
    ],
)
def test_blobs_of_one_to_five_axes(
    ops: ArrayOps, shape: tuple[int, ...], unit: int, position: Any, place: tuple[int, ...]
) -> None:
    # every entry of the blob weighs the image's one pixel by its own number, 1, 2, 3, ...
    weights = np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)

    def formula(x: np.ndarray) -> Any:
        pixel = x.reshape(-1, *[1] * len(shape))
        return (
            pixel * weights,
            lambda diff: (diff * weights).reshape(len(x), -1).sum(1).reshape(x.shape),
        )

    net = FakeNet(formula, shape, (1, 1, 1), ops)
    params = AscentParams(iterations=2, rate=Constant(1), start="mean")
    run = optimize(net, "unit", unit, preset=params, position=position)[0]
    assert run.image.item() == weights[place]


# -- a batch is so many single runs --------------------------------------------------------------

percentiles = st.sampled_from([0.0, 0.0, 20.0, 50.0, 90.0])
rates = st.one_of(
    st.builds(GrayLevels, st.floats(0.5, 20)),
    st.builds(Constant, st.floats(1, 1e5)),
    st.builds(Progress, st.floats(1, 1e6), st.floats(0.001, 0.5)),
    st.builds(Progress01, st.floats(1, 1e6), st.floats(0.001, 0.5), st.floats(0.01, 0.9)),
)
all_params = st.builds(
    AscentParams,
    decay=st.sampled_from([0, 0.0001, 0.3]),
    blur_width=st.sampled_from([0, 0.5, 1.0, 2.5]),
    blur_every=st.integers(0, 4),
    value_percentile=percentiles,
    norm_percentile=percentiles,
    benefit_percentile=percentiles,
    contribution_percentile=percentiles,
    rate=rates,
    iterations=st.integers(1, 12),
    start=st.sampled_from(["noise", "uniform", "mean"]),
    sign=st.sampled_from([1, -1]),
)


@pytest.mark.slow
@given(params=all_params, units=st.lists(st.integers(0, 4), min_size=1, max_size=3))
@settings(max_examples=40, **ON_EACH_KIND)
def test_a_batch_equals_single_runs(ops: ArrayOps, params: AscentParams, units: list[int]) -> None:
    # units 3 and 4 are dead and infinite: they must not touch their neighbours
    centers = normal(3, *SHAPE, scale=40)

    def formula(x: np.ndarray) -> Any:
        values, pull = bumps(centers)(x)
        dead, endless = np.zeros((len(x), 1)), np.full((len(x), 1), np.inf)
        return np.concatenate([values, dead, endless], 1), lambda diff: pull(diff[:, :3])

    net = FakeNet(formula, 5, SHAPE, ops)
    together = optimize(net, "unit", units, seeds=[0, 7], preset=params, batch_size=99)
    alone = optimize(net, "unit", units, seeds=[0, 7], preset=params, batch_size=1)
    for a, b in zip(together, alone, strict=True):
        assert (a.unit, a.seed, a.stop) == (b.unit, b.seed, b.stop)
        assert a.best_iteration == b.best_iteration
        np.testing.assert_allclose(a.activations, b.activations, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(a.image, b.image, rtol=1e-4, atol=1e-3)
        assert (a.first_top is None) == (b.first_top is None)
        if a.first_top and b.first_top:
            assert a.first_top.iteration == b.first_top.iteration
            np.testing.assert_allclose(a.first_top.image, b.first_top.image, rtol=1e-4, atol=1e-3)
