"""Runs one frame through the net: ``(frame, request) -> result``. Computes only what is shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from itertools import count
from typing import Any

import numpy as np

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.detections import Box, Detector, detector
from deepvis_caffe.image import Floats
from deepvis_caffe.model.labels import class_blob
from deepvis_caffe.viewer.compute.attributions import (
    NEEDS_REST,
    Abandoned,
    Attributed,
    FrameScore,
    attributed,
    frame_score,
)
from deepvis_caffe.viewer.compute.drivers import LiveDrivers
from deepvis_caffe.viewer.compute.weights import unit_weights
from deepvis_caffe.viewer.compute.worker import Pause
from deepvis_caffe.viewer.state.catalogue import Entry, as_maps
from deepvis_caffe.viewer.state.request import Frame, Request, Result
from deepvis_caffe.viewer.state.state import Scene, UnitRef
from deepvis_caffe.viewer.state.units import UnitWeights

# Identifies an attribution: frame number, resize mode, source and method.
Key = tuple[int, str, UnitRef | None, str]


class Compute:
    """The net as the viewer uses it: one frame at a time, on one thread.

    The values of a frame are cached until the next one, so that stepping through the layers of a
    still image recomputes nothing, including the backward pass from a frozen source.

    Parameters
    ----------
    net
        A net with an image input.
    scene
        The net's scene.

    Attributes
    ----------
    net
        The net; it is loaded by the first frame, if necessary.
    """

    def __init__(self, net: Net, scene: Scene) -> None:
        self.net, self._entries = net, scene.entries
        self._preprocessors = {
            how: replace(net.preprocessor, mean=net.preprocessor.full_mean, resize=how)
            for how in ("crop", "stretch")
        }
        shapes = {entry.name: entry.shape for entry in scene.entries}
        outputs = {name: shapes[name] for name in net.outputs if name in shapes}
        self._scores = class_blob(outputs, scene.labels)
        self._detector, self._scene = detector(net), scene
        self._numbers = count(1)
        self._pass: tuple[int, str] | None = None  # frame number and resize mode of the last pass
        self._values: dict[str, Floats] = {}
        self._x = np.zeros(0, np.float32)
        self._sent: tuple[UnitRef, str] | None = None  # source and mode of the cached diffs
        self._diffs: dict[str, Floats] = {}
        self._attributed: tuple[Key, Attributed] | None = None  # the last one
        self._last: Result | None = None
        self._weights: tuple[Entry, UnitWeights] | None = None  # of the last layer requested

    def another(self) -> Compute:
        """One for another thread, which numbers its results together with this one.

        If the net is reentrant, both may compute frames of a stream at once, unless a backward pass
        or drivers are requested.
        """
        other = Compute(self.net, self._scene)
        other._numbers = self._numbers
        return other

    def __call__(self, frame: Frame, request: Request) -> Result:
        """Compute what a request asks for, from one frame.

        Raises
        ------
        DeepVisError
            The picture does not fit the net, or the engine fails on it.
        """
        self.net = self.net.loaded()  # the first time it may load: no part of a frame's time
        begun = time.perf_counter()
        self._last = None  # if this fails, there is nothing to finish
        entry = self._entries[request.layer]
        rests = request.still or not frame.live
        many = request.source is not None and METHODS[request.back].many_passes
        asked = request.source if rests or not many else None
        source = self._entries[asked[0]] if asked else None
        wanted = [entry.name, *([self._scores] if request.scores and self._scores else [])]
        finder = self._detector if request.boxes else None
        wanted += finder.blobs if finder else ()
        if source:
            wanted.append(source.name)
        self._read(frame, request, wanted, source is not None or request.drivers is not None)
        found, diffs = Attributed(None), None
        score = self._score(asked, entry.name if request.diffs else "") if asked else None
        if many and not asked:
            found = Attributed(None, NEEDS_REST)
        elif self._attributed and self._attributed[0] == _key(frame, request):
            found = self._attributed[1]
        elif score and not many:
            found = attributed(score, request.back)
            self._attributed = _key(frame, request), found
        if score and request.diffs and not found.why_not:
            score.sent(request.back)  # runs nothing where these diffs are held
            diffs = as_maps(self._diffs[entry.name])
        self._last = Result(
            frame=frame,
            request=request,
            picture=self._preprocessors[request.resize].show(self._x),
            maps=as_maps(self._values[entry.name]),
            diffs=diffs,
            back=found.map,
            why_no_back=found.why_not,
            later=asked is not None and found.map is None and not found.why_not,
            weights=self._weights_of(entry) if request.weights else None,
            drivers=self._drivers(request.drivers, request.reach, self._values[entry.name])
            if request.drivers
            else None,
            scores=self._values[self._scores].reshape(-1)
            if request.scores and self._scores
            else None,
            boxes=self._boxes(finder) if finder else (),
            seconds=time.perf_counter() - begun,
            number=next(self._numbers),
        )
        return self._last

    @cached_property
    def _drivers(self) -> LiveDrivers:
        return LiveDrivers(self.net, self._scene)

    def finish(self, between: Pause) -> Result | None:
        """Compute the last result's pending attribution, and return the completed result.

        Returns None if none is pending, or if `between` asks to stop. A newer result takes
        precedence.

        Parameters
        ----------
        between
            Called between batches of passes, when the net is free for other work; returns whether
            to stop.
        """
        while self._last is not None and self._last.later:
            key = _key(self._last.frame, self._last.request)
            if self._attribute(self._last, key, between):
                assert self._attributed is not None
                found = self._attributed[1]
                self._last = replace(
                    self._last,
                    back=found.map,
                    why_no_back=found.why_not,
                    later=False,
                    number=next(self._numbers),
                )
                return self._last
            if between():
                return None
        return None

    def _attribute(self, result: Result, key: Key, between: Pause) -> bool:
        """Attribute by a method with many passes; return whether that was completed."""
        assert result.request.source is not None

        def pause() -> None:
            stops = between()
            if stops or self._last is None or _key(self._last.frame, self._last.request) != key:
                raise Abandoned

        try:
            score = self._score(result.request.source, "", pause)
            self._attributed = key, attributed(score, result.request.back)
        except Abandoned:
            return False
        return True

    def _weights_of(self, entry: Entry) -> UnitWeights:
        if self._weights is None or self._weights[0] is not entry:
            self._weights = entry, unit_weights(self.net, entry)
        return self._weights[1]

    def _boxes(self, finder: Detector) -> tuple[tuple[Box, str], ...]:
        found = finder.boxes(self._values, self._scene.box_score)
        return tuple((box, finder.name(self._scene.labels, box.label)) for box in found)

    def _read(self, frame: Frame, request: Request, wanted: list[str], keep: bool) -> None:
        """Get the values of the `wanted` blobs, running as little of the net as possible.

        `keep` keeps what a backward pass needs.
        """
        this = (frame.number, request.resize)
        if this != self._pass:
            self._pass = self._sent = None  # if this fails, the next call starts over
            self._x = self._preprocessors[request.resize](frame.picture)
            x = self._x[None]
            inputs = {self.net.image_input(): x, **self.net.other_inputs(x)}
            if frame.live and not keep:  # nothing else will be read before the next frame
                self._values = self.net.reduce(inputs, dict.fromkeys(wanted), self._copied)
                return
            self._values = self.net.forward(inputs, blobs=dict.fromkeys(wanted))
            self._pass = this
        missing = [name for name in dict.fromkeys(wanted) if name not in self._values]
        if missing:
            self._values |= self.net.read(missing)

    def _copied(self, name: str, value: Any) -> Floats:
        return np.asarray(self.net.ops.numpy(value), np.float32)

    def _score(
        self, source: UnitRef, blob: str = "", between: Callable[[], None] = lambda: None
    ) -> FrameScore:
        """The source's score, whose backward pass also caches the diffs of `blob`."""
        entry, unit = self._entries[source[0]], source[1]
        images = self.net.model.image_inputs

        def send(diff: Floats, mode: str) -> Floats:
            if (source, mode) != self._sent:
                self._sent, self._diffs = (source, mode), {}
            blobs = [*images, *([blob] if blob else [])]
            if any(name not in self._diffs for name in blobs):
                self._diffs |= self.net.backward(entry.layer, diff, mode, blobs)
            return np.asarray(np.sum([self._diffs[one][0] for one in images], axis=0))

        values = self._values[entry.name]
        return frame_score(self.net, entry, unit, values, self._x[None], send, between)


def _key(frame: Frame, request: Request) -> Key:
    return frame.number, request.resize, request.source, request.back
