"""How threads wait for each other, beside busy programs and alone: wall and processor time.

    python -m benchmarks.waiting [--busy 0,7] [--rounds 7] [--steps 20] [--layer fire5/expand3x3]
                                 [--settings default,passive,1000,10000,one-thread]

An ascent by preset best, of four units with two seeds each, in one process for each setting of
OpenMP's environment variables: its default, passive waiting, a number of spins before a thread
sleeps (GOMP_SPINCOUNT), and one thread. Each of them runs once per round, so that other work on the
machine affects all; times are medians over rounds, and ratios are medians of each round's ratio to
the first setting.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one-thread": {"OMP_NUM_THREADS": "1"},
}
ALL = "default,passive,1000,3000,10000,30000,100000,one-thread"
OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")

Figure = tuple[float, float]  # seconds of wall time and of processor time


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--busy", default="0,7", help="numbers of busy programs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--layer", default="fire5/expand3x3")
    parser.add_argument("--settings", default=ALL)
    options = parser.parse_args()
    settings = options.settings.split(",")
    for busy in map(int, options.busy.split(",")):
        with busy_programs(busy), contestants(settings, options.layer, options.steps) as workers:
            rounds = [
                {who: worker.submit(_run).result() for who, worker in workers.items()}
                for _ in range(options.rounds)
            ]
        load = os.getloadavg()[0]
        print(f"\n{options.layer} beside {busy} busy programs of ours, load average {load:.1f}\n")
        print("| setting | wall, s | processor, s | wall, ratio | processor, ratio |")
        print("|---|---|---|---|---|")
        for who in settings:
            print(f"| {who} | {' | '.join(_columns(rounds, who, settings[0]))} |", flush=True)


def _columns(rounds: list[dict[str, Figure]], who: str, first: str) -> Iterator[str]:
    for kind in (0, 1):
        yield f"{statistics.median(one[who][kind] for one in rounds):.2f}"
    for kind in (0, 1):
        yield f"{statistics.median(one[who][kind] / one[first][kind] for one in rounds):.2f}"


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Within the block, `count` processes compute without end."""
    spawn = multiprocessing.get_context("spawn")
    loops = [spawn.Process(target=_loop, daemon=True) for _ in range(count)]
    for one in loops:
        one.start()
    try:
        yield
    finally:
        for one in loops:
            one.terminate()


def _loop() -> None:
    while True:
        pass


@contextmanager
def contestants(
    settings: Sequence[str], layer: str, steps: int
) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A warm process for each setting, which libraries read when they are loaded."""
    spawn = multiprocessing.get_context("spawn")
    outer = dict(os.environ)
    with ExitStack() as stack:
        workers = {}
        for who in settings:
            for name in OURS:
                os.environ.pop(name, None)
            os.environ.update(
                SETTINGS.get(who) or ({"GOMP_SPINCOUNT": who} if who.isdecimal() else {})
            )
            worker = stack.enter_context(ProcessPoolExecutor(1, spawn, _load, (layer, steps)))
            worker.submit(_run).result()
            workers[who] = worker
        os.environ.clear()
        os.environ.update(outer)
        yield workers


_ascent: dict[str, object] = {}  # kept by each worker


def _load(layer: str, steps: int) -> None:
    from benchmarks.cases import load

    _ascent.update(net=load("squeezenet_v1.1", "torch")[0], layer=layer, iterations=steps)


def _run() -> Figure:
    import deepvis_caffe as dv

    wall, processor = time.perf_counter(), time.process_time()
    dv.optimize(units=range(4), seeds=2, preset="best", **_ascent)  # type: ignore[arg-type]
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
