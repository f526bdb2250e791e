"""What the worker exchanges with the session: `Frame`, `Request` and `Result`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.attribution.driver_results import Driver
from deepvis_caffe.attribution.drivers import Reach
from deepvis_caffe.engines.detections import Box
from deepvis_caffe.image import Floats, Picture
from deepvis_caffe.viewer.state.state import Back, Scene, State, UnitRef
from deepvis_caffe.viewer.state.units import UnitWeights


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture from a source.

    Attributes
    ----------
    picture
        (H, W, 3), RGB, uint8, of any size; or, if the net's input is not RGB, what its
        `Preprocessor` takes.
    number
        Unique within one viewer and increasing.
    name
        Display name: ``"camera 0"``, ``"cat.jpg"``, ``"clip.mp4 0:12"``.
    live
        Whether the source delivers frames on its own, as a camera does.
    """

    picture: NDArray[Any] = field(repr=False)
    number: int
    name: str
    live: bool = False


@dataclass(frozen=True)
class Request:
    """What to compute for each frame: just what the screen shows.

    Attributes
    ----------
    layer
        Index of the layer whose activations are shown.
    scores
        Whether to return the class probabilities.
    boxes
        Whether to return a detector's boxes.
    back
        Backward mode or other attribution method.
    source
        The unit to attribute, seeded with its whole feature map; None without attribution.
    still
        Whether the input is frozen for a method that takes many passes.
    diffs
        Whether to return the diff of `layer`, too, besides that of the input.
    drivers
        The unit of `layer` whose drivers to return; None if they are not shown.
    reach
        Where to search for drivers.
    weights
        Whether to return the weights of the units of `layer`.
    resize
        ``"crop"`` or ``"stretch"``.
    """

    layer: int
    scores: bool = True
    boxes: bool = True
    back: Back = "off"
    source: UnitRef | None = None
    still: bool = False
    diffs: bool = False
    drivers: UnitRef | None = None
    reach: Reach = "stage"
    weights: bool = False
    resize: Literal["crop", "stretch"] = "crop"


def request_of(state: State, scene: Scene) -> Request:
    """What to compute for a state."""
    back = state.back != "off"
    many = back and METHODS[state.back].many_passes
    return Request(
        layer=state.layer,
        scores=state.labels,
        boxes=state.boxes,
        back=state.back,
        source=state.back_source if back else None,
        still=many and state.frozen,
        diffs=state.sends_diffs and state.show_back,
        weights=state.weights,
        drivers=(state.layer, state.unit) if state.shows_drivers else None,
        reach=state.reach if state.shows_drivers else "stage",
        resize=state.resize,
    )


@dataclass(frozen=True, eq=False)
class UnitDrivers:
    """What drives a unit: see `deepvis_caffe.attribution.drivers`.

    Attributes
    ----------
    raising, lowering
        The units that raise it most and lower it most, strongest first, each with its place in the
        catalogue; None for what the catalogue lacks, such as the image's own channels.
    raised, lowered
        The sums over all units that raise or lower it, listed or not, as shares of the score.
    why_not
        Why its drivers cannot be determined.
    """

    raising: tuple[tuple[Driver, UnitRef | None], ...] = ()
    lowering: tuple[tuple[Driver, UnitRef | None], ...] = ()
    raised: float = 0.0
    lowered: float = 0.0
    why_not: str = ""

    @property
    def refs(self) -> tuple[UnitRef, ...]:
        """The drivers that are in the catalogue."""
        every = (*self.raising, *self.lowering)
        return tuple(ref for _, ref in every if ref is not None)


@dataclass(frozen=True, eq=False)
class Result:
    """What was computed from one frame.

    Attributes
    ----------
    frame, request
        What it was computed from.
    picture
        (H, W, 3) RGB uint8, the picture as the net saw it.
    maps
        (units, height, width), activations of the layer.
    diffs
        Diffs of the layer, same shape; None if not requested.
    back
        The attribution map: (C, H, W) in the net's channel order, or (H, W); None if there is none.
    why_no_back
        Why there is none although it was requested; empty if it is still pending.
    later
        Whether the map is still pending: a method with many passes delivers it in a later result.
    drivers
        What drives the requested unit; None if not requested.
    weights
        The weights of the layer's units; None if not requested.
    scores
        (classes,); None if not requested, or if the net has none.
    boxes
        A detector's boxes, each with its name, lowest score first; empty if not requested, or if
        the net is not a detector.
    seconds
        Total computing time.
    number
        Unique among the results and increasing.
    """

    frame: Frame
    request: Request
    picture: Picture = field(repr=False)
    maps: Floats = field(repr=False)
    diffs: Floats | None = field(default=None, repr=False)
    back: Floats | None = field(default=None, repr=False)
    drivers: UnitDrivers | None = field(default=None, repr=False)
    why_no_back: str = ""
    later: bool = False
    weights: UnitWeights | None = field(default=None, repr=False)
    scores: Floats | None = field(default=None, repr=False)
    boxes: tuple[tuple[Box, str], ...] = field(default=(), repr=False)
    seconds: float = 0.0
    number: int = 0
