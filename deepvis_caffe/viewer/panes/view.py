"""`View`, the input of every pane: the state, and what is known at the moment."""

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
    """The position of the mouse, in pixels of the whole screen."""

    y: int
    x: int


@dataclass(frozen=True)
class Status:
    """What the status line shows besides the state.

    Attributes
    ----------
    rate
        Results per second, over the last second.
    seconds
        Time that the worker took for the last result.
    first
        Whether that was the first result: a net's first pass takes longer than later ones.
    draw_seconds
        Time that the last redraw took.
    source
        The input: a frame's name, "camera 0 is gone, trying again", ...
    message
        The last message: an error of the worker, "saved shot_0001.png"; may be empty.
    trouble
        Whether that is an error.
    recording
        Whether a video is being recorded.
    busy
        Whether the worker is computing something that the screen waits for.
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

    # Rounded as displayed, so that invisible changes do not trigger a redraw.

    @property
    def rate_text(self) -> str:
        """Results per second; empty for a still image."""
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
    """The input of every pane: a complete snapshot of the viewer. Panes know nothing else.

    Attributes
    ----------
    state, scene
        What is set, and the net on display.
    preprocessor
        Knows the channel order of the input's diff.
    frame
        The newest picture from the source; None before the first.
    result
        The newest result of the worker, perhaps of an older request; None before the first.
    unit
        Pictures of the selected unit.
    optimized
        Thumbnails of the selected layer's optimized images, by unit; units without one are absent.
        Replaced by a new mapping whenever something in it changes.
    working
        The image being optimized for a unit of the selected layer; None if there is none.
    loading
        Whether the net is still being loaded.
    failure
        The error because of which there is no result for the current request. Empty if there is
        one, or it is being computed.
    relation
        How the layer's units are correlated, if the grid shows that.
    driver_pictures
        Pictures of the units that drive the selected one.
    status, hover
        What the status line shows besides the state; the position of the mouse.
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
        """Whether the grid is set to diffs, and a backward mode is set that yields them."""
        return self.state.show_back and self.state.sends_diffs

    @property
    def shown_maps(self) -> Floats | None:
        """(units, height, width): the selected layer's activations, or its diffs if those are set;
        None until they are computed.
        """
        result = self.result
        if result is None or result.request.layer != self.state.layer:
            return None
        if self.shows_diffs:
            return result.diffs if self._is_of_this_pass(result) else None
        return result.maps

    @property
    def unit_map(self) -> Floats | None:
        """(height, width), the selected unit's feature map; None if the unit is a single number,
        or until it is computed.
        """
        result, state = self.result, self.state
        if result is None or result.request.layer != state.layer:
            return None
        if state.unit >= len(result.maps) or self.scene.entries[state.layer].is_vector:
            return None
        return result.maps[state.unit]

    @property
    def weights(self) -> UnitWeights | None:
        """The weights of the selected layer's units; None if not shown, or not known yet."""
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
        """(C, H, W) or (H, W), the attribution map; None while there is none for these settings."""
        result = self.result
        return result.back if result is not None and self._is_of_this_pass(result) else None

    @property
    def drivers(self) -> UnitDrivers | None:
        """What drives the selected unit; None if not shown, or not known yet."""
        return drivers_of(self.result, self.state)

    @property
    def why_no_back(self) -> str:
        """Why the current method gives no attribution; empty if it does, or is still pending."""
        result = self.result
        known = result is not None and self._is_of_this_pass(result)
        return result.why_no_back if result is not None and known else ""

    def _is_of_this_pass(self, result: Result) -> bool:
        request, state = result.request, self.state
        wanted = (state.back, state.back_source)
        return state.back != "off" and (request.back, request.source) == wanted


def drivers_of(result: Result | None, state: State) -> UnitDrivers | None:
    """The selected unit's drivers in a result; None if not shown, or if it has another unit's."""
    if result is None or not state.shows_drivers:
        return None
    request, wanted = result.request, ((state.layer, state.unit), state.reach)
    return result.drivers if (request.drivers, request.reach) == wanted else None


_counts: ByIdentity[int] = ByIdentity(2)  # per layer's maps; several panes need it
