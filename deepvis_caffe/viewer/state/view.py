"""All that a pane may read: the state, and what is known at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.dataset.statistics import UnitStatistics
from deepvis_caffe.image import Picture
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.results.records import TopImage
from deepvis_caffe.viewer.compute.request import Result
from deepvis_caffe.viewer.compute.threads import Frame
from deepvis_caffe.viewer.state.state import Scene, State


@dataclass(frozen=True, eq=False)
class UnitPictures:
    """What is known of one unit beside its activation.

    Attributes
    ----------
    optimized
        Its optimised images, each (H, W, 3) RGB uint8; sizes may differ.
    top, deconv
        The montage of the images that excite it most, and of their deconv; None where none is
        there.
    working
        The image that is being synthesised now, as it is at this step; None where none is.
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
        A strip of the images that excite it most, or an optimised one; None where there is none.
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


@dataclass(frozen=True)
class Hover:
    """Where the mouse is: pixels of the whole screen."""

    y: int
    x: int


@dataclass(frozen=True)
class Status:
    """What the status line says beside the state.

    Attributes
    ----------
    rate
        Results a second, over the last second.
    seconds
        What the last result took in the worker.
    draw_seconds
        What the last drawing took.
    source
        What the input is: a frame's name, "camera 0 is gone, trying again", ...
    message
        The last thing to say: an error of the worker, "saved shot_0001.png"; may be empty.
    trouble
        Whether that is an error.
    recording
        Whether a video is being recorded.
    busy
        Whether the worker computes something that the screen waits for.
    visitors
        How many look on through a browser.
    """

    rate: float = 0.0
    seconds: float = 0.0
    draw_seconds: float = 0.0
    source: str = ""
    message: str = ""
    trouble: bool = False
    recording: bool = False
    busy: bool = False
    visitors: int = 0


@dataclass(frozen=True, eq=False)
class View:
    """One moment of the viewer, whole: panes draw this and know nothing else.

    Attributes
    ----------
    state, scene
        What is set, and what is looked at.
    preprocessor
        Knows the channel order of the input's diff.
    frame
        The newest picture from the source; None before the first.
    result
        The newest answer of the worker, perhaps to an older request; None before the first.
    unit
        Pictures of the selected unit.
    patterns
        By unit of the selected layer, its optimised image; units without are left out.
    patterns_version
        Grows whenever `patterns` changes.
    failure
        Why there is no result of what is asked: an error's words. Empty where there is one, or it
        is on its way.
    relation
        How units go together, where the grid shows that.
    status, hover
        Beside them.
    """

    state: State
    scene: Scene
    preprocessor: Preprocessor
    frame: Frame | None = None
    result: Result | None = None
    unit: UnitPictures = field(default_factory=UnitPictures)
    patterns: Mapping[int, Picture] = field(default_factory=dict)
    patterns_version: int = 0
    failure: str = ""
    relation: Relation = NO_RELATION
    status: Status = field(default_factory=Status)
    hover: Hover | None = None

    @property
    def current(self) -> Result | None:
        """The newest result if it is of the layer that is selected now, else None."""
        fits = self.result is not None and self.result.request.layer == self.state.layer
        return self.result if fits else None
