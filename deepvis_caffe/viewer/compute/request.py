"""What the window asks of the worker, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from deepvis_caffe.image import Floats, Picture
from deepvis_caffe.viewer.compute.threads import Frame
from deepvis_caffe.viewer.state.state import Back, Scene, State, UnitRef


@dataclass(frozen=True)
class Request:
    """What is to be computed of each frame: just what the window shows.

    Attributes
    ----------
    layer
        Index of the layer whose activations are shown.
    scores
        Whether the classes' probabilities are wanted.
    back
        Mode of the backward pass.
    source
        Where it starts: a unit, from all its activations at once. None where there is no pass.
    diffs
        Whether the pass is read at `layer`, too, and not at the input alone.
    resize
        ``"crop"`` or ``"stretch"``.
    """

    layer: int
    scores: bool = True
    back: Back = "off"
    source: UnitRef | None = None
    diffs: bool = False
    resize: Literal["crop", "stretch"] = "crop"


def request_of(state: State, scene: Scene) -> Request:
    """What a state needs to be computed."""
    back = state.back != "off"
    return Request(
        layer=state.layer,
        scores=state.labels,
        back=state.back,
        source=state.back_source if back else None,
        diffs=back and state.show_back,
        resize=state.resize,
    )


@dataclass(frozen=True, eq=False)
class Result:
    """What one frame gave.

    Attributes
    ----------
    frame, request
        What was computed, for what.
    picture
        (H, W, 3) RGB uint8, the picture as the net saw it.
    maps
        (units, height, width), activations of the layer.
    diffs
        Likewise, the layer's diffs; None where they were not asked for.
    back
        (C, H, W), the input's diff in the net's own channel order; None likewise.
    scores
        (classes,), None where they were not asked for or the net has none.
    seconds
        What it took, all of it.
    number
        Counts the results: no two have the same.
    """

    frame: Frame
    request: Request
    picture: Picture = field(repr=False)
    maps: Floats = field(repr=False)
    diffs: Floats | None = field(default=None, repr=False)
    back: Floats | None = field(default=None, repr=False)
    scores: Floats | None = field(default=None, repr=False)
    seconds: float = 0.0
    number: int = 0
