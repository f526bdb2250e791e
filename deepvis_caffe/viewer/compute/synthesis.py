"""Optimizes images of the selected unit, and of all units in the grid, while the viewer is idle.

If the grid shows optimized images, the order is: one image of the selected unit, one of each other
unit, then the selected unit's other seeds. Images and files are those of ``deepvis optimize`` with
the same settings, so that either continues the other's work. New frames are computed between steps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import DeepVisError, in_words
from deepvis_caffe.figures.montage import cell_of, montage
from deepvis_caffe.image import read_image
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import (
    Ascents,
    recipe,
    record_fields,
    write_result,
)
from deepvis_caffe.jobs.top_image_starts import restarted
from deepvis_caffe.optimizer import AscentParams, AscentResult, Snapshot
from deepvis_caffe.optimizer.relu_inputs import unit_below_relu
from deepvis_caffe.optimizer.run import ascend_batches, make_batches
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.optimizer.targets import Target
from deepvis_caffe.results.layer_files import LayerFolder, UnitFiles, read_run
from deepvis_caffe.results.recipes import recipe_name
from deepvis_caffe.results.records import Box, Record
from deepvis_caffe.results.store import IN_PASSING, ResultStore
from deepvis_caffe.viewer.disk.library import Library
from deepvis_caffe.viewer.state.catalogue import Entry

log = logging.getLogger(__name__)

SHOW_EVERY = 0.1  # seconds between two updates of the image in progress

WAITING = "waiting for idle time"
SILENT = "nothing to maximize: the gradient is 0 from every start"
NOT_FINITE = "nothing to show: its activation is not finite"

Key = tuple[Entry, int]


@dataclass(frozen=True)
class _Wanted:
    """The images requested: all of one unit, and one of each of some others of its layer."""

    entry: Entry
    unit: int
    others: range

    @property
    def key(self) -> Key:
        return self.entry, self.unit


@dataclass(frozen=True)
class SynthesisParams:
    """How images are optimized.

    Attributes
    ----------
    params
        The parameters of the ascent.
    seeds
        The number of images per unit.
    """

    params: AscentParams
    seeds: int


@dataclass
class _Plan:
    """What is left to do for a unit. Layer and unit may be those below the unit's ReLU."""

    layer: str
    unit: int
    todo: list[int] = field(default_factory=list)
    target: TargetLayer | None = None  # None if the layer or the unit cannot be optimized
    found: bool = False  # whether the unit has an image
    keeps: bool = True  # whether results are saved
    note: str = ""

    @property
    def receptive_field(self) -> Box | None:
        """The unit's receptive field in the image, if known."""
        return self.target.receptive_field if self.target else None


class Synthesis:
    """Optimizes the missing images of the requested units: `Idle` work for the worker.

    Nothing is missing for a unit with images from another program or with other parameters, or if
    an equivalent unit of another layer has images. Files are never overwritten. Images that cannot
    be saved are shown anyway. Saved images are marked in their records (`IN_PASSING`), so that they
    never conflict with what a command writes.

    Parameters
    ----------
    net
        Used on the worker thread only, when this is called.
    library
        Receives the images; files go to its folder.
    params
        How images are made.
    """

    def __init__(self, net: Net, library: Library, params: SynthesisParams) -> None:
        self._given, self._library, self._params = net, library, params
        self._seeds = list(range(params.seeds))
        self._ascents = Ascents(params.params, self._seeds)
        self._wanted: _Wanted | None = None
        self._plans: dict[Key, _Plan] = {}

    @cached_property
    def _net(self) -> Net:
        return self._given.loaded()

    @cached_property
    def _job(self) -> Job:
        return Job(self._net, self._library.folder)

    def request(self, entry: Entry | None, unit: int = 0, others: range = range(0)) -> bool:
        """Request images of a unit, or of none (None); return whether the request has changed.

        May be called from any thread.

        Parameters
        ----------
        others
            Units that get one image each, after the first one of `unit`.
        """
        wanted = None if entry is None else _Wanted(entry, unit, others)
        if wanted == self._wanted:
            return False
        self._wanted = wanted
        if wanted is not None and wanted.key not in self._plans:
            self._library.set_progress(*wanted.key, note=WAITING)
        return True

    def __call__(self, between: Callable[[], bool]) -> bool:
        """Plan the images of a requested unit, or optimize the next one.

        Parameters
        ----------
        between
            Called between steps, when the net is free for other work; returns whether to stop. Its
            exceptions propagate; all others become the unit's note.

        Returns
        -------
        bool
            Whether there was anything to do.
        """
        wanted, key = self._wanted, self._next()
        if key is None:
            return False
        plan = self._plans.get(key)
        raised: list[BaseException] = []

        def stops() -> bool:
            try:
                return between() or (self._wanted != wanted and self._next() != key)
            except BaseException as error:
                raised.append(error)
                raise

        try:
            if plan is None:
                plan = self._plans[key] = self._planned(key)
            else:
                self._make(key, plan, stops)
        except Exception as error:
            if error in raised:
                raise
            plan = self._plans[key] = plan or _Plan(key[0].layer, key[1])
            plan.todo, plan.note = [], in_words(error)
            log.debug("no image of %s, unit %d", key[0].name, key[1], exc_info=error)
        finally:
            known = self._plans.get(key)
            self._library.set_progress(*key, note=known.note if known else None)
        return True

    # -- planning ------------------------------------------------------------------------------

    def _next(self) -> Key | None:
        """The unit to plan or to optimize next; None if there is nothing to do."""
        wanted = self._wanted
        if wanted is None:
            return None
        own = self._plans.get(wanted.key)
        if self._lacks_all(wanted.key):
            return wanted.key
        others = ((wanted.entry, unit) for unit in wanted.others)
        rest = wanted.key if own is not None and own.todo else None
        return next(filter(self._lacks_all, others), rest)

    def _lacks_all(self, key: Key) -> bool:
        """Whether a unit has no image yet, as far as known, and may get one."""
        plan = self._plans.get(key)
        return plan is None or bool(plan.todo and not plan.found)

    def _planned(self, key: Key) -> _Plan:
        entry, unit = key
        plan = self._plan(entry.layer, unit, self._seeds)
        self._look(plan, (entry.layer, entry.name))
        return plan

    def _plan(self, layer: str, unit: int, seeds: Iterable[int]) -> _Plan:
        """The plan for a unit without images; raises if the unit cannot be maximized."""
        target = TargetLayer.of(self._net, layer)
        target.check([unit])
        return _Plan(layer, unit, list(seeds), target)

    def _look(self, plan: _Plan, names: Sequence[str]) -> UnitFiles:
        """Remove from the plan what is on disk; everything, if that has other parameters."""
        same = self._library.same(names[-1])
        units = LayerFolder(self._library.folder, names, self._job.folders, same).files().units
        files = units.get(plan.unit, UnitFiles())
        if not files.optimized:
            return files
        missing = [seed for seed in plan.todo if not self._has(plan, [seed])]
        if missing == plan.todo:
            plan.todo, plan.keeps = [], False
        elif missing and not self._params.params.compares_images:  # else made together
            plan.todo = missing
        elif not missing:
            plan.todo = []
            self._keep(plan)
        plan.found = True
        return files

    def _go_below(self, key: Key, plan: _Plan, seed: int) -> bool:
        """Plan the unit below the ReLU that silences this one; return whether there is one."""
        below = unit_below_relu(self._net, plan.layer, plan.unit)
        if below is None:
            return False
        whole = self._params.params.compares_images
        lower = self._plan(*below, self._seeds if whole else [seed, *plan.todo])
        lower.note = f"silent behind a ReLU; below it: {lower.layer}, unit {lower.unit}"
        files = self._look(lower, [lower.layer])
        shown = {seed: read_run(one, [lower.layer]) for seed, one in files.runs.items()}
        if not shown and files.first is not None:
            shown = {seed: read_image(files.first)}
        for number, picture in shown.items():
            self._library.add(*key, number, picture)
        lower.found |= plan.found
        self._plans[key] = lower
        return True

    # -- optimizing ----------------------------------------------------------------------------

    def _make(self, key: Key, plan: _Plan, stops: Callable[[], bool]) -> None:
        # A diversity term couples a unit's images: they are optimized together or not at all.
        seeds = list(plan.todo) if self._params.params.compares_images else plan.todo[:1]
        assert plan.target is not None  # else there was nothing to do
        runs: list[tuple[Target, int]] = [(plan.unit, seed) for seed in seeds]
        batches = make_batches(
            self._net, plan.target, runs, self._params.params, batch_size=len(seeds)
        )
        shown = _Shown(self._library, key, plan.receptive_field)
        run = partial(ascend_batches, self._net, watch=shown, cancel=stops)
        found = restarted(self._job, plan.target, run(batches), run)
        results = [result for _, some in found for result in some]
        if any(result.stop == "cancelled" for result in results):
            return
        for result in results:
            plan.todo.remove(result.seed)
            if result.best_iteration is None:
                plan.note = plan.note or NOT_FINITE
            elif result.silent:
                if self._go_below(key, plan, result.seed):
                    return
                plan.note = "" if plan.found else SILENT
            else:
                plan.found = True
                picture = cell_of(result.symmetric_picture(), plan.receptive_field, result.window)
                self._library.add(*key, result.seed, picture, recipe_name(self._recipe(plan)))
                self._keep(plan, result)

    def _keep(self, plan: _Plan, result: AscentResult | None = None) -> None:
        """Save an image, and the montage once all images exist."""
        target, unit = plan.target, plan.unit
        if target is None or not plan.keeps or (result is None and self._finished(plan)):
            return
        own_recipe = self._recipe(plan)
        fields = {**record_fields(self._job, target, unit, own_recipe), IN_PASSING: True}
        claimed = [result.seed] if result else []
        try:
            self._store(plan).claim(plan.layer, [unit], claimed, own_recipe)
            store = self._job.store.take(plan.layer, own_recipe)
            if result and not self._has(plan, claimed):
                write_result(store, result, fields)
            if self._has(plan, self._seeds) and not self._finished(plan):
                store.write_montage(plan.layer, unit, self._seeds, fields)
        except DeepVisError as error:
            plan.keeps, plan.note = False, f"shown, but not saved: {in_words(error)}"

    def _has(self, plan: _Plan, seeds: Iterable[int]) -> bool:
        store, own_recipe = self._store(plan), self._recipe(plan)
        return all(store.has_run(plan.layer, plan.unit, seed, own_recipe) for seed in seeds)

    def _finished(self, plan: _Plan) -> bool:
        store, own_recipe = self._store(plan), self._recipe(plan)
        return store.finished(plan.layer, plan.unit, self._seeds, own_recipe)

    def _store(self, plan: _Plan) -> ResultStore:
        return self._job.store.of(plan.layer, self._recipe(plan))

    def _recipe(self, plan: _Plan) -> Record:
        assert plan.target is not None
        return recipe(self._job, plan.target, self._ascents)


class _Shown:
    """Passes the current images of an ascent to the library, a few times per second."""

    def __init__(self, library: Library, key: Key, receptive_field: Box | None) -> None:
        self._library, self._key, self._receptive_field = library, key, receptive_field
        self._next = 0.0

    def __call__(self, step: Snapshot) -> None:
        now = time.monotonic()
        if step.step == 0 or now < self._next:  # the first is noise
            return
        self._next = now + SHOW_EVERY
        pictures = step.pictures(symmetric=True)
        cells = [cell_of(one, self._receptive_field, step.window) for one in pictures]
        picture = cells[0] if len(cells) == 1 else montage(cells)
        self._library.set_progress(*self._key, picture, (step.step + 1) / step.steps)
