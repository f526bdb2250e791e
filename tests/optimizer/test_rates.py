"""Rates against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepvis_caffe.engines.arrays import ArrayOps
from deepvis_caffe.errors import SettingsError
from deepvis_caffe.optimizer.rates import (
    Constant,
    FallingLevels,
    GradientInfo,
    GrayLevels,
    Progress,
    Progress01,
)

# |g|^2 = 4 * 4 = 16 and 4 * 0.25 = 1; the second image's gradient is 0 on half its pixels
GRADIENTS = np.array([[[[2, -2], [2, -2]]], [[[0.5, 0], [0.5, 0]]]], np.float32)
GRADIENTS[1] *= np.sqrt(2)


@pytest.fixture
def rates_of(ops: ArrayOps) -> Any:
    def rates(
        rate: Any, activations: list[float], pixel_scale: float = 1.0, progress: float = 0.0
    ) -> list[float]:
        gradient = ops.asarray(GRADIENTS)
        largest = ops.for_numbers.asarray(np.abs(GRADIENTS).max(axis=(1, 2, 3)))
        activation = ops.for_numbers.asarray(activations)
        info = GradientInfo(gradient, gradient, largest, activation, pixel_scale, ops, progress)
        return rate(info).tolist()

    return rates


def test_constant(rates_of: Any) -> None:
    assert rates_of(Constant(100), [0, 0]) == [100, 100]


def test_progress(rates_of: Any) -> None:
    assert rates_of(Progress(max_lr=100, desired=2), [0, 0]) == pytest.approx([0.125, 2])
    assert rates_of(Progress(max_lr=1, desired=2), [0, 0]) == pytest.approx([0.125, 1])


def test_progress01_tapers_off_towards_one(rates_of: Any) -> None:
    rate = Progress01(max_lr=0.3, early=0.2, late=0.4)
    # desired: min(0.2, 0.4 * 0.75 = 0.3) = 0.2;  min(0.2, 0.4 * 0.25 = 0.1) = 0.1
    assert rates_of(rate, [0.25, 0.75]) == pytest.approx([0.2 / 16, 0.1])
    assert rates_of(rate, [0.75, 0.25]) == pytest.approx([0.1 / 16, 0.2])
    assert rates_of(Progress01(0.05, 0.2, 0.4), [0.25, 0.75]) == pytest.approx([0.2 / 16, 0.05])


def test_gray_levels_are_the_steps_root_mean_square(rates_of: Any) -> None:
    # rms of the first gradient 2; of the second, over the two pixels it reaches, sqrt(1 / 2)
    assert rates_of(GrayLevels(3), [0, 0]) == pytest.approx([1.5, 3 * np.sqrt(2)])
    assert rates_of(GrayLevels(3), [0, 0], 1 / 255) == pytest.approx(
        [1.5 / 255, 3 * np.sqrt(2) / 255]
    )


def test_falling_levels_end_near_zero(rates_of: Any) -> None:
    for progress, left in ((0, 1), (0.25, 0.75), (0.99, 0.01)):
        expected = [1.5 * left, 3 * np.sqrt(2) * left]
        assert rates_of(FallingLevels(3), [0, 0], 1, progress) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_rate_must_be_positive(value: float) -> None:
    for make in (Constant, GrayLevels, lambda x: Progress(x, 1), lambda x: Progress01(1, 1, x)):
        with pytest.raises(SettingsError, match="must be a positive number"):
            make(value)
