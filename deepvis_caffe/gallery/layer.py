"""A layer's pictures, from net to files: ``(net, store, layer, units) -> montages on disk``.

Every batch is written as soon as it has run, and what is on disk already is not run again. So the
work can be interrupted at any moment and taken up by the same call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from deepvis_caffe.cluster import Serial, Where
from deepvis_caffe.engines.base import Net
from deepvis_caffe.gallery.fingerprint import fingerprint
from deepvis_caffe.gallery.shards import Shard, fair_batch, run_shards
from deepvis_caffe.gallery.store import Box, Record, ResultStore, read_record
from deepvis_caffe.model.labels import Labels, label_of
from deepvis_caffe.model.receptive import receptive_fields
from deepvis_caffe.optimizer import AscentParams, AscentResult, Position
from deepvis_caffe.optimizer.objective import check_units, plain_position, resolve_position
from deepvis_caffe.optimizer.run import resolve_batch_size, split, unit_shape

Progress = Callable[[int, int], None]
Batch = tuple[list[int], list[int]]  # units and seeds, all combinations


@dataclass(frozen=True)
class Unit:
    """One unit's pictures.

    Attributes
    ----------
    unit, label
        Which, and its name where the layer is labelled.
    montage
        The picture of all its seeds.
    value
        The highest activation found (the lowest where the ascent went down), as it was run or read
        from the records; None where no activation was finite.
    met_top
        For how many seeds the unit became the highest of its layer.
    no_gradient
        How many seeds ended at a gradient of exactly 0.
    new
        How many of its seeds were run now; the others were there.
    """

    unit: int
    label: str | None
    montage: Path
    value: float | None
    met_top: int
    no_gradient: int
    new: int


def make_layer(
    net: Net,
    store: ResultStore,
    layer: str,
    units: Sequence[int],
    seeds: Sequence[int],
    params: AscentParams,
    position: Position = "center",
    labels: Labels = (),
    batch_size: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    where: Where = Serial(),  # noqa: B008  # frozen
    make_net: Callable[[], Net] | None = None,
) -> list[Unit]:
    """Find and write the pictures of some units of a layer, with their montages.

    Parameters
    ----------
    net, layer, units, seeds, position, batch_size
        As for `optimize`.
    store
        Where results go, and which of them are there.
    params
        What the ascent does, see `deepvis_caffe.optimizer.ascent_params`.
    labels
        Names of the units of the layers that have as many.
    progress
        Called with the image steps that are done and that there are to do.
    overwrite
        Whether what other parameters made may be lost.
    where, make_net
        Which processes run the ascents, and what makes their net; see
        `deepvis_caffe.gallery.shards.run_shards`. Files are written by this one alone.

    Returns
    -------
    list of Unit
        In the order of `units`.

    Raises
    ------
    ImageError, SettingsError
        Before any step: something is there that must not be lost, see `ResultStore.claim`.
    """
    shape = unit_shape(net, layer)
    units, count = check_units(units, shape, layer), (shape or (1,))[0]
    made_by = recipe(net, params, position)
    window = seen_window(net, layer, shape, position)
    store.claim(layer, units, seeds, made_by, overwrite)
    missing = {
        unit: [seed for seed in seeds if not store.has_run(layer, unit, seed, made_by)]
        for unit in units
    }
    images = sum(map(len, missing.values()))

    def about(unit: int) -> Record:
        return {
            "label": label_of(labels, unit, count),
            "model": model_names(net),
            "window": window,
            "recipe": made_by,
        }

    def finish(some: Sequence[int]) -> None:
        for unit in some:
            has_all = all(store.has_run(layer, unit, seed, made_by) for seed in seeds)
            if has_all and not store.finished(layer, unit, seeds, made_by):
                store.write_montage(layer, unit, seeds, about(unit))

    finish(units)
    most = fair_batch(images, resolve_batch_size(net, layer, batch_size), where)
    shards = [
        Shard(layer, tuple(some), tuple(their_seeds), params, plain_position(position))
        for some, their_seeds in batches(missing, most)
    ]
    with closing(run_shards(net, shards, where, make_net, progress)) as found:
        for shard, results in found:
            for result in results:
                _write(store, result, about(result.unit))
            finish(shard.units)
    store.write_whole_layer(layer, count, made_by)
    return [
        _summary(store, layer, unit, seeds, label_of(labels, unit, count), len(missing[unit]))
        for unit in units
    ]


def recipe(net: Net, params: AscentParams, position: Position) -> Record:
    """Everything that decides the pixels, but for layer, unit and seed."""
    return {
        "net": fingerprint(net),
        "params": params.record(),
        "position": plain_position(position),
    }


def model_names(net: Net) -> dict[str, str | None]:
    """The names of the net and of its files."""
    files = {"prototxt": net.model.prototxt, "weights": net.model.caffemodel}
    names = {kind: None if path is None else path.name for kind, path in files.items()}
    return {"name": net.model.graph.name, **names}


def seen_window(net: Net, layer: str, shape: tuple[int, ...], position: Position) -> Box | None:
    """What one unit sees of the image, (top, left, bottom, right); None where that is unknown."""
    where = resolve_position(position, shape, layer)
    field = receptive_fields(net.model).get(net.model.graph.seed(layer))
    if field is None or where is None or len(where) != 2:
        return None
    rows, columns = field.window(*where)
    return rows.start, columns.start, rows.stop, columns.stop


def batches(missing: Mapping[int, Sequence[int]], most: int) -> Iterator[Batch]:
    """Cut what is missing into batches of at most `most` images, each units times seeds.

    Units that miss the same seeds share a batch; the seeds of a unit that do not fit into one are
    spread evenly.

    Parameters
    ----------
    missing
        Seeds by unit.
    """
    for seeds, group in groupby(missing, key=lambda unit: tuple(missing[unit])):
        units = list(group)
        if not seeds:
            continue
        for some_units in split(units, max(1, most // len(seeds))):
            for some_seeds in split(seeds, most):
                yield list(some_units), list(some_seeds)


def _write(store: ResultStore, result: AscentResult, about: Record) -> None:
    pictures = {"best_X": result.symmetric_picture(), "best_Xpm": result.picture()}
    record = {**result.record(), **about}
    store.write_run(pictures, result.layer, result.unit, result.seed, record)


def _summary(
    store: ResultStore, layer: str, unit: int, seeds: Sequence[int], label: str | None, new: int
) -> Unit:
    records = [read_record(store.record(layer, unit, seed)) or {} for seed in seeds]
    push = records[0]["params"]["push"]
    values = [record["best_value"] for record in records if record["best_value"] is not None]
    return Unit(
        unit=unit,
        label=label,
        montage=store.montage(layer, unit),
        value=push * max(push * value for value in values) if values else None,
        met_top=sum(record["met_top_iteration"] is not None for record in records),
        no_gradient=sum(record["stop"] == "zero gradient" for record in records),
        new=new,
    )
