"""A layer's optimized images, from net to files: resumable, over one process or many.

Only numbers travel: which units and seeds one way, images and histories the other.

Every batch is written as soon as it has run, and what is on disk already is not run again. So the
work can be interrupted at any moment and taken up by the same call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from deepvis_caffe.cluster import LocalProcesses, Serial, Where, run_tasks
from deepvis_caffe.engines.base import Net, same_net
from deepvis_caffe.errors import ClusterError
from deepvis_caffe.model.labels import Labels, label_of
from deepvis_caffe.optimizer import AscentParams, AscentResult, Position, optimize
from deepvis_caffe.optimizer.batching import resolve_batch_size, split, unit_shape
from deepvis_caffe.optimizer.objectives import (
    Target,
    UnitName,
    check_targets,
    name_of,
    plain_position,
    resolve_position,
)
from deepvis_caffe.optimizer.run import Crop, unit_window
from deepvis_caffe.optimizer.start import start_digest
from deepvis_caffe.results.records import Record, read_record
from deepvis_caffe.results.store import Box, ResultStore


@dataclass(frozen=True)
class Shard:
    """Some units of a layer, some seeds of each, and what is to be done with them.

    Attributes
    ----------
    layer, targets, seeds, params, position, crop
        As for `deepvis_caffe.optimizer.optimize`; all images of a shard run as one batch.
    """

    layer: str
    targets: tuple[Target, ...]
    seeds: tuple[int, ...]
    params: AscentParams
    position: Position = "center"
    crop: Crop = "auto"

    @property
    def images(self) -> int:
        """How many images run side by side."""
        return len(self.targets) * len(self.seeds)

    @property
    def steps(self) -> int:
        """Image steps in all."""
        return self.images * self.params.iterations

    def __str__(self) -> str:
        names = [name_of(target) for target in self.targets]
        units, seeds = (",".join(map(str, some)) for some in (names, self.seeds))
        return f"{self.layer}, units {units}, seeds {seeds}"


def run_shards(
    net: Net,
    shards: Sequence[Shard],
    where: Where = Serial(),  # noqa: B008  # frozen
    make_net: Callable[[], Net] | None = None,
    progress: Progress | None = None,
) -> Generator[tuple[Shard, list[AscentResult]], None, None]:
    """Run every shard, and yield what it found as soon as it is there.

    Parameters
    ----------
    net
        Runs the shards where `where` is `Serial`. Elsewhere processes make nets of their own, and
        make sure that those are the same.
    where
        See `deepvis_caffe.cluster`.
    make_net
        Makes such a net in another process; picklable, see
        `deepvis_caffe.jobs.where.net_maker`.
    progress
        Called with the image steps that are done and that there are to do.

    Yields
    ------
    tuple of Shard and list of AscentResult
        In the order in which they are ready.

    Raises
    ------
    ModelError
        A worker's net is not the one that is here.
    ClusterError, Exception
        As `deepvis_caffe.cluster.run_tasks`.
    """
    make_state: Callable[[], Net]
    if isinstance(where, Serial):
        make_state = partial(_itself, net)
    elif make_net is None:
        raise ClusterError("other processes need a net of their own: give make_net")
    else:
        make_state = partial(same_net, make_net, net.fingerprint)
    meter = _Meter([shard.steps for shard in shards], progress)
    with closing(run_tasks(make_state, _run, shards, where, meter.heard)) as found:
        for index, results in found:
            meter.heard(index, shards[index].steps)
            yield shards[index], [_with_preprocessor(net, result) for result in results]


def fair_batch(images: int, most: int, where: Where) -> int:
    """A batch size, `most` or less, of which every local process gets one.

    Parameters
    ----------
    images
        How many there are to share.
    """
    if not isinstance(where, LocalProcesses):
        return most
    return max(1, min(most, -(-images // where.count)))


def _run(net: Net, shard: Shard, tell: Callable[[Any], None]) -> list[AscentResult]:
    results = optimize(
        net,
        shard.layer,
        shard.targets,
        shard.seeds,
        preset=shard.params,
        position=shard.position,
        crop=shard.crop,
        batch_size=shard.images,
        progress=lambda done, total: tell(done),
    )
    # The preprocessor is as large as two images, and whoever asks has its own.
    return [replace(result, preprocessor=None) for result in results]  # type: ignore[arg-type]


def _with_preprocessor(net: Net, result: AscentResult) -> AscentResult:
    own = net.preprocessor
    if result.window:
        top, left, bottom, right = result.window
        own = own.cut(slice(top, bottom), slice(left, right))
    return replace(result, preprocessor=own)


def _itself(net: Net) -> Net:
    return net


class _Meter:
    """Adds up what shards tell; one that begins again on another process does not count back."""

    def __init__(self, steps: Sequence[int], progress: Progress | None) -> None:
        self._total, self._progress = sum(steps), progress
        self._done = [0] * len(steps)

    def heard(self, index: int, done: int) -> None:
        if done > self._done[index]:
            self._done[index] = done
            if self._progress:
                self._progress(sum(self._done), self._total)


NAMED = 3  # of a sum's units, in its label
Progress = Callable[[int, int], None]
N = TypeVar("N", bound=UnitName)


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

    unit: UnitName
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
    units: Sequence[Target],
    seeds: Sequence[int],
    params: AscentParams,
    position: Position = "center",
    labels: Labels = (),
    batch_size: int | None = None,
    crop: Crop = "auto",
    progress: Progress | None = None,
    overwrite: bool = False,
    where: Where = Serial(),  # noqa: B008  # frozen
    make_net: Callable[[], Net] | None = None,
) -> list[Unit]:
    """Find and write the pictures of some units of a layer, with their montages.

    Parameters
    ----------
    net, layer, units, seeds, position, batch_size, crop
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
        `deepvis_caffe.jobs.optimize.run_shards`. Files are written by this one alone.

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
    targets = {name_of(target): target for target in check_targets(units, shape, layer)}
    count = (shape or (1,))[0]
    made_by = recipe(net, params, position, crop, seeds)
    sees = seen_window(net, layer, shape, position)
    store.claim(layer, list(targets), seeds, made_by, overwrite)
    missing = {
        name: [seed for seed in seeds if not store.has_run(layer, name, seed, made_by)]
        for name in targets
    }
    if params.diversity:  # a unit's images depend on each other: all are made anew, or none
        missing = {name: list(seeds) if some else [] for name, some in missing.items()}
    images = sum(map(len, missing.values()))

    def about(name: UnitName) -> Record:
        return about_run(net, labels, targets[name], count, sees, made_by)

    def finish(some: Iterable[UnitName]) -> None:
        for name in some:
            has_all = all(store.has_run(layer, name, seed, made_by) for seed in seeds)
            if has_all and not store.finished(layer, name, seeds, made_by):
                store.write_montage(layer, name, seeds, about(name))

    finish(targets)
    window = unit_window(net, layer, resolve_position(position, shape, layer), crop)
    most = resolve_batch_size(net, layer, batch_size, images, window) if images else 1
    shards = [
        Shard(
            layer,
            tuple(targets[name] for name in some),
            tuple(their_seeds),
            params,
            plain_position(position),
            crop,
        )
        for some, their_seeds in batches(
            missing, fair_batch(images, most, where), whole=params.diversity > 0
        )
    ]
    with closing(run_shards(net, shards, where, make_net, progress)) as found:
        for shard, results in found:
            for result in results:
                write_result(store, result, about(result.unit))
            finish(map(name_of, shard.targets))
    store.write_whole_layer(layer, count, made_by)
    return [
        _summary(store, layer, name, seeds, _label(labels, target, count), len(missing[name]))
        for name, target in targets.items()
    ]


def recipe(
    net: Net,
    params: AscentParams,
    position: Position,
    crop: Crop = "auto",
    seeds: Sequence[int] = (),
) -> Record:
    """Everything that decides the pixels, but for layer, unit and seed."""
    made_by: Record = {
        "net": net.fingerprint,
        "params": params.record(),
        "position": plain_position(position),
        "crop": crop,
        **({"start": digest} if (digest := start_digest(params.start)) else {}),
    }
    return {**made_by, "seeds": list(seeds)} if params.diversity else made_by


def about_run(
    net: Net, labels: Labels, target: Target, count: int, sees: Box | None, made_by: Record
) -> Record:
    """What a record says beside the ascent itself, of a target in a layer of `count` units."""
    return {
        "label": _label(labels, target, count),
        "model": model_names(net),
        "sees": sees,
        "recipe": made_by,
    }


def model_names(net: Net) -> dict[str, str | None]:
    """The names of the net and of its files."""
    files = {"prototxt": net.model.prototxt, "weights": net.model.caffemodel}
    names = {kind: None if path is None else path.name for kind, path in files.items()}
    return {"name": net.model.graph.name, **names}


def seen_window(net: Net, layer: str, shape: tuple[int, ...], position: Position) -> Box | None:
    """What one unit sees of the image, (top, left, bottom, right); None where that is unknown."""
    where = resolve_position(position, shape, layer)
    field = net.model.receptive_fields.get(net.model.graph.seed(layer))
    if field is None or where is None or len(where) != 2:
        return None
    rows, columns = field.window(*where)
    return rows.start, columns.start, rows.stop, columns.stop


def batches(
    missing: Mapping[N, Sequence[int]], most: int, whole: bool = False
) -> Iterator[tuple[list[N], list[int]]]:
    """Cut what is missing into batches of at most `most` images, each units times seeds.

    Units that miss the same seeds share a batch; the seeds of a unit that do not fit into one are
    spread evenly.

    Parameters
    ----------
    missing
        Seeds by unit.
    whole
        Whether a unit's seeds have to stay together, in a batch of more than `most` if need be.
    """
    for seeds, group in groupby(missing, key=lambda unit: tuple(missing[unit])):
        units = list(group)
        if not seeds:
            continue
        for some_units in split(units, max(1, most // len(seeds))):
            for some_seeds in [seeds] if whole else split(seeds, most):
                yield list(some_units), list(some_seeds)


def _label(labels: Labels, target: Target, count: int) -> str | None:
    """A unit's label; of a sum of units theirs, the first few."""
    members = target if isinstance(target, tuple) else (target,)
    found = [label_of(labels, unit, count) for unit in members if isinstance(unit, int)]
    if len(found) < 2:
        return found[0] if found else None
    named = [label.split(",")[0] for label in found if label]
    more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
    return " + ".join([*named[:NAMED], *more])


def write_result(store: ResultStore, result: AscentResult, about: Record) -> None:
    """Write the pictures of one run, and then its record, to which `about` is added."""
    pictures = {"best_X": result.symmetric_picture(), "best_Xpm": result.picture()}
    record = {**result.record(), **about}
    store.write_run(pictures, result.layer, result.unit, result.seed, record)


def _summary(
    store: ResultStore,
    layer: str,
    unit: UnitName,
    seeds: Sequence[int],
    label: str | None,
    new: int,
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
