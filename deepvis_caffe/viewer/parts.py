"""The threads and stores of one viewer: created, started, queried and closed together."""

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
from deepvis_caffe.viewer.compute.pairs import Pairs
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
    """Everything that a session works with.

    Parameters
    ----------
    net
        Loaded on the worker's thread if necessary, and used on its threads only from then on.
    sources
        Sources of frames, at least one.
    results
        The results folder.
    synthesis
        How to optimize images of units; None to make none.
    compute
        The worker's function, ``(frame, request) -> result``; by default, it runs `net`.
    box_score
        A detector's box is shown if its score is higher.
    megapixels
        The largest image that is read from a visitor's file.
    pictures_from
        Maps a layer to another one, whose units' pictures stand in for missing ones.
    layer_names
        Display names in the list of layers, by layer.

    Attributes
    ----------
    scene, preprocessor
        Those of the net.
    frames, results
        Latest-value slots of frames and results.
    player, library, correlations, worker
        The threads.
    loading
        Whether the net is still being loaded.
    channels, megapixels
        Channels of the net's input, and the largest image that is read from a visitor's file.
    folder
        The folder for screenshots and videos.
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
        pairs = None
        if compute is None:
            own = Compute(net, self.scene)
            compute, self._finish, pairs = own, own.finish, Pairs(own)
        self.loading = True
        self.worker = Worker(
            compute,
            self.results,
            lambda: self._changed(),
            self._idle,
            partial(self._load, net),
            pairs,
        )
        for source in sources:
            source.channels = self.channels
        self.player = Player(sources, self._show)

    def start(self, changed: Callable[[], None]) -> None:
        """Start all threads. `changed` is called whenever there may be something new to show."""
        self._changed = changed
        self.library.start()
        self.correlations.start()
        self.worker.start()
        self.player.start()

    def push(self, picture: Picture, name: str) -> None:
        """Make a picture from a front end the input, until another source is chosen."""
        if self._pushed is None:
            self._pushed = Pushed(name)
            self.player.select(self._pushed)
        self._pushed.push(picture)

    def end_push(self) -> None:
        """Return to the source that was read before the first `push`."""
        if self._pushed is not None:
            self.player.drop(self._pushed)
            self._pushed = None

    @property
    def makes_images(self) -> bool:
        """Whether this viewer can optimize images of units."""
        return self._synthesis is not None

    def request(self, state: State, drivers: UnitDrivers | None = None) -> None:
        """Request everything that a state shows, including the given drivers, from the threads.

        This is the only place that sends requests; everything else reads what is known so far. It
        is called for every frame, and costs next to nothing if nothing is missing.
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
        """End all threads; return whether all ended in time.

        Parameters
        ----------
        timeout
            Seconds that each may take to finish its current work; None for each one's default.
        """
        threads = (self.player, self.worker, self.library, self.correlations)
        ended = [one.close() if timeout is None else one.close(timeout) for one in threads]
        return all(ended)

    def _load(self, net: Net) -> None:
        net.loaded()
        self.loading = False
        self._changed()

    def _idle(self, between: Pause) -> bool:
        """The worker's idle work: pending attributions first, then synthesis."""
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
    """The scene of a net.

    Raises
    ------
    ImageError
        Its first input is not an image input.
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
