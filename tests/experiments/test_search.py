"""Random draws against the distributions they claim (scipy), and a roughness counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.experiments.search import RANGES, Range, mean_or_none, total_variation, trial
from deepvis_caffe.optimizer.rates import GrayLevels

MANY = 1500


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    trials = [trial(5, number) for number in range(MANY)]
    values = {name: [getattr(one, name) for one in trials] for name in RANGES if name != "levels"}
    rates = [one.rate for one in trials]
    assert all(isinstance(rate, GrayLevels) for rate in rates)
    levels = [rate.levels for rate in rates if isinstance(rate, GrayLevels)]
    every = [one.blur_every for one in trials]
    return {name: np.array(v) for name, v in {**values, "levels": levels, "every": every}.items()}


@pytest.mark.parametrize("name", RANGES)
def test_a_draw_has_the_distribution_of_its_range(drawn: dict[str, np.ndarray], name: str) -> None:
    one, values = RANGES[name], drawn[name]
    used = values[values != 0]
    off = stats.binomtest(int((values == 0).sum()), MANY, one.off)
    assert off.pvalue > 1e-3
    assert used.min() >= one.low
    assert used.max() <= one.high
    wanted = (
        stats.loguniform(one.low, one.high)
        if one.logarithmic
        else stats.uniform(one.low, one.high - one.low)
    )
    assert stats.kstest(used, wanted.cdf).pvalue > 1e-3


def test_a_blur_comes_every_one_to_eight_steps_and_never_without_a_width(
    drawn: dict[str, np.ndarray],
) -> None:
    blurred = drawn["blur_width"] > 0
    assert set(drawn["every"][blurred]) == set(range(1, 9))
    assert set(drawn["every"][~blurred]) == {0}


def test_regularizers_are_drawn_independently(drawn: dict[str, np.ndarray]) -> None:
    names = list(RANGES)
    for i, first in enumerate(names):
        for second in names[:i]:
            table = np.histogram2d(drawn[first] > 0, drawn[second] > 0, bins=2)[0]
            if table.all():
                assert stats.chi2_contingency(table).pvalue > 1e-4, (first, second)
            assert abs(stats.spearmanr(drawn[first], drawn[second]).statistic) < 0.1


def test_a_trial_depends_on_seed_and_number_alone() -> None:
    assert trial(3, 17) == trial(3, 17, iterations=300)
    assert trial(3, 17) != trial(3, 18)
    assert trial(3, 17) != trial(17, 3)
    assert trial(0, 2, iterations=9).iterations == 9
    with pytest.raises(SettingsError, match="start at 0"):
        trial(0, -1)


def test_a_draw_is_what_its_record_says() -> None:
    value = Range(1e-4, 0.5, logarithmic=True).draw(np.random.default_rng(0))
    assert float(f"{value:.3g}") == value


def test_total_variation_counted_by_hand() -> None:
    gray = np.array([[0, 10, 10], [4, 10, 50]], np.uint8)
    # down: 4, 0, 40 are 44/3; to the right: 10, 0, 6, 40 are 56/4
    picture = np.repeat(gray[..., None], 3, axis=2)
    assert total_variation(picture) == pytest.approx(44 / 3 + 56 / 4)
    assert total_variation(np.full((5, 4, 3), 200, np.uint8)) == 0
    assert total_variation(np.full((1, 1, 3), 9, np.uint8)) == 0


def test_the_mean_of_measures_that_are_there() -> None:
    assert mean_or_none([1.0, 4.0]) == 2.5
    assert mean_or_none([1.0, None]) is None
    assert mean_or_none([]) is None
    assert mean_or_none([float("inf")]) is None
