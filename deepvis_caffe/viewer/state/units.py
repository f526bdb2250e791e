"""What is known of units beside their activations: pictures, statistics, and related units."""

from __future__ import annotations

from dataclasses import dataclass

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.image import Picture
from deepvis_caffe.results.records import TopImage


@dataclass(frozen=True, eq=False)
class UnitPictures:
    """What is known of one unit beside its activation.

    Attributes
    ----------
    optimized
        Its optimized images, each (H, W, 3) RGB uint8; sizes may differ.
    top, deconv
        The montage of the images that excite it most, and of their deconv; None where none is
        there.
    working
        The image that is being synthesized now, as it is at this step; None where none is.
    progress
        How far that is, 0 to 1.
    note
        One line for people where there is nothing to see yet: "waiting for a quiet moment".
    found
        What the record says of the images in `top`, strongest first; empty where there is none.
    columns
        How many of them are beside each other in `top`.
    statistics
        What a pass over a dataset says of the unit; None where none is on disk.
    """

    optimized: tuple[Picture, ...] = ()
    top: Picture | None = None
    deconv: Picture | None = None
    working: Picture | None = None
    progress: float = 0.0
    note: str = ""
    found: tuple[TopImage, ...] = ()
    columns: int = 3
    statistics: UnitStatistics | None = None


@dataclass(frozen=True, eq=False)
class Partner:
    """A unit that goes with the selected one, or against it.

    Attributes
    ----------
    unit, value
        Which, and Pearson's r.
    picture
        A strip of the images that excite it most, or an optimized one; None where there is none.
    """

    unit: int
    value: float
    picture: Picture | None = None


@dataclass(frozen=True, eq=False)
class Relation:
    """How the selected layer's units go together, and with whom the selected one does.

    Attributes
    ----------
    correlation
        The layer's; None where it is not known.
    note
        Why that is, and what to do, a line each; empty while it is being read.
    partners
        Those that rise with the selected unit, the closest first, then those that fall.
    pictured
        Whether room is to be left for their pictures.
    """

    correlation: Correlation | None = None
    note: tuple[str, ...] = ()
    partners: tuple[Partner, ...] = ()
    pictured: bool = False


NO_RELATION = Relation()
