"""A layer's optimized images, from net to files: ``(job, layer, units, ascents) -> files``.

Every batch of ascents is written as soon as it has run, and runs that are on disk already are
skipped. So the work can be interrupted at any time, and the same call resumes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deepvis_caffe.errors import ResultsError, boundary
from deepvis_caffe.figures.montage import cell_of
from deepvis_caffe.image import Picture
from deepvis_caffe.jobs.batches import make_batches, run_batches
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.jobs.top_image_starts import can_restart, restarted
from deepvis_caffe.model.labels import Labels, label_of, short_label
from deepvis_caffe.optimizer import AscentParams, AscentResult
from deepvis_caffe.optimizer.result import is_silent
from deepvis_caffe.optimizer.run import AscentBatch
from deepvis_caffe.optimizer.start import start_digest
from deepvis_caffe.optimizer.target_layer import Crop, TargetLayer
from deepvis_caffe.optimizer.targets import Target, UnitName, name_of
from deepvis_caffe.results.layout import BEST_X, BEST_XPM
from deepvis_caffe.results.records import Record, read_record
from deepvis_caffe.results.store import ResultStore

NAMED = 3  # units of a sum that its label names


# -- what to make --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ascents:
    """The ascents of each unit.

    Attributes
    ----------
    params
        Parameters of an ascent; see `deepvis_caffe.optimizer.ascent_params`.
    seeds
        One ascent for each seed.
    crop, batch_size
        As for `optimize`.
    """

    params: AscentParams
    seeds: Sequence[int] = (0,)
    crop: Crop = "auto"
    batch_size: int | None = None


@dataclass(frozen=True)
class Unit:
    """One unit's pictures.

    Attributes
    ----------
    unit, label
        Its number or name, and its label if the layer has labels.
    montage
        The picture of all its seeds.
    value
        The activation of the best seed's saved image: the highest, or the lowest if the ascent
        minimized it. None if no activation was finite.
    met_top
        For how many seeds the unit became the highest of its layer.
    no_gradient
        How many seeds ended at a gradient of exactly 0.
    redirected
        For how many seeds the unit started inactive behind a ReLU, and a redirected gradient
        activated it.
    restarted
        How many seeds recovered only after a restart from the unit's top images.
    new
        How many of its seeds ran now; the others were on disk already.
    """

    unit: UnitName
    label: str | None
    montage: Path
    value: float | None
    met_top: int
    no_gradient: int
    redirected: int
    restarted: int
    new: int


def make_layer(
    job: Job, layer: TargetLayer, units: Sequence[Target], ascents: Ascents
) -> list[Unit]:
    """Compute and write the pictures and montages of some units of a layer, or of an objective.

    Each recipe has its own folder; see `deepvis_caffe.results.recipes`.

    Parameters
    ----------
    job
        Its `progress` counts image steps.
    units
        As for `optimize`.

    Returns
    -------
    list of Unit
        In the order of `units`.

    Raises
    ------
    ResultsError, SettingsError
        Before the first step: the folder has something that must not be replaced; see
        `ResultStore.claim`.
    """
    targets = list(dict.fromkeys(layer.check(units)))
    missing = missing_runs(job, layer, targets, ascents)
    batches = make_batches(job, layer, {ascents.params: missing}, ascents.batch_size, ascents.crop)
    quiet = job.reporting(None)  # progress has counted the restarted runs already
    with (
        closing(run_batches(job, batches)) as found,
        closing(restarted(job, layer, found, partial(run_batches, quiet))) as all_found,
    ):
        write_layer(job, layer, targets, ascents, missing, all_found)
    new = Counter(target for target, _ in missing)
    return [_summary(job, layer, target, ascents, new[target]) for target in targets]


def missing_runs(
    job: Job, layer: TargetLayer, targets: Sequence[Target], ascents: Ascents
) -> list[tuple[Target, int]]:
    """The (target, seed) of each run that is not on disk yet, ordered by unit.

    Raises
    ------
    ResultsError, SettingsError
        The folder has something that must not be replaced; see `ResultStore.claim`.
    """
    seeds, own_recipe = ascents.seeds, recipe(job, layer, ascents)
    store = job.store.of(layer.name, own_recipe)
    names = [name_of(target) for target in targets]
    store.claim(layer.name, names, seeds, own_recipe, job.overwrite)
    missing: list[tuple[Target, int]] = []
    for target, name in zip(targets, names, strict=True):
        can_restart_it = partial(can_restart, job, layer, target, ascents.params)
        is_final = partial(_is_final, can_restart_it)
        some = [
            seed
            for seed in seeds
            if not store.has_run(layer.name, name, seed, own_recipe, is_final)
        ]
        if some and depends_on_seeds(layer, ascents):
            some = list(seeds)  # a unit's images depend on each other: redo all or none
        missing += [(target, seed) for seed in some]
    return missing


def _is_final(can_restart_it: Callable[[], bool], record: Record) -> bool:
    """Whether running again is pointless: the run was not silent, or all starts were tried."""
    activations = record.get("objective")
    if not isinstance(activations, list) or not is_silent(record.get("stop"), activations):
        return True
    if "redirected_steps" not in record:  # older versions did not redirect
        return False
    return "started_from" in record or not can_restart_it()


def check_layers(
    job: Job, layers: Iterable[tuple[TargetLayer, Sequence[Target]]], ascents: Ascents
) -> None:
    """Check that the results of all layers can be written, before the first step of any.

    Parameters
    ----------
    layers
        Each with its units.

    Raises
    ------
    ResultsError, SettingsError
        The folder has something that must not be replaced; see `ResultStore.check`.
    """
    for layer, targets in layers:
        own_recipe = recipe(job, layer, ascents)
        names = [name_of(target) for target in layer.check(targets)]
        store = job.store.of(layer.name, own_recipe)
        store.check(layer.name, names, ascents.seeds, own_recipe, job.overwrite)


def depends_on_seeds(layer: TargetLayer, ascents: Ascents) -> bool:
    """Whether an image depends on the other seeds of its unit."""
    compares = bool(layer.objective and layer.objective.compares_images)
    return compares or ascents.params.compares_images


def write_layer(
    job: Job,
    layer: TargetLayer,
    targets: Sequence[Target],
    ascents: Ascents,
    missing: Sequence[tuple[Target, int]],
    found: Iterable[tuple[AscentBatch, Sequence[AscentResult]]],
) -> None:
    """Write missing runs as they finish, and a unit's montage once all its seeds are done.

    Parameters
    ----------
    missing
        From `missing_runs`.
    found
        Batches with their results, as they finish. Cancelled runs are not written.
    """
    seeds, own_recipe = ascents.seeds, recipe(job, layer, ascents)
    of_name = {name_of(target): target for target in targets}
    left: dict[UnitName, set[int]] = {name: set() for name in of_name}
    for target, seed in missing:
        left[name_of(target)].add(seed)
    cells: dict[UnitName, dict[int, Picture]] = {name: {} for name in of_name}

    def finish(name: UnitName) -> None:
        """Write a unit's montage, once all its seeds are done."""
        if left[name]:
            return
        made = cells.pop(name, {})
        if not job.store.of(layer.name, own_recipe).finished(layer.name, name, seeds, own_recipe):
            record = record_fields(job, layer, of_name[name], own_recipe)
            store = job.store.take(layer.name, own_recipe)
            store.write_montage(layer.name, name, seeds, record, made)

    for name in of_name:
        if left[name]:
            job.store.of(layer.name, own_recipe).unfinish(layer.name, name, left[name])
        finish(name)
    for batch, results in found:
        for result in results:
            if result.stop == "cancelled":
                continue
            name, seed = result.unit, result.seed
            record = record_fields(job, layer, of_name[name], own_recipe)
            picture = write_result(job.store.take(layer.name, own_recipe), result, record)
            cells[name][seed] = cell_of(picture, layer.receptive_field, result.window)
            left[name].discard(seed)
        for name in batch.names:
            finish(name)
    if any(isinstance(name, int) for name in of_name):
        store = job.store.of(layer.name, own_recipe)
        store.write_whole_layer(layer.name, layer.count, own_recipe)


# -- what is written -----------------------------------------------------------------------------


def recipe(job: Job, layer: TargetLayer, ascents: Ascents) -> Record:
    """Everything that determines the pixels, except for the layer's name, unit and seed.

    If the gradient does not start at the named layer's own output, ``"output_of"`` names the layer
    whose output it starts at. Older records lack it, because every ascent then started at the
    layer's own output.
    """
    params = ascents.params
    decides: Record = {
        "net": job.net.fingerprint,
        "params": params.record(),
        "position": layer.position,
        "crop": ascents.crop,
    }
    if digest := start_digest(params.start):
        decides["start"] = digest
    if start := job.net.model.graph.start_layer(layer.name):
        decides["output_of"] = start
    if (shown := job.net.preprocessor.picture_channels) is not None:
        decides["picture_channels"] = list(shown)
    if layer.objective:
        decides["objective"] = layer.objective.record()
    if depends_on_seeds(layer, ascents):
        decides["seeds"] = list(ascents.seeds)
    if job.reproducible:
        decides["reproducible"] = True
    return decides


def store_of(job: Job, layer: TargetLayer, ascents: Ascents) -> ResultStore:
    """The job's result store for the recipe of these ascents."""
    return job.store.of(layer.name, recipe(job, layer, ascents))


def record_fields(job: Job, layer: TargetLayer, target: Target, own_recipe: Record) -> Record:
    """The fields of a unit's record besides those of the ascent itself."""
    return {
        "label": _label(job.net.labels_of(layer.name), target, layer.count),
        "model": job.model_names,
        "sees": layer.receptive_field,
        "recipe": own_recipe,
    }


def write_result(store: ResultStore, result: AscentResult, fields: Record) -> Picture:
    """Write the pictures of one run, and then its record with `fields` added.

    Returns
    -------
    ndarray
        The run's ``best_X``, (H, W, 3) RGB uint8.
    """
    pictures = {BEST_X: result.symmetric_picture(), BEST_XPM: result.picture()}
    record = {**result.record(), **fields}
    store.write_run(pictures, result.layer, result.unit, result.seed, record)
    return pictures[BEST_X]


def _label(labels: Labels, target: Target, count: int) -> str | None:
    """A unit's label; for a sum of units, the labels of the first few."""
    members = target if isinstance(target, tuple) else (target,)
    found = [label_of(labels, unit, count) for unit in members if isinstance(unit, int)]
    if len(found) < 2:
        return found[0] if found else None
    named = [short_label(label) for label in found if label]
    more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
    return " + ".join([*named[:NAMED], *more])


def _recovered(record: Record) -> bool:
    """Whether a run without a gradient at first found one by redirection or restart."""
    helped = record.get("redirected_steps") or "started_from" in record
    return bool(helped) and not is_silent(record["stop"], record["objective"])


def _summary(job: Job, layer: TargetLayer, target: Target, ascents: Ascents, new: int) -> Unit:
    store, name = store_of(job, layer, ascents), name_of(target)
    records = [read_record(store.record(layer.name, name, seed)) or {} for seed in ascents.seeds]
    with boundary(ResultsError, f"the records of layer {layer.name!r}, unit {name}, are damaged"):
        push = records[0]["params"]["push"]
        values = [record["best_value"] for record in records if record["best_value"] is not None]
        value = push * max(push * value for value in values) if values else None
        met_top = sum(record["met_top_iteration"] is not None for record in records)
        no_gradient = sum(record["stop"] == "zero gradient" for record in records)
    return Unit(
        unit=name,
        label=_label(job.net.labels_of(layer.name), target, layer.count),
        montage=store.montage(layer.name, name),
        value=value,
        met_top=met_top,
        no_gradient=no_gradient,
        redirected=sum(_recovered(record) and "started_from" not in record for record in records),
        restarted=sum(_recovered(record) and "started_from" in record for record in records),
        new=new,
    )
