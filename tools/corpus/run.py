"""Run all files, several at a time, each in its own child process: ``paths -> records``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tools.corpus.children import Children, Limits, Work
from tools.corpus.record import Record
from tools.corpus.reference import compare
from tools.corpus.trial import VALUES, Options, try_net

PRELOAD = ("tools.corpus.reference", "tools.corpus.trial", "deepvis_caffe.engines.torch")


def run_files(
    paths: Sequence[Path],
    options: Options,
    limits: Limits,
    jobs: int = 1,
    caffe: bool = False,
    trial: Work = try_net,
) -> Iterator[Record]:
    """Try every file, and yield records in the order in which they finish.

    Parameters
    ----------
    paths
        The prototxts.
    options
        How to run each.
    limits
        The limits of each; Caffe gets twice the memory, because it keeps a diff beside each value.
    jobs
        How many to run at a time.
    caffe
        Whether to compare values with Caffe's.
    trial
        The function to run in each child, called like `try_net`.
    """
    children = Children(PRELOAD)
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [
            pool.submit(_try, children, path, options, limits, caffe, trial) for path in paths
        ]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        children.stop()


def _try(
    children: Children, path: Path, options: Options, limits: Limits, caffe: bool, trial: Work
) -> Record:
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        left = Path(folder) if caffe else None
        ended = children.run(limits, trial, path, options, left)
        told = {**ended.told, "seconds": ended.seconds, "memory": ended.memory}
        if ended.fault:
            told["reason"] = ended.fault
        record = Record(str(path), **told)
        if left is None or not (left / VALUES).exists():
            return record
        twice = replace(limits, memory=2 * limits.memory)
        ended = children.run(twice, compare, path, options, left)
        if ended.fault:
            return replace(record, caffe="aborted", caffe_reason=ended.fault)
        return replace(record, **ended.told)
