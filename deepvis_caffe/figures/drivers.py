"""What drives a unit as a figure: ``Drivers -> picture``."""

from __future__ import annotations

from deepvis_caffe.attribution.driver_results import Drivers
from deepvis_caffe.figures.figure import Cell, Row, figure
from deepvis_caffe.image import Picture


def drivers_figure(found: Drivers) -> Picture:
    """A figure of an image and of the maps of the units that raise a unit there, and lower it."""
    cells = {
        id(one): Cell(picture, (f"{one.layer} {one.unit}", f"{one.share:+.1%}"))
        for one, picture in zip(found, found.pictures(), strict=True)
    }
    whole = Cell(found.preprocessor.show(found.image), ("image",))
    rows = [
        Row([whole, *(cells[id(one)] for one in found.raising)], "raise it"),
        *([Row([cells[id(one)] for one in found.lowering], "lower it")] * bool(found.lowering)),
    ]
    title = f"what drives unit {found.unit} of {found.layer}: activation {found.activation:.4g}"
    return figure(rows, 150, title, 13)
