"""Runs of units under many sets of parameters: ``(job, units, seeds, [params]) -> runs on disk``.

Sweeps, searches and comparisons of presets are made of these. Each set of parameters has its own
results folder, named by a digest of everything that determines the pixels, see
`deepvis_caffe.results.layout.run_folder`. So no two sets share a picture, one experiment reuses the
runs of another, and an interrupted one resumes where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deepvis_caffe.errors import ResultsError
from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.jobs.batches import make_batches, run_batches
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, recipe, record_fields, write_result
from deepvis_caffe.model.labels import label_of, short_label
from deepvis_caffe.optimizer import AscentParams
from deepvis_caffe.optimizer.target_layer import TargetLayer
from deepvis_caffe.optimizer.targets import check_units
from deepvis_caffe.progress import ProgressCallback
from deepvis_caffe.results.layout import BEST_XPM, run_folder
from deepvis_caffe.results.records import Record, read_record
from deepvis_caffe.results.store import ResultStore


@dataclass(frozen=True, eq=False)
class Variants:
    """Runs of some units under any number of sets of parameters.

    Parameters
    ----------
    job
        Runs go to a folder within its results.
    target
        The units' layer.
    units, seeds, batch_size
        As for `optimize`.
    """

    job: Job
    target: TargetLayer
    units: Sequence[int]
    seeds: Sequence[int] = (0,)
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_units(self.units, self.target.shape, self.layer)

    @property
    def layer(self) -> str:
        """The layer's name."""
        return self.target.name

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.job.results

    def make(
        self, several: Iterable[AscentParams], progress: ProgressCallback | None = None
    ) -> list[ResultStore]:
        """Run the missing runs, and write each batch as soon as it has run.

        Parameters
        ----------
        several
            The sets of parameters; one that occurs twice runs once.
        progress
            Called with the number of image steps done, and their total.

        Returns
        -------
        list of ResultStore
            One for each set, in order.
        """
        several = list(several)
        missing = {
            params: [(unit, seed) for unit, some in self.missing(params).items() for seed in some]
            for params in several
        }
        todo = make_batches(self.job, self.target, missing, self.batch_size)
        with closing(run_batches(self.job.reporting(progress), todo)) as found:
            for batch, results in found:
                store, own_recipe = self.store(batch.params), self._recipe(batch.params)
                for result in results:
                    fields = record_fields(self.job, self.target, int(result.unit), own_recipe)
                    write_result(store, result, fields)
        return [self.store(params) for params in several]

    def store(self, params: AscentParams) -> ResultStore:
        """The results folder of one set of parameters."""
        text = json.dumps(self._recipe(params), sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        return ResultStore(run_folder(self.folder, digest), self.job.folders)

    def missing(self, params: AscentParams) -> dict[int, list[int]]:
        """The seeds that have not run yet, by unit."""
        store, own_recipe = self.store(params), self._recipe(params)
        return {
            unit: [
                seed for seed in self.seeds if not store.has_run(self.layer, unit, seed, own_recipe)
            ]
            for unit in self.units
        }

    def has_all(self, params: AscentParams) -> bool:
        """Whether every unit and seed has run."""
        return not any(self.missing(params).values())

    def cell(self, params: AscentParams, unit: int, seed: int) -> Picture:
        """The picture of one run as figures show it, see `ResultStore.cell`."""
        return self.store(params).cell(self.layer, unit, seed)

    def picture(self, params: AscentParams, unit: int, seed: int) -> Picture:
        """The picture of one run with the mean, as a net sees it."""
        return read_image(self.store(params).picture(self.layer, unit, seed, BEST_XPM))

    def record(self, params: AscentParams, unit: int, seed: int) -> Record:
        """The record of one run."""
        path = self.store(params).record(self.layer, unit, seed)
        record = read_record(path)
        if record is None:
            raise ResultsError(f"{path} is missing or damaged; give the same command again")
        return record

    def label(self, unit: int) -> str | None:
        """A unit's label up to its first comma; None if it has none."""
        name = label_of(self.job.net.labels_of(self.layer), unit, self.target.count)
        return short_label(name) or None

    def title(self, unit: int) -> str:
        """``pool10 unit 366, gorilla``."""
        name = self.label(unit)
        return f"{self.layer} unit {unit}" + (f", {name}" if name else "")

    def _recipe(self, params: AscentParams) -> Record:
        return {**self._base, "params": params.record()}

    @cached_property
    def _base(self) -> Record:
        return recipe(self.job, self.target, Ascents(AscentParams()))


def activation(record: Record) -> str:
    """The activation that a run reached, as text; or why it reached none."""
    value = record["best_value"]
    if value is None:
        return str(record["stop"])
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
