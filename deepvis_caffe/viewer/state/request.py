"""What is asked of the net for each frame, and what it answers: `Frame`, `Request`, `Result`."""

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
        Of any size: (H, W, 3), RGB, uint8; or as `Preprocessor` takes it for another net.
    number
        Unique among the frames of one viewer; grows.
    name
        What it is, to be shown: ``"camera 0"``, ``"cat.jpg"``, ``"clip.mp4 0:12"``.
    live
        Whether the source gives frames by itself, as a camera does.
    """

    picture: NDArray[Any] = field(repr=False)
    number: int
    name: str
    live: bool = False


@dataclass(frozen=True)
class Request:
    """What is to be computed for each frame: just what the screen shows.

    Attributes
    ----------
    layer
        Index of the layer whose activations are shown.
    scores
        Whether the classes' probabilities are wanted.
    boxes
        Whether the boxes that a detector finds are wanted.
    back
        Mode of the backward pass, or another method of attribution.
    source
        The unit that it starts from, with all its activations; None where there is no pass.
    still
        Whether a frame of a live source stays for long enough for a method of many passes.
    diffs
        Whether the diff of `layer` is wanted, too, beside that of the input.
    drivers
        The unit whose drivers are wanted, a unit of `layer`; None where they are not shown.
    reach
        Where those are looked for.
    weights
        Whether the weights of the units of `layer` are wanted.
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
    """What has to be computed for a state."""
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
        catalogue; None for what is not there, as the image's own channels.
    raised, lowered
        The sums over all units that do, also those that are not listed, as shares of the score.
    why_not
        Why nothing is known of it.
    """

    raising: tuple[tuple[Driver, UnitRef | None], ...] = ()
    lowering: tuple[tuple[Driver, UnitRef | None], ...] = ()
    raised: float = 0.0
    lowered: float = 0.0
    why_not: str = ""

    @property
    def refs(self) -> tuple[UnitRef, ...]:
        """Those that are in the catalogue."""
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
        Likewise, diffs of the layer; None if not requested.
    back
        The attribution map: (C, H, W) in the net's channel order, or (H, W); None where there is
        none.
    why_no_back
        Why not, where one was requested; empty where it is still to come.
    later
        Whether it is still to come: by a method of many passes, in another result.
    drivers
        What drives the requested unit; None if not requested.
    weights
        The weights of the layer's units; None if not requested.
    scores
        (classes,); None if they were not requested, or the net has none.
    boxes
        What a detector found, each box with its name, lowest scores first; empty if they were not
        requested, or the net is no detector.
    seconds
        Time that everything took.
    number
        Unique among the results; grows.
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
