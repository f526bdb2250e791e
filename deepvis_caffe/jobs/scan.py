"""A pass over a dataset, in shards that are kept: ``(net, source, folder) -> Scan``.

::

    <folder>/recipe.json             what decides the numbers
    <folder>/shard_00012.npz         a scan of some images, while the pass goes on
    <folder>/scan.npz                the scan of all, when it is done; the shards are then deleted

Every file is written whole, by the process that was called. So the pass may be cut off at any
moment, and the same call goes on with the shards that are missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from deepvis_caffe.cluster import LocalProcesses, Serial, Where, run_tasks
from deepvis_caffe.cluster.cores import usable_cores
from deepvis_caffe.dataset.decoders import Decoders, worth_decoders
from deepvis_caffe.dataset.loader import check_prepared
from deepvis_caffe.dataset.scan import Scan, ScanParams, merge, scan_images, usual_batch
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net, same_net
from deepvis_caffe.errors import ClusterError, ImageError, SettingsError
from deepvis_caffe.files import write_text
from deepvis_caffe.results.scan_file import Recipe, read_scan, write_scan

SMALLEST, LARGEST = 64, 512  # images of a shard: seconds to a minute of work
PARTS = 16  # of a dataset that is not large, so that several processes have something to do

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shard:
    """Images `start` to `stop` of a source."""

    number: int
    start: int
    stop: int

    def __str__(self) -> str:
        return f"images {self.start:,} to {self.stop - 1:,}"


def scan_dataset(
    net: Net,
    source: Source,
    folder: Path,
    params: ScanParams = ScanParams(),  # noqa: B008  # frozen
    *,
    batch_size: int | None = None,
    shard_size: int | None = None,
    where: Where = Serial(),  # noqa: B008  # frozen
    make_net: Callable[[], Net] | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Scan:
    """Send every image of a source through a net, or go on where that was cut off.

    Parameters
    ----------
    folder
        Where the scan is kept.
    params
        What it keeps.
    batch_size
        Images that run side by side, `deepvis_caffe.dataset.scan.usual_batch` by default.
    shard_size
        Images that are lost where the pass is cut off; by default 64 to 512. Where a scan goes on,
        the size of the shards that are there counts.
    where, make_net
        Which processes work, and what makes their net. They read the source at the same path.
    progress
        Called with the images that are done and that there are.
    overwrite
        Whether a scan by another recipe may be lost.

    Returns
    -------
    Scan
        With the layers of `params`; read from `folder` where it is there with these or more.

    Raises
    ------
    SettingsError
        The folder holds a scan by another recipe.
    ImageError
        The source has no images that can be read, or the folder cannot be written.
    ClusterError, Exception
        As `deepvis_caffe.cluster.run_tasks`.
    """
    params = params.for_net(net)
    check_prepared(source, net.preprocessor)
    recipe = scan_recipe(net, source, params)
    done = _finished(folder, recipe)
    if done is not None:
        return done
    # Whoever works, the shards are the same, and so is the rounding of sums over them.
    usual = min(LARGEST, max(SMALLEST, math.ceil(len(source) / PARTS)))
    size = _claim(folder, recipe, shard_size or usual, overwrite)
    shards = [
        Shard(number, start, min(start + size, len(source)))
        for number, start in enumerate(range(0, len(source), size))
    ]
    missing = [shard for shard in shards if not _has(folder, shard, recipe)]
    meter = _Meter(len(source), missing, progress)
    workers = where.count if isinstance(where, LocalProcesses) else 1
    threads = max(1, usable_cores() // workers)
    if isinstance(where, Serial):
        own: Callable[[], Net] = partial(_itself, net)
        next_of = {one.stop: range(after.start, after.stop) for one, after in pairwise(missing)}
    elif make_net is None:
        raise ClusterError("other processes need a net of their own: give make_net")
    else:
        own, next_of = partial(same_net, make_net, net.fingerprint), {}
    make_reader = partial(_Reader.ready, own, source, params, batch_size, threads, next_of)
    with closing(run_tasks(make_reader, _scan_shard, missing, where, meter.heard)) as found:
        for index, scan in found:
            write_scan(_path(folder, missing[index]), scan, recipe)
            meter.heard(index, missing[index].stop - missing[index].start)
    whole = merge([Scan.empty(net, params), *(read_scan(_path(folder, s))[0] for s in shards)])
    if not whole.images:
        name, why = whole.skipped[0]
        raise ImageError(f"none of the {len(source):,} images can be used; {name}: {why}")
    write_scan(folder / "scan.npz", whole, recipe)
    for shard in shards:
        _path(folder, shard).unlink(missing_ok=True)
    return whole


def scan_recipe(net: Net, source: Source, params: ScanParams) -> dict[str, Any]:
    """Everything that decides the numbers of a scan, as JSON has it."""
    return {
        "net": net.fingerprint,
        "resize": net.preprocessor.resize,
        "images": source.signature(),
        "layers": list(params.layers),
        "count": params.count,
        "correlation": params.correlation,
    }


def _finished(folder: Path, recipe: Recipe) -> Scan | None:
    """The scan that is there, if it is what is wanted: the same recipe, or one of more layers."""
    path = folder / "scan.npz"
    if not path.is_file():
        return None
    scan, made_by = read_scan(path)
    if _but_layers(made_by) != _but_layers(recipe) or not set(recipe["layers"]) <= set(scan.layers):
        return None
    return scan


def _but_layers(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name != "layers"}


def _claim(folder: Path, recipe: Recipe, shard_size: int, overwrite: bool) -> int:
    """Make the folder this recipe's; the size of the shards there, or else `shard_size`."""
    path = folder / "recipe.json"
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        old, size = there["recipe"], int(there["shard_size"])
    except FileNotFoundError:
        old, size = None, shard_size
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ImageError(f"{path} is damaged: {error}; delete the folder to begin anew") from error
    if old == recipe:
        return size
    if old is not None and not overwrite:
        raise SettingsError(
            f"{folder} holds a scan by another recipe ({_differences(old, recipe)}); choose "
            "another results folder (--results), or give --overwrite to lose it"
        )
    for stale in (folder / "scan.npz", *folder.glob("shard_*.npz")):
        stale.unlink(missing_ok=True)
    text = json.dumps({"recipe": recipe, "shard_size": shard_size}, indent=1) + "\n"
    try:
        write_text(path, text)
    except OSError as error:
        raise ImageError(f"cannot write {path}: {error.strerror}") from error
    return shard_size


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    words = {"net": "another net or mean", "images": "other images"}
    return ", ".join(
        words.get(name, f"{name} {old.get(name)}, now {new.get(name)}")
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    )


def _path(folder: Path, shard: Shard) -> Path:
    return folder / f"shard_{shard.number:05d}.npz"


def _has(folder: Path, shard: Shard, recipe: Recipe) -> bool:
    try:
        return read_scan(_path(folder, shard))[1] == recipe
    except ImageError:
        return False


def _itself(net: Net) -> Net:
    return net


@dataclass(frozen=True)
class _Reader:
    """What a process keeps from shard to shard."""

    net: Net
    source: Source
    params: ScanParams
    batch_size: int
    threads: int
    decoders: Decoders | None

    @classmethod
    def ready(
        cls,
        make_net: Callable[[], Net],
        source: Source,
        params: ScanParams,
        batch_size: int | None,
        threads: int,
        next_of: Mapping[int, range],
    ) -> _Reader:
        net = make_net()
        size = batch_size or usual_batch(net)
        decoders = None
        if worth_decoders(net, source, threads):
            decoders = Decoders(source, net.preprocessor, threads, size, next_of)
        return cls(net, source, params, size, threads, decoders)

    def close(self) -> None:
        if self.decoders:
            self.decoders.close()


def _scan_shard(reader: _Reader, shard: Shard, tell: Callable[[Any], None]) -> Scan:
    return scan_images(
        reader.net,
        reader.source,
        reader.params,
        range(shard.start, shard.stop),
        reader.batch_size,
        reader.threads,
        tell,
        reader.decoders,
    )


class _Meter:
    """Adds up what shards tell; one that begins again on another process does not count back."""

    def __init__(self, total: int, missing: list[Shard], progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._before = total - sum(shard.stop - shard.start for shard in missing)
        self._done = [0] * len(missing)

    def heard(self, index: int, done: int) -> None:
        if done > self._done[index]:
            self._done[index] = done
            if self._progress:
                self._progress(self._before + sum(self._done), self._total)
