"""Feature visualization from Python, with files: ``(net, layer or objective) -> Runs``.

`optimize` is `deepvis_caffe.optimizer.optimize` with a results folder: finished runs are written to
it, and the same call resumes after an interruption. `Runs` are results that can be saved;
`load_runs` reads them back.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, product
from pathlib import Path
from typing import Any

import numpy as np

from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import (
    ImageError,
    ResultsError,
    SettingsError,
    UnknownNameError,
    boundary,
)
from deepvis_caffe.image import read_image
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.optimize import Ascents, missing_runs, store_of, write_layer
from deepvis_caffe.jobs.top_image_starts import Batches, restarted
from deepvis_caffe.optimizer.objective import Objective
from deepvis_caffe.optimizer.params import AscentParams
from deepvis_caffe.optimizer.presets import DEFAULT, params_from_record
from deepvis_caffe.optimizer.rates import Rate
from deepvis_caffe.optimizer.result import AscentResult, AscentResults, FirstTop, Snapshot
from deepvis_caffe.optimizer.run import (
    AscentBatch,
    ascend_batches,
    ascent_params,
    check_reproducible,
    check_seeds,
    make_batches,
    resolve_targets,
)
from deepvis_caffe.optimizer.target_layer import Crop, TargetLayer
from deepvis_caffe.optimizer.targets import (
    Direction,
    Position,
    Target,
    UnitName,
    name_of,
    plain_position,
)
from deepvis_caffe.progress import ProgressCallback
from deepvis_caffe.results.layout import BEST_XPM
from deepvis_caffe.results.records import read_record
from deepvis_caffe.results.store import SavedRun


@dataclass(frozen=True)
class Work:
    """What one call of `optimize` maximizes, and how."""

    net: Net
    layers: tuple[tuple[TargetLayer, tuple[Target, ...]], ...]
    ascents: Ascents
    reproducible: bool = False


class Runs(AscentResults):
    """Results of `optimize`, in order; a notebook displays them."""

    def __init__(self, results: Iterable[AscentResult] = (), work: Work | None = None) -> None:
        super().__init__(results)
        self._work = work

    def save(self, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the pictures and records into a results folder, with a montage of each unit.

        Cancelled runs are left out; ``optimize(..., results=folder)`` completes them.

        Parameters
        ----------
        folder
            A results folder for the commands, the viewer and the gallery.
        overwrite
            Whether results of another net may be replaced.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        SettingsError
            The folder has results of another net, and `overwrite` is not set; or these results are
            a selection, or were read from a folder.
        ResultsError, ImageError
            The folder cannot be written, or another program made a picture in it.
        """
        if self._work is None:
            raise SettingsError(
                "only the whole result of optimize can be saved; these results are a selection, or "
                "were read from a folder"
            )
        net, ascents = self._work.net, self._work.ascents
        reproducible = self._work.reproducible
        job = Job(net, Path(folder), overwrite=overwrite, reproducible=reproducible)
        have = {(run.layer, run.unit, run.seed): run for run in self}
        layers = self._work.layers
        all_missing = [  # before any is written
            missing_runs(job, layer, targets, ascents) for layer, targets in layers
        ]
        for (layer, targets), missing in zip(layers, all_missing, strict=True):
            own = [(layer.name, name_of(target), seed) for target, seed in missing]
            made = [have[key] for key in own if key in have]
            batch = AscentBatch(layer.name, tuple(missing), ascents.params, layer.position)
            write_layer(job, layer, targets, ascents, missing, [(batch, made)])
        return Path(folder)


def optimize(
    net: Net,
    layer: str | Objective | Iterable[Objective],
    units: int | str | Direction | Iterable[Any] | None = None,
    seeds: int | Iterable[int] = 1,
    preset: int | str | AscentParams = DEFAULT,
    position: Position = "center",
    iterations: int | None = None,
    rate: Rate | float | str = "auto",
    batch_size: int | None = None,
    crop: Crop = "auto",
    progress: ProgressCallback | None = None,
    cancel: Callable[[], bool] | None = None,
    watch: Callable[[Snapshot], None] | None = None,
    results: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    reproducible: bool = False,
    **changes: Any,
) -> Runs:
    """Find images that maximize units or objectives, like `deepvis_caffe.optimizer.optimize`.

    >>> runs = optimize(net, "pool10", units=[130, 340], seeds=range(9), results="results")
    >>> goal = unit("pool10", 130) + 0.5 * unit("fire5/concat", 12)
    >>> optimize(net, goal, seeds=range(9)).save("results")

    Parameters
    ----------
    net, layer, units, seeds, preset, position, iterations, rate, batch_size, crop
        As for `deepvis_caffe.optimizer.optimize`; so are `progress`, `cancel`, `watch`,
        `reproducible` and `changes`.
    results
        A results folder. Each batch is written as soon as it has run, beside results of other
        parameters. Runs that are there already are read instead of run again, so the same call
        resumes after an interruption. Images that are read come from their pictures, and are exact
        to half a gray level. None writes no files.
    overwrite
        Whether results of another net in that folder may be replaced.

    Returns
    -------
    Runs
        A list of `AscentResult`: unit by unit, one per seed.

    Raises
    ------
    UnknownNameError, SettingsError, EngineError
        As `deepvis_caffe.optimizer.optimize`.
    SettingsError, ResultsError, ImageError
        As `Runs.save`.
    """
    params = ascent_params(preset, rate, iterations, **changes)
    ascents = Ascents(params, check_seeds(seeds), crop, batch_size)
    layers = [
        (own, tuple(dict.fromkeys(targets)))
        for own, targets in resolve_targets(net, layer, units, position)
    ]
    if reproducible:
        check_reproducible(net)
    runs = Runs(work=Work(net, tuple(layers), ascents, reproducible))
    job = (
        Job(net, Path(results), overwrite=overwrite, reproducible=reproducible)
        if results is not None
        else None
    )
    missing = [
        missing_runs(job, own, targets, ascents)
        if job
        else [(target, seed) for target in targets for seed in ascents.seeds]
        for own, targets in layers
    ]  # of every layer before the first step: a conflict is found before work is lost
    batches = [
        make_batches(net, own, some, params, crop, batch_size, reproducible)
        for (own, _), some in zip(layers, missing, strict=True)
    ]
    computed = ascend_batches(net, list(chain.from_iterable(batches)), progress, watch, cancel)
    for (own, targets), some, of_layer in zip(layers, missing, batches, strict=True):
        found: dict[tuple[UnitName, int], AscentResult] = {}
        lacking = set(some)
        ran: Batches = islice(computed, len(of_layer))
        if job:
            again = partial(ascend_batches, net, watch=watch, cancel=cancel)
            ran = restarted(job, own, ran, again)
        new = _kept(ran, found)
        if job:
            write_layer(job, own, targets, ascents, some, new)
        else:
            deque(new, 0)  # only to run them
        for target, seed in product(targets, ascents.seeds):
            name = name_of(target)
            if (name, seed) in found:
                runs.append(found[name, seed])
            elif job and (target, seed) not in lacking:
                store = store_of(job, own, ascents)
                runs.append(_load(net, SavedRun(store, own.name, name, seed)))
    return runs


def _kept(
    batches: Batches, found: dict[tuple[UnitName, int], AscentResult]
) -> Iterator[tuple[AscentBatch, Sequence[AscentResult]]]:
    """The batches as they come; their results are also added to `found`."""
    for batch, results in batches:
        found.update({(result.unit, result.seed): result for result in results})
        yield batch, results


def load_runs(
    net: Net,
    folder: str | os.PathLike[str],
    layer: str | None = None,
    recipe: str | None = None,
) -> AscentResults:
    """Read the runs in a results folder.

    Parameters
    ----------
    net
        The net of the runs.
    folder
        A results folder.
    layer
        The layer to read; None for all layers.
    recipe
        The recipe to read, by the name of its folder: ``"preset3"``. None for the best of each
        unit: preset best, or else the most recently begun.

    Returns
    -------
    AscentResults
        By layer, unit and seed. Their images come from the pictures, exact to half a gray level,
        and `FirstTop.image` is None.

    Raises
    ------
    ResultsError
        There is no such folder, or a run in it is damaged or of another net.
    UnknownNameError
        The net has no such layer, or the folder has no runs by that recipe.
    """
    store = Job(net, Path(folder)).store
    if layer is not None:
        net.model.graph.activation(layer)
    if not store.folder.is_dir():
        raise ResultsError(f"there is no results folder {store.folder}")
    saved = store.saved_runs(layer, recipe)
    if recipe is not None and not saved:
        raise UnknownNameError("recipe", recipe, store.recipes(layer), str(store.folder))
    return AscentResults(_load(net, run) for run in saved)


def _load(net: Net, run: SavedRun) -> AscentResult:
    store, layer, unit, seed = run
    path = store.record(layer, unit, seed)
    record = read_record(path) or {}
    recipe = record.get("recipe")
    if not isinstance(recipe, dict) or recipe.get("net") != net.fingerprint:
        raise ResultsError(f"{path} is from another net, or was made with other preprocessing")
    preprocessor = net.preprocessor
    with _damage_reported(path):
        window = tuple(record["window"]) if record["window"] else None
        if window:
            top, left, bottom, right = window
            preprocessor = preprocessor.cut(slice(top, bottom), slice(left, right))
        first = record["met_top_iteration"]
        best = record["best_iteration"]
        return AscentResult(
            layer=layer,
            unit=unit,
            seed=seed,
            position=plain_position(record["position"]),
            image=preprocessor(read_image(store.picture(layer, unit, seed, BEST_XPM))),
            window=window,
            activations=_floats(record["objective"]),
            best_iteration=best,
            first_top=None if first is None else FirstTop(first, None),
            stop=record["stop"],
            params=params_from_record(record["params"], partly=True),
            engine=record["engine"],
            version=record["version"],
            preprocessor=preprocessor,
            objective_text=record.get("goal", ""),
            label=record.get("label"),
            computed=dict(record.get("computed") or {}),
            redirected_steps=int(record.get("redirected_steps", 0)),
            started_from=record.get("started_from"),
        )


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    what = f"{path} and its pictures cannot be read"
    with boundary(ResultsError, what):
        try:
            yield
        except (SettingsError, UnknownNameError, ImageError) as error:
            raise ResultsError(f"{what}: {error}") from error


def _floats(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values], np.float32)
