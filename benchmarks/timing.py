"""Interleaved timing: every case runs once per round, so a slow spell of the machine affects all.

Each contestant has its own process, because threads that a library leaves spinning after its work
would slow the next one down.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.cases import Case, make_cases

Figures = Mapping[tuple[str, str], list[float]]

OPENCV4 = Path(__file__).with_name("opencv4")  # a later OpenCV no longer reads Caffe's files

_cases: dict[str, Case] = {}  # kept by each worker


def interleave(net: str, layer: str, contestants: Sequence[str], rounds: int) -> Figures:
    """Milliseconds per image in each round, after a warm-up round, by (contestant, case)."""
    figures: dict[tuple[str, str], list[float]] = {}
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        workers, names = {}, {}
        for who in contestants:
            workers[who] = stack.enter_context(
                ProcessPoolExecutor(1, spawn, _prepare, (net, layer, who))
            )
            with packages_before(OPENCV4 if who == "opencv" else None):
                names[who] = workers[who].submit(_names).result()
        for round_ in range(rounds + 1):
            for name in dict.fromkeys(name for mine in names.values() for name in mine):
                for who, worker in workers.items():
                    if name in names[who]:
                        figure = worker.submit(_time, name).result()
                        if round_:
                            figures.setdefault((who, name), []).append(figure)
    return figures


@contextmanager
def packages_before(folder: Path | None) -> Iterator[None]:
    """Within the block, new processes find the packages in that folder first."""
    before = list(sys.path)
    sys.path[:0] = [str(folder)] if folder else []  # a spawned process inherits its parent's path
    yield
    sys.path[:] = before


def median_ratio(slow: list[float], fast: list[float]) -> float:
    """The median over rounds of how many times `fast` is faster than `slow`."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _prepare(net: str, layer: str, who: str) -> None:
    _cases.update(make_cases(net, layer, who))


def _names() -> list[str]:
    return list(_cases)


def _time(name: str) -> float:
    case = _cases[name]
    if case.repeats > 1:
        case.call()
    start = time.perf_counter()
    for _ in range(case.repeats):
        case.call()
    return 1000 * (time.perf_counter() - start) / (case.images * case.repeats)
