"""Nine images of one unit, layer by layer: our ascent against the toolbox's way, in one run.

    python -m benchmarks.units [--rounds 5]

Preset 3 at its constant rate of 100, random weights. The toolbox's way is `dvt_way.py`: one image
at a time on stock pycaffe, the whole image, the whole net forward, weight gradients too. Both are
timed once per round, each in its own process; times are medians over rounds, and ratios are medians
of each round's ratio. The ascent's own part of a step (operators, rate, record) is measured with a
net that returns stored results.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cases import MEAN, active_unit, load
from benchmarks.dvt_way import ascend, force_backward_net
from benchmarks.timing import median_ratio
from deepvis_caffe.memory import keep_freed_memory

if TYPE_CHECKING:
    from deepvis_caffe.engines.base import Net

NETS = {
    "squeezenet_v1.1": ("fire3/expand3x3", "fire5/expand3x3", "pool10"),
    "caffenet_yos": ("conv2", "conv4", "fc8"),
}
SEEDS = 9
OUR_STEPS, ITS_STEPS = 48, 4  # the toolbox's steps all cost the same
_have: dict[str, Any] = {}  # each worker's net


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.units", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    console = Console(width=100)
    table = Table(title=f"{SEEDS} images of one unit, ms per image and step")
    for column in ("net", "layer", "window", "ours", "its own", "DVT's way", "DVT's way / ours"):
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
                mine, baseline = [row[0].whole for row in rounds], [row[1] for row in rounds]
                ratio = f"{median_ratio(baseline, mine):.3g}x"
                figures = [f"{statistics.median(figure):.2f}" for figure in (mine, baseline)]
                figures.insert(1, f"{statistics.median(row[0].own for row in rounds):.0%}")
                table.add_row(net, layer, rounds[0][0].window, *figures, ratio)
    console.print(table)


def _prepare_ours(name: str) -> None:
    keep_freed_memory()  # as a command does
    _have["net"] = load(name, "torch")[0]


def _prepare_its(name: str) -> None:
    net, prototxt, weights = load(name, "torch")
    _have["net"], _have["stock"] = net, force_backward_net(prototxt, weights)


class Ours(NamedTuple):
    """ms per image and step, the ascent's own part of that, and the window."""

    whole: float
    own: float
    window: str


class FromMemory:
    """A net that stores its first result for each input shape, and returns it from then on."""

    def __init__(self, net: Net) -> None:
        self._net, self._values, self._diffs = net, dict[Any, Any](), dict[Any, Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)

    def evaluate(self, x: Any, name: str, channels: Any = None) -> Any:
        """The layer's value."""
        key = self._asked = (x.shape, channels)
        if key not in self._values:
            value = self._net.evaluate(x, name, channels)
            self._diffs[key] = self._net.input_gradient(value * 0 + 1).clone()
            self._values[key] = value.clone()
        return self._values[key]

    def input_gradient(self, diff: Any, mode: str = "gradient") -> Any:
        """The image's diff."""
        return self._diffs[self._asked]


def _time_ours(layer: str) -> Ours:
    import deepvis_caffe as dv

    net = _have["net"]
    unit = active_unit(net, layer)

    def seconds(net: Any, steps: int) -> tuple[float, str]:
        options = {"preset": 3, "rate": "paper", "iterations": steps}
        start = time.perf_counter()
        runs = dv.optimize(net, layer, units=[unit], seeds=range(SEEDS), **options)
        return time.perf_counter() - start, " x ".join(map(str, runs[0].image.shape[1:]))

    taken, window = seconds(net, OUR_STEPS)
    known = FromMemory(net)
    seconds(known, 1)
    # The difference of a longer and a shorter run leaves out what comes before the first step.
    own, all_of = (seconds(it, 5 * OUR_STEPS)[0] - seconds(it, OUR_STEPS)[0] for it in (known, net))
    return Ours(1000 * taken / SEEDS / OUR_STEPS, own / all_of, window)


def _time_its(layer: str) -> float:
    unit = active_unit(_have["net"], layer)
    mean = np.array(MEAN, float)[:, None, None]
    start = time.perf_counter()
    ascend(_have["stock"], layer, unit, mean, 0, ITS_STEPS)
    return 1000 * (time.perf_counter() - start) / ITS_STEPS


if __name__ == "__main__":
    main()
