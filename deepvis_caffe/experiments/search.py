"""Random hyperparameter search: parameters, trials on disk, and a contact sheet to choose from.

Yosinski et al. 2015, section 3: "we ran a random hyperparameter search of 300 possible combinations
and settled on four that complement each other well".
"""

from __future__ import annotations

import base64
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepvis_caffe.errors import ImageError, SettingsError
from deepvis_caffe.experiments.variants import Variants
from deepvis_caffe.figures.figure import Cell, grid
from deepvis_caffe.files import write_text
from deepvis_caffe.image import Picture, resize_image
from deepvis_caffe.optimizer.params import AscentParams, in_words
from deepvis_caffe.optimizer.presets import GRAY_LEVEL_STEPS, params_from_record
from deepvis_caffe.optimizer.rates import GrayLevels
from deepvis_caffe.results.records import Record, read_record
from deepvis_caffe.results.store import folder_name


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


Judge = Callable[[Picture, int], float]


@dataclass(frozen=True, eq=False)
class Trial:
    """One random set of parameters, and what came of it.

    Attributes
    ----------
    number
        Its place in the search.
    params
        What was drawn.
    pictures
        One a unit, as figures show them.
    activation
        The highest that was reached, mean over units; None where a run reached nothing finite.
    variation
        `total_variation` of the pictures, mean over units.
    judged
        What the judge says, mean over units; None without a judge.
    """

    number: int
    params: AscentParams
    pictures: tuple[Picture, ...]
    activation: float | None
    variation: float
    judged: float | None = None


def measure(variants: Variants, number: int, params: AscentParams, judge: Judge | None) -> Trial:
    """Read one trial's runs, which must be there, and measure them."""
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
    """A function of the user's that says how well a picture shows a unit's class.

    Parameters
    ----------
    name
        ``module:function``. It is called with a picture, (H, W, 3) RGB uint8, and the unit's
        number, and returns a number, for example the probability that an independent classifier
        gives that class. The module is looked for in the current folder, too.

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


def sheet_path(
    results: Path, layer: str, units: Sequence[int], seed: int, ending: str = ".json"
) -> Path:
    """Where a search's record goes, or with another `ending` its page and its picture."""
    numbers = "_".join(f"{unit:04d}" for unit in units)
    return results / "search" / f"{folder_name(layer)}_{numbers}_{seed}{ending}"


def trials_there(variants: Variants, seed: int, steps: int, overwrite: bool = False) -> int:
    """How many trials the page of a search has that is there, and that is going to be written.

    Raises
    ------
    SettingsError
        Its trials have another number of steps, and `overwrite` is not set.
    """
    path = sheet_path(variants.folder, variants.layer, variants.units, seed)
    trials = (read_record(path) or {}).get("trials", [])
    others = {one["params"].get("iterations") for one in trials} - {steps}
    if not others:
        return max((one["trial"] + 1 for one in trials), default=0)
    if not overwrite:
        raise SettingsError(
            f"{path} is of a search with {others.pop()} steps, and this one has {steps}; choose "
            "another results folder (--results) or --seed, or give --overwrite to lose its page"
        )
    return 0


def search_record(
    layer: str, units: Sequence[int], seed: int, trials: Sequence[Trial]
) -> dict[str, Any]:
    """What is written beside a search's sheet; `kept_params` reads it."""
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
        What makes it, for the error.

    Raises
    ------
    SettingsError
        There is no such search, or it has no such trial.
    """
    record = read_record(path)
    if record is None:
        raise SettingsError(f"no search at {path}; make one first: {command}")
    rows: Mapping[int, Record] = {row["trial"]: row for row in record["trials"]}
    if number not in rows:
        raise SettingsError(
            f"the search at {path} has no trial {number}; it has {len(rows)}, numbered "
            f"{min(rows, default=0)} to {max(rows, default=0)}"
        )
    return params_from_record(rows[number]["params"])


THUMBNAIL = 200  # pixels; the page shows them smaller, and whole when one is chosen
QUALITY = 88
GAP = 2  # pixels between the pictures of two units


def sheet_picture(trials: Sequence[Trial], title: str, cell: int = 96) -> Picture:
    """The contact sheet as one picture: every trial with its number and activation."""
    cells = [
        Cell(side_by_side(one.pictures), (f"{one.number}", f"a = {short(one.activation)}"))
        for one in trials
    ]
    columns = max(1, round(math.sqrt(len(cells) * 1.5 / len(trials[0].pictures))))
    return grid(cells, columns, cell * len(trials[0].pictures), title, text=11)


def write_page(path: Path, trials: Sequence[Trial], title: str, keep: str) -> Path:
    """Write the contact sheet as one page that needs no other file.

    Parameters
    ----------
    keep
        The command that keeps a trial, without its number.

    Raises
    ------
    ImageError
        The folder cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("deepvis_caffe.experiments", "")
    page = Environment(loader=loader, autoescape=True).get_template("search.html.j2")
    text = page.render(title=title, keep=keep, trials=[_row(one) for one in trials])
    try:
        return write_text(path, text)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error


def side_by_side(pictures: Sequence[Picture]) -> Picture:
    """Pictures of several units as one, each in the middle of a place as large as the largest."""
    if len(pictures) == 1:
        return pictures[0]
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    out = np.full((height, (width + GAP) * len(pictures) - GAP, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        rows, columns = picture.shape[:2]
        top, left = (height - rows) // 2, place * (width + GAP) + (width - columns) // 2
        out[top : top + rows, left : left + columns] = picture
    return out


def short(value: float | None) -> str:
    """A measure in three digits."""
    return "none" if value is None else f"{value:.3g}"


def _row(one: Trial) -> dict[str, Any]:
    return {
        "number": one.number,
        "images": [_data_url(picture) for picture in one.pictures],
        "words": in_words(one.params, rate=True),
        "measures": {
            "activation": one.activation,
            "variation": one.variation,
            "judged": one.judged,
        },
        "shown": {
            "a": short(one.activation),
            "TV": short(one.variation),
            **({"judge": short(one.judged)} if one.judged is not None else {}),
        },
    }


def _data_url(picture: Picture) -> str:
    import cv2

    height, width = picture.shape[:2]
    factor = THUMBNAIL / max(height, width)
    small = resize_image(picture, max(1, round(height * factor)), max(1, round(width * factor)))
    bgr = np.ascontiguousarray(small[..., ::-1])
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode()
