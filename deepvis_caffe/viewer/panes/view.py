"""All that a pane may read: the state, and what is known at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from deepvis_caffe.image import Floats, Picture
from deepvis_caffe.model.preprocess import Preprocessor
from deepvis_caffe.viewer.cache import ByIdentity
from deepvis_caffe.viewer.state.request import Frame, Result, UnitDrivers
from deepvis_caffe.viewer.state.state import Scene, State
from deepvis_caffe.viewer.state.units import (
    NO_DRIVER_PICTURES,
    NO_RELATION,
    DriverPictures,
    Relation,
    UnitPictures,
    UnitWeights,
    Working,
)


@dataclass(frozen=True)
class Hover:
    """Where the mouse is: pixels of the whole screen."""

    y: int
    x: int


@dataclass(frozen=True)
class Status:
    """What the status line shows beside the state.

    Attributes
    ----------
    rate
        Results per second, over the last second.
    seconds
        Time that the last result took in the worker.
    first
        Whether that was the first result: the first pass of a net takes longer than later ones.
    draw_seconds
        Time that the last drawing took.
    source
        What the input is: a frame's name, "camera 0 is gone, trying again", ...
    message
        The last message: an error of the worker, "saved shot_0001.png"; may be empty.
    trouble
        Whether that is an error.
    recording
        Whether a video is being recorded.
    busy
        Whether the worker computes something that the screen waits for.
    visitors
        How many people watch through a browser.
    """

    rate: float = 0.0
    seconds: float = 0.0
    first: bool = False
    draw_seconds: float = 0.0
    source: str = ""
    message: str = ""
    trouble: bool = False
    recording: bool = False
    busy: bool = False
    visitors: int = 0

    # No finer than people read, so that the line is not drawn again for what nobody can see.

    @property
    def rate_text(self) -> str:
        """Results per second; empty for a picture that stands still."""
        if not self.rate:
            return ""
        return f"{self.rate:.0f}" if self.rate >= 10 else f"{self.rate:.1f}"

    @property
    def net_ms(self) -> str:
        """`seconds` in milliseconds."""
        shown = f"{self.seconds * 1000:.0f}"
        return "< 1" if shown == "0" and self.seconds else shown

    @property
    def draw_ms(self) -> str:
        """`draw_seconds` in milliseconds."""
        return f"{self.draw_seconds * 1000:.1f}"


@dataclass(frozen=True, eq=False)
class View:
    """The input of every pane: one moment of the viewer, whole. Panes know nothing else.

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
    optimized
        By unit of the selected layer, its optimized image, small; units without are left out.
        Another mapping whenever something in it changes.
    working
        The image of a unit of the selected layer that is being optimized; None if none is.
    loading
        Whether the net is still being loaded.
    failure
        Why there is no result for the current request: an error's message. Empty where there is
        one, or it is being computed.
    relation
        How the layer's units are correlated, where the grid shows that.
    driver_pictures
        Of the units that drive the selected one.
    status, hover
        What the status line shows beside the state; where the mouse is.
    """

    state: State
    scene: Scene
    preprocessor: Preprocessor
    frame: Frame | None = None
    result: Result | None = None
    unit: UnitPictures = field(default_factory=UnitPictures)
    optimized: Mapping[int, Picture] = field(default_factory=dict)
    working: Working | None = None
    loading: bool = False
    failure: str = ""
    relation: Relation = NO_RELATION
    driver_pictures: DriverPictures = NO_DRIVER_PICTURES
    status: Status = field(default_factory=Status)
    hover: Hover | None = None

    # What several panes derive from these.

    @property
    def has_frame(self) -> bool:
        """Whether the source has given a picture yet."""
        return self.frame is not None

    @property
    def shows_diffs(self) -> bool:
        """Whether the grid is set to diffs, and there is a backward pass that gives some."""
        return self.state.show_back and self.state.sends_diffs

    @property
    def shown_maps(self) -> Floats | None:
        """(units, height, width): the selected layer's activations, or its diffs where these are
        set; None until they are computed.
        """
        result = self.result
        if result is None or result.request.layer != self.state.layer:
            return None
        if self.shows_diffs:
            return result.diffs if self._is_of_this_pass(result) else None
        return result.maps

    @property
    def unit_map(self) -> Floats | None:
        """(height, width), the selected unit's activations; None where it is a number, or until
        they are computed.
        """
        result, state = self.result, self.state
        if result is None or result.request.layer != state.layer:
            return None
        if state.unit >= len(result.maps) or self.scene.entries[state.layer].is_vector:
            return None
        return result.maps[state.unit]

    @property
    def weights(self) -> UnitWeights | None:
        """The weights of the selected layer's units, where they are shown and known by now."""
        result, state = self.result, self.state
        if result is None or not state.weights or result.request.layer != state.layer:
            return None
        return result.weights

    @property
    def not_finite(self) -> int:
        """How many values of `shown_maps` are infinite or NaN."""
        maps = self.shown_maps
        if maps is None:
            return 0
        return _counts.get(maps, None, lambda: int(maps.size - np.count_nonzero(np.isfinite(maps))))

    @property
    def attribution(self) -> Floats | None:
        """(C, H, W) or (H, W), the attribution map, if it is of the method that is set now."""
        result = self.result
        return result.back if result is not None and self._is_of_this_pass(result) else None

    @property
    def drivers(self) -> UnitDrivers | None:
        """What drives the selected unit, if that is shown and known by now."""
        return drivers_of(self.result, self.state)

    @property
    def why_no_back(self) -> str:
        """Why the method that is set now gives no attribution; empty where it does, or will."""
        result = self.result
        known = result is not None and self._is_of_this_pass(result)
        return result.why_no_back if result is not None and known else ""

    def _is_of_this_pass(self, result: Result) -> bool:
        request, state = result.request, self.state
        wanted = (state.back, state.back_source)
        return state.back != "off" and (request.back, request.source) == wanted


def drivers_of(result: Result | None, state: State) -> UnitDrivers | None:
    """What a result knows of what drives the selected unit; None where that is not shown."""
    if result is None or not state.shows_drivers:
        return None
    request, wanted = result.request, ((state.layer, state.unit), state.reach)
    return result.drivers if (request.drivers, request.reach) == wanted else None


_counts: ByIdentity[int] = ByIdentity(2)  # of a layer's maps, which several panes ask for
