"""CUDA graphs of an ascent's passes: ``(x, starts, channels) -> values``, ``diffs -> diff of x``.

A pass launches one or more small kernels per layer, and with small batches the GPU finishes each
before the host launches the next. A graph holds all launches of a pass and replays them in one
call. It works on fixed memory: x is copied into its buffer, and the next call overwrites its
results. So there is one graph per input shape, target and choice of channels, captured once these
have recurred a few times.

Passes that cannot be captured, such as those with a layer that reads values on the host, run
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

EAGER = 3  # passes before a capture: in the first ones libraries choose their algorithms
KEPT = 2  # graphs: each holds all values of a pass

Diffs = Mapping[Value, Tensor]
# Returns a function that replays the captured work, and its result, which each replay overwrites.
Capture = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]


class Evaluation(NamedTuple):
    """A forward pass of an ascent, before its backward pass.

    Attributes
    ----------
    run
        The pass.
    selected
        The wanted channels of the start, if the pass computed more than these; otherwise None.
    x
        The images.
    work
        Multiply-adds of the pass.
    """

    run: Pass
    selected: Tensor | None
    x: Tensor
    work: float = 0.0


CapturedBackward = tuple[dict[Value, Tensor], Callable[[], None], Tensor]
Begin = Callable[[Tensor], tuple[Evaluation, list[Tensor]]]
Finish = Callable[[Evaluation, Diffs, str, bool], Tensor]


class CapturedPasses:
    """A captured forward pass, and the captured backward passes after it.

    Parameters
    ----------
    begin, finish
        The forward and backward pass, as they run without graphs.
    x
        Images of the shape to capture.
    layers
        The layers that run; their weights must not change.
    capture
        Captures what a function launches.
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
        # None for one that cannot be captured.
        self._backwards: dict[Hashable, CapturedBackward | None] = {}

    @property
    def up_to_date(self) -> bool:
        """Whether the weights are unchanged since the capture."""
        return all(stamp.fits(getattr(layer, name)) for layer, name, stamp in self._stamps)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The starts' values for images of the same shape."""
        self._x.copy_(x)
        self._replay()
        return self._tops

    def backward(self, diffs: Diffs, mode: str) -> Tensor:
        """The diff of the last images."""
        key = mode, tuple(diffs)
        if key not in self._backwards:
            # Run it first, to build the backward filters here and not in a capture that may fail.
            eager = self._finish(self._evaluation, diffs, mode, True)
            self._backwards[key] = self._captured_backward(diffs, mode)
            return eager
        captured = self._backwards[key]
        if captured is None:
            return self._finish(self._evaluation, diffs, mode, True)
        own, replay, found = captured
        for value, diff in diffs.items():
            own[value].copy_(diff)
        replay()
        return found

    def _captured_backward(self, diffs: Diffs, mode: str) -> CapturedBackward | None:
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
        Captures what a function launches; by default `cuda_capture`.
    """

    def __init__(self, capture: Capture | None = None) -> None:
        self._capture = capture or cuda_capture
        self._seen: dict[Hashable, int] = {}
        self._kept: dict[Hashable, CapturedPasses] = {}

    def passes(
        self, key: Hashable, begin: Begin, finish: Finish, x: Tensor, layers: Iterable[Layer]
    ) -> CapturedPasses | None:
        """Captured passes for that key; None if it is too early, or they cannot be captured."""
        known = self._kept.pop(key, None)
        if known is not None and known.up_to_date:
            self._kept[key] = known  # reinserted last: the least recently used is dropped first
            return known
        count = self._seen[key] = self._seen.get(key, 0) + 1
        if count != EAGER + 1 and known is None:
            return None
        while len(self._kept) >= KEPT:
            oldest = next(iter(self._kept))
            del self._kept[oldest], self._seen[oldest]
        begin(x)  # fills the caches for this batch size: no host copies happen during the capture
        try:
            self._kept[key] = CapturedPasses(begin, finish, x, layers, self._capture)
        except (RuntimeError, EngineError) as error:
            log.info("passes run without a CUDA graph: %s", error)
            return None
        return self._kept[key]


def cuda_capture(run: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
    """Capture what `run` launches as a CUDA graph. Only replays compute anything."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        # Other threads, such as those that load the next images, may use the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = run()
    finally:
        torch.cuda.set_stream(stream)  # after a failed capture it would remain the capture's
    return graph.replay, result
