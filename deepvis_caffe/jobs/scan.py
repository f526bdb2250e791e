"""A pass over a dataset, in shards that are kept on disk: ``(job, source, params) -> Scan``.

The calling process writes each shard as soon as it is ready. So the pass can be interrupted at any
time, and the same call resumes with the missing shards.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from deepvis_caffe.cluster import DaskCluster, LocalProcesses, Serial, Where
from deepvis_caffe.cluster.cores import others_compute
from deepvis_caffe.dataset.decoders import Decoders, processes_pay_off
from deepvis_caffe.dataset.loader import check_prepared
from deepvis_caffe.dataset.scan import (
    Scan,
    ScanParams,
    batch_bytes,
    merge,
    scan_batch_size,
    scan_images,
)
from deepvis_caffe.dataset.source import Source
from deepvis_caffe.engines.base import Net
from deepvis_caffe.errors import ImageError
from deepvis_caffe.jobs.job import Job
from deepvis_caffe.progress import ProgressCallback, ProgressMeter
from deepvis_caffe.results.layout import scan_folder
from deepvis_caffe.results.scan_folder import ScanFolder

# Images in a shard: seconds to a minute of work. Sizes are multiples of the smallest, and so of the
# usual batches, so that threads end together.
SMALLEST, LARGEST = 64, 512
PARTS = 16  # shards of a small dataset, so that several processes can share it
ENOUGH = 2048  # images for which it pays to start processes
ROUNDS = 4  # shards for each of them, so that they end at about the same time
PROCESS = 5 * 2**27  # bytes of memory of a process without its net; Numba takes a fifth


@dataclass(frozen=True)
class Shard:
    """Images `start` to `stop` of a source."""

    number: int
    start: int
    stop: int

    @property
    def images(self) -> int:
        """The number of images."""
        return self.stop - self.start

    def __str__(self) -> str:
        return f"images {self.start:,} to {self.stop - 1:,}"


def scan_dataset(
    net: Net,
    source: Source,
    folder: str | os.PathLike[str],
    params: ScanParams = ScanParams(),  # noqa: B008  # frozen
    *,
    batch_size: int | None = None,
    shard_size: int | None = None,
    where: Where = Serial(),  # noqa: B008  # frozen
    make_net: Callable[[], Net] | None = None,
    progress: ProgressCallback | None = None,
    overwrite: bool = False,
) -> Scan:
    """Run every image of a source through a net; `run_scan` for scripts.

    `folder` is where the scan itself is kept; the other arguments are those of a `Job` or of
    `run_scan`.
    """
    folder = Path(folder)
    job = Job(net, folder, where, make_net, progress=progress, overwrite=overwrite)
    return run_scan(job, source, params, batch_size, shard_size, folder)


def run_scan(
    job: Job,
    source: Source,
    params: ScanParams = ScanParams(),  # noqa: B008  # frozen
    batch_size: int | None = None,
    shard_size: int | None = None,
    folder: Path | None = None,
    own_processes: bool = False,
) -> Scan:
    """Run every image of a source through a net, or resume an interrupted scan.

    Parameters
    ----------
    job
        Its `progress` counts images. Other processes read the source at the same path.
    params
        What the scan keeps.
    batch_size
        Images per batch; `deepvis_caffe.dataset.scan.default_batch_size` by default.
    shard_size
        Images per shard, the most that an interruption can lose in each process; by default 64 to
        512. A resumed scan keeps the size of its shards.
    folder
        Where the scan is kept; by default its place in the results folder.
    own_processes
        Whether a job without other processes may start one per core, where that is faster. They
        import the script that runs, which must not start the scan again when it is imported.

    Returns
    -------
    Scan
        With the layers of `params`. It is read from the folder if a finished scan there has these
        layers or more.

    Raises
    ------
    SettingsError
        The folder holds a scan made with other parameters.
    ImageError
        The source has no images that can be read.
    ResultsError
        The folder is damaged, or cannot be written.
    ClusterError, Exception
        As `Job.run`.
    """
    params = params.for_net(job.net)
    check_prepared(source, job.net.preprocessor)
    recipe = scan_recipe(job, source, params)
    kept = ScanFolder(folder or scan_folder(job.results))
    done = kept.finished(recipe)
    if done is not None:
        kept.remove_merged_shards()
        return done
    with kept.locked():
        return kept.finished(recipe) or _scanned(
            job, source, params, batch_size, shard_size, kept, own_processes
        )


def _scanned(
    job: Job,
    source: Source,
    params: ScanParams,
    batch_size: int | None,
    shard_size: int | None,
    kept: ScanFolder,
    own_processes: bool,
) -> Scan:
    """Scan the missing shards, and merge all."""
    recipe = scan_recipe(job, source, params)
    # The shards are the same wherever they run, and so is the rounding of sums over them.
    size = kept.claim(recipe, shard_size or usual_shard_size(source), job.overwrite)
    shards = [
        Shard(number, start, min(start + size, len(source)))
        for number, start in enumerate(range(0, len(source), size))
    ]
    missing = [shard for shard in shards if not kept.has_shard(shard.number, recipe)]
    sizes = [shard.images for shard in missing]
    size = scan_batch_size(job.net, params.layers, batch_size)  # warns, unlike workers
    if own_processes:
        job = replace(job, where=where_to_scan(job, source, size, missing))
    if not isinstance(job.where, DaskCluster):  # whose machines may have other sizes
        batch_size = size
    meter = ProgressMeter(job.progress, sizes, before=len(source) - sum(sizes))
    make_reader = _reader_maker(job, source, params, batch_size, missing)
    with closing(job.run(_scan_shard, missing, make_reader, meter.update)) as found:
        for index, scan in found:
            kept.write_shard(missing[index].number, scan, recipe)
            meter.finish(index)
    parts = (kept.read_shard(shard.number, recipe) for shard in shards)
    whole = merge([Scan.empty(job.net, params), *parts])
    if not whole.images:
        name, why = whole.skipped[0]
        raise ImageError(f"none of the {len(source):,} images can be used; {name}: {why}")
    kept.finish(whole, recipe)
    return whole


def usual_shard_size(source: Source) -> int:
    """The default number of images in a shard."""
    return min(LARGEST, math.ceil(len(source) / PARTS / SMALLEST) * SMALLEST)


def where_to_scan(job: Job, source: Source, batch_size: int, shards: Sequence[Shard]) -> Where:
    """As the job says, except that many images are scanned in a process per core, not a thread.

    A thread holds Python's lock for more than a millisecond per image. So on two cores a small net
    in two threads is no faster than in one.
    """
    net, count = job.net, job.threads
    here = isinstance(job.where, Serial) and job.make_net is not None and net.reentrant
    if not here or source.in_one_stream or multiprocessing.current_process().daemon:
        return job.where
    many = sum(shard.images for shard in shards) >= ENOUGH and len(shards) >= ROUNDS * count
    free = net.ops.free_memory()
    if count == 1 or not many or free is None or others_compute():
        return job.where
    # The weights once more, as oneDNN packs them. Half of the memory stays for everything else.
    weights = sum(blob.nbytes for blobs in net.model.weights.values() for blob in blobs)
    each = PROCESS + 2 * weights + batch_bytes(net, batch_size)
    return LocalProcesses(count, threads=1) if count * each <= free // 2 else job.where


def scan_recipe(job: Job, source: Source, params: ScanParams) -> dict[str, Any]:
    """Everything that determines the numbers of a scan, in JSON's types.

    ``"own_output"`` lists the layers that are not read as their blob's final value. Older recipes
    lack it, because every name then meant the final value of the layer's blob.
    """
    graph = job.net.model.graph
    read = {name: graph.activation(name) for name in params.layers}
    own = [name for name, value in read.items() if not graph.same(value, graph.blobs[value.blob])]
    return {
        "net": job.net.fingerprint,
        "resize": job.net.preprocessor.resize,
        **({"resize_to": list(first)} if (first := job.net.preprocessor.resize_to) else {}),
        "images": source.signature(),
        "layers": list(params.layers),
        "count": params.count,
        "correlation": params.correlation,
        **({"own_output": own} if own else {}),
    }


# -- in each process -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reader:
    """What a process keeps between shards."""

    net: Net
    source: Source
    params: ScanParams
    batch_size: int
    threads: int
    decoders: Decoders | None

    def close(self) -> None:
        if self.decoders:
            self.decoders.close()


def _reader_maker(
    job: Job, source: Source, params: ScanParams, batch_size: int | None, missing: list[Shard]
) -> Callable[[Callable[[], Net]], _Reader]:
    threads = job.threads
    next_of: Mapping[int, range] = {}
    if isinstance(job.where, Serial):  # other processes get their shards in no fixed order
        next_of = {
            shard.stop: range(following.start, following.stop)
            for shard, following in pairwise(missing)
        }
    return partial(
        _make_reader,
        source=source,
        params=params,
        batch_size=batch_size,
        threads=threads,
        next_of=next_of,
    )


def _make_reader(
    make_net: Callable[[], Net],
    source: Source,
    params: ScanParams,
    batch_size: int | None,
    threads: int,
    next_of: Mapping[int, range],
) -> _Reader:
    net = make_net()
    size = min(scan_batch_size(net, params.layers, batch_size), max(1, len(source)))
    decoders = None
    if processes_pay_off(net, source, threads):
        decoders = Decoders(source, net.preprocessor, threads, size, next_of)
    return _Reader(net, source, params, size, threads, decoders)


def _scan_shard(reader: _Reader, shard: Shard, report: Callable[[Any], None]) -> Scan:
    return scan_images(
        reader.net,
        reader.source,
        reader.params,
        range(shard.start, shard.stop),
        reader.batch_size,
        reader.threads,
        report,
        reader.decoders,
    )
