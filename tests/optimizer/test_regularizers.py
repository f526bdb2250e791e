"""Each operator against scipy, numpy, or a matrix worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.array_ops import ON_EACH_KIND, batch_info
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.optimizer import regularizers as operators
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.regularizers import Operator


def apply(
    ops: ArrayOps, operator: Operator, x: np.ndarray, g: np.ndarray, t: int = 0
) -> np.ndarray:
    return ops.numpy(operator(ops.asarray(x), ops.asarray(g), t))


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).normal(0, 40, shape).astype(np.float32)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    sigma=st.floats(0.3, 8),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, **ON_EACH_KIND)
def test_blur_is_scipys(ops: ArrayOps, height: int, width: int, sigma: float, seed: int) -> None:
    x = images(2, 3, height, width, seed=seed)
    got = apply(ops, operators.blur(sigma).bind(batch_info(ops, height, width)), x, x)
    expected = np.stack([[gaussian_filter(channel, sigma) for channel in image] for image in x])
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_blur_comes_every_so_many_steps(ops: ArrayOps) -> None:
    x = images(1, 1, 9, 9)
    blur = operators.blur(1.0, every=4).bind(batch_info(ops, 9, 9))
    blurred = [t for t in range(10) if not np.array_equal(apply(ops, blur, x, x, t), x)]
    assert blurred == [0, 4, 8]


def test_decay_takes_a_fraction(ops: ArrayOps) -> None:
    x = np.array([[[[10, -20]]]], np.float32)
    got = apply(ops, operators.decay(0.3).bind(batch_info(ops, 1, 2)), x, x)
    np.testing.assert_allclose(got, [[[[7, -14]]]], rtol=1e-6)


def test_a_falling_decay_changes_linearly(ops: ArrayOps) -> None:
    x = np.array([[[[10, -20]]]], np.float32)
    params = AscentParams(decay=0.4, decay_end=0.2, iterations=5)
    (chosen,) = params.chosen_regularizers
    fall = chosen.bind(batch_info(ops, 1, 2, steps=params.iterations))
    for step, left in ((0, 0.6), (1, 0.65), (2, 0.7), (4, 0.8)):
        got = ops.numpy(fall(ops.asarray(x), ops.asarray(x), step))
        np.testing.assert_allclose(got, left * x, rtol=1e-6)


def test_falling_total_variation_takes_steps_that_change_linearly(ops: ArrayOps) -> None:
    x = images(1, 3, 6, 7)
    params = AscentParams(total_variation=0.8, total_variation_end=0.4, iterations=5)
    (chosen,) = params.chosen_regularizers
    fall = chosen.bind(batch_info(ops, 6, 7, steps=params.iterations))
    step = operators.total_variation(1.0).bind(batch_info(ops, 6, 7))
    whole = apply(ops, step, x, x) - x
    for t, levels in ((0, 0.8), (1, 0.7), (2, 0.6), (4, 0.4)):
        np.testing.assert_allclose(apply(ops, fall, x, x, t), x + levels * whole, atol=1e-4)


def test_small_values_are_those_strictly_under_the_percentile(ops: ArrayOps) -> None:
    # magnitudes 1 2 3 4 5: their median 3 stays. The second image has its own median.
    x = np.array([[[[1, -2, 3, -4, 5]]], [[[50, 10, -20, 30, 40]]]], np.float32)
    got = apply(ops, operators.clip_small_values(50).bind(batch_info(ops, *x.shape[2:])), x, x)
    assert got.tolist() == [[[[0, 0, 3, -4, 5]]], [[[50, 0, 0, 30, 40]]]]


def test_small_norms_clip_whole_pixels(ops: ArrayOps) -> None:
    # two channels, three pixels: norms 5, 13 and 10; the median 10 stays
    x = np.array([[[[3, 5, -6]], [[4, -12, 8]]]], np.float32)
    got = apply(ops, operators.clip_small_norms(50).bind(batch_info(ops, *x.shape[2:])), x, x)
    assert got.tolist() == [[[[0, 5, -6]], [[0, -12, 8]]]]


def test_small_contributions_clip_by_magnitude_and_benefits_by_sign(ops: ArrayOps) -> None:
    # x * g summed over channels: 3, -4, 1, -2;  as benefits of zeroing: -3, 4, -1, 2
    x = np.array([[[[1, 2, 3, 4]], [[1, 2, 1, 2]]]], np.float32)
    g = np.array([[[[1, -1, 0, 0]], [[2, -1, 1, -1]]]], np.float32)
    contributions = apply(
        ops, operators.clip_small_contributions(50).bind(batch_info(ops, *x.shape[2:])), x, g
    )
    assert contributions.tolist() == [[[[1, 2, 0, 0]], [[1, 2, 0, 0]]]]
    benefits = apply(
        ops, operators.clip_small_benefits(50).bind(batch_info(ops, *x.shape[2:])), x, g
    )
    assert benefits.tolist() == [[[[0, 2, 0, 4]], [[0, 2, 0, 2]]]]


@pytest.mark.parametrize("percentile", [20, 50, 90, 99.5])
def test_percentiles_are_each_images_own(ops: ArrayOps, percentile: float) -> None:
    x, g = images(3, 3, 17, 23), images(3, 3, 17, 23, seed=1)
    x *= np.array([1, 100, 0.01], np.float32)[:, None, None, None]
    got = apply(
        ops,
        operators.clip_small_contributions(percentile).bind(batch_info(ops, *x.shape[2:])),
        x,
        g,
    )
    for image, gradient, result in zip(x.astype(float), g.astype(float), got, strict=True):
        worth = np.abs((image * gradient).sum(0))
        image[:, worth < np.percentile(worth, percentile)] = 0
        np.testing.assert_allclose(result, image, rtol=1e-6)


def test_operators_come_in_the_papers_order(ops: ArrayOps) -> None:
    # By hand: decay, blur, small values, small norms, benefits, contributions. Another order of
    # any two that do not commute gives another image.
    x, g = images(2, 3, 11, 8), images(2, 3, 11, 8, seed=1)
    params = AscentParams(
        decay=0.1,
        blur_width=0.7,
        blur_every=1,
        value_percentile=20,
        norm_percentile=30,
        benefit_percentile=10,
        contribution_percentile=25,
    )
    got = apply(ops, operators.composed(params.chosen_regularizers, batch_info(ops, 11, 8)), x, g)
    for image, gradient, result in zip(x.astype(float), g.astype(float), got, strict=True):
        image = np.stack([gaussian_filter(channel, 0.7) for channel in image * 0.9])
        image[np.abs(image) < np.percentile(np.abs(image), 20)] = 0
        norm = np.sqrt((image**2).sum(0))
        image[:, norm < np.percentile(norm, 30)] = 0
        benefit = -(image * gradient).sum(0)
        image[:, benefit < np.percentile(benefit, 10)] = 0
        contribution = np.abs((image * gradient).sum(0))
        image[:, contribution < np.percentile(contribution, 25)] = 0
        np.testing.assert_allclose(result, image, atol=1e-4)


def test_no_operator_changes_nothing(ops: ArrayOps) -> None:
    x = images(1, 3, 5, 5)
    np.testing.assert_array_equal(
        apply(
            ops, operators.composed(AscentParams().chosen_regularizers, batch_info(ops, 5, 5)), x, x
        ),
        x,
    )
