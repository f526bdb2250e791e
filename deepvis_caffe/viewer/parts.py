"""The threads and stores of one viewer: made, started, asked and ended together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from deepvis_caffe.attribution.attribute import METHODS
from deepvis_caffe.engines.base import Net
from deepvis_caffe.engines.detections import detector
from deepvis_caffe.image import Picture
from deepvis_caffe.limits import MEGAPIXELS
from deepvis_caffe.model.same_units import same_units
from deepvis_caffe.results.layout import net_folders, viewer_folder
from deepvis_caffe.viewer.compute.forward import Compute
from deepvis_caffe.viewer.compute.synthesis import Synthesis, SynthesisParams
from deepvis_caffe.viewer.compute.worker import Pause, Worker
from deepvis_caffe.viewer.disk.correlations import Correlations
from deepvis_caffe.viewer.disk.driver_pictures import DriverLibrary
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.disk.relations import Relations
from deepvis_caffe.viewer.sources.player import Player
from deepvis_caffe.viewer.sources.source import Pushed, Source
from deepvis_caffe.viewer.state.catalogue import catalogue, one_image_shapes, opaque_blobs
from deepvis_caffe.viewer.state.request import (
    Frame,
    Request,
    Result,
    UnitDrivers,
    request_of,
)
from deepvis_caffe.viewer.state.state import OTHER_METHODS, Scene, State, visible_units
from deepvis_caffe.viewer.threads import Newest

log = logging.getLogger(__name__)

NOTHING: Mapping[str, str] = MappingProxyType({})


class Parts:
    """What a session works with.

    Parameters
    ----------
    net
        Loaded, if it is not yet, and from then on used by the worker's thread alone.
    sources
        Where frames come from, at least one.
    results
        The results folder.
    synthesis
        How images of units are optimized, if they are.
    compute
        What the worker computes, ``(frame, request) -> result``; by default, `net` does.
    box_score
        A box that a detector finds is shown if it scores higher.
    megapixels
        The largest image that is read from a visitor's file.
    pictures_from
        By layer another one, whose units' pictures are shown where its own have none.
    layer_names
        By layer what the list of layers calls it.

    Attributes
    ----------
    scene, preprocessor
        Of the net.
    frames, results
        Slots with the newest frame and the newest result.
    player, library, correlations, worker
        The threads.
    loading
        Whether the net is still being loaded.
    channels, megapixels
        Of the net's input, and of the largest image that is read from a visitor's file.
    folder
        Where screenshots and videos go.
    """

    def __init__(
        self,
        net: Net,
        sources: Sequence[Source],
        results: Path,
        synthesis: SynthesisParams | None = None,
        compute: Callable[[Frame, Request], Result] | None = None,
        box_score: float = Scene.box_score,
        megapixels: float = MEGAPIXELS,
        pictures_from: Mapping[str, str] = NOTHING,
        layer_names: Mapping[str, str] = NOTHING,
    ) -> None:
        self.megapixels = megapixels
        self.scene = replace(scene_of(net, box_score), layer_names=layer_names)
        self.preprocessor = net.preprocessor
        self.channels = self.preprocessor.shape[0]
        self.folder = viewer_folder(results)
        self.frames: Newest[Frame] = Newest()
        self.results: Newest[Result] = Newest()
        self._changed: Callable[[], None] = lambda: None
        self._pushed: Pushed | None = None
        folders = net_folders(net.model.graph)
        self.library = Library(
            results,
            lambda: self._changed(),
            folders=folders,
            same=partial(same_units, net.model, pictures_from=dict(pictures_from)),
        )
        self.correlations = Correlations(results, lambda: self._changed())
        self.relations = Relations(self.library, self.correlations, self.scene)
        self.driver_pictures = DriverLibrary(self.library, self.scene)
        self._synthesis = Synthesis(net, self.library, synthesis) if synthesis else None
        self._finish: Callable[[Pause], Result | None] = lambda between: None
        if compute is None:
            own = Compute(net, self.scene)
            compute, self._finish = own, own.finish
        self.loading = True
        self.worker = Worker(
            compute, self.results, lambda: self._changed(), self._idle, partial(self._load, net)
        )
        for source in sources:
            source.channels = self.channels
        self.player = Player(sources, self._show)

    def start(self, changed: Callable[[], None]) -> None:
        """Start every thread. `changed` is called whenever there may be something new to show."""
        self._changed = changed
        self.library.start()
        self.correlations.start()
        self.worker.start()
        self.player.start()

    def push(self, picture: Picture, name: str) -> None:
        """Make a picture from outside the input, until another source is chosen."""
        if self._pushed is None:
            self._pushed = Pushed(name)
            self.player.select(self._pushed)
        self._pushed.push(picture)

    def end_push(self) -> None:
        """Give the input back to what it was before the first `push`."""
        if self._pushed is not None:
            self.player.drop(self._pushed)
            self._pushed = None

    @property
    def makes_images(self) -> bool:
        """Whether this viewer can optimize images of units."""
        return self._synthesis is not None

    def request(self, state: State, drivers: UnitDrivers | None = None) -> None:
        """Ask the threads for everything that a state shows, with the drivers that are shown.

        This is the only place that asks; everything else reads what is known by now. It is called
        for every frame, and costs next to nothing where nothing is missing.
        """
        entry = self.scene.entries[state.layer]
        self.worker.request(request_of(state, self.scene))
        if state.correlation:
            self.correlations.request(entry)
        self.library.show_recipe(state.recipe)
        self.driver_pictures.request(drivers)
        units = [state.unit] if state.unit_images else []
        units += [unit for unit, _ in self.relations.partners(state)]
        self.library.request(entry, units, state.optimized)
        wanted = entry if state.synthesis else None
        others = visible_units(entry, state) if state.optimized else range(0)
        if self._synthesis is not None and self._synthesis.request(wanted, state.unit, others):
            self.worker.nudge()

    def close(self, timeout: float | None = None) -> bool:
        """End every thread; whether all of them ended in time.

        Parameters
        ----------
        timeout
            Seconds that each may take to finish its current work; None is each one's own default.
        """
        threads = (self.player, self.worker, self.library, self.correlations)
        ended = [one.close() if timeout is None else one.close(timeout) for one in threads]
        return all(ended)

    def _load(self, net: Net) -> None:
        net.loaded()
        self.loading = False
        self._changed()

    def _idle(self, between: Pause) -> bool:
        """The worker's idle work: what is shown comes before what may be looked at later."""
        finished = self._finish(between)
        if finished is not None:
            self.results.put(finished)
            self._changed()
            return True
        return self._synthesis is not None and self._synthesis(between)

    def _show(self, frame: Frame) -> None:
        self.frames.put(frame)
        self.worker.show(frame)
        self._changed()


def scene_of(net: Net, box_score: float = Scene.box_score) -> Scene:
    """What there is to look at in a net.

    Raises
    ------
    ImageError
        Its first input holds no pictures.
    EngineError
        It has no layers to show, or cannot run with batch size 1.
    """
    shapes = one_image_shapes(net)
    entries = catalogue(net, shapes)
    why_not = {name: why for name in OTHER_METHODS if (why := METHODS[name].why_not(net))}
    return Scene(
        entries=entries,
        labels=net.labels,
        model=net.model.graph.name,
        engine=f"{net.engine}, {net.device}",
        input_size=net.preprocessor.shape[1:],
        box_score=box_score,
        finds_boxes=detector(net) is not None,
        opaque=opaque_blobs(net, entries, shapes),
        methods=tuple(name for name in OTHER_METHODS if name not in why_not),
        left_out=_left_out(why_not),
    )


def _left_out(why_not: Mapping[str, str]) -> str:
    """Which methods are left out, and why: ``"LRP-epsilon, LRP-z+ left out: ..."``."""
    groups: dict[str, list[str]] = {}
    for name, why in why_not.items():
        groups.setdefault(why, []).append(METHODS[name].title)
    return "; ".join(f"{', '.join(titles)} left out: {why}" for why, titles in groups.items())
