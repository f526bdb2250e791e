"""What is known of units besides their activations: pictures, statistics and related units."""

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
    """What is known of one unit besides its activations.

    Attributes
    ----------
    optimized
        Its optimized images, each (H, W, 3) RGB uint8; sizes may differ.
    top, deconv
        Montages of its top images and of their deconv; None if there is none.
    working
        The current state of the image being optimized; None if there is none.
    progress
        How far that optimization has come, 0 to 1.
    note
        A line to show while there is no image: "waiting for idle time".
    found
        The images in `top` according to its record, strongest first; empty without a record.
    columns
        The number of columns of `top`.
    recipe
        The recipe of its optimized images on disk; empty if there are none.
    recipes
        All recipes of which the layer has images.
    statistics
        The unit's statistics over a dataset; None if there are none on disk.
    shown_as
        The equivalent unit of another layer that the pictures belong to; empty if they are the
        unit's own.
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
        The unit that it is for.
    picture
        The image at the current step.
    progress
        How far the optimization has come, 0 to 1.
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
        The strongest top images of each unit that has some, side by side.
    has_optimized, has_top
        Whether to reserve space for them.
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
        The weights; None if the layer has none.
    pictures
        One picture per unit, sized for the grid, (H, W, 3) RGB uint8.
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
        The unit, and Pearson's r.
    picture
        A strip of its top images, or an optimized image; None if there is neither.
    """

    unit: int
    value: float
    picture: Picture | None = None


@dataclass(frozen=True, eq=False)
class Relation:
    """The correlation of the selected layer's units, and the selected unit's partners.

    Attributes
    ----------
    correlation
        The layer's correlation; None if it is not known.
    note
        Why it is not known and what to do about it, one line each; empty while it is being read.
    partners
        Positively correlated units, highest r first, then negatively correlated ones.
    pictured
        Whether to reserve space for their pictures.
    """

    correlation: Correlation | None = None
    note: tuple[str, ...] = ()
    partners: tuple[Partner, ...] = ()
    pictured: bool = False


NO_RELATION = Relation()
