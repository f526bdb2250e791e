"""Attributions by several methods side by side: ``results -> picture``."""

from __future__ import annotations

from collections.abc import Sequence

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.attribution.result import Attribution
from deepvis_caffe.figures.figure import Cell, grid
from deepvis_caffe.image import Picture


def side_by_side(
    results: Sequence[Attribution], title: str = "", style: str | None = None, columns: int = 4
) -> Picture:
    """A figure of an image and of each method's map of it.

    Parameters
    ----------
    results
        At least one, all of the same image.
    title
        A line above the pictures.
    style
        How maps are shown; by default each in its method's own style.
    columns
        Pictures per row.

    Raises
    ------
    UnknownNameError
        There is no such style.
    """
    first = results[0]
    cells = [Cell(first.preprocessor.show(first.image), ("image",))]
    cells += [Cell(one.picture(style), (METHODS[one.method].title,)) for one in results]
    return grid(cells, columns, cell=227, title=title, text=15)
