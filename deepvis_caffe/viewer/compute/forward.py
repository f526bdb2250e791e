"""One frame through the net: ``(frame, request) -> result``. Only what is shown is computed."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.detections import Box, Detector, detector
from deepvis_caffe.image import Floats
from deepvis_caffe.model.labels import class_blob
from deepvis_caffe.viewer.compute.drivers import LiveDrivers
from deepvis_caffe.viewer.state.catalogue import as_maps, as_values
from deepvis_caffe.viewer.state.request import Frame, Request, Result
from deepvis_caffe.viewer.state.state import Scene, UnitRef


class Compute:
    """The net as the viewer uses it: one frame at a time, on one thread.

    The values of a frame are kept until the next one, so that stepping through the layers of a
    still image computes nothing again, nor does the backward pass of a frozen source.

    Parameters
    ----------
    net
        Its image input holds pictures.
    scene
        Of that net.
    """

    def __init__(self, net: Net, scene: Scene) -> None:
        self._net, self._entries = net, scene.entries
        self._preprocessors = {
            how: replace(net.preprocessor, mean=net.preprocessor.full_mean, resize=how)
            for how in ("crop", "stretch")
        }
        shapes = {entry.name: entry.shape for entry in scene.entries}
        outputs = {name: shapes[name] for name in net.outputs if name in shapes}
        self._scores = class_blob(outputs, scene.labels)
        self._detector, self._scene = detector(net), scene
        self._drivers = LiveDrivers(net, scene)
        self._numbers = count(1)
        self._pass: tuple[int, str] | None = None  # frame's number and resize of the last forward
        self._values: dict[str, Floats] = {}
        self._x = np.zeros(0, np.float32)
        self._sent: tuple[UnitRef, str] | None = None  # source and mode of the diffs that are held
        self._diffs: dict[str, Floats] = {}

    def __call__(self, frame: Frame, request: Request) -> Result:
        """Compute what a request asks for, from one frame.

        Raises
        ------
        DeepVisError
            The picture does not fit the net, or the engine fails on it.
        """
        begun = time.perf_counter()
        entry, net = self._entries[request.layer], self._net
        source = self._entries[request.source[0]] if request.source else None
        wanted = [entry.name, *([self._scores] if request.scores and self._scores else [])]
        finder = self._detector if request.boxes else None
        wanted += finder.blobs if finder else ()
        if source:
            wanted.append(source.name)
        self._read(frame, request, wanted)
        back, diffs = None, None
        if request.source and request.back != "off":
            images = net.model.image_inputs
            blobs = [*images, *([entry.name] if request.diffs else [])]
            found = self._backward(request.source, request.back, blobs)
            back = np.sum([found[image][0] for image in images], axis=0)
            diffs = as_maps(found[entry.name]) if request.diffs else None
        return Result(
            frame=frame,
            request=request,
            picture=self._preprocessors[request.resize].show(self._x),
            maps=as_maps(self._values[entry.name]),
            diffs=diffs,
            back=back,
            drivers=self._drivers(request.drivers, self._values[entry.name])
            if request.drivers
            else None,
            scores=self._values[self._scores].reshape(-1)
            if request.scores and self._scores
            else None,
            boxes=self._boxes(finder) if finder else (),
            seconds=time.perf_counter() - begun,
            number=next(self._numbers),
        )

    def _boxes(self, finder: Detector) -> tuple[tuple[Box, str], ...]:
        found = finder.boxes(self._values, self._scene.box_score)
        return tuple((box, finder.name(self._scene.labels, box.label)) for box in found)

    def _read(self, frame: Frame, request: Request, wanted: list[str]) -> None:
        """Get the values of these blobs, and run as little of the net as possible for them."""
        this = (frame.number, request.resize)
        if this != self._pass:
            self._pass = self._sent = None  # if this fails, the next call starts over
            self._x = self._preprocessors[request.resize](frame.picture)
            x = self._x[None]
            inputs = {self._net.image_input(): x, **self._net.other_inputs(x)}
            passes_back = request.back != "off" or request.drivers is not None
            if frame.live and not passes_back:  # the next frame comes before more is asked
                self._values = self._net.reduce(inputs, dict.fromkeys(wanted), self._copied)
                return
            self._values = self._net.forward(inputs, blobs=dict.fromkeys(wanted))
            self._pass = this
        missing = [name for name in dict.fromkeys(wanted) if name not in self._values]
        if missing:
            self._values |= self._net.read(missing)

    def _copied(self, name: str, value: Any) -> Floats:
        return np.array(self._net.ops.numpy(value), np.float32, order="C")

    def _backward(self, source: UnitRef, mode: str, blobs: list[str]) -> dict[str, Floats]:
        """Diffs of these blobs; the pass starts from the unit's own activations, as DVT's does."""
        if (source, mode) != self._sent:
            self._sent, self._diffs = (source, mode), {}
        if any(name not in self._diffs for name in blobs):
            entry, unit = self._entries[source[0]], source[1]
            values = self._values[entry.name]
            maps = as_maps(values)
            one = np.zeros_like(maps)
            one[unit] = maps[unit]
            diff = as_values(one, values.shape)
            self._diffs |= self._net.backward(entry.layer, diff, mode, blobs)
        return self._diffs
