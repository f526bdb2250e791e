"""Plots by matplotlib, without a window: a figure to draw into, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deepvis_caffe.errors import ImageError, SettingsError
from deepvis_caffe.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float, otherwise: str) -> Figure:
    """An empty figure, whose parts find their own places.

    Parameters
    ----------
    width, height
        In inches.
    otherwise
        What to do where matplotlib is not installed.

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
            f"plots need matplotlib: pip install 'deepvis_caffe[plots]', or {otherwise} ({error})"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)  # the figure keeps it
    return figure


def write_figure(path: Path, figure: Figure, dpi: float = 100) -> Path:
    """Write a figure whole or not at all; folders above it are made.

    Parameters
    ----------
    path
        Ends in ``.png`` or another of matplotlib's.
    dpi
        Pixels an inch.

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
