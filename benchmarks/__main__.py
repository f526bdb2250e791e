"""Forward, gradient and ascent step per image: our engines, and other ways to run a Caffe net.

    python -m benchmarks [--rounds 7] [--nets squeezenet_v1.1,resnet50] [--without pycaffe,dvt]

Beside our two engines: a plain PyTorch module with autograd; OpenCV 4's dnn, if installed by

    pip install --no-deps --target benchmarks/opencv4 'opencv-python-headless<5'

and the toolbox's way. Every case runs once per round, in turn; times are medians over rounds, and
ratios are medians of each round's ratio. Weights are random.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.cases import BATCHES, WORKS
from benchmarks.engine import LAYERS
from benchmarks.timing import OPENCV4, Figures, interleave, median_ratio

# The contestants, and the titles of their columns.
CONTESTANTS = {
    "torch": "ours",
    "plain": "PyTorch",
    "opencv": "OpenCV",
    "pycaffe": "Caffe",
    "dvt": "DVT's way",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--nets", default=",".join(LAYERS))
    parser.add_argument("--without", default="", help="contestants to leave out")
    options = parser.parse_args()
    console = Console(width=120)
    missing = {"opencv"} if not OPENCV4.is_dir() else set()
    if importlib.util.find_spec("caffe") is None:
        missing |= {"pycaffe", "dvt"}
        console.print("no pycaffe here: run `make pycaffe` for its columns")
    who = [one for one in CONTESTANTS if one not in missing | set(options.without.split(","))]
    for name in options.nets.split(","):
        figures = interleave(name, LAYERS[name], who, options.rounds)
        console.print(_table(name, LAYERS[name], who, figures))
    console.print(f"{os.cpu_count()} cores; milliseconds per image, median of {options.rounds}")


def _table(name: str, layer: str, who: Sequence[str], figures: Figures) -> Table:
    table = Table(title=f"{name}, {layer}", title_justify="left")
    table.add_column("work")
    table.add_column("batch", justify="right")
    for one in who:
        table.add_column(CONTESTANTS[one], justify="right")
        if one != "torch":
            table.add_column("/ ours", justify="right")
    for work in WORKS:
        for batch in BATCHES:
            row = []
            ours = figures.get(("torch", f"{work}/{batch}"))
            for one in who:
                # The toolbox runs one image at a time.
                own = figures.get((one, f"{work}/{1 if one == 'dvt' else batch}"))
                row += [_median(own)] if one == "torch" else [_median(own), _ratio(own, ours)]
            table.add_row(work, str(batch), *row)
    return table


def _median(values: list[float] | None) -> str:
    return f"{statistics.median(values):.1f}" if values else "-"


def _ratio(slow: list[float] | None, fast: list[float] | None) -> str:
    return f"{median_ratio(slow, fast):.1f}x" if slow and fast else "-"


if __name__ == "__main__":
    main()
