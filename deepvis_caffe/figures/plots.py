"""Plots with matplotlib, without a window, such as a layer's statistics over a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepvis_caffe.dataset.correlation import pearson
from deepvis_caffe.dataset.layer_scan import EDGES, LayerScan
from deepvis_caffe.dataset.scan import Scan
from deepvis_caffe.dataset.statistics import selectivity
from deepvis_caffe.errors import ImageError, SettingsError
from deepvis_caffe.files import whole_file
from deepvis_caffe.resources import pip_install

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, otherwise: str) -> Figure:
    """An empty figure with automatic layout.

    Parameters
    ----------
    width, height
        In inches.
    otherwise
        What the error message suggests if matplotlib is not installed.

    Raises
    ------
    SettingsError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError(
            f"plots need matplotlib: {pip_install('plots')}, or {otherwise} ({error})"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # attaches itself to the figure
    return figure


def write_figure(path: Path, figure: Figure, dpi: float = 100) -> Path:
    """Write a figure atomically; missing parent folders are created.

    Parameters
    ----------
    path
        Ends in ``.png`` or another of matplotlib's formats.
    dpi
        Pixels per inch.

    Raises
    ------
    ImageError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part:
            figure.savefig(part, format=path.suffix.lstrip(".") or "png", dpi=dpi)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error
    return path


def plot_layer(path: Path, scan: Scan, layer: str) -> Path:
    """Plot how strongly, how often, and how similarly the units of a layer respond.

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
    found = scan.layers[layer]
    figure = new_figure(12, 8, "give --no-plots for the tables alone")
    figure.suptitle(f"{layer}: {found.units:,} units, {scan.images:,} images")
    (strong, often), (spread, last) = figure.subplots(2, 2)
    _draw_histogram(strong, found)
    often.hist(
        found.zeros / max(found.moments.count, 1), bins=40, range=(0, 1), label="values at 0"
    )
    often.hist(
        found.active / max(scan.images, 1),
        bins=40,
        range=(0, 1),
        histtype="step",
        color="black",
        label="images in which it is active",
    )
    often.set(xlabel="share", ylabel="units", title="how often units respond")
    often.legend()
    spread.scatter(found.moments.mean, found.moments.deviation(), s=8)
    spread.set(xlabel="mean", ylabel="standard deviation", title="over all positions and images")
    correlation = pearson(found.moments)
    index, _ = selectivity(found.classes, found.moments.mean)
    if correlation is not None:
        shown = last.imshow(correlation, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
        figure.colorbar(shown, ax=last)
        last.set(title="correlation between units", xlabel="unit", ylabel="unit")
    elif not np.isnan(index).all():
        last.hist(index[~np.isnan(index)], bins=40, range=(0, 1))
        last.set(title="class selectivity", xlabel="index", ylabel="units")
    else:
        last.plot(np.sort(found.high)[::-1])
        last.set(title="strongest activation", xlabel="units, strongest first")
    return write_figure(path, figure)


def _draw_histogram(axes: Any, layer: LayerScan) -> None:
    """Draw each unit's histogram of the images' strongest activations, sorted by the highest."""
    used = np.flatnonzero(layer.histogram.any(axis=0))
    low, high = used.min(), used.max() + 1
    order = np.argsort(layer.high, kind="stable")
    shares = layer.histogram[order, low:high]
    axes.imshow(np.log1p(shares), aspect="auto", origin="lower", cmap="magma", interpolation="none")
    step = max(1, (high - low) // 6)
    marks = np.arange(0, high - low, step)
    names = [_short(EDGES[low + mark]) for mark in marks]
    axes.set_xticks(marks - 0.5, names)
    axes.set(
        xlabel="an image's strongest activation",
        ylabel="units, by their strongest",
        title="how strongly units respond (log of images)",
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value == 0 or 10 <= abs(value) < 1e5 else f"{value:.2g}"
