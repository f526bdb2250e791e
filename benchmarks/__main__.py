"""Forward, gradient and ascent step per image: both engines, and the toolbox's way as baseline.

    python -m benchmarks [--rounds 5] [--nets squeezenet_v1.1,bvlc_reference_caffenet]

Every case runs once a round, in turn; a figure is the median over rounds, a ratio the median of
the rounds' ratios. Weights are random: their values do not change the work.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import deepvis_caffe as dv
from benchmarks.dvt_way import ascend, force_backward_net
from benchmarks.timing import Case, interleave, median_ratio
from deepvis_caffe.engines.base import Net
from deepvis_caffe.model.deploy import deploy
from deepvis_caffe.model.fillers import random_weights
from deepvis_caffe.model.graph import Graph
from deepvis_caffe.model.prototxt import read_prototxt
from deepvis_caffe.model.shapes import infer
from deepvis_caffe.optimizer.start import first_images
from deepvis_caffe.resources import resource

MEAN = (104, 117, 123)
LAYERS = {"squeezenet_v1.1": "pool10", "bvlc_reference_caffenet": "fc8"}
STEPS = 8  # of one timed ascent: two of them blur, as one in four does
Weights = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nets", default=",".join(LAYERS))
    options = parser.parse_args()
    console = Console(width=100)
    has_caffe = importlib.util.find_spec("caffe") is not None
    engines = ["torch", "pycaffe"] if has_caffe else ["torch"]
    for name in options.nets.split(","):
        prototxt = resource("prototxt", f"{name}.prototxt")
        cases = _cases(prototxt, LAYERS[name], engines)
        console.print(_table(name, LAYERS[name], interleave(cases, options.rounds)))
    console.print(f"{os.cpu_count()} cores; milliseconds per image, median of {options.rounds}")
    if not has_caffe:
        console.print("no pycaffe here: run `make pycaffe` for the other columns")


def _cases(prototxt: Path, layer: str, engines: list[str]) -> dict[str, Case]:
    graph = _graph(prototxt)
    weights = random_weights(infer(graph), graph, np.random.default_rng(0))
    cases: dict[str, Case] = {}
    for engine in engines:
        net = dv.load_net(prototxt, weights, engine=engine, mean=MEAN, device="cpu")
        unit = _active_unit(net, layer)
        for batch in (1, 8):
            for work, call in _works(net, layer, unit, batch).items():
                steps = STEPS if work == "ascent step" else 1
                cases[f"{work}/{batch}/{engine}"] = Case(call, batch * steps)
    if "pycaffe" in engines:
        stock = force_backward_net(prototxt, weights)
        mean = np.array(MEAN, float)[:, None, None]
        cases["ascent step/1/dvt"] = Case(lambda: ascend(stock, layer, unit, mean, 0, STEPS), STEPS)
    return cases


def _active_unit(net: Net, layer: str) -> int:
    """A unit that noise excites: one behind a ReLU that noise leaves dead would end its ascent."""
    value = net.evaluate(net.ops.asarray(first_images("noise", range(8), net.preprocessor)), layer)
    return int(net.ops.numpy(value).reshape(8, value.shape[1], -1).max(axis=2).min(axis=0).argmax())


def _works(net: Net, layer: str, unit: int, batch: int) -> dict[str, Callable[[], object]]:
    _, channels, height, width = next(iter(net.inputs.values()))
    x = net.ops.asarray(np.random.default_rng(0).normal(0, 50, (batch, channels, height, width)))
    host = net.ops.numpy(x)
    diff = np.zeros((batch, *net.shapes[net.model.graph.seed(layer)][1:]), np.float32)
    diff[:, unit] = 1
    native_diff = net.ops.asarray(diff)

    def gradient() -> object:
        net.evaluate(x, layer)
        return net.input_gradient(native_diff)

    return {
        "forward": lambda: net.forward(host, ["prob"]),
        "forward + gradient": gradient,
        "ascent step": lambda: dv.optimize(
            net, layer, units=[unit], seeds=range(batch), preset=3, rate="paper", iterations=STEPS
        ),
    }


def _graph(prototxt: Path) -> Graph:
    params = deploy(read_prototxt(prototxt))
    return Graph.from_layers(params.name, params.layer)


def _table(name: str, layer: str, figures: Mapping[str, list[float]]) -> Table:
    table = Table(title=f"{name}, {layer}", title_justify="left")
    for column in ("work", "batch", "torch", "pycaffe", "pycaffe / torch", "DVT's way / torch"):
        table.add_column(column, justify="left" if column == "work" else "right")
    for work in ("forward", "forward + gradient", "ascent step"):
        for batch in (1, 8):
            torch, caffe = (figures.get(f"{work}/{batch}/{e}") for e in ("torch", "pycaffe"))
            dvt = figures.get("ascent step/1/dvt") if work == "ascent step" else None
            table.add_row(
                work,
                str(batch),
                _median(torch),
                _median(caffe),
                _ratio(caffe, torch),
                _ratio(dvt, torch),
            )
    if "ascent step/1/dvt" in figures:
        table.caption = f"DVT's way: {_median(figures['ascent step/1/dvt'])} a step, batch 1"
    return table


def _median(values: list[float] | None) -> str:
    return f"{statistics.median(values):.1f}" if values else "-"


def _ratio(slow: list[float] | None, fast: list[float] | None) -> str:
    return f"{median_ratio(slow, fast):.1f}x" if slow and fast else "-"


if __name__ == "__main__":
    main()
