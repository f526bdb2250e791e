"""The drivers of a unit as a figure: ``Drivers -> picture``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from deepvis_caffe.attribution.driver_results import Driver, Drivers
from deepvis_caffe.figures.figure import Cell, Row, figure
from deepvis_caffe.image import Picture

ByUnit = Mapping[tuple[str, int], Picture]  # by (layer, unit)
NONE: ByUnit = MappingProxyType({})
NOTHING = Cell(np.full((1, 1, 3), 255, np.uint8))


def drivers_figure(found: Drivers, optimized: ByUnit = NONE, top: ByUnit = NONE) -> Picture:
    """A figure of an image, of the units that raise a unit there, and of those that lower it.

    Parameters
    ----------
    found
        The result of `deepvis_caffe.drivers`.
    optimized, top
        Optimized images and montages of top images, by (layer, unit), of the units that have some.
        They are in rows of their own below the maps.

    Returns
    -------
    ndarray
        (H, W, 3), RGB, uint8.
    """
    rows = _rows("raise it", found, found.raising, optimized, top)
    image = Cell(found.preprocessor.show(found.image), ("image",))
    rows[0] = Row([image, *rows[0].cells[1:]], rows[0].title)
    rows += _rows("lower it", found, found.lowering, optimized, top) if found.lowering else []
    title = f"what drives unit {found.unit} of {found.layer}: activation {found.activation:.4g}"
    return figure(rows, 150, title, 13)


def _rows(
    title: str, found: Drivers, some: Sequence[Driver], optimized: ByUnit, top: ByUnit
) -> list[Row]:
    """A row of some units' maps after an empty cell, and rows of their other pictures."""
    maps = [
        Cell(picture, (f"{one.layer} {one.unit}", f"{one.share:+.1%}"))
        for one, picture in zip(some, found.pictures(some), strict=True)
    ]
    rows = [Row([NOTHING, *maps], title)]
    for name, pictures in (("optimized", optimized), ("top images", top)):
        known = [pictures.get((one.layer, one.unit)) for one in some]
        if any(one is not None for one in known):
            cells = [NOTHING if one is None else Cell(one) for one in known]
            rows.append(Row([NOTHING, *cells], name))
    return rows
