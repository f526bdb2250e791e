"""MACO: its direction by finite differences of phases, its magnitudes by numpy's transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.array_ops import batch_info, normal
from helpers.fake_nets import FakeNet, bumps
from scipy.fft import next_fast_len

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import sample_image, sample_images
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.optimizer import AscentParams, GrayLevels, optimize
from deepvis_caffe.optimizer.parameterizations import (
    COLOR_SQRT,
    decorrelated,
    fast_length,
    fourier,
    maco,
    natural_spectrum,
    pixels,
)

SIZES = [(6, 8), (7, 5), (8, 7), (1, 6)]


def test_lengths_are_those_that_scipy_calls_fast() -> None:
    for length in range(1, 2000):
        assert fast_length(length) == next_fast_len(length, real=True)


def magnitudes(x: np.ndarray, preprocessor: Preprocessor) -> np.ndarray:
    return np.abs(np.fft.rfft2(decorrelated(x.astype(float), preprocessor)))


def test_decorrelated_channels_make_the_colors() -> None:
    # of a BGR net: a picture that is the first of the three signals alone, then the second
    signals = np.eye(3)[:, :, None, None] * normal(1, 1, 4, 5)
    bgr = np.einsum("cs,nshw->nchw", COLOR_SQRT[::-1], signals)
    np.testing.assert_allclose(decorrelated(bgr, Preprocessor((3, 4, 5))), signals, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_settled_images_have_the_magnitudes_and_keep_their_phases(
    ops: ArrayOps, size: tuple[int, int], channels: int
) -> None:
    info = batch_info(ops, *size, channels=channels)
    spectrum = np.abs(np.fft.rfft2(normal(channels, *size, seed=3))) + 0.5
    x = normal(2, channels, *size, scale=30)
    settled = ops.numpy(maco(spectrum).bind(info).settle(ops.asarray(x)))
    before, after = (
        np.fft.rfft2(decorrelated(some.astype(float), info.preprocessor)) for some in (x, settled)
    )
    np.testing.assert_allclose(np.abs(after), np.broadcast_to(spectrum, after.shape), rtol=1e-3)
    np.testing.assert_allclose(after / np.abs(after), before / np.abs(before), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_the_direction_is_steepest_ascent_in_the_phases(
    ops: ArrayOps, size: tuple[int, int], channels: int
) -> None:
    # The activation <g, x> of an image whose coefficient k has the phase p[k], and so the opposite
    # one that at -k. Its slopes in all free phases, and what these do to x, one phase at a time.
    info = batch_info(ops, *size, channels=channels)
    spectrum = np.abs(np.fft.rfft2(normal(channels, *size, seed=3))) + 0.5
    together = COLOR_SQRT[::-1] if channels == 3 else np.eye(channels)
    form = maco(spectrum).bind(info)
    x = ops.numpy(form.settle(ops.asarray(normal(1, channels, *size, scale=30)))).astype(float)
    g = normal(1, channels, *size, seed=1)
    coefficients = np.fft.fft2(np.einsum("ij,njhw->nihw", np.linalg.inv(together), x))[0]

    def turned(channel: int, row: int, column: int, angle: float) -> np.ndarray:
        changed = coefficients.copy()
        opposite = (-row % size[0], -column % size[1])
        changed[channel, row, column] *= np.exp(1j * angle)
        changed[channel, opposite[0], opposite[1]] *= np.exp(-1j * angle)
        return np.einsum("ij,jhw->ihw", together, np.fft.ifft2(changed).real)

    expected, small = np.zeros(x.shape[1:]), 1e-5
    done = set()
    for channel, row, column in np.ndindex(*coefficients.shape):
        opposite = (channel, -row % size[0], -column % size[1])
        if opposite == (channel, row, column) or opposite in done:
            continue  # a real coefficient has no phase to turn
        done.add((channel, row, column))
        slope = (turned(channel, row, column, small) - turned(channel, row, column, -small)) / (
            2 * small
        )
        expected += (g[0] * slope).sum() * slope
    got = ops.numpy(form.direction(ops.asarray(x), ops.asarray(g)))[0]
    np.testing.assert_allclose(got, expected, atol=2e-4 * np.abs(expected).max() + 1e-6)


def test_the_natural_spectrum_is_that_of_photographs() -> None:
    # the power in a ring of frequencies is the photographs' mean power there
    preprocessor = Preprocessor((3, 64, 64), mean=(104, 117, 123))
    spectrum = natural_spectrum(preprocessor)
    x = np.stack([preprocessor(sample_image(name)) for name in sample_images()])
    power = (magnitudes(x, preprocessor) ** 2).mean(axis=0)
    cycles = 64 * np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None])
    for low, high in [(0.5, 1.5), (1.5, 4.5), (7.5, 16.5)]:
        ring = (cycles > low) & (cycles < high)
        np.testing.assert_allclose(
            (spectrum[:, ring] ** 2).mean(axis=1), power[:, ring].mean(axis=1), rtol=1e-3
        )
    assert (spectrum[:, 0, 0] == 0).all()
    for channel in spectrum:  # the same in all directions
        np.testing.assert_allclose(channel[8, 0], channel[0, 8])
        np.testing.assert_allclose(channel[3, 4], channel[0, 5])


def test_the_natural_spectrum_is_in_the_nets_units() -> None:
    plain = natural_spectrum(Preprocessor((1, 20, 30)))
    scaled = natural_spectrum(Preprocessor((1, 20, 30), mean=0.4, raw_scale=1, input_scale=2))
    np.testing.assert_allclose(scaled, plain / 255 * 2)
    x = Preprocessor((1, 20, 30))(sample_image("coffee"))
    assert plain.std() == pytest.approx(magnitudes(x, Preprocessor((1, 20, 30))).std(), rel=1)


@pytest.mark.parametrize(("shape", "mean"), [((3, 20, 17), 100), ((1, 15, 16), 100)])
@pytest.mark.parametrize("start", ["noise", "mean"])
def test_the_result_has_the_photographs_magnitudes(
    ops: ArrayOps, shape: tuple[int, int, int], mean: float, start: str
) -> None:
    net = FakeNet(bumps(normal(1, *shape, scale=40)), 1, shape, ops, mean=mean)
    params = AscentParams(
        parameterization=maco(), iterations=12, rate=GrayLevels(6), start=start, decay=0.3
    )
    runs = optimize(net, "unit", 0, [4, 9], preset=params)
    fixed = natural_spectrum(net.preprocessor)
    for run in runs:
        found = magnitudes(run.image, net.preprocessor)
        np.testing.assert_allclose(found, fixed, atol=2e-4 * fixed.max())
        assert run.activations[-1] > 1.02 * run.activations[0]
    assert np.abs(runs[0].image - runs[1].image).max() > 1
    alone = optimize(net, "unit", 0, [9], preset=params)[0]
    np.testing.assert_allclose(alone.image, runs[1].image, atol=0.02)


def test_a_value_is_the_same_as_the_numbers(ops: ArrayOps) -> None:
    net = FakeNet(bumps(normal(1, 3, 8, 9, scale=40)), 1, (3, 8, 9), ops)
    for numbers, value in (
        ({"fourier": 1.15, "decorrelate": 0.85}, fourier(1.15, decorrelate=0.85)),
        ({"decorrelate": 0.5}, fourier(0, 0.5)),
        ({}, pixels()),
    ):
        one = optimize(net, "unit", 0, preset=AscentParams(iterations=9, **numbers))[0]
        other = optimize(net, "unit", 0, preset=AscentParams(iterations=9, parameterization=value))
        np.testing.assert_array_equal(one.image, other[0].image)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fourier(5), "power of fourier must be a number from 0 to 4; got 5"),
        (lambda: fourier(1, 2), "decorrelate of fourier must be a number from 0 to 1; got 2"),
        (
            lambda: maco(np.ones((3, 8, 8))),
            r"shape \(3, 8, 8\); for images of shape \(3, 8, 9\) expected \(3, 8, 5\)",
        ),
        (lambda: maco(np.abs(normal(3, 8, 5))), "column 0, rows n and -n .* differ"),
        (lambda: maco(-np.ones((3, 8, 5))), "must hold finite numbers, none less than 0"),
        (lambda: maco(np.full((3, 8, 5), np.nan)), "must hold finite numbers"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(ops: ArrayOps, make: Any, message: str) -> None:
    net = FakeNet(bumps(normal(1, 3, 8, 9, scale=40)), 1, (3, 8, 9), ops)
    with pytest.raises(SettingsError, match=message):
        optimize(net, "unit", 0, iterations=2, parameterization=make())
