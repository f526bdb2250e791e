"""`deepvis_caffe.caffe`, the surface for old scripts, beside `Net.forward` and real pycaffe.

    python -m benchmarks.caffe_surface [--rounds 9] [--nets squeezenet_v1.1,bvlc_googlenet]

It times one step of a script: write the image into the input blob, run forward (and backward from
the class layer), read one blob. Both of our ways run in one process, in turn; real pycaffe, if it
can be imported, has its own process. Times are medians over rounds, and ratios are medians of each
round's ratio. Weights are random.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.cases import load
from benchmarks.timing import median_ratio
from deepvis_caffe.model.caffemodel import write_caffemodel

LAYERS = {
    "squeezenet_v1.1": "pool10",
    "bvlc_reference_caffenet": "fc8",
    "bvlc_googlenet": "loss3/classifier",
}
BATCHES = (1, 8)
AT_LEAST = 0.2  # seconds for which a case is repeated in each round

_steps: dict[str, Callable[[], object]] = {}  # kept by each process


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.caffe_surface", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--nets", default=",".join(LAYERS))
    options = parser.parse_args()
    table = Table(title="ms per step", title_justify="left")
    columns = ("net", "work", "batch", "Net", "caffe, ours", "ours / Net", "real", "real / ours")
    for column in columns:
        table.add_column(column, justify="left" if column in ("net", "work") else "right")
    spawn = multiprocessing.get_context("spawn")
    real = importlib.util.find_spec("caffe") is not None
    for name in options.nets.split(","):
        for batch in BATCHES:
            with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
                workers = [
                    stack.enter_context(
                        ProcessPoolExecutor(1, spawn, _prepare, (module, name, batch, folder))
                    )
                    for module in ["deepvis_caffe.caffe", *["caffe"] * real]
                ]
                names = [list(worker.submit(_names).result()) for worker in workers]
                figures: dict[str, list[float]] = {}
                for _ in range(options.rounds):
                    for worker, mine in zip(workers, names, strict=True):
                        for one in mine:
                            figures.setdefault(one, []).append(worker.submit(_time, one).result())
            for work in ("forward", "forward + backward"):
                table.add_row(name, work, str(batch), *_cells(figures, work))
    Console(width=110).print(table)


def _cells(figures: dict[str, list[float]], work: str) -> list[str]:
    plain, ours, real = (
        figures.get(f"{who}/{work}") for who in ("Net", "deepvis_caffe.caffe", "caffe")
    )
    assert ours is not None
    return [
        f"{statistics.median(plain):.1f}" if plain else "-",
        f"{statistics.median(ours):.1f}",
        f"{median_ratio(ours, plain):.2f}" if plain else "-",
        f"{statistics.median(real):.1f}" if real else "-",
        f"{median_ratio(real, ours):.2f}" if real else "-",
    ]


def _prepare(module: str, name: str, batch: int, folder: str) -> None:
    net, prototxt, weights = load(name, "torch")
    layer = LAYERS[name]
    path, model = Path(folder, f"{module}.prototxt"), Path(folder, f"{module}.caffemodel")
    path.write_text("force_backward: true\n" + Path(prototxt).read_text())
    write_caffemodel(model, name, {one: ("", blobs) for one, blobs in weights.items()})
    caffe: Any = importlib.import_module(module)
    script_net = caffe.Net(str(path), str(model), caffe.TEST)
    ((blob, shape),) = net.inputs.items()
    image = np.random.default_rng(0).normal(0, 50, (batch, *shape[1:])).astype(np.float32)
    script_net.blobs[blob].reshape(*image.shape)
    output = net.outputs[0]

    def forward() -> object:
        script_net.blobs[blob].data[...] = image
        return script_net.forward()[output].sum()

    def backward() -> object:
        script_net.blobs[blob].data[...] = image
        script_net.forward(end=layer)
        script_net.blobs[layer].diff[...] = 1
        return script_net.backward(start=layer)[blob].sum()

    _steps[f"{module}/forward"] = forward
    _steps[f"{module}/forward + backward"] = backward
    if module != "caffe":
        _steps["Net/forward"] = lambda: net.forward(image)[output].sum()

        def gradient() -> object:
            top = net.forward(image, [layer])[layer]
            return net.backward(layer, np.ones_like(top))[blob].sum()

        _steps["Net/forward + backward"] = gradient


def _names() -> list[str]:
    return list(_steps)


def _time(name: str) -> float:
    step, count, start = _steps[name], 0, time.perf_counter()
    while count < 2 or time.perf_counter() - start < AT_LEAST:
        step()
        count += 1
    return 1000 * (time.perf_counter() - start) / count


if __name__ == "__main__":
    main()
