"""CUDA graphs of an ascent's passes: ``(x, starts, channels) -> values``, ``diffs -> diff of x``.

Each pass launches one or more small kernels a layer, and at small batches a GPU is done with one
before the host has launched the next. A graph holds all of a pass's launches and starts them in one
call. It is tied to memory: x is copied into the graph's own, and what it gives is overwritten by
the next call. So there is one graph for each shape, target and choice of channels, made once these
have come back a few times.

Passes that cannot be captured, such as those with a layer that reads values on the host, go on
without a graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepvis_caffe.engines.torch.derived import Stamp
from deepvis_caffe.engines.torch.layer import Layer
from deepvis_caffe.engines.torch.passes import Pass
from deepvis_caffe.errors import EngineError
from deepvis_caffe.model.graph import Value

log = logging.getLogger(__name__)

EAGER = 3  # passes before a capture: libraries choose their algorithms in the first ones
KEPT = 2  # graphs: each holds all the values of a pass

Diffs = Mapping[Value, Tensor]
# Gives what replays something, and its result, whose memory the replays fill.
Capture = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]


class Evaluation(NamedTuple):
    """A forward pass of an ascent, before its way back.

    Attributes
    ----------
    run
        The pass.
    selected
        Of the start's channels those that were wanted, where the pass computed more; else None.
    x
        The images.
    work
        Multiply-adds of the pass.
    """

    run: Pass
    selected: Tensor | None
    x: Tensor
    work: float = 0.0


WayBack = tuple[dict[Value, Tensor], Callable[[], None], Tensor]
Begin = Callable[[Tensor], tuple[Evaluation, list[Tensor]]]
Finish = Callable[[Evaluation, Diffs, str, bool], Tensor]


class CapturedPasses:
    """A forward pass, and the backward passes after it, that are replayed.

    Parameters
    ----------
    begin, finish
        The two directions, as they run without graphs.
    x
        Images of the shape that it is for.
    layers
        Those that run; their weights must not change.
    capture
        What captures.
    """

    def __init__(
        self, begin: Begin, finish: Finish, x: Tensor, layers: Iterable[Layer], capture: Capture
    ) -> None:
        self._x, self._finish, self._capture = x.clone(), finish, capture
        self._stamps = [
            (layer, name, Stamp(weight))
            for layer in layers
            for name, weight in layer.named_parameters()
        ]
        self._replay, (self._evaluation, self._tops) = capture(lambda: begin(self._x))
        # None where one cannot be captured
        self._ways_back: dict[Hashable, WayBack | None] = {}

    @property
    def up_to_date(self) -> bool:
        """Whether the weights have not changed since."""
        return all(stamp.fits(getattr(layer, name)) for layer, name, stamp in self._stamps)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The values for images of the same shape."""
        self._x.copy_(x)
        self._replay()
        return self._tops

    def backward(self, diffs: Diffs, mode: str) -> Tensor:
        """The diff of the images that came last."""
        key = mode, tuple(diffs)
        if key not in self._ways_back:
            # Run first: filters of the way back are made now, not in a capture that may fail.
            eager = self._finish(self._evaluation, diffs, mode, True)
            self._ways_back[key] = self._captured_way_back(diffs, mode)
            return eager
        captured = self._ways_back[key]
        if captured is None:
            return self._finish(self._evaluation, diffs, mode, True)
        own, replay, found = captured
        for value, diff in diffs.items():
            own[value].copy_(diff)
        replay()
        return found

    def _captured_way_back(self, diffs: Diffs, mode: str) -> WayBack | None:
        own = {value: diff.clone() for value, diff in diffs.items()}
        try:
            replay, found = self._capture(lambda: self._finish(self._evaluation, own, mode, True))
        except (RuntimeError, EngineError) as error:
            log.info("a backward pass runs without a CUDA graph: %s", error)
            return None
        return own, replay, found


class Graphs:
    """The captured passes of a net.

    Parameters
    ----------
    capture
        What captures; by default CUDA's graphs.
    """

    def __init__(self, capture: Capture | None = None) -> None:
        self._capture = capture or cuda_capture
        self._seen: dict[Hashable, int] = {}
        self._kept: dict[Hashable, CapturedPasses] = {}

    def passes(
        self, key: Hashable, begin: Begin, finish: Finish, x: Tensor, layers: Iterable[Layer]
    ) -> CapturedPasses | None:
        """Captured passes for that key; None where it is too early for them, or they cannot be."""
        known = self._kept.pop(key, None)
        if known is not None and known.up_to_date:
            self._kept[key] = known  # the last one used is the last one dropped
            return known
        count = self._seen[key] = self._seen.get(key, 0) + 1
        if count != EAGER + 1 and known is None:
            return None
        while len(self._kept) >= KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest], self._seen[oldest]
        begin(x)  # what it keeps for one number of images is there: nothing is sent while capturing
        try:
            self._kept[key] = CapturedPasses(begin, finish, x, layers, self._capture)
        except (RuntimeError, EngineError) as error:
            log.info("passes run without a CUDA graph: %s", error)
            return None
        return self._kept[key]


def cuda_capture(run: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """Capture what `run` would launch as a CUDA graph. Only its replays compute anything."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the device meanwhile: those that load the next images, for example.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = run()
    return graph.replay, result
