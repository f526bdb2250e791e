"""Random hyperparameter search: ``(seed, number) -> trial``, and trials on disk.

Yosinski et al. 2015, section 3: "we ran a random hyperparameter search of 300 possible combinations
and settled on four that complement each other well".
"""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import SettingsError, boundary
from deepvis_caffe.experiments.variants import Variants
from deepvis_caffe.image import Picture
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, params_from_record
from deepvis_caffe.optimizer.rates import GrayLevels
from deepvis_caffe.results.layout import search_sheet
from deepvis_caffe.results.records import Record, read_record


@dataclass(frozen=True)
class Range:
    """The distribution of one parameter.

    Parameters
    ----------
    low, high
        Ends of the range.
    off
        Probability that the parameter is 0 instead, which turns the regularizer off.
    logarithmic
        Whether the logarithm is uniform, rather than the value.
    """

    low: float
    high: float
    off: float = 0.0
    logarithmic: bool = False

    def draw(self, rng: np.random.Generator) -> float:
        """Draw a value, rounded to three digits, so that the record holds exactly what was used."""
        # Always two draws, so that later ones do not depend on the first.
        used, place = rng.random() >= self.off, rng.random()
        if not used:
            return 0.0
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + place * (self.high - self.low)
        return float(f"{value:.3g}")


# The paper gives no ranges. These contain its four choices (Table 1), and both ends of each can
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
    rng: np.random.Generator, iterations: int = GRAY_LEVEL_STEPS, sign: int = 1
) -> AscentParams:
    """One random combination of the four regularizers and the rate, from `RANGES`."""
    drawn: dict[str, Any] = {name: one.draw(rng) for name, one in RANGES.items()}
    every = int(rng.integers(BLUR_EVERY[0], BLUR_EVERY[1] + 1))
    rate = GrayLevels(drawn.pop("levels"))
    every = every if drawn["blur_width"] else 0
    return AscentParams(**drawn, blur_every=every, rate=rate, iterations=iterations, sign=sign)


def trial(
    seed: int, number: int, iterations: int = GRAY_LEVEL_STEPS, sign: int = 1
) -> AscentParams:
    """The parameters of trial `number` of the search with this `seed`.

    Each trial has its own random generator, so it does not depend on how many others there are or
    which of them have run.

    Raises
    ------
    SettingsError
        A negative seed or number.
    """
    if seed < 0 or number < 0:
        raise SettingsError(f"seed and trial number start at 0; got {seed} and {number}")
    return random_params(np.random.default_rng([seed, number]), iterations, sign)


def total_variation(picture: Picture) -> float:
    """The roughness of a picture: the mean difference between neighbors, in gray levels.

    The mean, over pixels and channels, of the absolute difference to the pixel below, plus the same
    for the pixel to the right; 0 in a picture of a single color.
    """
    values = picture.astype(np.float64)
    steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1)]
    return float(sum(step.mean() for step in steps if step.size))


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean of one number per unit; None if one of them is missing."""
    numbers: NDArray[np.float64] = np.array([v for v in values if v is not None], np.float64)
    if len(numbers) < len(values) or not len(numbers):
        return None
    mean = float(numbers.mean())
    return mean if math.isfinite(mean) else None


Judge = Callable[[Picture, int], float]


@dataclass(frozen=True, eq=False)
class Trial:
    """One random set of parameters, and its results.

    Attributes
    ----------
    number
        Its number in the search.
    params
        The parameters that were drawn.
    pictures
        One per unit, as figures show them.
    activation
        The highest activation reached, averaged over units; None if a run had no finite one.
    variation
        `total_variation` of the pictures, averaged over units.
    judged
        The judge's value, averaged over units; None without a judge.
    """

    number: int
    params: AscentParams
    pictures: tuple[Picture, ...]
    activation: float | None
    variation: float
    judged: float | None = None


def measure(variants: Variants, number: int, params: AscentParams, judge: Judge | None) -> Trial:
    """Read the runs of one trial, which must have finished, and measure them."""
    seed = variants.seeds[0]
    pictures = tuple(variants.cell(params, unit, seed) for unit in variants.units)
    reached = [variants.record(params, unit, seed)["best_value"] for unit in variants.units]
    verdicts: list[float | None] = [
        _verdict(judge, variants.picture(params, unit, seed), unit) if judge else None
        for unit in variants.units
    ]
    return Trial(
        number=number,
        params=params,
        pictures=pictures,
        activation=mean_or_none(reached),
        variation=sum(map(total_variation, pictures)) / len(pictures),
        judged=mean_or_none(verdicts),
    )


def _verdict(judge: Judge, picture: Picture, unit: int) -> float:
    said = judge(picture, unit)
    try:
        return float(said)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"--judge: it must return a number; for unit {unit} it returned {said!r}"
        ) from error


def load_judge(name: str) -> Judge:
    """Import the user's function that judges how well a picture shows a unit's class.

    Parameters
    ----------
    name
        ``module:function``. It is called with a picture, (H, W, 3) RGB uint8, and the unit's
        number, and returns a number, for example the probability that an independent classifier
        assigns to that class. The module may be in the current folder.

    Raises
    ------
    SettingsError
        It cannot be imported.
    """
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise SettingsError(f"--judge: got {name!r}, expected module:function")
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        judge: Judge = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"--judge: cannot import {name!r}: {error}") from error
    finally:
        sys.path.remove(here)
    return judge


def draw_trials(
    variants: Variants, count: int, steps: int, overwrite: bool = False
) -> list[AscentParams]:
    """The parameters of the search's trials: `count`, or more if its page already has more.

    Parameters
    ----------
    variants
        Of one seed, which is also the search's.
    steps
        Iterations of each trial.
    overwrite
        Whether a page of trials with another number of steps may be replaced.

    Raises
    ------
    SettingsError
        The page has trials with another number of steps, and `overwrite` is not set.
    """
    (seed,) = variants.seeds
    there = _trials_there(variants, seed, steps, overwrite)
    return [trial(seed, number, steps) for number in range(max(count, there))]


def _trials_there(variants: Variants, seed: int, steps: int, overwrite: bool) -> int:
    """How many trials on the search's page can be kept."""
    path = search_sheet(
        variants.folder, variants.layer, variants.units, seed, ".json", variants.job.folders
    )
    with boundary(SettingsError, f"the search at {path} is damaged; move it away"):
        trials = (read_record(path) or {}).get("trials", [])
        others = {one["params"].get("iterations") for one in trials} - {steps}
        following = max((int(one["trial"]) + 1 for one in trials), default=0)
    if not others:
        return following
    if not overwrite:
        raise SettingsError(
            f"{path} is of a search with {others.pop()} steps, and this one has {steps}; choose "
            "another results folder (--results) or --seed, or give --overwrite to replace its page"
        )
    return 0


def search_record(
    layer: str, units: Sequence[int], seed: int, trials: Sequence[Trial]
) -> dict[str, Any]:
    """The record beside the sheet, which `kept_params` reads."""
    return {
        "layer": layer,
        "units": list(units),
        "seed": seed,
        "trials": [
            {
                "trial": one.number,
                "activation": one.activation,
                "total_variation": one.variation,
                "judged": one.judged,
                "params": one.params.record(),
            }
            for one in trials
        ],
    }


def kept_params(path: Path, number: int, command: str) -> AscentParams:
    """The parameters of one trial of a search.

    Parameters
    ----------
    path
        The search's record.
    command
        The command that makes it, for the error message.

    Raises
    ------
    SettingsError
        There is no such search, or it has no such trial.
    """
    record = read_record(path)
    if record is None:
        raise SettingsError(f"no search at {path}; make one first: {command}")
    where = f"the search at {path} is damaged"
    with boundary(SettingsError, where):
        rows: Mapping[int, Record] = {int(row["trial"]): row for row in record["trials"]}
    if number not in rows:
        raise SettingsError(
            f"the search at {path} has no trial {number}; it has {len(rows)}, numbered "
            f"{min(rows, default=0)} to {max(rows, default=0)}"
        )
    with boundary(SettingsError, where):
        return params_from_record(rows[number]["params"])
