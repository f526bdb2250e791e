"""Additions to the paper, each against scipy, finite differences or brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from helpers.array_ops import KINDS, ON_EACH_KIND, batch_info, normal
from helpers.fake_nets import FakeNet, bumps, linear
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.optimize import approx_fprime

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer import (
    AscentParams,
    Constant,
    GrayLevels,
    ascent_params,
    optimize,
    preset,
)
from deepvis_caffe.optimizer.batch_info import BatchInfo
from deepvis_caffe.optimizer.parameterizations import color_mix, fourier, padded, spectrum
from deepvis_caffe.optimizer.regularizers import (
    COARSE,
    blur_matrix,
    diversity,
    falling_blur,
    similarity_and_gradient,
    total_variation,
    total_variation_gradient,
)
from deepvis_caffe.optimizer.start import first_images
from deepvis_caffe.optimizer.transforms import STREAM, affine_maps

SHAPE = (3, 8, 7)


# -- total variation -----------------------------------------------------------------------------


def slow_variation(x: np.ndarray, soft: float) -> float:
    """One channel's, pixel by pixel."""
    total = 0.0
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            down = x[r + 1, c] - x[r, c] if r + 1 < x.shape[0] else 0
            right = x[r, c + 1] - x[r, c] if c + 1 < x.shape[1] else 0
            total += np.sqrt(down**2 + right**2 + soft**2)
    return total


@pytest.mark.parametrize("size", [(5, 4), (1, 6), (3, 1)])
def test_the_slope_of_total_variation(ops: ArrayOps, size: tuple[int, int]) -> None:
    x = normal(2, 2, *size, scale=3)
    got = ops.numpy(total_variation_gradient(ops, ops.asarray(x), 0.5))
    for image, slope in zip(x.reshape(4, -1), got.reshape(4, -1), strict=True):
        expected = approx_fprime(image, lambda flat: slow_variation(flat.reshape(size), 0.5), 1e-6)
        np.testing.assert_allclose(slope, expected, atol=1e-4)


def test_total_variation_goes_down_and_keeps_the_mean(ops: ArrayOps) -> None:
    x = normal(1, 1, 9, 9, scale=20)
    got = ops.numpy(total_variation(0.5).bind(batch_info(ops, 9, 9))(ops.asarray(x), None, 0))
    assert slow_variation(got[0, 0], 1.0) < slow_variation(x[0, 0], 1.0)
    assert got.mean() == pytest.approx(x.mean(), abs=1e-4)


# -- a blur that falls ---------------------------------------------------------------------------


def test_the_blurs_width_falls_evenly(ops: ArrayOps) -> None:
    x = normal(1, 1, 12, 10, scale=30)
    blur = falling_blur(3.0, 0.0, every=2).bind(batch_info(ops, 12, 10, steps=7))
    for t, sigma in enumerate([3.0, None, 2.0, None, 1.0, None, None]):
        expected = x[0, 0] if sigma is None else gaussian_filter(x[0, 0], sigma)
        got = ops.numpy(blur(ops.asarray(x), None, t))[0, 0]
        np.testing.assert_allclose(got, expected, atol=2e-4)


# -- diversity -----------------------------------------------------------------------------------


def slow_similarity(x: np.ndarray, sigma: float) -> np.ndarray:
    """Of each image with the others of x, by scipy's filter and a loop over pairs."""
    low = [np.stack([gaussian_filter(channel, sigma) for channel in image]).ravel() for image in x]
    total = np.zeros(len(x))
    for i, j in permutations(range(len(x)), 2):
        total[i] += low[i] @ low[j] / np.linalg.norm(low[i]) / np.linalg.norm(low[j])
    return total / (len(x) - 1)


def test_similarity_and_its_gradient(ops: ArrayOps) -> None:
    x, sigma = normal(3, 2, 5, 6) + 0.5, 0.8
    others = (1 - np.eye(3)) / 2
    args = (ops.asarray(others), *(ops.asarray(blur_matrix(size, sigma)) for size in (5, 6)))
    found = similarity_and_gradient(ops, ops.asarray(x), *args)
    similarity, gradient = (ops.numpy(a) for a in found)
    np.testing.assert_allclose(similarity, slow_similarity(x, sigma), atol=1e-5)

    def of_first(flat: np.ndarray) -> float:
        return slow_similarity(np.concatenate([flat.reshape(1, *x.shape[1:]), x[1:]]), sigma)[0]

    np.testing.assert_allclose(
        gradient[0].ravel(), approx_fprime(x[0].ravel(), of_first, 1e-6), atol=1e-4
    )


def test_diversity_holds_among_the_images_of_one_unit(ops: ArrayOps) -> None:
    x = normal(5, 3, 16, 12, scale=5) + normal(1, 3, 16, 12, scale=40, seed=1)
    spread = diversity(2.0).bind(batch_info(ops, 16, 12, units=[7, 4, 7, 4, 9]))
    got = ops.numpy(spread(ops.asarray(x), None, 0))
    for pair in ([0, 2], [1, 3]):
        alone = diversity(2.0).bind(batch_info(ops, 16, 12, units=[1, 1]))
        np.testing.assert_allclose(
            got[pair], ops.numpy(alone(ops.asarray(x[pair]), None, 0)), atol=1e-4
        )
        sigma = COARSE * 16
        assert (slow_similarity(got[pair], sigma) < slow_similarity(x[pair], sigma)).all()
        moved = np.sqrt(((got[pair] - x[pair]) ** 2).mean((1, 2, 3)))
        np.testing.assert_allclose(moved, 2 * slow_similarity(x[pair], sigma), rtol=1e-3)
    np.testing.assert_allclose(got[4], x[4], atol=1e-5)


def test_an_image_that_is_not_finite_pulls_at_no_other(ops: ArrayOps) -> None:
    x = normal(3, 1, 16, 12, scale=5) + 20
    x[1] = np.inf
    with np.errstate(invalid="ignore"):  # as the ascent has it
        got = ops.numpy(
            diversity(2.0).bind(batch_info(ops, 16, 12, units=[1, 1, 1]))(ops.asarray(x), None, 0)
        )
    alone = diversity(1.0).bind(
        batch_info(ops, 16, 12, units=[1, 1])
    )  # half the company, half the pull
    expected = ops.numpy(alone(ops.asarray(x[[0, 2]]), None, 0))
    np.testing.assert_allclose(got[[0, 2]], expected, atol=1e-4)


# -- views ---------------------------------------------------------------------------------------


def maps_of(params: AscentParams, info: BatchInfo) -> np.ndarray:
    """The affine map of each step and image."""
    return affine_maps([one.move(info) for one in params.chosen_transforms], info)


def test_a_view_is_a_turn_a_zoom_and_a_shift_about_the_middle() -> None:
    params = AscentParams(jitter=0.25, scale=0.5, rotation=30, iterations=4)
    draws = np.random.default_rng([STREAM, 11]).uniform(-1, 1, (4, 4))
    maps = maps_of(params, batch_info(KINDS["numpy"], 9, 5, seeds=[11], steps=4))[:, 0]
    for (turn, zoom, down, right), affine in zip(draws, maps, strict=True):
        angle, zoom = np.radians(30 * turn), 1.5**zoom
        for corner in ([0, 0], [0, 4], [8, 0], [8, 4]):
            r, c = np.array(corner) - (4, 2)
            expected = (
                4 + (np.cos(angle) * r - np.sin(angle) * c) / zoom + 0.25 * 9 * down,
                2 + (np.sin(angle) * r + np.cos(angle) * c) / zoom + 0.25 * 5 * right,
            )
            np.testing.assert_allclose(affine @ [*corner, 1], expected, atol=1e-9)


def test_octaves_come_nearer() -> None:
    # 3 octaves of 2 steps: at a quarter of the size, at half, at the whole
    params = AscentParams(octaves=3, octave_scale=2, iterations=6)
    steps = maps_of(params, batch_info(KINDS["numpy"], 11, 11, steps=6))[:, 0, 0, 0]
    assert steps.tolist() == [4, 4, 2, 2, 1, 1]


def test_the_net_is_shown_the_view_and_its_gradient_comes_back(ops: ArrayOps) -> None:
    # a = sum of w * view(x), so the first step is the adjoint's image of w: here by scipy, pixel
    # by pixel. The start is seen through the same view.
    w, params = (
        normal(1, 1, 6, 5, scale=9),
        AscentParams(
            jitter=0.2, scale=0.3, rotation=40, start="uniform", rate=Constant(1), iterations=2
        ),
    )
    affine = maps_of(params, batch_info(ops, 6, 5, channels=1, seeds=[3], steps=2))[0, 0]

    def view(image: np.ndarray) -> np.ndarray:
        return affine_transform(image, affine[:, :2], affine[:, 2], order=1, mode="grid-constant")

    basis = np.eye(30).reshape(30, 6, 5)
    step = np.array([(w[0, 0] * view(pixel)).sum() for pixel in basis]).reshape(6, 5)
    net = FakeNet(linear(w[None]), 1, (1, 6, 5), ops)
    run = optimize(net, "unit", 0, [3], preset=params)[0]
    start = first_images("uniform", [3], net.preprocessor)[0, 0].astype(float)
    np.testing.assert_allclose(net.seen[0][0, 0], view(start), atol=1e-3)
    np.testing.assert_allclose(run.image[0], np.clip(start + step, -100, 155), atol=1e-2)


# -- the preconditioner --------------------------------------------------------------------------


def steered(
    form: fourier, ops: ArrayOps, swap: tuple[int, ...], gradient: np.ndarray
) -> np.ndarray:
    """The direction in which a parameterization goes at a gradient."""
    info = batch_info(ops, *gradient.shape[2:], channels=len(swap), swap=swap)
    given = ops.asarray(gradient)
    return ops.numpy(form.bind(info).direction(given, given))


def matrix_of(ops: ArrayOps, form: fourier, swap: tuple[int, ...]) -> np.ndarray:
    """The preconditioner as a matrix, column by column."""
    shape = (len(swap), 5, 7)
    basis = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return steered(form, ops, swap, basis).reshape(len(basis), -1).T


@pytest.mark.parametrize("swap", [(0,), (2, 1, 0), (0, 1, 2, 3)])
def test_the_preconditioner_is_symmetric_and_positive(ops: ArrayOps, swap: tuple[int, ...]) -> None:
    matrix = matrix_of(ops, fourier(1.5, decorrelate=1.0), swap)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    assert np.linalg.eigvalsh(matrix.astype(float)).min() > 1e-3


def test_frequencies_move_by_a_power_of_theirs(ops: ArrayOps) -> None:
    size = 48  # fast as it is, so nothing is padded
    assert padded(size, size) == (size, size)
    turns = np.arange(size) / size * 2 * np.pi
    waves = {
        n: np.cos(n * turns)[None, None, None] * np.ones((1, 1, size, 1)) for n in (1, 3, 6, 24)
    }
    gains = {
        n: float((steered(fourier(2), ops, (0,), wave) * wave).sum() / (wave * wave).sum())
        for n, wave in waves.items()
    }
    assert gains[6] / gains[24] == pytest.approx(16, rel=1e-3)
    assert gains[3] / gains[6] == pytest.approx(4, rel=1e-3)
    assert gains[1] == pytest.approx(gains[3], rel=1e-3)  # no coarser than three a picture
    assert spectrum(size, size, 0).tolist() == np.ones((size, size // 2 + 1)).tolist()


def test_colors_move_as_in_photographs_in_the_nets_own_order(ops: ArrayOps) -> None:
    # By hand from the square root's rows: R R = .26^2 + .09^2 + .02^2 = .0761, and so on
    rgb = np.array([[761, 692, 627], [692, 754, 714], [627, 714, 819]])
    expected = rgb / (761 + 754 + 819) * 3
    np.testing.assert_allclose(color_mix((0, 1, 2), 1), expected, rtol=1e-3)
    np.testing.assert_allclose(color_mix((2, 1, 0), 1), expected[::-1, ::-1], rtol=1e-3)
    half = color_mix((2, 1, 0), 0.5)
    np.testing.assert_allclose(half, (expected[::-1, ::-1] + np.eye(3)) / 2, rtol=1e-3)
    red = np.array([0, 0, 1.0]).reshape(1, 3, 1, 1)  # of a BGR net
    got = steered(fourier(0, decorrelate=1.0), ops, (2, 1, 0), red)
    np.testing.assert_allclose(got.ravel(), expected[0, ::-1], rtol=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_than_three_have_no_colors(ops: ArrayOps, channels: int) -> None:
    g = normal(2, channels, 4, 4).astype(np.float32)
    form = fourier(0, decorrelate=1.0)
    np.testing.assert_array_equal(steered(form, ops, tuple(range(channels)), g), g)


def test_a_step_in_gray_levels_counts_what_the_unit_sees_not_where_the_step_spreads(
    ops: ArrayOps,
) -> None:
    # one of 30 pixels is seen: the step is as long as 4 levels in that pixel alone
    weights = np.zeros((1, 1, 6, 5))
    weights[0, 0, 2, 3] = 0.01
    net = FakeNet(linear(weights), 1, (1, 6, 5), ops)
    params = AscentParams(fourier=1, rate=GrayLevels(4), start="mean", iterations=2)
    step = optimize(net, "unit", 0, preset=params)[0].image
    assert np.count_nonzero(step) > 20
    assert np.sqrt((step**2).sum()) == pytest.approx(4, rel=1e-4)


# -- together ------------------------------------------------------------------------------------

extras = st.builds(
    AscentParams,
    decay=st.sampled_from([0, 0.02]),
    blur_width=st.sampled_from([0, 1.5]),
    blur_every=st.integers(0, 3),
    blur_end=st.sampled_from([None, 0, 0.4]),
    total_variation=st.sampled_from([0, 0.3]),
    jitter=st.sampled_from([0, 0.1]),
    scale=st.sampled_from([0, 0.2]),
    rotation=st.sampled_from([0, 10]),
    octaves=st.integers(1, 3),
    fourier=st.sampled_from([0, 1, 1.5]),
    decorrelate=st.sampled_from([0, 0.8]),
    rate=st.builds(GrayLevels, st.floats(0.5, 10)),
    iterations=st.integers(1, 8),
)


@pytest.mark.slow
@given(params=extras)
@settings(max_examples=25, **ON_EACH_KIND)
def test_a_batch_equals_single_runs(ops: ArrayOps, params: AscentParams) -> None:
    net = FakeNet(bumps(normal(3, *SHAPE, scale=40)), 3, SHAPE, ops)
    together = optimize(net, "unit", [0, 2], seeds=[0, 7], preset=params, batch_size=99)
    alone = optimize(net, "unit", [0, 2], seeds=[0, 7], preset=params, batch_size=1)
    for a, b in zip(together, alone, strict=True):
        assert a.best_iteration == b.best_iteration
        np.testing.assert_allclose(a.activations, b.activations, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(a.image, b.image, rtol=1e-4, atol=1e-3)


def test_the_same_seed_gives_the_same_picture_and_another_another(ops: ArrayOps) -> None:
    net = FakeNet(bumps(normal(1, *SHAPE, scale=40)), 1, SHAPE, ops)
    params = AscentParams(jitter=0.2, scale=0.2, rotation=20, fourier=1, start="mean", iterations=5)
    first, second = (optimize(net, "unit", 0, [4, 5], preset=params) for _ in range(2))
    assert first[0].image.tolist() == second[0].image.tolist()
    assert np.abs(first[0].image - first[1].image).max() > 1


def test_with_views_the_last_image_is_the_result_and_is_measured_as_it_is(ops: ArrayOps) -> None:
    centers = normal(1, *SHAPE, scale=40)
    net = FakeNet(bumps(centers), 1, SHAPE, ops)
    params = AscentParams(jitter=0.4, rotation=90, iterations=9, rate=GrayLevels(70))
    run = optimize(net, "unit", 0, [4], preset=params)[0]
    assert run.best_iteration == 8
    np.testing.assert_array_equal(run.image, net.seen[-1][0])
    assert run.best_value == pytest.approx(bumps(centers)(run.image[None])[0].item(), rel=1e-5)
    assert run.activations.max() > run.best_value  # or nothing would be tested


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
def test_diversity_keeps_a_units_images_in_one_batch(ops: ArrayOps, batch_size: int) -> None:
    # so the results do not depend on the batch's size; and the images differ more
    net = FakeNet(bumps(normal(2, *SHAPE, scale=40)), 2, SHAPE, ops)
    params = AscentParams(diversity=3.0, iterations=12, rate=GrayLevels(3))
    runs = optimize(net, "unit", [0, 1], [0, 1, 2], preset=params, batch_size=batch_size)
    whole = optimize(net, "unit", [0, 1], [0, 1, 2], preset=params, batch_size=6)
    plain = optimize(net, "unit", [0, 1], [0, 1, 2], preset=params.but(diversity=0.0))
    for a, b in zip(runs, whole, strict=True):
        np.testing.assert_allclose(a.image, b.image, rtol=1e-4, atol=1e-3)
    for unit in (slice(0, 3), slice(3, 6)):
        spread, same = (np.stack([run.image for run in some[unit]]) for some in (runs, plain))
        assert slow_similarity(spread, 0.5).mean() < slow_similarity(same, 0.5).mean() - 0.1


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("blur_end", -1),
        ("total_variation", -0.1),
        ("total_variation_end", 256),
        ("jitter", 1),
        ("scale", -0.5),
        ("rotation", 181),
        ("octaves", 0),
        ("octaves", 1.5),
        ("octave_scale", 0.9),
        ("fourier", 5),
        ("decorrelate", 2),
        ("diversity", float("nan")),
        ("naturalness", -1),
        ("coarse", 0),
        ("coarse", 1.5),
        ("coarse_part", -0.1),
        ("decay_end", 1),
    ],
)
def test_a_parameter_out_of_range_is_named(name: str, bad: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} must be .*; got {bad}"):
        AscentParams(**{name: bad})


def test_records_name_only_what_is_on() -> None:
    # so that what the paper's presets made before still counts as made by the same parameters
    plain = AscentParams(rate=Constant(1)).record()
    assert set(plain) == {
        "decay",
        "blur_width",
        "blur_every",
        "value_percentile",
        "norm_percentile",
        "benefit_percentile",
        "contribution_percentile",
        "rate",
        "iterations",
        "start",
        "push",
    }
    more = AscentParams(rate=Constant(1), fourier=1.0, octaves=2, decorrelate=1.0).record()
    assert {**plain, "fourier": 1.0, "octaves": 2, "decorrelate": 1.0} == more


def test_the_papers_presets_have_none_of_it_and_ours_is_known_by_name() -> None:
    names = set(AscentParams(rate=Constant(1)).record())
    for number in (1, 2, 3, 4):
        assert set(ascent_params(number).record()) == names
    best = ascent_params("best")
    assert best == ascent_params("best", "paper") == preset("best")
    assert best.has_transforms
    assert best.fourier > 0
    assert ascent_params("best", iterations=7, jitter=0.0) == best.but(iterations=7, jitter=0.0)
    with pytest.raises(UnknownNameError, match="did you mean 'best'"):
        ascent_params("bets")
