"""One regularizer at a time: ``(columns, params) -> rows of parameters -> figure and record``.

The regularization figure of Yosinski et al. 2015: "each of the four rows shows a linear sweep in
hyperparameter space from no regularization (left) to strong regularization (right)".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.experiments.variants import Variants, activation
from deepvis_caffe.figures.figure import Cell, Row, figure
from deepvis_caffe.image import write_image
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.results.layout import BEST_X, record_of
from deepvis_caffe.results.records import Record, write_record


@dataclass(frozen=True)
class Axis:
    """A regularizer's parameter, and the range of its sweep.

    Attributes
    ----------
    title
        The regularizer's name in the figure.
    parameter
        A field of `AscentParams`; 0 turns the regularizer off.
    strongest
        The end of the sweep: so strong that the image suffers or the ascent fails.
    unit
        The unit of the values, as the figure writes it.
    together
        Other fields that have to be set for the regularizer to work.
    """

    title: str
    parameter: str
    strongest: float
    unit: str = ""
    together: Mapping[str, float] = field(default_factory=dict)

    def apply(self, params: AscentParams, value: float) -> AscentParams:
        """`params` with this regularizer at `value`."""
        return params.but(**{self.parameter: value}, **(self.together if value else {}))

    def show(self, value: float) -> str:
        """Format a value for the figure."""
        return f"{value:.3g}{self.unit}"


@dataclass(frozen=True)
class SweepRow:
    """One regularizer's sweep: its axis, its values, and the parameters of each."""

    axis: Axis
    values: tuple[float, ...]
    params: tuple[AscentParams, ...]


# The paper's figure names no numbers. These ends were chosen by looking at SqueezeNet's pictures.
AXES = (
    Axis("L2 decay", "decay", 0.7),
    Axis("Gaussian blur", "blur_width", 3.5, unit=" px", together={"blur_every": 4}),
    Axis("Small-norm clipping", "norm_percentile", 98.0, unit="%"),
    Axis("Small-contribution clipping", "contribution_percentile", 99.4, unit="%"),
)


def sweep(
    params: AscentParams,
    columns: int = 8,
    values: Mapping[str, Sequence[float]] | None = None,
) -> list[SweepRow]:
    """Each regularizer alone.

    Parameters
    ----------
    params
        Rate, steps, start and sign of every run; its regularizers are ignored.
    columns
        Number of values in each row, evenly spaced from 0 to the strongest.
    values
        Other values, by the name of a field of `AscentParams`.

    Returns
    -------
    list of SweepRow
        Decay, blur, clipping of small norms, clipping of small contributions.

    Raises
    ------
    SettingsError
        Fewer than two columns, or a value out of its range.
    UnknownNameError
        `values` names a parameter that is not swept.
    """
    if columns < 2:
        raise SettingsError(f"a sweep needs at least 2 columns, none and strong; got {columns}")
    known = [axis.parameter for axis in AXES]
    for name in values or {}:
        if name not in known:
            raise UnknownNameError("swept parameter", name, known)
    alone = AscentParams(
        rate=params.rate, iterations=params.iterations, start=params.start, sign=params.sign
    )
    rows = []
    for axis in AXES:
        own = (values or {}).get(axis.parameter) or linear(axis.strongest, columns)
        chosen = tuple(float(value) for value in own)
        rows.append(SweepRow(axis, chosen, tuple(axis.apply(alone, value) for value in chosen)))
    return rows


def linear(strongest: float, columns: int) -> list[float]:
    """`columns` values from 0 to `strongest`, evenly spaced, rounded to three digits."""
    return [float(f"{value:.3g}") for value in np.linspace(0, strongest, columns)]


def write_sweep(variants: Variants, rows: Sequence[SweepRow], path: Path, cell: int) -> None:
    """Write the figure of a finished sweep, and a record beside it.

    Parameters
    ----------
    variants
        Of one unit and one seed.
    path
        The figure, .png or .jpg.
    cell
        Size of a picture in it, in pixels.
    """
    (unit,), (seed,) = variants.units, variants.seeds
    drawn = [
        Row(
            [
                Cell(
                    variants.cell(params, unit, seed),
                    (
                        row.axis.show(value) if value else "none",
                        f"a = {reached(variants, params)}",
                    ),
                )
                for value, params in zip(row.values, row.params, strict=True)
            ],
            row.axis.title,
        )
        for row in rows
    ]
    title = (
        f"{variants.title(unit)}: each regularizer alone; value, and activation a after "
        f"{rows[0].params[0].iterations} steps (seed {seed})"
    )
    write_image(path, figure(drawn, cell, title))
    write_record(record_of(path), sweep_record(variants, rows))


def reached(variants: Variants, params: AscentParams) -> str:
    """The activation that one set of parameters reached, as text."""
    (unit,), (seed,) = variants.units, variants.seeds
    return activation(variants.record(params, unit, seed))


def sweep_record(variants: Variants, rows: Sequence[SweepRow]) -> Record:
    """The record beside the figure: every value with its parameters and activation."""
    (unit,), (seed,) = variants.units, variants.seeds
    return {
        "layer": variants.layer,
        "unit": unit,
        "seed": seed,
        "label": variants.label(unit),
        "rows": [
            {
                "title": row.axis.title,
                "parameter": row.axis.parameter,
                "pictures": [
                    {
                        "value": value,
                        "activation": (record := variants.record(params, unit, seed))["best_value"],
                        "stop": record["stop"],
                        "params": params.record(),
                        "picture": str(
                            variants.store(params)
                            .picture(variants.layer, unit, seed, BEST_X)
                            .relative_to(variants.folder)
                        ),
                    }
                    for value, params in zip(row.values, row.params, strict=True)
                ],
            }
            for row in rows
        ],
    }
