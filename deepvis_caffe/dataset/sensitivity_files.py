"""What layers' movements look like on disk: a table, and a plot, for which matplotlib is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepvis_caffe.dataset.sensitivity import Movement
from deepvis_caffe.dataset.table import write_csv
from deepvis_caffe.plots import new_figure, write_figure

LOW, HIGH = 10, 90  # percentiles that the plot's bars reach to
COLUMNS = ("layer", "type", "units", "constant", "mean", "low", "high", "highest")


def write_movements(path: Path, movements: Sequence[Movement]) -> Path:
    """Write a CSV file, a row a layer, in the order of the net.

    ``low`` and ``high`` are the 10th and the 90th percentile of the pairs; what is not known, as
    every unit was left out, is empty.

    Raises
    ------
    ImageError
        It cannot be written.
    """
    return write_csv(path, COLUMNS, [_row(one) for one in movements])


def plot_movements(path: Path, movements: Sequence[Movement], title: str) -> Path:
    """Draw how far each layer moves, in the order of the net.

    Parameters
    ----------
    path
        Ends in ``.png``.

    Raises
    ------
    SettingsError
        matplotlib is not installed.
    ImageError
        The file cannot be written.
    """
    known = [one for one in movements if not np.isnan(one.pairs).all()]
    width = max(6, 2 + 0.38 * len(known))
    figure = new_figure(width, 5.5, "give --no-plots for the table alone")
    axes = figure.subplots()
    if known:
        places = np.arange(len(known))
        means = np.array([one.mean for one in known])
        low, high = (np.array([np.percentile(one.pairs, p) for one in known]) for p in (LOW, HIGH))
        colours = ["tab:blue" if one.type == "Convolution" else "tab:orange" for one in known]
        axes.bar(places, means, color=colours)
        # A mean may lie beyond the percentiles, where a few pairs move far.
        beyond = [np.maximum(means - low, 0), np.maximum(high - means, 0)]
        axes.errorbar(places, means, yerr=beyond, fmt="none", ecolor="black", capsize=2, lw=1)
        axes.set_xticks(places, [one.layer for one in known], rotation=90)
    axes.set(title=title, ylabel="movement / spread (mean; bars: 10th to 90th percentile)")
    return write_figure(path, figure)


def _row(one: Movement) -> list[object]:
    known = not np.isnan(one.pairs).all()
    numbers = [one.mean, *np.percentile(one.pairs, [LOW, HIGH]), one.pairs.max()] if known else []
    values = [f"{number:.6g}" for number in numbers] or [""] * 4
    return [one.layer, one.type, one.units, one.constant, *values]
