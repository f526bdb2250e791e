"""What is known of units beside their activations: pictures, statistics, and related units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.figures.weights import LayerWeights
from deepvis_caffe.image import Picture
from deepvis_caffe.results.records import TopImage
from deepvis_caffe.viewer.state.catalogue import Entry
from deepvis_caffe.viewer.state.state import UnitRef


@dataclass(frozen=True, eq=False)
class UnitPictures:
    """What is known of one unit beside its activations.

    Attributes
    ----------
    optimized
        Its optimized images, each (H, W, 3) RGB uint8; sizes may differ.
    top, deconv
        The montage of its top images, and of their deconv; None where there is none.
    working
        The image that is being optimized, as it is at this step; None if none is.
    progress
        How much of that is done, 0 to 1.
    note
        A line to show where there is no image yet: "waiting for a quiet moment".
    found
        The images in `top` by its record, strongest first; empty where there is no record.
    columns
        How many of them are side by side in `top`.
    recipe
        The recipe of its optimized images on disk; empty where there are none.
    recipes
        Those that the layer has images of.
    statistics
        The unit's statistics over a dataset; None where there are none on disk.
    shown_as
        The unit of another layer whose pictures these are, because it is the same; empty where they
        are its own.
    """

    optimized: tuple[Picture, ...] = ()
    top: Picture | None = None
    deconv: Picture | None = None
    working: Picture | None = None
    progress: float = 0.0
    note: str = ""
    found: tuple[TopImage, ...] = ()
    columns: int = 3
    recipe: str = ""
    recipes: tuple[str, ...] = ()
    statistics: UnitStatistics | None = None
    shown_as: str = ""


@dataclass(frozen=True, eq=False)
class Working:
    """An image that is being optimized.

    Attributes
    ----------
    entry, unit
        Whose it is.
    picture
        How it is at this step.
    progress
        How much is done, 0 to 1.
    """

    entry: Entry
    unit: int
    picture: Picture
    progress: float


@dataclass(frozen=True, eq=False)
class DriverPictures:
    """Pictures of the units that drive the selected one.

    Attributes
    ----------
    optimized
        The optimized image of each unit that has one.
    top
        The strongest of the top images of each unit that has some, side by side.
    has_optimized, has_top
        Whether to leave room for them.
    """

    optimized: Mapping[UnitRef, Picture] = field(default_factory=dict)
    top: Mapping[UnitRef, Picture] = field(default_factory=dict)
    has_optimized: bool = False
    has_top: bool = False


NO_DRIVER_PICTURES = DriverPictures()


@dataclass(frozen=True, eq=False)
class UnitWeights:
    """The weights of a layer's units.

    Attributes
    ----------
    layer
        All of them; None where the layer has none.
    pictures
        By unit, its picture in a size for the grid, (H, W, 3) RGB uint8.
    why_not
        Why the layer has none.
    """

    layer: LayerWeights | None = None
    pictures: tuple[Picture, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, eq=False)
class Partner:
    """A unit that is correlated with the selected one.

    Attributes
    ----------
    unit, value
        Which, and Pearson's r.
    picture
        A strip of its top images, or an optimized image; None where there is none.
    """

    unit: int
    value: float
    picture: Picture | None = None


@dataclass(frozen=True, eq=False)
class Relation:
    """The correlation of the selected layer's units, and the partners of the selected one.

    Attributes
    ----------
    correlation
        Of the layer; None where it is not known.
    note
        Why it is not known and what to do about it, a line each; empty while it is being read.
    partners
        Positively correlated units, the closest first, then negatively correlated ones.
    pictured
        Whether to leave room for their pictures.
    """

    correlation: Correlation | None = None
    note: tuple[str, ...] = ()
    partners: tuple[Partner, ...] = ()
    pictured: bool = False


NO_RELATION = Relation()
