"""Forward, gradient and ascent step per image: both engines, and the toolbox's way as baseline.

    python -m benchmarks [--rounds 7] [--nets squeezenet_v1.1,bvlc_reference_caffenet]

Every case runs once a round, in turn; a figure is the median over rounds, a ratio the median of
the rounds' ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics

from rich.console import Console
from rich.table import Table

from benchmarks.cases import BATCHES, WORKS
from benchmarks.timing import Figures, interleave, median_ratio

LAYERS = {"squeezenet_v1.1": "pool10", "bvlc_reference_caffenet": "fc8"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--nets", default=",".join(LAYERS))
    options = parser.parse_args()
    console = Console(width=100)
    has_caffe = importlib.util.find_spec("caffe") is not None
    contestants = ["torch", "pycaffe", "dvt"] if has_caffe else ["torch"]
    for name in options.nets.split(","):
        figures = interleave(name, LAYERS[name], contestants, options.rounds)
        console.print(_table(name, LAYERS[name], figures))
    console.print(f"{os.cpu_count()} cores; milliseconds per image, median of {options.rounds}")
    if not has_caffe:
        console.print("no pycaffe here: run `make pycaffe` for the other columns")


def _table(name: str, layer: str, figures: Figures) -> Table:
    table = Table(title=f"{name}, {layer}", title_justify="left")
    for column in ("work", "batch", "torch", "pycaffe", "pycaffe / torch", "DVT's way / torch"):
        table.add_column(column, justify="left" if column == "work" else "right")
    dvt = figures.get(("dvt", "ascent step/1"))
    for work in WORKS:
        for batch in BATCHES:
            torch, caffe = (figures.get((who, f"{work}/{batch}")) for who in ("torch", "pycaffe"))
            baseline = dvt if work == "ascent step" else None
            ratios = (_ratio(caffe, torch), _ratio(baseline, torch))
            table.add_row(work, str(batch), _median(torch), _median(caffe), *ratios)
    if dvt:
        table.caption = f"DVT's way: {_median(dvt)} a step, batch 1"
    return table


def _median(values: list[float] | None) -> str:
    return f"{statistics.median(values):.1f}" if values else "-"


def _ratio(slow: list[float] | None, fast: list[float] | None) -> str:
    return f"{median_ratio(slow, fast):.1f}x" if slow and fast else "-"


if __name__ == "__main__":
    main()
