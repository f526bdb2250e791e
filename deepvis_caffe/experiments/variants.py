"""One unit under many sets of parameters: ``(net, units, seeds, [parameters]) -> runs on disk``.

What sweeps, searches and comparisons of presets are made of. Each set of parameters has a results
folder of its own, named by a digest of everything that decides the pixels::

    <folder>/runs/<digest>/regularized_opt/<layer>/<layer>_<unit:04d>_<seed>_best_X.png and so on

So no two sets share a picture, what one figure has made another finds, and an interrupted figure
goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError
from deepvis_caffe.image import Picture, read_image
from deepvis_caffe.jobs.optimize import (
    Shard,
    batches,
    model_names,
    recipe,
    run_shards,
    seen_window,
    write_result,
)
from deepvis_caffe.model.labels import Labels, label_of
from deepvis_caffe.optimizer import AscentParams, Position
from deepvis_caffe.optimizer.batching import resolve_batch_size, unit_shape
from deepvis_caffe.optimizer.objectives import UnitName, check_units, resolve_position
from deepvis_caffe.optimizer.run import unit_window
from deepvis_caffe.results.records import Record, read_record
from deepvis_caffe.results.store import ResultStore

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Variants:
    """Runs of some units under any number of sets of parameters.

    Parameters
    ----------
    net, layer, units, seeds, position, batch_size
        As for `optimize`.
    folder
        Where runs are kept.
    labels
        Names of the units of the layers that have as many.
    """

    net: Net
    folder: Path
    layer: str
    units: Sequence[int]
    seeds: Sequence[int] = (0,)
    position: Position = "center"
    labels: Labels = ()
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_units(self.units, self._shape, self.layer)

    def make(
        self, several: Iterable[AscentParams], progress: Progress | None = None
    ) -> list[ResultStore]:
        """Run what is missing, and write each batch as soon as it has run.

        Parameters
        ----------
        several
            The sets of parameters; those that are there twice run once.
        progress
            Called with the image steps that are done and that there are to do.

        Returns
        -------
        list of ResultStore
            One for each set in turn.
        """
        several = list(several)
        missing = {params: self.missing(params) for params in several}
        shards = [
            Shard(self.layer, tuple(units), tuple(seeds), params, self.position)
            for params, seeds_of in missing.items()
            if any(seeds_of.values())
            for units, seeds in batches(seeds_of, self._most, whole=params.diversity > 0)
        ]
        with closing(run_shards(self.net, shards, progress=progress)) as found:
            for shard, results in found:
                store = self.store(shard.params)
                for result in results:
                    write_result(store, result, self.about(result.unit, shard.params))
        return [self.store(params) for params in several]

    def store(self, params: AscentParams) -> ResultStore:
        """Where the runs of one set of parameters are."""
        made_by = json.dumps(self._recipe(params), sort_keys=True)
        digest = hashlib.blake2b(made_by.encode(), digest_size=8).hexdigest()
        return ResultStore(self.folder / "runs" / digest)

    def missing(self, params: AscentParams) -> dict[int, list[int]]:
        """The seeds that have not run yet, by unit."""
        store, made_by = self.store(params), self._recipe(params)
        return {
            unit: [
                seed for seed in self.seeds if not store.has_run(self.layer, unit, seed, made_by)
            ]
            for unit in self.units
        }

    def has_all(self, params: AscentParams) -> bool:
        """Whether every unit and seed has run."""
        return not any(self.missing(params).values())

    def cell(self, params: AscentParams, unit: int, seed: int) -> Picture:
        """One run's picture as figures show it, see `ResultStore.cell`."""
        return self.store(params).cell(self.layer, unit, seed)

    def picture(self, params: AscentParams, unit: int, seed: int) -> Picture:
        """One run's picture with the mean, as a net would see it."""
        return read_image(self.store(params).picture(self.layer, unit, seed, "best_Xpm"))

    def record(self, params: AscentParams, unit: int, seed: int) -> Record:
        """One run's record."""
        path = self.store(params).record(self.layer, unit, seed)
        record = read_record(path)
        if record is None:
            raise ImageError(f"{path} is gone or damaged; give the same command again")
        return record

    def label(self, unit: int) -> str | None:
        """A unit's name, up to its first comma; None where it has none."""
        name = label_of(self.labels, unit, (self._shape or (1,))[0])
        return name.split(",")[0] if name else None

    def title(self, unit: int) -> str:
        """``pool10 unit 366, gorilla``."""
        name = self.label(unit)
        return f"{self.layer} unit {unit}" + (f", {name}" if name else "")

    def about(self, unit: UnitName, params: AscentParams) -> Record:
        """What a run's record says besides the result itself."""
        return {
            "label": label_of(self.labels, int(unit), (self._shape or (1,))[0]),
            "model": model_names(self.net),
            "sees": seen_window(self.net, self.layer, self._shape, self.position),
            "recipe": self._recipe(params),
        }

    # -- parts -------------------------------------------------------------------------------

    def _recipe(self, params: AscentParams) -> Record:
        return {**self._base, "params": params.record()}

    @cached_property
    def _base(self) -> dict[str, Any]:  # its fingerprint reads every weight
        return recipe(self.net, AscentParams(), self.position)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return unit_shape(self.net, self.layer)

    @cached_property
    def _most(self) -> int:
        images = len(self.units) * len(self.seeds)
        where = resolve_position(self.position, self._shape, self.layer)
        window = unit_window(self.net, self.layer, where)
        return resolve_batch_size(self.net, self.layer, self.batch_size, images, window)


def activation(record: Record) -> str:
    """What a run reached, as figures write it; or why it reached nothing."""
    value = record["best_value"]
    if value is None:
        return str(record["stop"])
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
