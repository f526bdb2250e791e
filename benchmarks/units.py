"""Nine images of one unit, layer by layer: our ascent against the toolbox's way, in one run.

    python -m benchmarks.units [--rounds 5]

Preset 3 at its constant rate of 100, random weights. The toolbox's way is `dvt_way.py`: one image
at a time on stock pycaffe, the whole image, the whole net forward, weight gradients too. Both are
timed once a round, each in a process of its own; a figure is the median over rounds, a ratio the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cases import MEAN, active_unit, load
from benchmarks.dvt_way import ascend, force_backward_net
from benchmarks.timing import median_ratio

NETS = {
    "squeezenet_v1.1": ("fire3/expand3x3", "fire5/expand3x3", "pool10"),
    "caffenet_yos": ("conv2", "conv4", "fc8"),
}
SEEDS = 9
OUR_STEPS, ITS_STEPS = 48, 4  # its steps all cost the same
_have: dict[str, Any] = {}  # a worker's net


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.units", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    console = Console(width=100)
    table = Table(title=f"{SEEDS} images of one unit, ms per image and step")
    for column in ("net", "layer", "window", "ours", "DVT's way", "DVT's way / ours"):
        table.add_column(column, justify="left" if column in ("net", "layer") else "right")
    spawn = multiprocessing.get_context("spawn")
    for net, layers in NETS.items():
        with ExitStack() as stack:
            ours, its = (
                stack.enter_context(ProcessPoolExecutor(1, spawn, prepare, (net,)))
                for prepare in (_prepare_ours, _prepare_its)
            )
            for layer in layers:
                rounds = [
                    (ours.submit(_time_ours, layer).result(), its.submit(_time_its, layer).result())
                    for _ in range(options.rounds + 1)
                ][1:]
                mine, baseline = [row[0][0] for row in rounds], [row[1] for row in rounds]
                ratio = f"{median_ratio(baseline, mine):.3g}x"
                figures = [f"{statistics.median(figure):.2f}" for figure in (mine, baseline)]
                table.add_row(net, layer, rounds[0][0][1], *figures, ratio)
    console.print(table)


def _prepare_ours(name: str) -> None:
    _have["net"] = load(name, "torch")[0]


def _prepare_its(name: str) -> None:
    net, prototxt, weights = load(name, "torch")
    _have["net"], _have["stock"] = net, force_backward_net(prototxt, weights)


def _time_ours(layer: str) -> tuple[float, str]:
    import deepvis_caffe as dv

    net = _have["net"]
    options = {"preset": 3, "rate": "paper", "iterations": OUR_STEPS}
    unit = active_unit(net, layer)
    start = time.perf_counter()
    runs = dv.optimize(net, layer, units=[unit], seeds=range(SEEDS), **options)
    taken = time.perf_counter() - start
    return 1000 * taken / SEEDS / OUR_STEPS, " x ".join(map(str, runs[0].image.shape[1:]))


def _time_its(layer: str) -> float:
    unit = active_unit(_have["net"], layer)
    mean = np.array(MEAN, float)[:, None, None]
    start = time.perf_counter()
    ascend(_have["stock"], layer, unit, mean, 0, ITS_STEPS)
    return 1000 * (time.perf_counter() - start) / ITS_STEPS


if __name__ == "__main__":
    main()
