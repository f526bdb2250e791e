"""How long a net waits for its images, decoded by threads or by worker processes.

    python -m benchmarks.decoders [--size 500x375] [--images 256] [--rounds 3]

SqueezeNet runs on pycaffe, which holds Python's GIL during a forward pass, unlike a GPU's kernels.
It has one thread, so that on two cores one is free for decoding, as all are beside a GPU. Each
round scans the images both ways, in turn.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy is imported

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.cases import load
from benchmarks.dataset import COUNT, NET, write_photos
from benchmarks.timing import median_ratio
from deepvis_caffe.dataset.decoders import Decoders
from deepvis_caffe.dataset.image_files import read_folder
from deepvis_caffe.dataset.loader import Batch, load_batches
from deepvis_caffe.dataset.scan import Scan, ScanParams, read_layers
from deepvis_caffe.engines.base import Net

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoders", description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decoders", type=int, default=1)
    options = parser.parse_args()
    net = load(NET, "pycaffe")[0]
    width, height = map(int, options.size.split("x"))
    took: dict[str, list[tuple[float, float]]] = {"threads": [], "processes": []}
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), options.images, height, width)
        source, count = read_folder(Path(folder)), options.decoders
        indices = range(options.images)
        with Decoders(source, net.preprocessor, count, BATCH) as decoders:
            for number in range(options.rounds + 1):
                ways = {
                    "threads": load_batches(source, net.preprocessor, indices, BATCH, count),
                    "processes": decoders.batches(indices),
                }
                for who, batches in ways.items():
                    whole, waited = timed(net, batches)
                    if number:  # not the first round, in which processes start
                        took[who].append((whole, waited))
    for who, figures in took.items():
        whole, waited = (statistics.median(column) for column in zip(*figures, strict=True))
        print(
            f"{who:10s}{options.images / whole:7.1f} images a second; "
            f"the net waited {100 * waited / whole:4.1f}% of the time"
        )
    ratio = median_ratio(*([whole for whole, _ in took[who]] for who in ("threads", "processes")))
    print(f"processes are {ratio:.2f} times as fast ({options.size}, batches of {BATCH})")


def timed(net: Net, batches: Iterator[Batch]) -> tuple[float, float]:
    """Total seconds, and how many of them the net waited for images."""
    params = ScanParams(count=COUNT).for_net(net)
    layers = Scan.empty(net, params).layers
    begun, waited = time.perf_counter(), 0.0
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return time.perf_counter() - begun, waited
        read_layers(net, np.stack(batch.images), params, BATCH, layers)


if __name__ == "__main__":
    main()
