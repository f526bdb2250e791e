"""The trials of a hyperparameter search: ``(runs on disk, number) -> what was measured``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepvis_caffe.errors import SettingsError
from deepvis_caffe.gallery.record import Record, read_record
from deepvis_caffe.gallery.store import folder_name
from deepvis_caffe.gallery.variants import Variants
from deepvis_caffe.image import Picture
from deepvis_caffe.optimizer import AscentParams
from deepvis_caffe.optimizer.saved import params_from_record
from deepvis_caffe.optimizer.search import mean_or_none, total_variation

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
