"""Random hyperparameter search: ``(seed, number) -> parameters``, and what to sort pictures by.

Yosinski et al. 2015, section 3: "we ran a random hyperparameter search of 300 possible combinations
and settled on four that complement each other well".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.image import Picture
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS
from deepvis_caffe.optimizer.rates import GrayLevels


@dataclass(frozen=True)
class Range:
    """How one parameter is drawn.

    Parameters
    ----------
    low, high
        Ends of the range.
    off
        Probability that the parameter is 0 instead: this regularizer is not used.
    logarithmic
        Whether its logarithm is uniform, rather than it.
    """

    low: float
    high: float
    off: float = 0.0
    logarithmic: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """A value, to three digits: what a record says is then what was used."""
        used, place = rng.random() >= self.off, rng.random()  # both, so that draws stay in step
        if not used:
            return 0.0
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + place * (self.high - self.low)
        return float(f"{value:.3g}")


# The paper gives no ranges. Its four choices (Table 1) lie within these, and either end of each can
# still give a picture on SqueezeNet.
RANGES = {
    "decay": Range(1e-4, 0.5, off=0.4, logarithmic=True),
    "blur_width": Range(0.3, 2.0, off=0.2, logarithmic=True),
    "norm_percentile": Range(5, 90, off=0.5),
    "contribution_percentile": Range(5, 95, off=0.5),
    "levels": Range(1, 20, logarithmic=True),
}
BLUR_EVERY = (1, 8)  # steps, any whole number from the first to the last


def random_params(
    rng: np.random.Generator, iterations: int = GRAY_LEVEL_STEPS, push: int = 1
) -> AscentParams:
    """One random combination of the four regularizers and the rate, from `RANGES`."""
    drawn: dict[str, Any] = {name: one.draw(rng) for name, one in RANGES.items()}
    every = int(rng.integers(BLUR_EVERY[0], BLUR_EVERY[1] + 1))
    rate = GrayLevels(drawn.pop("levels"))
    every = every if drawn["blur_width"] else 0
    return AscentParams(**drawn, blur_every=every, rate=rate, iterations=iterations, push=push)


def trial(
    seed: int, number: int, iterations: int = GRAY_LEVEL_STEPS, push: int = 1
) -> AscentParams:
    """The parameters of trial `number` of the search with this `seed`.

    Each trial has a random generator of its own: how many others there are, and which of them ran
    before, changes nothing.

    Raises
    ------
    SettingsError
        A negative seed or number.
    """
    if seed < 0 or number < 0:
        raise SettingsError(f"seed and trial number start at 0; got {seed} and {number}")
    return random_params(np.random.default_rng([seed, number]), iterations, push)


def total_variation(picture: Picture) -> float:
    """How rough a picture is: the mean difference between neighbours, in gray levels.

    Mean over pixels and channels of the absolute differences to the pixel below and to the one on
    the right, summed; both are 0 in a picture of one colour.
    """
    values = picture.astype(np.float64)
    steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1)]
    return float(sum(step.mean() for step in steps if step.size))


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean of several units' measures; None where one of them is missing."""
    numbers: NDArray[np.float64] = np.array([v for v in values if v is not None], np.float64)
    if len(numbers) < len(values) or not len(numbers):
        return None
    mean = float(numbers.mean())
    return mean if math.isfinite(mean) else None
