"""One regularizer at a time, from none to too strong: ``(columns, params) -> rows of parameters``.

The regularization figure of Yosinski et al. 2015: "each of the four rows shows a linear sweep in
hyperparameter space from no regularization (left) to strong regularization (right)".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from deepvis_caffe.errors import SettingsError, UnknownNameError
from deepvis_caffe.optimizer.params import AscentParams


@dataclass(frozen=True)
class Axis:
    """A regularizer's parameter, and how far a sweep of it goes.

    Attributes
    ----------
    title
        For people.
    parameter
        A field of `AscentParams`; 0 is none.
    strongest
        Where the sweep ends: so strong that the image suffers or the ascent fails.
    unit
        What follows a value where it is shown.
    together
        What has to be set with it.
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
        """A value as the figure writes it."""
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
        Rate, steps, start and push of every run; its own regularizers are taken away.
    columns
        Number of values in each row, evenly spaced from 0 to the row's strongest.
    values
        In place of these, by the name of a field of `AscentParams`.

    Returns
    -------
    list of SweepRow
        Decay, blur, clipping of small norms, clipping of small contributions.

    Raises
    ------
    SettingsError
        Fewer than two columns, or a value out of its range.
    UnknownNameError
        `values` names none of the four.
    """
    if columns < 2:
        raise SettingsError(f"a sweep needs at least 2 columns, none and strong; got {columns}")
    known = [axis.parameter for axis in AXES]
    for name in values or {}:
        if name not in known:
            raise UnknownNameError("swept parameter", name, known)
    alone = AscentParams(
        rate=params.rate, iterations=params.iterations, start=params.start, push=params.push
    )
    rows = []
    for axis in AXES:
        own = (values or {}).get(axis.parameter) or linear(axis.strongest, columns)
        chosen = tuple(float(value) for value in own)
        rows.append(SweepRow(axis, chosen, tuple(axis.apply(alone, value) for value in chosen)))
    return rows


def linear(strongest: float, columns: int) -> list[float]:
    """`columns` values from 0 to `strongest`, evenly spaced, as short as figures write them."""
    return [float(f"{value:.3g}") for value in np.linspace(0, strongest, columns)]
